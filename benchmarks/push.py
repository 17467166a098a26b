"""From a push to the first instruction of the script, against a pull typed in a shell."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

from benchmarks.measure import Goal, Result, Series, ratio, turns
from benchmarks.stage import Server, Shell, Signal, Upstream, head_of, running
from tests.integration.harness import git

GROUP = "push"


def small(upstream: Upstream) -> None:
    """50 files."""
    upstream.commit({f"pages/{n}.html": b"<p>%d</p>\n" % n * 50 for n in range(50)})


def large(upstream: Upstream) -> None:
    """5,000 files, and 100 MB of history that does not compress."""
    chance = Random(7)
    for _ in range(5):
        files = {f"part{n % 50}/{n}.bin": chance.randbytes(4096) for n in range(5000)}
        upstream.commit(files)


#: The least that brings a branch forward by git's commands for people; what no server can be below.
LEAST = (
    "git fetch --quiet --no-tags --no-write-fetch-head --no-auto-maintenance"
    " origin main:refs/remotes/origin/main && git checkout --quiet -B main origin/main"
)


def one(folder: Path, name: str, rounds: int) -> tuple[Series, Series, Series]:
    """Ours, the pulls and the least for a repository of that kind, in ms."""
    upstream = Upstream.make(folder / "githost", name)
    {"small": small, "large": large}[name](upstream)
    began = Signal(folder / "began")
    upstream.commit({"deploy.sh": f"#!/bin/sh\n{began.command}\n".encode()})
    ours, theirs, least = folder / "ours", folder / "theirs", folder / "least"
    base = {"location": str(ours), "script": "./deploy.sh", "branch": "main"}
    upstream.configure({"configs": {"base": base}})
    for clone in (theirs, least):
        git(folder, "clone", "--quiet", str(upstream.path), str(clone))
    shell = Shell()
    with running(Server(folder / "server", folder / "githost")) as server:
        server.push(name, upstream.tip())
        began.wait()
        commits: dict[int, str] = {}

        def new(turn: int) -> str:
            if turn not in commits:
                commits[turn] = upstream.commit({"pages/0.html": os.urandom(200).hex().encode()})
            return commits[turn]

        def we(turn: int) -> float:
            commit = new(turn)
            prepared = server.prepare(name, commit)
            start = time.perf_counter()
            status = prepared.send(server.port)
            took = (began.wait() - start) * 1000
            server.ended(name, commit)
            assert status == 202 and head_of(ours) == commit
            return took

        def typed(turn: int, clone: Path, command: str) -> float:
            commit = new(turn)
            shell.type(f"cd {clone}")
            start = time.perf_counter()
            shell.type(f"{command} && ./deploy.sh")
            took = (began.wait() - start) * 1000
            assert head_of(clone) == commit
            return took

        mine, pulled, floor = turns(
            rounds,
            we,
            lambda turn: typed(turn, theirs, "git pull --ff-only -q"),
            lambda turn: typed(turn, least, LEAST),
        )
    shell.leave()
    return mine, pulled, floor


def run(folder: Path) -> list[Result]:
    """Both sizes of repository."""
    results = []
    for name, what, rounds, goal in (
        ("small", "POST → the script's first instruction, 50 files", 40, 0.85),
        ("large", "the same, 5,000 files and 100 MB of history", 20, 0.95),
    ):
        here = folder / name
        here.mkdir()
        ours, pulled, floor = one(here, name, rounds)
        against = f"`git pull --ff-only -q && ./script.sh`: {pulled.told('ms')}"
        results.append(Result(what, ours.told("ms"), against, ratio(ours, pulled), Goal(goal)))
        least = "one `git fetch` and one `git checkout`, typed: the least that it can take"
        results.append(Result(least, floor.told("ms"), against, ratio(floor, pulled)))
    return results
