"""A real server, a real git host's repository, and a sender of signed deliveries."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from unittest import TestCase
from urllib.parse import urlsplit

from attrs import define, field

T = TypeVar("T")

#: Long enough for a loaded machine; a test that passes never waits that long.
PATIENCE = 60.0
#: The checkout that these tests are of.
ROOT = Path(__file__).parents[2]
TWISTD = str(Path(sys.executable).with_name("twistd"))

_GIT_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
}


def git(folder: Path, *arguments: str, said: str | None = None) -> str:
    """What git prints, once it was said something; raises where it fails."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env=_GIT_ENVIRONMENT,
        input=said,
        check=True,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
    )
    return done.stdout.strip()


def eventually(what: Callable[[], T | None], why: str, patience: float = PATIENCE) -> T:
    """The first true value that `what` gives; fails with `why` after a while."""
    deadline = time.monotonic() + patience
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen: {why}")
        time.sleep(0.05)


def own_port() -> int:
    """A port that nobody listens on, and that nobody is given by chance before somebody does.

    It lies below those that the kernel takes for connections, of which other
    tests have many (ip(7), `ip_local_port_range`).
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(max(1024, first - 10_000), max(2048, first))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def is_answered(port: int) -> bool:
    """Whether somebody listens on that port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def surroundings() -> dict[str, str]:
    """The environment for a server of ours: that of these tests, whichever is installed.

    As where it is installed, Python compiles its modules once, and not at every start.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(ROOT)}


@define
class Upstream:
    """A bare repository at a git host, and a person's clone of it."""

    folder: Path
    object_format: str = "sha1"
    bare: Path = field(init=False)
    work: Path = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.bare = self.folder / "acme" / "site.git"
        self.work = self.folder / "work"
        self.bare.parent.mkdir(parents=True)
        kind = f"--object-format={self.object_format}"
        git(self.folder, "init", "--quiet", "--bare", kind, "--initial-branch=main", str(self.bare))
        git(self.folder, "init", "--quiet", kind, "--initial-branch=main", str(self.work))
        git(self.work, "remote", "add", "origin", str(self.bare))

    def configure(self, config: Mapping[str, Any] | str) -> str:
        """Commit a config to the branch `integralgit` and push it; its commit."""
        text = config if isinstance(config, str) else json.dumps(config)
        blob_file = self.folder / "config.json"
        blob_file.write_text(text)
        blob = git(self.work, "hash-object", "-w", str(blob_file))
        listed = subprocess.run(
            ["git", "-C", str(self.work), "mktree"],
            input=f"100644 blob {blob}\tconfig\n",
            env=_GIT_ENVIRONMENT,
            check=True,
            capture_output=True,
            text=True,
        )
        tree = listed.stdout.strip()
        parents = []
        if git(self.work, "branch", "--list", "integralgit"):
            parents = ["-p", "integralgit"]
        commit = git(self.work, "commit-tree", tree, *parents, "-m", "Config")
        git(self.work, "update-ref", "refs/heads/integralgit", commit)
        git(self.work, "push", "--quiet", "origin", "integralgit")
        return commit

    def commit(
        self, files: Mapping[str, str | None], message: str = "Change", branch: str = "main"
    ) -> str:
        """Commit files (None removes one) to a branch and push it; the commit."""
        exists = git(self.work, "branch", "--list", branch)
        current = git(self.work, "symbolic-ref", "--short", "HEAD")
        if branch != current:
            git(self.work, "checkout", "--quiet", *([] if exists else ["-b"]), branch)
        for name, text in files.items():
            path = self.work / name
            if text is None:
                git(self.work, "rm", "--quiet", "--force", name)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if text.startswith("#!"):
                path.chmod(0o755)
            git(self.work, "add", "--force", name)
        git(self.work, "commit", "--quiet", "--allow-empty", "-m", message)
        git(self.work, "push", "--quiet", "--force", "origin", branch)
        return git(self.work, "rev-parse", "HEAD")


def stage_odd_link(work: Path) -> None:
    """Stage a link, as `link`, that no file system takes: its text is longer than any (symlink(2))."""
    text = work.parent / "text-of-a-link"
    text.write_text("t" * 5000)
    blob = git(work, "hash-object", "-w", str(text))
    git(work, "update-index", "--add", "--cacheinfo", f"120000,{blob},link")


