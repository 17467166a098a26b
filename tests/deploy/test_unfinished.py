"""Tests of the note about an update that is under way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.child import Children
from integralgit.deploy.git import Git
from integralgit.deploy.unfinished import NOTE, Unfinished, sweep
from tests.fakes import FakeProcesses

ONE, TWO = "1" * 40, "2" * 40


class Notes(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.note = self.folder / NOTE
        self.reactor = FakeProcesses()
        git = Git(Children(self.reactor, self.reactor.spawn), {}, timeout=60.0)
        self.unfinished = Unfinished(self.folder, git, lambda line: None)

    def test_it_reaches_the_disk(self) -> None:
        """The note is on the disk, under its name, before any file is changed (threat 70)."""
        synced: list[tuple[str, str]] = []

        def fsync(descriptor: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            synced.append((path.name, path.read_text()))

        self.patch(os, "fsync", fsync)
        self.unfinished.begin("main", ONE, TWO)
        text = f"main\n{ONE}\n{TWO}\n"
        self.assertEqual(synced, [(NOTE, text)])
        self.assertEqual(self.note.read_text(), text)

    def test_it_says_nothing_once_the_update_has_ended(self) -> None:
        """Also before it is removed: a server that is killed in between completes nothing."""
        for branch in ("m", "main", "feature/of-some-length"):
            self.unfinished.begin(branch, ONE, TWO)
            self.unfinished.end()
            completing = Deferred.fromCoroutine(self.unfinished.complete(self.never))
            self.successResultOf(completing)
            self.assertEqual((self.note.exists(), self.reactor.spawned), (False, []))

    def test_what_a_killed_server_left(self) -> None:
        """A note is swept away where its update has ended, and only there."""
        self.unfinished.begin("main", ONE, TWO)
        sweep(self.folder)
        self.assertTrue(self.note.exists())
        self.unfinished.end()
        for _ in range(2):
            sweep(self.folder)
            self.assertFalse(self.note.exists())

    def test_half_a_note(self) -> None:
        """A note that was cut off, of which no update can have begun, is put away (threat 70)."""
        whole = f"main\n{ONE}\n{TWO}\n"
        for length in range(len(whole) - 2):
            self.note.write_text(whole[:length])
            Deferred.fromCoroutine(self.unfinished.complete(self.never))
            self.assertFalse(self.note.exists(), whole[:length])
            self.assertEqual(self.reactor.spawned, [])

    async def never(self, paths: Sequence[str]) -> None:
        """Nothing is kept."""
        raise AssertionError(paths)
