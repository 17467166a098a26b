"""The power fails: a real file system loses what was not on the disk yet, and the next deploy goes well."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path
from unittest import SkipTest

from tests.integration.harness import PATIENCE, Integration, eventually, git

#: Ends a file system at once, and writes nothing more (linux/fs: `EXT4_IOC_SHUTDOWN`, without a flush of the log).
_SHUTDOWN, _NO_FLUSH = 0x8004587D, 2


class FailingDisk:
    """A file system in a file, mounted at `folder`, that loses what it has not written yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._image = folder.with_suffix(".img")

    def make(self) -> None:
        """Make and mount it; skips the test where that is not possible."""
        if os.geteuid() != 0:
            raise SkipTest("only root can mount a file system from a file")
        with self._image.open("wb") as file:
            file.truncate(200_000_000)
        self.folder.mkdir()
        _run("mkfs.ext4", "-q", str(self._image))
        self.mount()

    def mount(self) -> None:
        """Mount it, as after a start of the machine."""
        _run("mount", "-o", "loop", str(self._image), str(self.folder))

    def unmount(self) -> None:
        """Let it go, once nobody uses it: another test's mount namespace may have it as well."""
        eventually(lambda: not _said("umount", str(self.folder)), "it is unmounted")
        eventually(lambda: not self._devices(), "its loop device is gone")

    def _devices(self) -> str:
        """The loop devices of its image; a mount that finds one gets what had failed there."""
        listed = ["losetup", "--associated", str(self._image)]
        return subprocess.run(listed, capture_output=True, text=True, check=True).stdout

    def fail(self) -> None:
        """The power fails."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _NO_FLUSH))
        finally:
            os.close(folder)


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return f"{command[0]}: {done.stderr.strip()}" if done.returncode else ""


def _run(*command: str) -> None:
    try:
        said = _said(*command)
    except FileNotFoundError as error:
        said = str(error)
    if said:
        raise SkipTest(f"a file system cannot be mounted here: {said}")


class Power(Integration):
    def test_in_the_middle_of_a_deploy(self) -> None:
        """Objects that are empty then are fetched anew by the next deploy that can (threat 70)."""
        www = self.folder / "www"
        self.upstream.configure({"configs": {"base": {"location": str(www), "branch": "main"}}})
        daemon = self.daemon()
        first = self.upstream.commit({"page": "0", "folder/other": "1"})
        second = self.upstream.commit({"page": "1"})
        daemon.push(second)
        daemon.ended(1)
        mine = git(www, "commit-tree", f"{first}^{{tree}}", "-m", "by hand")
        git(www, "branch", "mine", mine)
        folder = www / ".git"
        note = folder / "integralgit-at-work"
        note.touch()
        os.utime(note, (0, 0))
        kept = folder / "objects" / mine[:2] / mine[2:]
        for empty in (*(folder / "objects").glob("??/*"), folder / "refs/remotes/origin/main"):
            if empty != kept:
                empty.chmod(0o644)
                empty.write_bytes(b"")
        # The update had come to its end, and was not on the disk.
        (folder / "integralgit-updated").symlink_to(f"main\n{first}\n{second}\nanother boot")
        for empty in (folder / "HEAD", folder / "refs/heads/main", folder / "index", www / "page"):
            empty.write_bytes(b"")
        commit = self.upstream.commit({"folder/other": "2"})
        away = self.upstream.bare.rename(self.folder / "away")
        daemon.push(commit)
        self.assertEqual(daemon.ended(2)["state"], "failed", daemon.log(2))
        away.rename(self.upstream.bare)
        daemon.push(commit, number="again")
        self.assertEqual(daemon.ended(3)["state"], "succeeded", daemon.log(3))
        self.assertEqual((www / "page").read_text(), "1")
        self.assertIn("all objects were fetched once more", daemon.log(3))
        self.assertEqual(git(www, "rev-parse", "HEAD"), commit)
        self.assertEqual(git(www, "status", "--porcelain"), "")
        self.assertEqual(git(www, "rev-parse", "mine"), mine)
        git(www, "fsck", "--full")
        self.assertEqual(list(folder.glob("integralgit-*")), [])

    def test_a_damaged_repository(self) -> None:
        """Where an object is empty, the deploy says what to do; that helps (threat 70)."""
        www = self.folder / "www"
        self.upstream.configure({"configs": {"base": {"location": str(www), "branch": "main"}}})
        daemon = self.daemon()
        commit = self.upstream.commit({"page": "1"})
        daemon.push(commit)
        daemon.ended(1)
        damaged = www / ".git" / "objects" / commit[:2] / commit[2:]
        damaged.chmod(0o644)
        damaged.write_bytes(b"")
        daemon.push(self.upstream.commit({"page": "2"}))
        deploy = daemon.ended(2)
        self.assertEqual(deploy["state"], "failed")
        self.assertIn("is empty; a power failure or a broken disk has", deploy["reason"])
        self.assertIn(f"move {www} away, and deploy again", deploy["reason"])
        www.rename(self.folder / "away")
        daemon.push(self.upstream.commit({"page": "3"}))
        self.assertEqual(daemon.ended(3)["state"], "succeeded")

    def test_after_a_deploy(self) -> None:
        """What was deployed a moment ago is still there, and the next push is deployed (threat 70)."""
        disk = FailingDisk(self.folder / "disk")
        disk.make()
        self.addCleanup(disk.unmount)
        www = disk.folder / "www"
        self.upstream.configure({"configs": {"base": {"location": str(www), "branch": "main"}}})
        daemon = self.daemon()
        files = {f"pages/{n}": f"page {n}\n" * 100 for n in range(50)}
        for number in (1, 2):
            commit = self.upstream.commit({**files, "number": str(number)})
            daemon.push(commit)
            self.assertEqual(daemon.ended(number)["state"], "succeeded")
            disk.fail()
            disk.unmount()
            disk.mount()
            self.assertEqual(git(www, "rev-parse", "HEAD"), commit)
            self.assertEqual(git(www, "status", "--porcelain"), "")
            git(www, "fsck", "--full")