@define
class Answer:
    """An HTTP answer, its body read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@define
class Daemon:
    """A server in a process of its own, started through twistd."""

    folder: Path
    settings: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(factory=dict)
    #: A program that starts the server in surroundings of its own, and becomes it.
    prefix: tuple[str, ...] = ()
    #: A path of ours for one that the server sees.
    seen: Callable[[Path], Path] = lambda path: path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    url: str = field(default="", init=False)
    starts: int = field(default=0, init=False)

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state"

    @property
    def output(self) -> Path:
        """What the server of the present start prints."""
        return self.folder / f"output-{self.starts}"

    @property
    def settings_file(self) -> Path:
        """The settings file."""
        return self.folder / "integralgit.toml"

    def write_settings(self) -> None:
        """Write the settings file, with what every test wants unless it says otherwise."""
        self.folder.mkdir(parents=True, exist_ok=True)
        defaults = {
            "listen": '["tcp:0:interface=127.0.0.1"]',
            "poll": "0",
            "allow_root": "true" if os.geteuid() == 0 or self.prefix else "false",
        }
        lines = [f"{key} = {value}" for key, value in defaults.items() if key not in self.settings]
        text = "\n".join([f"state = {json.dumps(str(self.state))}", *lines, self.settings])
        self.settings_file.write_text(text)

    def start(self) -> None:
        """Start the server and wait until it listens."""
        self.starts += 1
        self.write_settings()
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *self.prefix,
                    TWISTD,
                    "-n",
                    "--pidfile=",
                    "integralgit",
                    "-c",
                    str(self.settings_file),
                    *self.arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**surroundings(), **self.environment},
            )
        self.url = eventually(self._listening, f"the server listens; see {self.output}")

    def _listening(self) -> str | None:
        assert self.process is not None
        said = self.output.read_text()
        if self.process.poll() is not None:
            raise AssertionError(f"the server did not start:\n{said}")
        found = re.search(r"told to send to (\S+)/update", said)
        return found[1] if found else None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server and wait until it is gone."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(PATIENCE)
            self.process = None

    def secret(self) -> bytes:
        """The generated webhook secret."""
        return self.seen(self.state / "webhook-secret").read_bytes().strip()

    def token(self) -> str:
        """The generated access token."""
        return self.seen(self.state / "access-token").read_text().strip()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, as JSON and with the access token unless headers are given."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
        if headers is None:
            headers = {"Accept": "application/json", "Authorization": f"Bearer {self.token()}"}
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The JSON of a page."""
        answer = self.request("GET", path)
        assert answer.status == 200, (path, answer)
        return answer.json

    def deliver(
        self, body: bytes, headers: Mapping[str, str], secret: bytes | None = None
    ) -> Answer:
        """Post a delivery, signed as GitHub does."""
        mac = hmac.new(secret or self.secret(), body, hashlib.sha256).hexdigest()
        signed = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={mac}"}
        return self.request("POST", "/update", body, {**signed, **headers})

    def push(
        self, commit: str, branch: str = "main", number: str = "", before: str = "0" * 40
    ) -> Answer:
        """Post GitHub's delivery of a push to github.com/acme/site."""
        body = json.dumps(github_push(commit, branch, before)).encode()
        identity = number or f"delivery-{commit[:8]}-{branch}-{time.monotonic_ns()}"
        headers = {"X-GitHub-Event": "push", "X-GitHub-Delivery": identity}
        return self.deliver(body, headers)

    def deploy(self, number: int) -> Any:
        """A deploy's JSON."""
        return self.get(f"/github.com/acme/site/deploys/{number}")

    def ended(self, number: int) -> Any:
        """A deploy's JSON once it has ended."""

        def look() -> Any:
            deploy = self.deploy(number)
            return deploy if deploy["finished_at"] is not None else None

        return eventually(look, f"deploy {number} ends")

    def log(self, number: int) -> str:
        """A deploy's log."""
        return self.request("GET", f"/github.com/acme/site/deploys/{number}/log").body.decode()


def github_push(commit: str, branch: str = "main", before: str = "0" * 40) -> dict[str, Any]:
    """GitHub's payload of a push, with the fields that it always has."""
    return {
        "ref": f"refs/heads/{branch}",
        "before": before,
        "after": commit,
        "created": False,
        "deleted": False,
        "forced": False,
        "base_ref": None,
        "compare": "https://github.com/acme/site/compare/a...b",
        "commits": [
            {
                "id": commit,
                "tree_id": "1" * 40,
                "distinct": True,
                "message": "Change the site\n\nAt length.",
                "timestamp": "2026-05-15T15:20:41+02:00",
                "url": f"https://github.com/acme/site/commit/{commit}",
                "author": {"name": "Ann", "email": "ann@example.com", "username": "ann"},
                "committer": {"name": "Ann", "email": "ann@example.com", "username": "ann"},
                "added": [],
                "removed": [],
                "modified": ["index.html"],
            }
        ],
        "head_commit": None,
        "repository": {
            "id": 186853002,
            "name": "site",
            "full_name": "acme/site",
            "private": True,
            "html_url": "https://github.com/acme/site",
            "clone_url": "https://github.com/acme/site.git",
            "ssh_url": "git@github.com:acme/site.git",
            "created_at": 1557933565,
            "default_branch": "main",
        },
        "pusher": {"name": "ann", "email": "ann@example.com"},
        "sender": {"login": "ann", "id": 1, "type": "User"},
    }


class Integration(TestCase):
    """A folder of its own, and servers that are ended with the test."""

    maxDiff = None

    def setUp(self) -> None:
        # Below the folder that trial gives each run, which is cleared before the next.
        self.folder = Path(f"{self.id()}-{time.monotonic_ns()}").absolute()
        self.folder.mkdir(parents=True)
        self.upstream = Upstream(self.folder / "githost")

    def daemon(self, settings: str = "", **more: Any) -> Daemon:
        """A running server, host `web1` unless told otherwise, that trusts github.com/acme and fetches from `upstream`."""
        url = self.folder / "githost" / "{full_name}.git"
        trust = f'[[trust]]\nrepos = ["github.com/acme/*"]\nurl = {json.dumps(str(url))}\n'
        names = "" if "host_names" in settings else 'host_names = ["web1"]'
        daemon = Daemon(self.folder / "server", f"{names}\n{settings}\n{trust}", **more)
        self.addCleanup(daemon.stop)
        daemon.start()
        return daemon
