"""Full and read-only disks, a database that is held: said plainly, survived, and then made good."""

from __future__ import annotations

import random
import signal
import sqlite3
from pathlib import Path
from typing import Any

from tests.integration.disk import Disk
from tests.integration.harness import Daemon, Integration, eventually

#: Says that it runs, waits for a file that the test makes, and prints more.
WAITS = """#!/bin/sh
echo "begun $INTEGRALGIT_DEPLOY"
while [ ! -e {go} ]; do sleep 0.05; done
i=0
while [ $i -lt 200 ]; do echo "line $i of many, so that it needs room" || exit 9; i=$((i+1)); done
exit 5
"""
MEGABYTE = 1 << 20


class Faults(Integration):
    def setUp(self) -> None:
        super().setUp()
        self.go = self.folder / "go"
        self.addCleanup(self.go.touch)

    def configure(self, location: Path, script: str | None = "./deploy.sh") -> None:
        """Deploy `main` at a location."""
        base: dict[str, Any] = {"location": str(location), "branch": "main"}
        if script:
            base["script"] = script
        self.upstream.configure({"configs": {"base": base}})

    def disk(self, folder: str, size: int) -> Disk:
        """A small disk, which is gone after the test."""
        disk = Disk(self.folder / folder, size)
        disk.mount()
        self.addCleanup(disk.unmount)
        return disk

    def waits(self) -> str:
        """The commit of a script that waits."""
        return self.upstream.commit({"deploy.sh": WAITS.format(go=self.go)})

    def says(self, daemon: Daemon, text: str) -> None:
        """The server's log says that."""
        eventually(lambda: text in daemon.output.read_text(), f"the log says: {text}")


