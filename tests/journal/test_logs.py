"""Tests of the log files: windows into them, and characters that are not there in full yet."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from integralgit.journal.logs import CHUNK, Logs, whole_characters


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.logs = Logs(self.folder)

    def write(self, deploy: int, data: bytes) -> None:
        """Append to a log as a deploy does."""
        descriptor = self.logs.open(deploy)
        os.write(descriptor, data)
        os.close(descriptor)

    def test_those_that_are_large(self) -> None:
        """Logs with more than so many bytes are found, and are cut; what is no log is not."""
        for deploy, size in ((1, 10), (2, 11), (3, 12)):
            self.write(deploy, b"x" * size)
        self.logs.status_file(4).write_text("x" * 20)
        (self.folder / "x.log").write_text("x" * 20)
        self.assertEqual(sorted(self.logs.larger_than(10)), [2, 3])
        self.logs.cut(3, 5)
        self.logs.cut(1, 50)
        self.logs.cut(99, 5)
        self.assertEqual([self.logs.size(one) for one in (1, 2, 3, 99)], [10, 11, 5, 0])

    def test_windows(self) -> None:
        """A read gives what lies between its offset and its end, cut at its limit."""
        self.write(1, b"0123456789")
        cases = [
            (0, 10, 100, b"0123456789"),
            (3, 10, 100, b"3456789"),
            (3, 7, 100, b"3456"),
            (3, 10, 2, b"34"),
            (0, 99, 100, b"0123456789"),
            (9, 10, 1, b"9"),
            (10, 10, 100, b""),
            (10, 99, 100, b""),
            (50, 99, 100, b""),
            (7, 3, 100, b""),
        ]
        for offset, end, limit, expected in cases:
            found = self.logs.read(1, offset, end, limit)
            self.assertEqual(found, expected, (offset, end, limit))

    def test_one_read_is_bounded(self) -> None:
        """A read of a large log gives one chunk, and the next one goes on from there."""
        self.write(1, b"a" * CHUNK + b"b")
        self.assertEqual(self.logs.read(1, 0, CHUNK + 1), b"a" * CHUNK)
        self.assertEqual(self.logs.read(1, CHUNK, CHUNK + 1), b"b")

    def test_no_file(self) -> None:
        """A deploy that has written nothing has an empty log of size 0."""
        self.assertEqual(self.logs.size(1), 0)
        self.assertEqual(self.logs.read(1, 0, 100), b"")
        self.assertEqual(os.listdir(self.folder), [])

    def test_appending(self) -> None:
        """Whoever opens a log adds to what is there, two writers at once too."""
        first, second = self.logs.open(1), self.logs.open(1)
        os.write(first, b"one ")
        os.write(second, b"two ")
        os.write(first, b"three")
        os.close(first)
        os.close(second)
        self.write(1, b" four")
        self.assertEqual(self.logs.read(1, 0, 100), b"one two three four")
        self.assertEqual(self.logs.size(1), 18)

    def test_each_deploy_has_its_own(self) -> None:
        """Logs and status files of two deploys do not meet."""
        self.write(1, b"one")
        self.write(11, b"eleven")
        self.assertEqual(self.logs.read(1, 0, 100), b"one")
        self.assertEqual(self.logs.read(11, 0, 100), b"eleven")
        self.assertEqual(len({self.logs.status_file(1), self.logs.status_file(11)}), 2)
        self.assertNotIn(self.logs.status_file(1).name, os.listdir(self.folder))

    def test_logs_are_private(self) -> None:
        """A log is readable by its owner only, and its descriptor is not inherited."""
        self.addCleanup(os.umask, os.umask(0))
        descriptor = self.logs.open(1)
        self.addCleanup(os.close, descriptor)
        self.assertEqual(stat.S_IMODE(os.fstat(descriptor).st_mode), 0o600)
        self.assertFalse(os.get_inheritable(descriptor))


def longest_whole(text: str, cut: int) -> bytes:
    """The longest run of whole characters of the text that fits into `cut` bytes."""
    whole = b""
    for character in text:
        encoded = character.encode()
        if len(whole) + len(encoded) > cut:
            break
        whole += encoded
    return whole


class WholeCharacters(SynchronousTestCase):
    def test_every_cut(self) -> None:
        """A chunk that was cut anywhere ends with the last character that is complete."""
        text = "aé€😀z ñ漢🚀 ÿ\u07ff\u0800\uffff\U00010000\U0010ffff"
        data = text.encode()
        for cut in range(len(data) + 1):
            self.assertEqual(whole_characters(data[:cut]), longest_whole(text, cut), cut)

    @given(st.text(max_size=20), st.integers(0, 80))
    def test_any_text(self, text: str, cut: int) -> None:
        """That holds for any text and any cut."""
        data = text.encode()
        cut = min(cut, len(data))
        self.assertEqual(whole_characters(data[:cut]), longest_whole(text, cut))

    @given(st.binary(max_size=40))
    def test_any_bytes(self, data: bytes) -> None:
        """Whatever a script prints, at most three bytes are kept back, and only at the end."""
        whole = whole_characters(data)
        self.assertTrue(data.startswith(whole))
        self.assertLessEqual(len(data) - len(whole), 3)

    def test_bytes_that_are_no_text(self) -> None:
        """Bytes that no more bytes can complete are not kept back."""
        for data in (b"\xff", b"a\xfe", b"\x80\x80\x80\x80\x80", b"\xe2\x82\xac\x80", b"\xc3("):
            self.assertEqual(whole_characters(data), data)
