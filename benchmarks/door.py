"""Signed deliveries answered in a second, against Debian's `webhook` with the same HMAC rule.

`wrk` sends bodies that were signed beforehand, each under an id of its own,
for one that comes twice is a duplicate, and costs less.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, field

from benchmarks.least import KEEPS, PROOF, Service
from benchmarks.measure import Goal, Result, ratio, turns
from benchmarks.stage import (
    Prepared,
    Server,
    Upstream,
    end,
    request,
    running,
    until_idle,
)
from tests.integration.harness import eventually, github_push, is_answered, own_port

GROUP = "door"
NEEDS = ("webhook", "wrk")
SECONDS, ROUNDS, CONNECTIONS = 2, 5, 32
MOST = "what more threads or processes could give: ours, if all cores did nothing but this"
LEAST = {
    "a resource of Twisted that only proves the signature: the least that it can take": PROOF,
    "the same that reads the push and keeps one row of it on disk: the least for a server": KEEPS,
}


def body(size: int, branch: str, commit: str) -> bytes:
    """GitHub's payload of a push with as many commits as make it about that large."""
    push: dict[str, Any] = github_push(commit, branch)
    (last,) = push["commits"]
    each = len(json.dumps(last))
    push["commits"] = [{**last, "id": f"{n:040x}"} for n in range((size - 1000) // each)] + [last]
    return json.dumps(push).encode()


@define
class Webhook:
    """Debian's `webhook`, which proves a delivery and starts `true` for a push to `main`."""

    folder: Path
    secret: bytes
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.port = own_port()
        header = {"source": "header", "name": "X-Hub-Signature-256"}
        proven = {
            "type": "payload-hmac-sha256",
            "secret": self.secret.decode(),
            "parameter": header,
        }
        branch = {
            "type": "value",
            "value": "refs/heads/main",
            "parameter": {"source": "payload", "name": "ref"},
        }
        rule = {"and": [{"match": proven}, {"match": branch}]}
        hook = {
            "id": "update",
            "execute-command": shutil.which("true"),
            "trigger-rule": rule,
        }
        hooks = self.folder / "hooks.json"
        hooks.write_text(json.dumps([hook]))
        self._process = subprocess.Popen(
            ["webhook", "-hooks", str(hooks), "-ip", "127.0.0.1", "-port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: is_answered(self.port), "webhook listens")

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            end(self._process)


@define
class Work:
    """What our answers have cost: seconds of processor time of each."""

    reactor: float = 0.0
    archive: float = 0.0
    children: float = 0.0
    sender: float = 0.0
    answers: float = 0.0

    def told(self) -> str:
        """The same for one answer, for people."""
        reactor, archive, children, sender = (
            one / self.answers * 1e6
            for one in (self.reactor, self.archive, self.children, self.sender)
        )
        deploys = f", {children:.0f} of git and scripts meanwhile" if self.children else ""
        return (
            f"{reactor + archive:.0f} µs of the server's processor time each, {reactor:.0f} in the"
            f" reactor's thread and {archive:.0f} in the archive's{deploys}, and {sender:.0f} of the"
            " sender's"
        )

    def most(self) -> float:
        """How many a second there could be if all cores did nothing else."""
        each = (self.reactor + self.archive + self.children + self.sender) / self.answers
        return (os.cpu_count() or 1) / each


@define
class Load:
    """What `wrk` sends to both."""

    folder: Path
    secret: bytes
    payload: bytes
    work: Work = field(factory=Work, init=False)

    def ours(self, server: Server, _turn: int) -> float:
        """The rate of our answers; what they cost is added to `work`."""
        work = self.work
        reactor, all_threads = server.cpu_of_reactor(), server.cpu()
        children, sender = server.cpu_of_children(), of_children()
        rate = self.rate(server.port, "/update", server.pid)
        reactor = server.cpu_of_reactor() - reactor
        work.reactor += reactor
        work.archive += server.cpu() - all_threads - reactor
        work.children += server.cpu_of_children() - children
        work.sender += of_children() - sender
        work.answers += rate * SECONDS
        return rate

    def rate(self, port: int, path: str, pid: int, _turn: int = 0) -> float:
        """Answers in a second, all of them 2xx.

        What they have set going has ended then, for the next one to be measured is not to pay for it.
        """
        signed = request(self.payload, self.secret, {}, path)
        head = signed[: signed.index(b"\r\n\r\n") + 2]
        (self.folder / "head").write_bytes(head)
        (self.folder / "body").write_bytes(self.payload)
        told = subprocess.run(
            [
                "wrk",
                "--threads=1",
                f"--connections={CONNECTIONS}",
                f"--duration={SECONDS}s",
                f"--script={Path(__file__).with_name('door.lua')}",
                f"http://127.0.0.1:{port}{path}",
                "--",
                str(self.folder / "head"),
                str(self.folder / "body"),
                f"bench-{time.time_ns()}-",
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        found = re.search(r"answers (\d+) bad (\d+) seconds (\S+)", told)
        if not found or found[2] != "0":
            raise RuntimeError(f"not every answer was 2xx: {told}")
        until_idle(pid)
        return int(found[1]) / float(found[3])


def of_children() -> float:
    """The seconds of processor time of our children that have ended (getrusage(2))."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(folder: Path) -> list[Result]:
    """Ignored ones of two sizes, and accepted ones."""
    upstream = Upstream.make(folder / "githost", "site")
    commit = upstream.commit({"deploy.sh": b"#!/bin/sh\ntrue\n"})
    base = {"location": str(folder / "www"), "script": "./deploy.sh", "branch": "main"}
    upstream.configure({"configs": {"base": base}})
    results = []
    with running(Server(folder / "server", folder / "githost")) as server:
        server.push("site", commit)
        secret = server.daemon.secret()
        webhook = Webhook(folder, secret)
        webhook.start()
        least = []
        for number, text in enumerate(LEAST.values()):
            here, port = folder / f"least {number}", own_port()
            here.mkdir()
            tac = text.format(port=port, secret=str(server.secret))
            least.append((port, Service.of_tac(here, port, tac).start()))
        try:
            for what, size, branch, goal in (
                ("signed deliveries a second, other branch, inbox on, 8 KB", 8_000, "dev", 1.2),
                ("the same, 100 KB", 100_000, "dev", 4.0),
                ("the same, accepted and durable, 8 KB", 8_000, "main", 1.2),
            ):
                payload = body(size, branch, commit)
                one_by_hand(webhook, secret, payload)
                load = Load(folder, secret, payload)
                before = inbox_size(server)
                ours, theirs, *least_rates = turns(
                    ROUNDS,
                    partial(load.ours, server),
                    partial(load.rate, webhook.port, "/hooks/update", webhook.pid),
                    *[partial(load.rate, port, "/update", one.pid) for port, one in least],
                )
                check(server, before, load.work.answers, branch == "main")
                server.ended("site", commit)
                kind = "starting `true` for each" if branch == "main" else "the same HMAC rule"
                most = load.work.most()
                against = f"`webhook`, {kind}: {theirs.told('/s')}"
                results += [
                    Result(
                        what,
                        ours.told("/s"),
                        against,
                        ratio(ours, theirs),
                        Goal(goal, at_least=True),
                        load.work.told(),
                    ),
                    Result(MOST, f"{most:,.0f} /s", against, most / theirs.median),
                    *[
                        Result(which, rates.told("/s"), against, ratio(rates, theirs))
                        for which, rates in zip(LEAST, least_rates, strict=True)
                    ],
                ]
        finally:
            webhook.stop()
            for _, process in least:
                end(process)
    return results


def one_by_hand(webhook: Webhook, secret: bytes, payload: bytes) -> None:
    """See that `webhook` lets a signed delivery in, and a forged one not."""
    right = Prepared(request(payload, secret, {}, "/hooks/update")).send(webhook.port)
    wrong = Prepared(request(payload, b"another", {}, "/hooks/update")).send(webhook.port)
    if (right, wrong) != (200, 500):
        raise RuntimeError(f"webhook answers {right} and {wrong}")


def inbox_size(server: Server) -> int:
    """The number of the newest delivery."""
    newest = server.daemon.get("/-/deliveries?limit=1")["deliveries"]
    return int(newest[0]["id"]) if newest else 0


def check(server: Server, before: int, answered: float, accepted: bool) -> None:
    """See that what was answered is in the inbox, decided as it should be."""
    stored = inbox_size(server) - before
    if stored < answered * 0.99:
        raise RuntimeError(f"{answered:.0f} were answered, and {stored} are in the inbox")
    (newest,) = server.daemon.get("/-/deliveries?limit=1")["deliveries"]
    if newest["outcome"] != ("accepted" if accepted else "ignored"):
        raise RuntimeError(f"this was measured: {newest}")
