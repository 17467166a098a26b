"""What the server holds, how soon it answers, and how it answers in a storm."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.door import body
from benchmarks.least import KLEIN, Service
from benchmarks.measure import Goal, Result, Series, turns
from benchmarks.stage import Prepared, Server, Upstream, request, running

GROUP = "footprint"
IGNORED, DEPLOYS, LOCATIONS = 10_000, 1000, 4
STARTS = 15
STORM = """
import sys
from pathlib import Path
from tests.integration.storm import Storm, Target
storm = Storm(Target(int(sys.argv[1]), Path(sys.argv[2]).read_bytes().strip()))
storm.blow(1000)
print(sum(count for (_, status), count in storm.answers.items() if status == 202))
"""


def start(folder: Path) -> list[Result]:
    """From the start of the process to the first answer, and the memory when idle."""
    server = Server(folder / "server", folder / "githost")
    with running(server):
        port = server.port
    settings = server.daemon.settings_file
    settings.write_text(settings.read_text().replace("tcp:0:", f"tcp:{port}:"))
    ours = Service(folder, port, ("integralgit", "-c", str(settings)))
    least = Service.of_tac(folder, port, KLEIN.format(port=port))
    for one in (ours, least):
        one.once(0)
    mine, floor = turns(STARTS, ours.once, least.once)
    idle, floor_idle = Series(tuple(ours.memory)), Series(tuple(least.memory))
    paged = Series(tuple(ours.with_pages))
    what = "twistd and a Klein app of one route: "
    return [
        Result(
            "start to the first answer",
            mine.told("s"),
            what + floor.told("s"),
            mine.median,
            Goal(0.6, "s"),
        ),
        Result(
            "memory when idle",
            idle.told("MB"),
            what + floor_idle.told("MB"),
            idle.median,
            Goal(60, "MB"),
            f"{paged.median:.1f} MB once somebody has looked at a page",
        ),
    ]


def growth_of_memory(folder: Path) -> list[Result]:
    """The memory after many ignored deliveries and many deploys, against that after a few."""
    names = ["site", *(f"site{n}" for n in range(1, LOCATIONS))]
    githost = folder / "githost"
    for name in names:
        upstream = Upstream.make(githost, name)
        upstream.commit({"deploy.sh": b"#!/bin/sh\necho deployed\n"})
        location = str(folder / "www" / name)
        base = {"location": location, "script": "./deploy.sh", "branch": "main"}
        upstream.configure({"configs": {"base": base}})
    tips = {name: Upstream(githost / f"{name}.git").tip() for name in names}
    with running(Server(folder / "server", githost)) as server:
        for name in names:
            server.push(name, tips[name])
        before = server.memory()
        secret, payload = server.daemon.secret(), body(8000, "dev", tips["site"])

        def ignored(number: int) -> int:
            head = {"X-GitHub-Delivery": f"ignored-{number}"}
            return Prepared(request(payload, secret, head)).send(server.port)

        def deploys(name: str) -> int:
            for _ in range(DEPLOYS // LOCATIONS):
                last = server.push(name, tips[name])
            return last

        with ThreadPoolExecutor(8) as pool:
            if set(pool.map(ignored, range(IGNORED))) != {200}:
                raise RuntimeError("not every delivery was ignored")
        between = server.memory()
        with ThreadPoolExecutor(LOCATIONS) as pool:
            if max(pool.map(deploys, names)) < DEPLOYS:
                raise RuntimeError("not every deploy has run")
        after = server.memory()
    what = f"memory after {IGNORED:,} ignored deliveries and {DEPLOYS:,} deploys: how much more"
    note = f"{between:.1f} MB after the deliveries"
    return [Result(what, f"{after:.1f} MB", f"{before:.1f} MB", after - before, Goal(10, "MB"), note)]  # fmt: skip


def storm(folder: Path) -> list[Result]:
    """How long `/-/health` takes in a storm of hostile and huge bodies, and when idle."""
    with running(Server(folder / "server", folder / "githost")) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

        def answers() -> float:
            begin = time.perf_counter()
            connection.request("GET", "/-/health")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            return (time.perf_counter() - begin) * 1000

        idle = Series(tuple(answers() for _ in range(200)))
        secret = str(server.daemon.state / "webhook-secret")
        blowing = subprocess.Popen(
            [sys.executable, "-c", STORM, str(server.port), secret], stdout=subprocess.PIPE
        )
        taken = []
        while blowing.poll() is None:
            taken.append(answers())
            time.sleep(0.01)
        told, _ = blowing.communicate()
        if int(told) != 900:
            raise RuntimeError(f"{told.decode()} of 900 honest pushes were accepted")
    blown = Series(tuple(taken))
    what = "`/-/health` in a storm of 1,000 requests, a tenth hostile, with bodies of 48 MB"
    against = f"idle: {idle.told('ms')}, slowest {idle.worst:.0f} ms"
    slow = sorted(taken)[int(len(taken) * 0.99)]
    note = f"of {len(taken)}, 99 of 100 within {slow:.0f} ms, slowest {blown.worst:.0f} ms"
    return [Result(what, blown.told("ms"), against, blown.worst, Goal(100, "ms"), note)]


def run(folder: Path) -> list[Result]:
    """All of them."""
    results = []
    for measure in (start, growth_of_memory, storm):
        here = folder / measure.__name__
        here.mkdir()
        results += measure(here)
    return results
