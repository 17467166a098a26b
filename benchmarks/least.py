"""The least that Twisted can be: services that do a part of ours and nothing else, as `.tac` files."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

from benchmarks.stage import Prepared, end, memory_of, request, send_at_once
from tests.integration.harness import TWISTD, own_port, surroundings

#: The least that brings a branch forward by git's commands for people.
COMMANDS = (
    "fetch --quiet --no-tags --no-write-fetch-head --no-auto-maintenance"
    " origin main:refs/remotes/origin/main",
    "checkout --quiet --no-track -B main origin/main --",
)
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


def proved(request, body):
    return b"ok"


class Update(Resource):
    isLeaf = True

    def render(self, request):
        if request.method == b"GET":
            return b"ok"
        body = request.content.read()
        proof = hmac.digest(secret, body, hashlib.sha256).hex()
        given = request.getHeader("x-hub-signature-256") or ""
        if not hmac.compare_digest(given, "sha256=" + proof):
            request.setResponseCode(401)
            return b"no"
        return proved(request, body)


class Quiet(Site):
    def log(self, request):
        pass


endpoint = serverFromString(reactor, "tcp:{port}:interface=127.0.0.1")
application = Application("least")
site = Quiet(Update(), parsePOSTFormSubmission=False)
StreamServerEndpointService(endpoint, site).setServiceParent(application)
"""

#: The same that reads a push and keeps it: one row on disk before the answer, with a commit for all
#: that come in while the disk is written to. It decides nothing, and tells nobody.
KEEPS = PROOF.replace(
    """def proved(request, body):
    return b"ok"
""",
    """import sqlite3
import msgspec
from twisted.internet.threads import deferToThread
from twisted.web.server import NOT_DONE_YET


class Repository(msgspec.Struct):
    full_name: str


class Commit(msgspec.Struct):
    id: str
    message: str


class Push(msgspec.Struct):
    repository: Repository
    ref: str
    after: str
    commits: list[Commit]


archive = sqlite3.connect("least.sqlite", isolation_level=None, check_same_thread=False)
archive.execute("PRAGMA journal_mode=WAL")
archive.execute("PRAGMA synchronous=FULL")
archive.execute("CREATE TABLE pushes (sent, repo, ref, after, commits)")
waiting, writing = [], []


def proved(request, body):
    push = msgspec.json.decode(body, type=Push)
    sent, commits = request.getHeader("x-github-delivery"), msgspec.json.encode(push.commits[:50])
    waiting.append((request, (sent, push.repository.full_name, push.ref, push.after, commits)))
    flush()
    return NOT_DONE_YET


def flush():
    if waiting and not writing:
        writing.extend(waiting)
        waiting.clear()
        deferToThread(write, [row for _, row in writing]).addCallback(written)


def write(rows):
    archive.execute("BEGIN IMMEDIATE")
    archive.executemany("INSERT INTO pushes VALUES (?, ?, ?, ?, ?)", rows)
    archive.execute("COMMIT")


def written(_):
    requests = [request for request, _ in writing]
    writing.clear()
    flush()
    for request in requests:
        request.write(b"ok")
        request.finish()
""",
)

#: One that deploys what is pushed, four at a time, in checkouts that are there: one fetch, one
#: checkout, the script. It looks at nothing, keeps nothing, and could not say what has happened.
DEPLOYS = PROOF.replace(
    """def proved(request, body):
    return b"ok"
""",
    """import json, os
from twisted.internet.defer import Deferred, DeferredSemaphore, inlineCallbacks
from twisted.internet.protocol import ProcessProtocol

nothing, four = os.open(os.devnull, os.O_RDWR), DeferredSemaphore(4)


class Child(ProcessProtocol):
    def __init__(self):
        self.ended = Deferred()

    def processEnded(self, reason):
        self.ended.callback(None)


def start(*argv):
    child = Child()
    environment, descriptors = dict(os.environ), {{0: nothing, 1: nothing, 2: nothing}}
    reactor.spawnProcess(child, argv[0], argv, env=environment, childFDs=descriptors)
    return child.ended


@inlineCallbacks
def deploy(name):
    here = os.path.join({folder!r}, name)
    for command in {commands!r}:
        yield start("git", "-C", here, *command.split())
    yield start(os.path.join(here, "deploy.sh"))


def proved(request, body):
    four.run(deploy, json.loads(body)["repository"]["name"])
    return b"ok"
""",
)


def status(port: int, path: str) -> int:
    """The status of the answer for that path; 0 where nobody answers."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path)
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
    secret: bytes = b""
    memory: list[float] = field(factory=list, init=False)
    with_pages: list[float] = field(factory=list, init=False)

    @classmethod
    def of_tac(cls, folder: Path, port: int, text: str, secret: bytes = b"") -> Service:
        """What a `.tac` file describes."""
        file = folder / "least.tac"
        file.write_text(text)
        return cls(folder, port, ("-y", str(file)), secret)

    @classmethod
    def deploying(cls, checkouts: Path, secret: Path) -> Service:
        """What deploys the checkouts in a folder, by their names."""
        port = own_port()
        commands, parts = COMMANDS, {"secret": str(secret), "folder": str(checkouts)}
        text = DEPLOYS.format(port=port, commands=commands, **parts)
        return cls.of_tac(checkouts, port, text, secret.read_bytes().strip())

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, and wait for its first answer."""
        process = subprocess.Popen(
            [TWISTD, "-n", "--pidfile=", *self.arguments],
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            env=surroundings(),
        )
        while status(self.port, "/-/health") != 200:
            if process.poll() is not None:
                raise RuntimeError(f"{self.arguments} has ended")
            time.sleep(0.002)
        return process

    @contextmanager
    def running(self) -> Iterator[Service]:
        """The service, from its start to its end."""
        process = self.start()
        try:
            yield self
        finally:
            end(process)

    def push(self, *names: str) -> None:
        """Tell one that deploys of pushes, all at once."""
        bodies = [json.dumps({"repository": {"name": name}}).encode() for name in names]
        requests = [Prepared(request(body, self.secret, {})) for body in bodies]
        statuses = set(send_at_once(requests, self.port))
        if statuses != {200}:
            raise RuntimeError(f"pushes were answered {statuses}")

    def once(self, _turn: int) -> float:
        """The seconds from its start to its first answer.

        How much memory it has then is kept, and after somebody has asked for a page.
        """
        begin = time.perf_counter()
        process = self.start()
        took = time.perf_counter() - begin
        for memory in (self.memory, self.with_pages):
            time.sleep(0.5)
            memory.append(memory_of(process.pid))
            status(self.port, "/-/sign-in")
        end(process)
        return took
