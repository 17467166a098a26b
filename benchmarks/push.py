"""From a push to the first instruction of the script, against a pull typed in a shell."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

from attrs import define, field

from benchmarks.least import COMMANDS, Service
from benchmarks.measure import Goal, Result, Series, ratio, turns
from benchmarks.stage import Server, Shell, Signal, Upstream, cpu_of, head_of, running
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


#: What no server can be below.
LEAST = " && ".join(f"git {command}" for command in COMMANDS)
PULL = "git pull --ff-only -q"


@define
class Profile:
    """Where the time of our deploys goes, by their own steps, in ms; and what processors did."""

    before_fetch: list[float] = field(factory=list)
    fetch: list[float] = field(factory=list)
    update: list[float] = field(factory=list)
    before_script: list[float] = field(factory=list)
    server: float = 0.0
    children: float = 0.0

    def add(self, sent: float, steps: dict[str, tuple[float, float]], began: float) -> None:
        """Take in one push; all times in seconds since the epoch."""
        fetch, update = steps["fetch"], steps["update"]
        self.before_fetch.append((fetch[0] - sent) * 1000)
        self.fetch.append((fetch[1] - fetch[0]) * 1000)
        self.update.append((update[1] - update[0]) * 1000)
        self.before_script.append((began - update[1]) * 1000)

    def told(self) -> str:
        """The medians, for people."""
        first, fetch, update, last = (
            Series(tuple(one)).median
            for one in (self.before_fetch, self.fetch, self.update, self.before_script)
        )
        return (
            f"{first:.1f} ms until the step of the fetch begins, for which git is at work by then,"
            f" {fetch:.1f} that step, {update:.1f} the update, {last:.1f} until the script's first"
            " instruction"
        )


@define
class Lab:
    """One repository, deployed by a server and pulled in clones."""

    folder: Path
    name: str
    began: Signal = field(init=False)
    upstream: Upstream = field(init=False)
    shell: Shell = field(factory=Shell, init=False)
    profile: Profile = field(factory=Profile, init=False)
    pulled: float = field(default=0.0, init=False)
    commit: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self.upstream = Upstream.make(self.folder / "githost", self.name)
        {"small": small, "large": large}[self.name](self.upstream)
        self.began = Signal(self.folder / "began")
        self.upstream.commit({"deploy.sh": f"#!/bin/sh\n{self.began.command}\n".encode()})
        location = str(self.folder / "ours")
        base = {"location": location, "script": "./deploy.sh", "branch": "main"}
        self.upstream.configure({"configs": {"base": base}})

    def clone(self, name: str) -> Path:
        """A clone of the repository."""
        folder = self.folder / name
        git(self.folder, "clone", "--quiet", str(self.upstream.path), str(folder))
        return folder

    def make(self, _turn: int) -> None:
        """Make the next commit, so that it is on the disk before anybody fetches it."""
        content = os.urandom(200).hex().encode()
        self.commit = self.upstream.commit({"pages/0.html": content})
        os.sync()

    def we(self, server: Server) -> float:
        """A push, until the script's first instruction, in ms."""
        prepared = server.prepare(self.name, self.commit)
        own, below = cpu_of(server.pid)
        sent, start = time.time(), time.perf_counter()
        status = prepared.send(server.port)
        took = self.began.wait() - start
        # The server does nothing for anybody else until it has done what is left of the deploy.
        time.sleep(0.1)
        own_after, below_after = cpu_of(server.pid)
        self.profile.server += own_after - own
        self.profile.children += below_after - below
        server.ended(self.name, self.commit)
        self.profile.add(sent, server.times(self.name), sent + took)
        assert status == 202 and head_of(self.folder / "ours") == self.commit
        return took * 1000

    def bare(self, least: Service, clone: Path) -> float:
        """The same by the least server, in ms."""
        start = time.perf_counter()
        least.push(clone.name)
        took = self.began.wait() - start
        assert head_of(clone) == self.commit
        return took * 1000

    def typed(self, clone: Path, command: str) -> float:
        """The same by what somebody types, in ms."""
        self.shell.type(f"cd {clone}")
        before, start = self.shell.cpu(), time.perf_counter()
        self.shell.type(f"{command} && ./deploy.sh")
        took = self.began.wait() - start
        time.sleep(0.02)
        if command == PULL:
            self.pulled += self.shell.cpu() - before
        assert head_of(clone) == self.commit
        return took * 1000


def one(folder: Path, name: str, rounds: int, what: str, goal: float) -> list[Result]:
    """Ours, the pulls and the least for a repository of that kind."""
    lab = Lab(folder, name)
    theirs, least, bare = lab.clone("theirs"), lab.clone("least"), lab.clone("bare")
    with running(Server(folder / "server", folder / "githost")) as server:
        server.push(name, lab.upstream.tip())
        lab.began.wait()
        with Service.deploying(folder, server.secret).running() as service:
            ours, pulled, floor, bared = turns(
                rounds,
                lambda _: lab.we(server),
                lambda _: lab.typed(theirs, PULL),
                lambda _: lab.typed(least, LEAST),
                lambda _: lab.bare(service, bare),
                before=lab.make,
            )
    lab.shell.leave()
    against = f"`{PULL} && ./script.sh`: {pulled.told('ms')}"
    profile, each = lab.profile, 1000 / rounds
    cpu = (profile.server + profile.children) * each
    note = f"{profile.server * each:.1f} ms the server, {profile.children * each:.1f} ms git and shells"
    return [
        Result(what, ours.told("ms"), against, ratio(ours, pulled), Goal(goal), profile.told()),
        Result(
            "one `git fetch` and one `git checkout`, typed: the least that it can take",
            floor.told("ms"),
            against,
            ratio(floor, pulled),
        ),
        Result(
            "the same started by a resource of Twisted that keeps nothing: the least for a server",
            bared.told("ms"),
            against,
            ratio(bared, pulled),
        ),
        Result(
            "processor time of the whole deploy",
            f"{cpu:.1f} ms",
            f"of the pull and the script: {lab.pulled * each:.1f} ms",
            cpu / (lab.pulled * each),
            note=note,
        ),
    ]


def run(folder: Path) -> list[Result]:
    """Both sizes of repository."""
    results = []
    for name, what, rounds, goal in (
        ("small", "POST → the script's first instruction, 50 files", 40, 0.85),
        ("large", "the same, 5,000 files and 100 MB of history", 20, 0.95),
    ):
        here = folder / name
        here.mkdir()
        results += one(here, name, rounds, what, goal)
    return results
