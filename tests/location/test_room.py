"""Tests of what is said about disks that are full or read-only."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from integralgit.location.room import hindrance, is_no_room


class Hindrances(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder)

    def found(self, *, kilobytes: int = 10**6, files: int = 10**6, flags: int = 0) -> None:
        """Let the file system have so much room."""
        self.asked: list[str] = []

        def statvfs(path: str) -> SimpleNamespace:
            self.asked.append(path)
            return SimpleNamespace(
                f_bavail=kilobytes, f_frsize=1024, f_files=10**7, f_favail=files, f_flag=flags
            )

        self.patch(os, "statvfs", statvfs)

    def test_nothing(self) -> None:
        """Of a disk with room and rights there is nothing to say."""
        self.found()
        self.assertIsNone(hindrance(self.folder))
        self.assertIsNone(hindrance(self.folder, "fatal: something else"))

    def test_full(self) -> None:
        """It is said what is full, where, and what is left."""
        self.found(kilobytes=12)
        expected = f"the disk is full at {self.folder}, where 12 kB are left"
        self.assertEqual(hindrance(self.folder), expected)
        self.found(files=0)
        expected = f"the disk is full at {self.folder}, where 1,000,000 kB and no files are left"
        self.assertEqual(hindrance(self.folder), expected)

    def test_what_a_program_has_said(self) -> None:
        """What git met counts, even if it has made room again by taking its files away."""
        self.found(kilobytes=2000)
        for number, words in (
            (errno.ENOSPC, "the disk is full"),
            (errno.EDQUOT, "the disk quota is used up"),
        ):
            said = f"fatal: write error: {os.strerror(number)}"
            expected = f"{words} at {self.folder}, where 2,000 kB are left"
            self.assertEqual(hindrance(self.folder, said), expected)

    def test_read_only(self) -> None:
        """A read-only file system is called so, however full it is."""
        self.found(kilobytes=0, flags=os.ST_RDONLY)
        expected = f"the file system is read-only at {self.folder}"
        self.assertEqual(hindrance(self.folder), expected)

    def test_a_folder_that_is_not_there(self) -> None:
        """Of a folder that is yet to be made the one above counts."""
        self.found(kilobytes=0)
        hindrance(os.path.join(self.folder, "a", "b"))
        self.assertEqual(self.asked, [self.folder])

    def test_errors(self) -> None:
        """A full disk may pass; missing rights are for somebody to give."""
        for number, passes in ((errno.ENOSPC, True), (errno.EMFILE, True), (errno.EACCES, False)):
            self.assertEqual(is_no_room(OSError(number, "")), passes)
