"""What every benchmark plays on: git hosts' repositories, a server, prepared deliveries, a shell."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import define, field, frozen

from tests.integration.harness import Daemon, eventually, git, github_push

TICKS = os.sysconf("SC_CLK_TCK")
_IDENTITY = "Ann <ann@example.com> 1700000000 +0000"


@define
class Upstream:
    """A bare repository of acme at a git host."""

    path: Path

    @property
    def name(self) -> str:
        """Its name at the git host."""
        return self.path.stem

    @classmethod
    def make(cls, folder: Path, name: str) -> Upstream:
        """A new, empty one."""
        path = folder / f"{name}.git"
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--bare", "--initial-branch=main")
        return cls(path)

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Put a commit with those files on top of a branch, as a push does; the commit."""
        return self.commits([files], branch)[-1]

    def commits(
        self, each: Sequence[Mapping[str, bytes]], branch: str = "main", on: str = ""
    ) -> list[str]:
        """Put commits on top of a branch, or of another commit, one for each set of files."""
        ref = f"refs/heads/{branch}"
        stream = [b"feature done\n"]
        for count, files in enumerate(each, 1):
            stream.append(f"commit {ref}\nmark :{count}\ncommitter {_IDENTITY}\n".encode())
            stream.append(b"data 6\nChange\n")
            base = on or self.tip(branch)
            if count == 1 and base:
                stream.append(f"from {base}\n".encode())
            for name, content in files.items():
                mode = "100755" if content.startswith(b"#!") else "100644"
                stream.append(f"M {mode} inline {name}\ndata {len(content)}\n".encode())
                stream.append(content + b"\n")
        stream.append(b"done\n")
        marks = self.path / "marks"
        subprocess.run(
            ["git", "-C", str(self.path), "fast-import", "--quiet", f"--export-marks={marks}"],
            input=b"".join(stream),
            check=True,
        )
        return [line.split()[1] for line in marks.read_text().splitlines()]

    def configure(self, config: Mapping[str, Any]) -> None:
        """Put a config on its branch."""
        self.commit({"config": json.dumps(config).encode()}, "integralgit")

    def tip(self, branch: str = "main") -> str:
        """The commit of a branch; empty where there is none."""
        return git(self.path, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")


def head_of(checkout: Path) -> str:
    """The commit that a checkout is at."""
    return git(checkout, "rev-parse", "HEAD")


@define
class Signal:
    """A named pipe by which a script tells that it has come to a place."""

    path: Path
    _descriptor: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        os.mkfifo(self.path)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    @property
    def command(self) -> str:
        """What a script writes there."""
        return f"echo > {self.path}"

    def wait(self, patience: float = 60.0) -> float:
        """When the next line came, by `time.perf_counter`."""
        ready, _, _ = select.select([self._descriptor], [], [], patience)
        now = time.perf_counter()
        if not ready:
            raise RuntimeError("the script has not run")
        # One byte: another script may have written its line meanwhile.
        os.read(self._descriptor, 1)
        return now


@define
class Shell:
    """A shell that waits for what somebody types."""

    _process: subprocess.Popen[bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._process = subprocess.Popen(["bash", "--norc"], stdin=subprocess.PIPE)

    def type(self, line: str) -> None:
        """Type a line, and return at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def cpu(self) -> float:
        """The seconds of processor time of what was typed, once it has ended."""
        return cpu_of(self._process.pid)[1]

    def leave(self) -> None:
        """Leave the shell."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


@frozen
class Prepared:
    """A whole signed request, ready to be sent."""

    data: bytes

    def send(self, port: int) -> int:
        """Send it on a connection of its own; the status of the answer."""
        (status,) = send_at_once([self], port)
        return status


def send_at_once(requests: Sequence[Prepared], port: int) -> list[int]:
    """Send each on a connection of its own, before any answer is waited for; their statuses."""
    with ExitStack() as connections:
        waiting = []
        for one in requests:
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            connections.enter_context(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(one.data)
            waiting.append(connection)
        return [int(one.recv(65536).split(b" ", 2)[1]) for one in waiting]


@define
class Server:
    """An IntegralGit in a process of its own, which deploys what is at `githost`."""

    folder: Path
    githost: Path
    settings: str = ""
    #: The URL to fetch from; by default a repository's own at the git host.
    url: str = ""
    daemon: Daemon = field(init=False)
    _count: int = field(default=0, init=False)
    #: Where each branch was when a push to it was last prepared, for the next one tells that.
    _tips: dict[tuple[str, str], str] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        url = self.url or str(self.githost / "{name}.git")
        trust = f'[[trust]]\nrepos = ["github.com/acme/*"]\nurl = {json.dumps(url)}\n'
        self.daemon = Daemon(self.folder, f'host_names = ["web1"]\n{self.settings}\n{trust}')

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return urlsplit(self.daemon.url).port or 0

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.daemon.process is not None
        return self.daemon.process.pid

    @property
    def secret(self) -> Path:
        """The file of the secret that its deliveries are signed with."""
        return self.daemon.state / "webhook-secret"

    def prepare(self, name: str, commit: str, branch: str = "main") -> Prepared:
        """A signed delivery of a push to a repository, with an id of its own."""
        self._count += 1
        before = self._tips.get((name, branch), "0" * 40)
        self._tips[name, branch] = commit
        push = github_push(commit, branch, before)
        push["repository"] |= {"name": name, "full_name": f"acme/{name}"}
        body = json.dumps(push).encode()
        head = {"X-GitHub-Delivery": f"{time.time_ns()}-{self._count}"}
        return Prepared(request(body, self.daemon.secret(), head))

    def push(self, name: str, commit: str) -> int:
        """Deliver a push, see it accepted, and wait until its deploy has ended; its number."""
        status = self.prepare(name, commit).send(self.port)
        if status != 202:
            raise RuntimeError(f"a push was answered {status}")
        return self.ended(name, commit)

    def ended(self, name: str, commit: str) -> int:
        """Wait until the repository is idle at that commit; the number of the newest deploy."""

        def look() -> int | None:
            newest = self.deploys(name, 1)[0]
            if newest["finished_at"] is None:
                return None
            if newest["state"] != "succeeded" or newest["commit"] != commit:
                raise RuntimeError(
                    f"deploy {newest['id']} is {newest['state']}: {newest['reason']}"
                )
            return int(newest["id"])

        return eventually(look, f"{name} is deployed")

    def times(self, name: str) -> dict[str, tuple[float, float]]:
        """When each step of a repository's newest deploy began and ended, in seconds since the epoch."""
        steps = self.deploys(name, 1)[0]["steps"]
        return {
            step["name"]: (
                datetime.fromisoformat(step["started_at"]).timestamp(),
                datetime.fromisoformat(step["finished_at"]).timestamp(),
            )
            for step in steps
        }

    def finished(self, name: str) -> float:
        """When the newest deploy of a repository ended, in seconds since the epoch."""
        return datetime.fromisoformat(self.deploys(name, 1)[0]["finished_at"]).timestamp()

    def took(self, number: int) -> float:
        """The seconds from a deploy's push to its end."""
        deploy = self.daemon.deploy(number)
        created, finished = (
            datetime.fromisoformat(deploy[name]) for name in ("created_at", "finished_at")
        )
        return (finished - created).total_seconds()

    def deploys(self, name: str, limit: int) -> list[dict[str, Any]]:
        """The newest deploys of a repository."""
        found: list[dict[str, Any]] = self.daemon.get(f"/github.com/acme/{name}?limit={limit}")[
            "deploys"
        ]
        return found

    def cpu(self) -> float:
        """The seconds of processor time that it has used."""
        return cpu_of(self.pid)[0]

    def cpu_of_reactor(self) -> float:
        """The seconds of processor time of the reactor's thread, which is its first one."""
        return cpu_of(self.pid, self.pid)[0]

    def cpu_of_children(self) -> float:
        """The seconds of processor time of its git and scripts that have ended."""
        return cpu_of(self.pid)[1]

    def memory(self) -> float:
        """What it holds of memory, in MB."""
        return memory_of(self.pid)


def cpu_of(pid: int, thread: int | None = None) -> tuple[float, float]:
    """The seconds of processor time of a process or one thread, and of its children that have ended.

    proc(5), `stat`, fields 14 to 17.
    """
    of_thread = f"/task/{thread}" if thread is not None else ""
    stat = Path(f"/proc/{pid}{of_thread}/stat").read_text().rpartition(")")[2].split()
    user, system, of_children, system_of_children = (int(field) / TICKS for field in stat[11:15])
    return user + system, of_children + system_of_children


def until_idle(pid: int) -> None:
    """Wait until a process and its children have done what is left to do for them."""
    used = [cpu_of(pid)]

    def is_idle() -> bool:
        time.sleep(0.2)
        used.append(cpu_of(pid))
        return used[-1] == used[-2]

    eventually(is_idle, f"process {pid} is idle")


def memory_of(pid: int) -> float:
    """What a process holds of memory, in MB (proc(5), `status`, `VmRSS`)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def request(body: bytes, secret: bytes, headers: Mapping[str, str], path: str = "/update") -> bytes:
    """A signed request as GitHub sends it, from its first byte to its last."""
    mac = hmac.new(secret, body, hashlib.sha256).hexdigest()
    given = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "X-GitHub-Event": "push",
        "X-Hub-Signature-256": f"sha256={mac}",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server, from its start to its end."""
    server.daemon.start()
    try:
        yield server
    finally:
        server.daemon.stop()


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that we started, and wait until it is gone."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait(60)