class State(Faults):
    """The state folder, and the database in it."""

    def on_a_small_disk(self) -> tuple[Disk, Daemon]:
        """A server whose state folder has a disk of its own."""
        disk = self.disk("server/state", 2 * MEGABYTE)
        return disk, self.daemon(prefix=disk.prefix, seen=disk.seen)

    def test_pushes_to_a_full_disk(self) -> None:
        """What cannot be stored is answered 503; sent again when there is room, it is deployed (threat 48)."""
        self.configure(self.folder / "www", None)
        disk, daemon = self.on_a_small_disk()
        daemon.push(self.upstream.commit({"x": "1"}))
        daemon.ended(1)
        disk.fill()
        commit = self.upstream.commit({"x": "2"})
        for _ in range(3):
            answer = daemon.push(commit, number="again")
            self.assertEqual((answer.status, answer.headers["Retry-After"]), (503, "30"))
            self.assertRegex(answer.json["error"], "could not be written to disk; send it again")
        self.assertEqual(daemon.request("GET", "/-/health").status, 200)
        act = daemon.request("POST", "/github.com/acme/site/deploys")
        self.assertEqual((act.status, act.headers["Retry-After"]), (503, "30"))
        self.assertIn("database or disk is full", act.json["error"])
        self.assertEqual(daemon.deploy(1)["state"], "succeeded")
        self.says(daemon, "a delivery could not be written")
        disk.free()
        self.assertEqual(daemon.push(commit, number="again").status, 202)
        deploy = daemon.ended(2)
        self.assertEqual((deploy["state"], deploy["commit"]), ("succeeded", commit))
        self.assertEqual(len(daemon.get("/github.com/acme/site")["deploys"]), 2)

    def test_a_kill_while_the_disk_is_full(self) -> None:
        """The exit status of a script is kept on a full disk too, and the next server reads it."""
        self.configure(self.folder / "www")
        disk, daemon = self.on_a_small_disk()
        daemon.push(self.waits())
        eventually(lambda: "begun 1" in daemon.log(1), "the script runs")
        daemon.stop(signal.SIGKILL)
        disk.fill()
        self.go.touch()
        status = disk.seen(daemon.state / "logs" / "1.exit")
        eventually(lambda: status.read_text().strip(), "the script ends")
        disk.free()
        daemon.start()
        deploy = daemon.ended(1)
        self.assertEqual((deploy["state"], deploy["exit_code"]), ("failed", 9))

    def test_what_waits_for_room(self) -> None:
        """A script's end is recorded once there is room, and truly; what was accepted runs then."""
        self.configure(self.folder / "www")
        disk, daemon = self.on_a_small_disk()
        daemon.push(self.waits())
        eventually(lambda: "begun 1" in daemon.log(1), "the script runs")
        commit = self.upstream.commit({"deploy.sh": "#!/bin/sh\n"})
        self.assertEqual(daemon.push(commit).status, 202)
        disk.fill()
        self.go.touch()
        self.says(daemon, "the database cannot be written")
        self.assertEqual(daemon.deploy(1)["state"], "running")
        disk.free()
        deploy = daemon.ended(1)
        self.assertEqual((deploy["state"], deploy["exit_code"]), ("failed", 9))
        self.assertEqual(deploy["steps"][-1]["state"], "failed")
        self.says(daemon, "the database can be written again")
        deploy = daemon.ended(2)
        self.assertEqual((deploy["state"], deploy["commit"]), ("succeeded", commit))

    def test_a_database_that_another_holds(self) -> None:
        """Longer than is waited: 503; a start in that time waits, and makes good what it finds (threat 48)."""
        self.configure(self.folder / "www")
        daemon = self.daemon()
        daemon.push(self.waits())
        eventually(lambda: "begun 1" in daemon.log(1), "the script runs")
        second = self.upstream.commit({"deploy.sh": "#!/bin/sh\n"})
        daemon.push(second)
        other = sqlite3.connect(daemon.state / "integralgit.sqlite", isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN EXCLUSIVE")
        third = self.upstream.commit({"x": "3"})
        answer = daemon.push(third, number="again")
        self.assertEqual((answer.status, answer.headers["Retry-After"]), (503, "30"))
        daemon.stop(signal.SIGKILL)
        self.go.touch()
        daemon.start()
        self.says(daemon, "the database cannot be written, database is locked; it is waited for")
        self.assertEqual(daemon.deploy(1)["state"], "running")
        other.execute("ROLLBACK")
        deploy = daemon.ended(1)
        self.assertEqual((deploy["state"], deploy["exit_code"]), ("failed", 5))
        self.assertIn(daemon.ended(2)["state"], ("succeeded", "superseded"))
        self.assertEqual(daemon.push(third, number="again").status, 202)
        self.assertEqual(daemon.ended(3)["commit"], third)


class Location(Faults):
    """The file system of the checkout."""

    def setUp(self) -> None:
        super().setUp()
        self.small = self.disk("disk", 16 * MEGABYTE)
        self.www = self.folder / "disk" / "www"
        self.configure(self.www, None)
        self.server = self.daemon(prefix=self.small.prefix, seen=self.small.seen)
        self.first = self.upstream.commit({"x": "1"})
        self.server.push(self.first)
        self.assertEqual(self.server.ended(1)["state"], "succeeded")

    def large(self, seed: int) -> dict[str, str | None]:
        """Two megabytes of files that take half of that in a pack."""
        chance = random.Random(seed)
        return {f"many{seed}/{n}.txt": chance.randbytes(100_000).hex() for n in range(10)}

    def is_at(self, commit: str) -> None:
        """The checkout is at that commit, wholly."""
        git = ("git", "--no-optional-locks", "-C", str(self.www))
        self.assertEqual(self.small.run(*git, "rev-parse", "HEAD"), commit)
        self.assertEqual(self.small.run(*git, "status", "--porcelain"), "")

    def fails(self, number: int, commit: str, *because: str) -> None:
        """A push is accepted; its deploy fails, with a reason in which that is said."""
        self.assertEqual(self.server.push(commit).status, 202)
        deploy = self.server.ended(number)
        self.assertEqual(deploy["state"], "failed")
        for text in because:
            self.assertIn(text, deploy["reason"])

    def succeeds(self, number: int, commit: str) -> None:
        """A push is deployed, without a restart."""
        self.server.push(commit)
        deploy = self.server.ended(number)
        self.assertEqual((deploy["state"], deploy["commit"]), ("succeeded", commit), deploy)
        self.is_at(commit)

    def test_a_full_disk(self) -> None:
        """No room for a fetch, or for an update: that and where is said, and the next succeeds (threat 48)."""
        full = f"the disk is full at {self.www}"
        self.small.fill()
        self.fails(2, self.upstream.commit({"x": "2"}), full)
        self.is_at(self.first)
        self.small.free()
        third = self.upstream.commit({"x": "3"})
        self.succeeds(3, third)
        self.small.fill(leave=100_000)
        self.fails(4, self.upstream.commit(self.large(1)), full)
        self.is_at(third)
        self.small.free()
        fifth = self.upstream.commit({"x": "5"})
        self.succeeds(5, fifth)
        self.small.fill(leave=2 * MEGABYTE)
        self.fails(6, self.upstream.commit(self.large(2)), full)
        self.assertIn("The files that had changed by then were put back.", self.server.log(6))
        self.is_at(fifth)
        self.small.free()
        self.succeeds(7, self.upstream.commit({"x": "7"}))

    def test_read_only(self) -> None:
        """A location that cannot be written fails, says why, and nothing else suffers (threat 48)."""
        self.small.remount("ro")
        second = self.upstream.commit({"x": "2"})
        self.fails(2, second, f"the file system is read-only at {self.www}")
        self.is_at(self.first)
        self.small.remount("rw")
        self.succeeds(3, second)
