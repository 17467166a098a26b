"""`kill -9` at any moment, then a start: the newest accepted push always ends up deployed.

`make test` runs a few rounds; `make test-kills ROUNDS=200` runs many. The
seed of the rounds is printed with every failure, and can be given by SEED.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.integration.harness import Daemon, Integration, eventually, git

SCRIPT = """#!/bin/sh
sleep 0.0$(( $$ % 10 ))
cp index.txt ../deployed.new && mv ../deployed.new ../deployed
"""


class Kills(Integration):
    def idle(self, daemon: Daemon) -> Any:
        """The newest deploys, once none is queued or running."""
        deploys = daemon.get("/github.com/acme/site?limit=20")["deploys"]
        return deploys if all(one["finished_at"] for one in deploys) else None

    def descendants(self, daemon: Daemon) -> list[int]:
        """The processes that the server started, and those that they started (proc(5), `stat`)."""
        assert daemon.process is not None
        parents: dict[int, int] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with suppress(OSError):
                    stat = Path(f"/proc/{entry}/stat").read_text()
                    parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
        found = [daemon.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found[1:]

    def test_kills_at_random_moments(self) -> None:
        """After each, nothing is lost, nothing runs for ever, and no file is half updated."""
        seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
        rounds = int(os.environ.get("ROUNDS") or 8)
        chance = random.Random(seed)
        base = {"location": str(self.folder / "www"), "branch": "main", "script": "./deploy.sh"}
        self.upstream.configure({"configs": {"base": base}})
        daemon = self.daemon()
        for number in range(rounds):
            where = f"seed {seed}, round {number}"
            files: dict[str, str | None] = {"deploy.sh": SCRIPT, "index.txt": f"{number}\n"}
            # Enough files that an update takes a while, most of them new each time.
            files |= {f"many/{n}.txt": f"{number} {n}\n" * 200 for n in range(60)}
            commit = self.upstream.commit(files, f"Round {number}")
            answer = daemon.push(commit)
            self.assertEqual(answer.status, 202, where)
            time.sleep(chance.uniform(0, 0.25))
            with_children = chance.random() < 0.5
            where = f"{where}{', with its children' if with_children else ''}"
            children = self.descendants(daemon) if with_children else []
            daemon.stop(signal.SIGKILL)
            for pid in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            daemon.start()
            deploys = eventually(lambda: self.idle(daemon), f"all is quiet; {where}")
            self.assertEqual(deploys[0]["state"], "succeeded", (where, deploys[0]))
            www = self.folder / "www"
            self.assertEqual(git(www, "rev-parse", "HEAD"), commit, where)
            self.assertEqual(git(www, "status", "--porcelain"), "", where)
            self.assertEqual((self.folder / "deployed").read_text(), f"{number}\n", where)
            self.assertFalse((www / ".git" / "index.lock").exists(), where)
