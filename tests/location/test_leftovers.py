"""Tests of locks that a git was killed over: which are removed, and which are not."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from integralgit.location import leftovers
from integralgit.location.leftovers import Left


class Locks(SynchronousTestCase):
    def setUp(self) -> None:
        self.location = Path(self.mktemp()).absolute()
        self.folder = self.location / ".git"
        for name in ("refs/remotes/origin", "objects/info"):
            (self.folder / name).mkdir(parents=True)

    def lock(self, name: str, age: float = 0.0) -> Path:
        """Leave a lock, made so many seconds ago."""
        path = self.folder / f"{name}.lock"
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
        return path

    def clear(self) -> list[str]:
        """The names of what is removed."""
        left = leftovers.clear(self.folder, str(self.location), "main")
        return sorted([*left.removed, *left.lost_objects]) if left else []

    def test_work_that_was_cut_off(self) -> None:
        """Every lock that was made since is removed, wherever it is, but for the objects."""
        leftovers.begin(self.folder)
        locks = [self.lock(name) for name in ("index", "config", "refs/remotes/origin/main")]
        objects = self.lock("objects/info/commit-graph")
        names = ["config.lock", "index.lock", "refs/remotes/origin/main.lock"]
        self.assertEqual(self.clear(), names)
        self.assertEqual([lock.exists() for lock in locks], [False] * 3)
        self.assertTrue(objects.exists())

    def test_older_locks(self) -> None:
        """A lock that was there before our work is not ours."""
        lock = self.lock("index", age=10)
        leftovers.begin(self.folder)
        self.assertEqual(self.clear(), [])
        self.assertTrue(lock.exists())

    def test_empty_files(self) -> None:
        """What is empty is found if it was made since, and goes; an empty HEAD is put on the branch.

        An object is left to who can bring another one.
        """
        objects = self.folder / "objects" / "ab"
        objects.mkdir()
        older, empty, whole = (objects / (38 * one) for one in "123")
        names = ("refs/remotes/origin/main", "index", "HEAD", "config")
        for path in (older, empty, whole, *(self.folder / name for name in names)):
            path.touch()
        os.utime(older, (0, 0))
        whole.write_bytes(b"x")
        leftovers.begin(self.folder)
        os.utime(self.folder / leftovers.NOTE, (1, 1))
        removed = ["HEAD", "index", f"objects/ab/{38 * '2'}", "refs/remotes/origin/main"]
        self.assertEqual(self.clear(), removed)
        self.assertEqual([one.exists() for one in (older, empty, whole)], [True] * 3)
        self.assertEqual((self.folder / "HEAD").read_text(), "ref: refs/heads/main\n")
        left = [(self.folder / name).exists() for name in names]
        self.assertEqual(left, [False, False, True, True])

    def test_work_that_ended(self) -> None:
        """Where nothing was cut off, every lock is somebody else's."""
        leftovers.begin(self.folder)
        leftovers.end(self.folder)
        lock = self.lock("index")
        self.assertEqual(self.clear(), [])
        self.assertTrue(lock.exists())

    def test_an_older_note(self) -> None:
        """Work that was cut off twice counts from its first beginning."""
        leftovers.begin(self.folder)
        before = time.time() - 20
        os.utime(self.folder / leftovers.NOTE, (before, before))
        self.lock("index", age=10)
        leftovers.begin(self.folder)
        self.assertEqual(self.clear(), ["index.lock"])

    def test_a_note_from_the_future(self) -> None:
        """Where the clock was set back since, what was made cannot be told by its time."""
        lock = self.lock("index", age=10)
        leftovers.begin(self.folder)
        later = time.time() + 600
        os.utime(self.folder / leftovers.NOTE, (later, later))
        self.assertEqual(self.clear(), ["index.lock"])
        self.assertFalse(lock.exists())

    def test_a_living_git(self) -> None:
        """While a git is at work there, nothing is removed: the lock may be its own."""
        subprocess.run(["git", "init", "--quiet", str(self.location)], check=True)
        leftovers.begin(self.folder)
        lock = self.lock("index")
        with subprocess.Popen(
            ["git", "-C", str(self.location), "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as living:
            assert living.stdin is not None and living.stdout is not None
            living.stdin.write(b"HEAD\n")
            living.stdin.flush()
            living.stdout.readline()
            self.assertIsNone(leftovers.clear(self.folder, str(self.location), "main"))
            self.assertTrue(lock.exists())
            living.stdin.close()
        self.assertEqual(self.clear(), ["index.lock"])

    def test_no_git_folder(self) -> None:
        """Where there is none, or it cannot be written, there is nothing to do."""
        nowhere = self.location / "nowhere"
        leftovers.begin(nowhere)
        leftovers.end(nowhere)
        self.assertEqual(leftovers.clear(nowhere, str(self.location), "main"), Left([], []))
