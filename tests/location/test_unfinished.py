"""Tests of the note about an update that is under way."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.location.git import Git
from integralgit.location.unfinished import DONE, NOTE, Unfinished, standing
from integralgit.processes.child import Children
from integralgit.processes.groups import boot_id
from tests.fakes import FakeProcesses

ONE, TWO = "1" * 40, "2" * 40


async def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
    """What is meant for a thread, done here."""
    return work(*arguments)


class Notes(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.note = self.folder / NOTE
        self.reactor = FakeProcesses()
        git = Git(Children(self.reactor, self.reactor.spawn), {}, timeout=60.0)
        self.unfinished = Unfinished(self.folder, git, lambda line: None)

    def begin(self, branch: str, before: str | None = ONE, to: str = TWO) -> None:
        """Let an update begin."""
        self.unfinished.begin(branch, before, to)

    def complete(self) -> list[list[str]]:
        """Complete what was cut off; what is asked of git first, if anything is."""
        Deferred.fromCoroutine(self.unfinished.complete(at_once, self.never))
        return [process.argv for process in self.reactor.spawned]

    def test_it_is_a_link(self) -> None:
        """Its text is its name's, which a journal brings back with what was changed after it (threat 70)."""
        for before, said in ((ONE, ONE), (None, "nothing")):
            self.begin("feature/of-some-length", before)
            text = f"feature/of-some-length\n{said}\n{TWO}\n{boot_id()}\nnothing\n-"
            self.assertEqual(os.readlink(self.note), text)

    def test_it_says_nothing_once_the_update_has_ended(self) -> None:
        """It bears another name until all is on the disk; where it never was, there is nothing to end."""
        self.unfinished.end()
        for branch in ("m", "b" * 244):
            self.begin(branch, "1" * 64, "2" * 64)
            self.unfinished.end()
            self.assertFalse(os.path.lexists(self.note))
            self.assertTrue(os.path.lexists(self.folder / DONE))
            self.assertEqual(self.complete(), [])
        self.unfinished.void()
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_the_machine_was_started_anew(self) -> None:
        """What had ended, but was not on the disk, is completed (threat 70)."""
        (self.folder / DONE).symlink_to(f"main\n{ONE}\n{TWO}\nanother boot")
        (asked,) = self.complete()
        self.assertIn("refs/heads/main^{commit}", asked)

    def test_a_note_over_an_older_one(self) -> None:
        """What an earlier note said is nowhere in the next one, which may be a file of an earlier version."""
        self.note.write_text("\n" * 512)
        self.assertEqual(self.complete(), [])
        for branch in ("b" * 244, "main"):
            self.begin(branch)
        (asked,) = self.complete()
        self.assertIn("refs/heads/main^{commit}", asked)

    def test_no_links(self) -> None:
        """Where the file system has none, the note is a file."""

        def symlink(text: str, path: str) -> None:
            raise PermissionError(errno.EPERM, text, path)

        self.patch(os, "symlink", symlink)
        self.begin("main")
        self.assertFalse(self.note.is_symlink())
        (asked,) = self.complete()
        self.assertIn("refs/heads/main^{commit}", asked)

    def test_it_cannot_be_made(self) -> None:
        """Then nothing is to be changed, and the reason says what could not be written."""
        self.folder.rmdir()
        with self.assertRaises(FileNotFoundError) as raised:
            self.begin("main")
        self.assertEqual(raised.exception.filename, str(self.note))

    def test_half_a_note(self) -> None:
        """A note that was cut off, of which no update can have begun, says nothing (threat 70)."""
        whole = f"main\n{ONE}\n{TWO}\n"
        for length in range(len(whole) - 2):
            self.note.write_text(whole[:length])
            self.assertEqual(self.complete(), [], whole[:length])

    async def never(self, paths: Sequence[str]) -> None:
        """Nothing is kept."""
        raise AssertionError(paths)


class Standing(SynchronousTestCase):
    def test_what_cannot_be_looked_at(self) -> None:
        """It is not taken for what is not there; below a file nothing is."""
        root = Path(self.mktemp())
        root.mkdir()
        (root / "a").touch()
        paths = ["a", "b", "a/c", "link"]
        (root / "link").symlink_to("nowhere")
        self.assertEqual(standing(str(root), paths), {"a", "link"})

        def lstat(path: str) -> os.stat_result:
            raise PermissionError(errno.EACCES, "Permission denied", path)

        self.patch(os, "lstat", lstat)
        self.assertRaises(PermissionError, standing, str(root), paths)
