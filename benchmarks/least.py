"""The least that Twisted can be: services that do a part of ours and nothing else, as `.tac` files."""

from __future__ import annotations

import http.client
import subprocess
import time
from pathlib import Path

from attrs import define, field

from benchmarks.stage import end, memory_of
from tests.integration.harness import TWISTD, surroundings

#: A Klein app of one route.
KLEIN = """
from klein import Klein
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.server import Site

app = Klein()
app.route("/-/health")(lambda request: b"ok")
endpoint = serverFromString(reactor, "tcp:{port}:interface=127.0.0.1")
application = Application("least")
StreamServerEndpointService(endpoint, Site(app.resource())).setServiceParent(application)
"""

#: A resource that proves deliveries, and neither reads nor keeps any.
PROOF = """
import hashlib, hmac, pathlib
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Site

secret = pathlib.Path({secret!r}).read_bytes().strip()


class Update(Resource):
    isLeaf = True

    def render(self, request):
        if request.method == b"GET":
            return b"ok"
        proof = hmac.digest(secret, request.content.read(), hashlib.sha256).hex()
        given = request.getHeader("x-hub-signature-256") or ""
        if not hmac.compare_digest(given, "sha256=" + proof):
            request.setResponseCode(401)
        return b"ok"


class Quiet(Site):
    def log(self, request):
        pass


endpoint = serverFromString(reactor, "tcp:{port}:interface=127.0.0.1")
application = Application("least")
site = Quiet(Update(), parsePOSTFormSubmission=False)
StreamServerEndpointService(endpoint, site).setServiceParent(application)
"""


def health(port: int) -> int:
    """The status of `/-/health`; 0 where nobody answers."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/-/health")
        answer = connection.getresponse()
        answer.read()
    except OSError:
        return 0
    return answer.status


@define
class Service:
    """Something that twistd runs in the foreground, in a process of its own."""

    folder: Path
    port: int
    arguments: tuple[str, ...]
    memory: list[float] = field(factory=list, init=False)

    @classmethod
    def of_tac(cls, folder: Path, port: int, text: str) -> Service:
        """What a `.tac` file describes."""
        file = folder / "least.tac"
        file.write_text(text)
        return cls(folder, port, ("-y", str(file)))

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, and wait for its first answer."""
        process = subprocess.Popen(
            [TWISTD, "-n", "--pidfile=", *self.arguments],
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            env=surroundings(),
        )
        while health(self.port) != 200:
            if process.poll() is not None:
                raise RuntimeError(f"{self.arguments} has ended")
            time.sleep(0.002)
        return process

    def once(self, _turn: int) -> float:
        """The seconds from its start to its first answer; how much memory it has then is kept."""
        begin = time.perf_counter()
        process = self.start()
        took = time.perf_counter() - begin
        time.sleep(0.5)
        self.memory.append(memory_of(process.pid))
        end(process)
        return took
