"""Tests of what is kept before it is overwritten, and removed."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from integralgit.location.rescue import remove


class Removing(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def test_files_and_links(self) -> None:
        """They go, and those that are gone are no matter."""
        (self.root / "a").touch()
        (self.root / "b").symlink_to("a")
        remove(str(self.root), ["b", "a", "c", "d/e"])
        self.assertEqual(list(self.root.iterdir()), [])

    def test_a_folder(self) -> None:
        """It stays."""
        (self.root / "a").mkdir()
        remove(str(self.root), ["a"])
        self.assertTrue((self.root / "a").is_dir())

    def test_a_file_in_the_place_of_a_folder(self) -> None:
        """There is nothing to remove below."""
        (self.root / "a").touch()
        remove(str(self.root), ["a/b", "a/b/c"])
        self.assertEqual(os.listdir(self.root), ["a"])

    def test_a_link_in_the_place_of_a_folder(self) -> None:
        """What it leads to stays."""
        (self.root / "data").mkdir()
        (self.root / "data" / "b").touch()
        (self.root / "a").symlink_to("data")
        remove(str(self.root), ["a/b"])
        self.assertTrue((self.root / "data" / "b").exists())
