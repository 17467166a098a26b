"""How cost grows with the archive: 10, 100 and 1,000 repositories with 1,000 deploys each."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.measure import Result, number
from benchmarks.plot import Line
from benchmarks.stage import Server, Signal, Upstream, running
from tests.integration.harness import eventually

GROUP = "growth"
SIZES = (10, 100, 1000)
DEPLOYS = 1000
_FILL = """
BEGIN;
WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :repos)
INSERT INTO repositories (repo, first_seen, provider, config_commit, config_text, good_commit,
    good_text)
SELECT 'github.com/acme/old' || n, :now, 'github', config_commit, replace(config_text, 'www', 'old' || n),
    good_commit, replace(good_text, 'www', 'old' || n)
FROM n, repositories WHERE repo = 'github.com/acme/site';
WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :deploys),
    r(r) AS (SELECT 1 UNION ALL SELECT r + 1 FROM r WHERE r < :repos)
INSERT INTO deploys (repo, branch, host, location, trigger, state, commit_id, previous_commit,
    head, config_commit, exit_code, created, started, finished, commits, log_size)
SELECT 'github.com/acme/old' || r, branch, host, replace(location, 'www', 'old' || r), trigger,
    state, commit_id, previous_commit, head, config_commit, exit_code, created, started, finished,
    commits, log_size
FROM n, r, deploys WHERE id = 1;
INSERT INTO steps (deploy, position, name, state, started, finished, detail, log_start)
SELECT d.id, position, name, s.state, s.started, s.finished, detail, log_start
FROM deploys AS d, steps AS s WHERE d.id > 1 AND s.deploy = 1;
COMMIT;
"""


def fill(database: Path, repositories: int) -> None:
    """Give the archive of a server that is not running old repositories, with their deploys."""
    values = {"repos": repositories, "deploys": DEPLOYS, "now": time.time() - 86400}
    sql = _FILL
    for name, value in values.items():
        sql = sql.replace(f":{name}", str(value))
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA synchronous=OFF")
    connection.executescript(sql)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def timed(what: Callable[[], object], rounds: int = 15) -> float:
    """The median of how long something takes, in ms."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        what()
        taken.append((time.perf_counter() - start) * 1000)
    return median(taken)


def at(folder: Path, repositories: int) -> dict[str, float]:
    """The figures, in ms, with an archive of that size."""
    folder.mkdir()
    upstream, began = Upstream.make(folder / "githost", "site"), Signal(folder / "began")
    upstream.commit({"deploy.sh": f"#!/bin/sh\n{began.command}\n".encode()})
    base = {"location": str(folder / "www"), "script": "./deploy.sh", "branch": "main"}
    upstream.configure({"configs": {"base": base}})
    # Every repository is fetched from the one that there is.
    url = str(upstream.path)
    server = Server(folder / "server", folder / "githost", url=url)
    with running(server):
        server.push("site", upstream.tip())
        began.wait()
    database = server.daemon.state / "integralgit.sqlite"
    fill(database, repositories)
    start = time.perf_counter()
    with running(server):
        figures = {"start": (time.perf_counter() - start) * 1000}
        ours, old = "/github.com/acme/site", f"/github.com/acme/old{repositories // 2}"
        deploy = server.deploys(f"old{repositories // 2}", 1)[0]["id"]
        for name, path in {
            "overview": "/",
            "repository": old,
            "deploy": f"{old}/deploys/{deploy}",
            "inbox": "/-/deliveries",
            "health": "/-/health",
        }.items():
            figures[name] = timed(partial(server.daemon.request, "GET", path))
        pushes, queued = [], []
        for _ in range(15):
            commit = upstream.commit({"x": os.urandom(8).hex().encode()})
            prepared = server.prepare("site", commit)
            start = time.perf_counter()
            assert prepared.send(server.port) == 202
            queued.append((time.perf_counter() - start) * 1000)
            pushes.append((began.wait() - start) * 1000)
            server.ended("site", commit)
        figures["queue (until 202)"] = median(queued)
        figures["push (until the script)"] = median(pushes)
        assert server.daemon.get(ours)["deploys"][0]["commit"] == upstream.tip()
    figures["poll, per repository"] = poll(server, database, repositories, upstream.tip())
    return figures


def poll(server: Server, database: Path, repositories: int, tip: str) -> float:
    """How long a round of looks at the remotes takes, in ms for each repository.

    All are where they were deployed last, but that is to be seen once more.
    """
    reader = sqlite3.connect(database)
    old = "repo LIKE '%/old%'"
    reader.execute(f"DELETE FROM tips WHERE {old}")
    newest = f"SELECT max(id) FROM deploys WHERE {old} GROUP BY repo"
    reader.execute(f"UPDATE deploys SET commit_id = ? WHERE id IN ({newest})", (tip,))
    reader.commit()
    server.daemon.settings = f"{server.daemon.settings}".replace(
        "[[trust]]", "poll = 3600\n[[trust]]", 1
    )
    wanted = min(repositories, 100)

    def seen() -> int:
        return int(
            reader.execute("SELECT count(*) FROM tips WHERE repo LIKE '%/old%'").fetchone()[0]
        )

    with running(server):
        eventually(seen, "the first repository is looked at")
        first, start = seen(), time.perf_counter()
        while (now := seen()) < wanted:
            time.sleep(0.002)
        took = time.perf_counter() - start
    reader.close()
    return took / max(1, now - first) * 1000


def run(folder: Path) -> tuple[list[Result], list[Line]]:
    """Each figure at every size, as rows and as lines for the plot."""
    found = [at(folder / str(size), size) for size in SIZES]
    results, lines = [], []
    for name in found[0]:
        values = [figures[name] for figures in found]
        told = ", ".join(number(value) for value in values)
        what = f"{name}: ms at 10, 100 and 1,000 repositories with 1,000 deploys each"
        against = f"at 10: {number(values[0])} ms"
        results.append(Result(what, told, against, values[-1] / values[0]))
        lines.append(Line(name, tuple(values)))
    return results, lines
