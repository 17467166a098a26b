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

from integralgit.location import leftovers, unfinished
from tests.integration.harness import Daemon, Integration, eventually, git

#: Notes who begins and who ends, and whether another one still runs.
SCRIPT = """#!/bin/sh
here=../$(basename "$INTEGRALGIT_LOCATION")
if ! (set -C; echo $$ >$here.running) 2>/dev/null; then
    if kill -0 "$(cat $here.running)"; then
        echo "$INTEGRALGIT_DEPLOY" >>$here.twice
        exit 1
    fi
    echo $$ >$here.running
fi
echo "$INTEGRALGIT_DEPLOY" >>$here.begun
sleep 0.$(( $$ % 3 ))
cp index.txt $here.deployed.new && mv $here.deployed.new $here.deployed
rm $here.running
"""
NAMES = ("web1", "web2")


class Kills(Integration):
    def setUp(self) -> None:
        super().setUp()
        configs: dict[str, Any] = {
            name: {"location": str(self.folder / name), "branch": "main", "script": "./deploy.sh"}
            for name in NAMES
        }
        self.upstream.configure({"configs": configs})
        self.server = self.daemon('host_names = ["web1", "web2"]')

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

    def kill(self, *, children: bool) -> None:
        """End the server, and with `children` all that it started, as when the machine goes down."""
        assert self.server.process is not None
        pids = []
        if children:
            self.server.process.send_signal(signal.SIGSTOP)
            pids = self.descendants(self.server)
        self.server.stop(signal.SIGKILL)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if children:
            for name in NAMES:
                (self.folder / f"{name}.running").unlink(missing_ok=True)

    def push(self, number: int) -> str:
        """Push a commit; enough files that an update takes a while, most of them new each time."""
        files: dict[str, str | None] = {"deploy.sh": SCRIPT, "index.txt": f"{number}\n"}
        files |= {f"many/{n}.txt": f"{number} {n}\n" * 200 for n in range(60)}
        commit = self.upstream.commit(files, f"Round {number}")
        self.assertEqual(self.server.push(commit).status, 202)
        return commit

    def all_is_well(self, number: int, commit: str, where: str) -> None:
        """The newest push is deployed everywhere, wholly, and no script ever ran twice."""
        deploys = eventually(lambda: self.idle(self.server), f"all is quiet; {where}")
        for name in NAMES:
            location = self.folder / name
            newest = next(one for one in deploys if one["location"] == str(location))
            self.assertEqual(newest["state"], "succeeded", (where, newest))
            self.assertEqual(newest["commit"], commit, where)
            self.assertEqual(git(location, "rev-parse", "HEAD"), commit, where)
            self.assertEqual(git(location, "status", "--porcelain"), "", where)
            deployed = (self.folder / f"{name}.deployed").read_text()
            self.assertEqual(deployed, f"{number}\n", where)
            self.assertEqual([*(location / ".git").rglob("*.lock")], [], where)
            # A kill while a script runs may leave those that wait for the disk to the next deploy.
            notes = {note.name for note in (location / ".git").glob("integralgit-*")}
            self.assertLessEqual(notes, {leftovers.NOTE, unfinished.DONE}, where)
            self.assertFalse((self.folder / f"{name}.twice").exists(), where)
            begun = (self.folder / f"{name}.begun").read_text().split()
            self.assertEqual(sorted(set(begun), key=int), begun, f"each runs once; {where}")
        running = [step for one in deploys for step in one["steps"] if not step["finished_at"]]
        self.assertEqual(running, [], where)

    def test_kills_at_random_moments(self) -> None:
        """After each, nothing is lost, nothing runs for ever or twice, and no file is half updated (threat 42)."""
        seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
        rounds = int(os.environ.get("ROUNDS") or 5)
        chance = random.Random(seed)
        life = 0.0
        for number in range(2):  # The first one clones, which takes longer.
            commit, begun = self.push(number), time.monotonic()
            self.all_is_well(number, commit, f"seed {seed}, before the first kill")
            life = time.monotonic() - begun
        for number in range(2, rounds + 2):
            moment = chance.uniform(0, life)
            children, again = chance.random() < 0.5, chance.random() < 0.25
            where = f"seed {seed}, round {number}, after {moment:.3f} s"
            where += f"{', with children' if children else ''}{', and again' if again else ''}"
            commit = self.push(number)
            time.sleep(moment)
            self.kill(children=children)
            self.server.start()
            if again:
                time.sleep(chance.uniform(0, 0.3))
                self.kill(children=chance.random() < 0.5)
                self.server.start()
            self.all_is_well(number, commit, where)

    def test_locks_of_a_git_that_was_killed(self) -> None:
        """They are removed by the next deploy, which says so; a lock from before that stays."""
        www = self.folder / "web1"
        commit = self.push(0)
        self.all_is_well(0, commit, "before the kill")
        slow = self.folder / "slow"
        slow.write_text(f"#!/bin/sh\ntouch {slow}.begun\nexec sleep 60\n")
        slow.chmod(0o755)
        git(www, "config", "remote.origin.uploadpack", str(slow))
        older = www / ".git" / "refs" / "heads" / "mine.lock"
        older.touch()
        commit = self.push(1)
        eventually(Path(f"{slow}.begun").exists, "the fetch hangs")
        self.kill(children=True)
        for name in ("index.lock", "refs/remotes/origin/main.lock"):
            (www / ".git" / name).touch()
        git(www, "config", "--unset", "remote.origin.uploadpack")
        self.server.start()
        deploys = eventually(lambda: self.idle(self.server), "all is quiet")
        newest = next(one for one in deploys if one["location"] == str(www))
        said = self.server.log(newest["id"])
        for name in ("index.lock", "refs/remotes/origin/main.lock"):
            self.assertIn(f"removed {name}, left by a git that was cut off", said)
        self.assertTrue(older.exists())
        older.unlink()
        self.all_is_well(1, commit, "after the kill")
