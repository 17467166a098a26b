"""Signed deliveries answered in a second, against Debian's `webhook` with the same HMAC rule.

`wrk` sends bodies that were signed beforehand, each under an id of its own,
for one that comes twice is a duplicate, and costs less.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, field

from benchmarks.least import KEEPS, PROOF, Service
from benchmarks.measure import Goal, Result, ratio, turns
from benchmarks.stage import Prepared, Server, Upstream, end, free_port, request, running
from tests.integration.harness import eventually, github_push

GROUP = "door"
NEEDS = ("webhook", "wrk")
SECONDS, ROUNDS, CONNECTIONS = 2, 5, 32
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
        self.port = free_port()
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
        eventually(self._listens, "webhook listens")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            end(self._process)


@define
class Load:
    """What `wrk` sends to both."""

    folder: Path
    secret: bytes
    payload: bytes

    def rate(self, port: int, path: str, _turn: int = 0) -> float:
        """Answers in a second, all of them 2xx."""
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
        return int(found[1]) / float(found[3])


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
        ports, processes = [], []
        for number, text in enumerate(LEAST.values()):
            least, port = folder / f"least {number}", free_port()
            least.mkdir()
            tac = text.format(port=port, secret=str(server.secret))
            processes.append(Service.of_tac(least, port, tac).start())
            ports.append(port)
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

                used = server.cpu()
                ours, theirs, *least_rates = turns(
                    ROUNDS,
                    partial(load.rate, server.port, "/update"),
                    partial(load.rate, webhook.port, "/hooks/update"),
                    *[partial(load.rate, port, "/update") for port in ports],
                )
                answered = sum(ours.values) * SECONDS
                each = (server.cpu() - used) / answered * 1e6
                check(server, before, answered, branch == "main")
                server.ended("site", commit)
                kind = "starting `true` for each" if branch == "main" else "the same HMAC rule"
                against = f"`webhook`, {kind}: {theirs.told('/s')}"
                note = f"{each:.0f} µs of the server's processor time each"
                results += [
                    Result(
                        what,
                        ours.told("/s"),
                        against,
                        ratio(ours, theirs),
                        Goal(goal, at_least=True),
                        note,
                    ),
                    *[
                        Result(which, least.told("/s"), against, ratio(least, theirs))
                        for which, least in zip(LEAST, least_rates, strict=True)
                    ],
                ]
        finally:
            webhook.stop()
            for process in processes:
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
