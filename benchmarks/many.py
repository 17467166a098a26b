"""Many pushes at once: at one repository, and at fifty."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from attrs import define, field

from benchmarks.least import Service
from benchmarks.measure import Goal, Result, ratio, turns
from benchmarks.stage import Server, Signal, Upstream, head_of, running, send_at_once
from tests.integration.harness import git

GROUP = "many"
PUSHES, REPOSITORIES, WORKERS = 200, 50, 4
SCRIPT = b"#!/bin/sh\n"


@define
class Children:
    """Counts, again and again, the children of a process and everything below them."""

    pid: int
    most: int = 0
    _ended: threading.Event = field(factory=threading.Event, init=False)
    _thread: threading.Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            self.most = max(self.most, len(below(self.pid)))

    def stop(self) -> int:
        """Count no more; the most that there were at the same time."""
        self._ended.set()
        self._thread.join()
        return self.most


def below(pid: int) -> list[int]:
    """All processes below one (proc(5), `children`)."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *below(child)]
    except OSError:
        pass
    return found


def one_repository(folder: Path) -> list[Result]:
    """200 pushes in a second, until the location is idle at the last of them."""
    upstream = Upstream.make(folder / "githost", "site")
    upstream.commit({f"pages/{n}.html": b"<p>%d</p>\n" % n * 50 for n in range(50)})
    upstream.commit({"deploy.sh": SCRIPT + b"true\n"})
    base = {"location": str(folder / "www"), "script": "./deploy.sh", "branch": "main"}
    upstream.configure({"configs": {"base": base}})
    with running(Server(folder / "server", folder / "githost")) as server:
        server.push("site", upstream.tip())
        singles = []
        for turn in range(5):
            commit = upstream.commit({"x": b"%d" % turn})
            singles.append(server.took(server.push("site", commit)))
        each = [{"x": b"push %d" % n} for n in range(PUSHES)]
        commits = upstream.commits(each, "later", on=upstream.tip())
        prepared = [server.prepare("site", commit) for commit in commits]
        tips = subprocess.Popen(
            ["git", "-C", str(upstream.path), "update-ref", "--stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        assert tips.stdin is not None
        children = Children(server.pid)
        answers: list[tuple[int, float]] = []
        start, began_at = time.perf_counter(), time.time()

        def deliver(number: int) -> None:
            began = time.perf_counter()
            status = prepared[number].send(server.port)
            answers.append((status, (time.perf_counter() - began) * 1000))

        with ThreadPoolExecutor(8) as pool:
            for number, commit in enumerate(commits):
                time.sleep(max(0.0, start + number / PUSHES - time.perf_counter()))
                tips.stdin.write(f"start\nupdate refs/heads/main {commit}\ncommit\n".encode())
                tips.stdin.flush()
                pool.submit(deliver, number)
        sent = time.perf_counter() - start
        server.ended("site", commits[-1])
        took = server.finished("site") - began_at
        most = children.stop()
        tips.stdin.close()
        tips.wait(60)
        deploys = server.deploys("site", PUSHES)
        states = {one["state"] for one in deploys}
        if head_of(folder / "www") != commits[-1] or states != {"succeeded", "superseded"}:
            raise RuntimeError(
                f"the location is not at the last commit, or not all is well: {states}"
            )
        if [status for status, _ in answers] != [202] * PUSHES:
            raise RuntimeError("not every push was accepted")
    worst = max(late for _, late in answers)
    run = sum(one["state"] == "succeeded" for one in deploys)
    allowed = 3 * median(singles) + 1
    what = f"{PUSHES} pushes in a second, one repository: until all is idle and right"
    note = f"sent in {sent:.2f} s; {run} deploys ran; no deploy failed"
    return [
        Result(what, f"{took:.2f} s", f"three deploys and a second: {allowed:.2f} s", took / allowed, Goal(1), note),
        Result("its children and theirs, at the same time", f"{most}", "", most, Goal(10)),
        Result("its slowest answer", f"{worst:.0f} ms", "", worst, Goal(100, "ms")),
    ]  # fmt: skip


def fifty(folder: Path) -> list[Result]:
    """50 repositories at once, against the same pulls and scripts by `xargs -P4`."""
    names = [f"site{n}" for n in range(REPOSITORIES)]
    githost = folder / "githost"
    upstreams = [Upstream.make(githost, name) for name in names]
    ended = Signal(folder / "ended")
    for upstream in upstreams:
        files = {f"pages/{n}.html": b"<p>%d</p>\n" % n * 50 for n in range(50)}
        upstream.commit({**files, "deploy.sh": SCRIPT + ended.command.encode() + b"\n"})
        location = str(folder / "ours" / upstream.name)
        base = {"location": location, "script": "./deploy.sh", "branch": "main"}
        upstream.configure({"configs": {"base": base}})
        for owner in ("theirs", "bare"):
            clone = str(folder / owner / upstream.name)
            git(folder, "clone", "--quiet", str(upstream.path), clone)
    theirs = "\n".join(str(folder / "theirs" / name) for name in names)
    with running(Server(folder / "server", githost, f"workers = {WORKERS}")) as server:
        for upstream in upstreams:
            server.push(upstream.name, upstream.tip())
            ended.wait()
        commits: dict[int, list[str]] = {}

        def new(turn: int) -> list[str]:
            if turn not in commits:
                content = os.urandom(200).hex().encode()
                commits[turn] = [one.commit({"pages/0.html": content}) for one in upstreams]
            # Nobody is to write out what somebody else has left.
            os.sync()
            return commits[turn]

        def arrived(start: float, owner: str, made: list[str]) -> float:
            for _ in names:
                last = ended.wait()
            for name, commit in zip(names, made, strict=True):
                assert head_of(folder / owner / name) == commit
            return last - start

        def we(turn: int) -> float:
            made = new(turn)
            prepared = [server.prepare(n, c) for n, c in zip(names, made, strict=True)]
            start = time.perf_counter()
            assert set(send_at_once(prepared, server.port)) == {202}
            took = arrived(start, "ours", made)
            for name, commit in zip(names, made, strict=True):
                server.ended(name, commit)
            return took

        def they(turn: int) -> float:
            made = new(turn)
            start = time.perf_counter()
            command = "cd {} && git pull --ff-only -q && ./deploy.sh"
            subprocess.run(
                ["xargs", f"-P{WORKERS}", "-I{}", "sh", "-c", command],
                input=theirs.encode(),
                check=True,
            )
            return arrived(start, "theirs", made)

        def least(turn: int) -> float:
            made = new(turn)
            start = time.perf_counter()
            service.push(*names)
            return arrived(start, "bare", made)

        with Service.deploying(folder / "bare", server.secret).running() as service:
            mine, pulled, floor = turns(16, we, they, least)
    what = f"{REPOSITORIES} repositories pushed at once, {WORKERS} workers: until the last script"
    against = f"pulls and scripts by `xargs -P{WORKERS}`: {pulled.told('s')}"
    return [
        Result(what, mine.told("s"), against, ratio(mine, pulled), Goal(1.1)),
        Result(
            "a resource of Twisted that starts git and the script and keeps nothing: the least for a server",
            floor.told("s"),
            against,
            ratio(floor, pulled),
        ),
    ]


def run(folder: Path) -> list[Result]:
    """Both."""
    results = []
    for measure in (one_repository, fifty):
        here = folder / measure.__name__
        here.mkdir()
        results += measure(here)
    return results
