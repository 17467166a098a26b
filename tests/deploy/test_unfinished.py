"""Tests of the note about an update that is under way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.child import Children
from integralgit.deploy.git import Git
from integralgit.deploy.unfinished import NOTE, SIZE, Unfinished
from tests.fakes import FakeProcesses

ONE, TWO = "1" * 40, "2" * 40


class Notes(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.note = self.folder / NOTE
        self.reactor = FakeProcesses()
        git = Git(Children(self.reactor, self.reactor.spawn), {}, timeout=60.0)
        self.unfinished = Unfinished(self.folder, git, lambda line: None, maybeDeferred)

    def begin(self, branch: str, before: str = ONE, to: str = TWO) -> None:
        """Let an update begin."""
        self.successResultOf(Deferred.fromCoroutine(self.unfinished.begin(branch, before, to)))

    def settle(self) -> None:
        """Let what was noted reach the disk."""
        self.successResultOf(Deferred.fromCoroutine(self.unfinished.settle()))

    def test_it_reaches_the_disk(self) -> None:
        """The note is on the disk, under its name, before any file is changed (threat 70)."""
        synced: list[tuple[str, str]] = []

        def fdatasync(descriptor: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            synced.append((path.name, path.read_text()))

        self.patch(os, "fdatasync", fdatasync)
        self.begin("main")
        text = f"main\n{ONE}\n{TWO}\n"
        self.assertEqual(synced, [(NOTE, text.ljust(SIZE, "\n"))])

    def test_it_says_nothing_once_the_update_has_ended(self) -> None:
        """The file stays; where it never was, there is nothing to end."""
        self.unfinished.end()
        for branch in ("m", "main", "feature/of-some-length", "b" * 244):
            self.begin(branch, "1" * 64, "2" * 64)
            self.assertEqual(self.note.stat().st_size, SIZE)
            self.unfinished.end()
            completing = Deferred.fromCoroutine(self.unfinished.complete(self.never))
            self.successResultOf(completing)
            self.assertEqual(self.reactor.spawned, [])

    def test_its_end_reaches_the_disk(self) -> None:
        """Once it is settled, what ended does not come back after a power failure (threat 70)."""
        synced: list[tuple[str, str]] = []

        def fdatasync(descriptor: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            synced.append((path.name, path.read_text()[0]))

        self.patch(os, "fdatasync", fdatasync)
        self.settle()
        self.begin("main")
        self.unfinished.end()
        self.assertEqual(synced, [(NOTE, "m")])
        self.settle()
        self.assertEqual(synced, [(NOTE, "m"), (NOTE, "\n")])

    def test_a_note_over_an_older_one(self) -> None:
        """What an earlier note said is nowhere in the next one."""
        for branch in ("b" * 244, "main"):
            self.begin(branch)
        Deferred.fromCoroutine(self.unfinished.complete(self.never))
        (asked,) = self.reactor.spawned
        self.assertIn("refs/heads/main^{commit}", asked.argv)

    def test_half_a_note(self) -> None:
        """A note that was cut off, of which no update can have begun, says nothing (threat 70)."""
        whole = f"main\n{ONE}\n{TWO}\n"
        for length in range(len(whole) - 2):
            self.note.write_text(whole[:length])
            Deferred.fromCoroutine(self.unfinished.complete(self.never))
            self.assertEqual(self.reactor.spawned, [], whole[:length])

    async def never(self, paths: Sequence[str]) -> None:
        """Nothing is kept."""
        raise AssertionError(paths)
