"""Tests of what stands in the way of new files."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from integralgit.location.way import occupied


class Occupied(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def write(self, *paths: str) -> None:
        """Make files, with their folders."""
        for path in paths:
            full = self.root / path
            full.parent.mkdir(parents=True, exist_ok=True)
            full.write_bytes(os.fsencode(path))

    def occupied(self, *wanted: str, leaving: tuple[str, ...] = ()) -> list[str]:
        """What stands in the way, in alphabetical order."""
        found = occupied(str(self.root), wanted, frozenset(leaving))
        self.assertEqual(len(found), len(set(found)), "each is named once")
        return sorted(found)

    def test_nothing_is_there(self) -> None:
        """An empty checkout has nothing in the way, at any depth."""
        self.assertEqual(self.occupied("a", "b/c", "b/d/e/f"), [])

    def test_a_file(self) -> None:
        """A file where a new one is wanted is in the way, and its neighbours are not."""
        self.write(".env", "sub/.env", "sub/other")
        self.assertEqual(self.occupied(".env", "sub/.env", "new"), [".env", "sub/.env"])

    def test_folders_of_new_files(self) -> None:
        """A folder in which a new file is wanted is not in the way, whatever else it holds."""
        self.write("sub/untracked", "sub/deeper/untracked")
        self.assertEqual(self.occupied("sub/new", "sub/deeper/new"), [])

    def test_a_folder_with_untracked_files(self) -> None:
        """Where a folder stands in the place of a new file, every file in it is in the way."""
        self.write("data/one", "data/sub/two", "data/.hidden", "database")
        self.assertEqual(self.occupied("data"), ["data/.hidden", "data/one", "data/sub/two"])

    def test_a_folder_with_tracked_files_that_leave(self) -> None:
        """Of a folder in the place of a new file, tracked files that the update removes may go."""
        self.write("data/tracked", "data/sub/tracked", "data/sub/untracked")
        leaving = ("data/tracked", "data/sub/tracked")
        self.assertEqual(self.occupied("data", leaving=leaving), ["data/sub/untracked"])
        (self.root / "data/sub/untracked").unlink()
        self.assertEqual(self.occupied("data", leaving=leaving), [])

    def test_a_folder_with_a_link_to_a_folder(self) -> None:
        """Where a folder holds only a link to a folder, the link is in the way, not what it leads to."""
        self.write("elsewhere/file")
        (self.root / "data/sub").mkdir(parents=True)
        os.symlink("../../elsewhere", self.root / "data/sub/link")
        os.symlink("nowhere", self.root / "data/broken")
        self.assertEqual(self.occupied("data"), ["data/broken", "data/sub/link"])
        leaving = ("data/broken", "data/sub/link")
        self.assertEqual(self.occupied("data", leaving=leaving), [])

    def test_an_empty_folder(self) -> None:
        """An empty folder holds nothing that could be lost."""
        (self.root / "data/sub").mkdir(parents=True)
        self.assertEqual(self.occupied("data"), [])

    def test_a_parent_that_is_a_file(self) -> None:
        """A file where a folder is wanted is in the way, and named itself."""
        self.write("lib")
        self.assertEqual(self.occupied("lib/a", "lib/b", "lib/sub/c"), ["lib"])

    def test_a_parent_far_above_that_is_a_file(self) -> None:
        """A file anywhere above a new one is in the way."""
        self.write("a/b")
        self.assertEqual(self.occupied("a/b/c/d/e"), ["a/b"])

    def test_a_parent_that_is_a_file_that_leaves(self) -> None:
        """A tracked file that the same update removes makes room for a folder."""
        self.write("lib")
        self.assertEqual(self.occupied("lib/a", "lib/sub/b", leaving=("lib",)), [])

    def test_a_parent_that_is_a_link_that_leaves(self) -> None:
        """A tracked link that becomes a folder blocks nothing, whatever is where it leads."""
        self.write("elsewhere/old", "elsewhere/sub/old")
        os.symlink("elsewhere", self.root / "lib")
        self.assertEqual(self.occupied("lib/old", "lib/sub/old", "lib/new", leaving=("lib",)), [])

    def test_a_parent_that_is_a_link(self) -> None:
        """A symbolic link where a folder is wanted is in the way, for git would replace it."""
        self.write("elsewhere/old")
        os.symlink("elsewhere", self.root / "lib")
        self.assertEqual(self.occupied("lib/new", "lib/old"), ["lib"])

    def test_a_parent_that_is_a_link_to_nothing(self) -> None:
        """A symbolic link that leads nowhere is in the way just so."""
        os.symlink("nowhere", self.root / "lib")
        self.assertEqual(self.occupied("lib/new"), ["lib"])

    def test_a_link(self) -> None:
        """A symbolic link in the place of a new file is in the way, whatever it leads to."""
        self.write("folder/file")
        os.symlink("folder", self.root / "to-folder")
        os.symlink("folder/file", self.root / "to-file")
        os.symlink("nowhere", self.root / "to-nothing")
        wanted = ("to-folder", "to-file", "to-nothing")
        self.assertEqual(self.occupied(*wanted), sorted(wanted))

    def test_odd_names(self) -> None:
        """Names with spaces, line breaks, and bytes that are no text are found too."""
        names = ["with space", "line\nbreak", os.fsdecode(b"caf\xe9"), "*"]
        self.write(*names)
        self.assertEqual(self.occupied(*names), sorted(names))
