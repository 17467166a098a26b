"""Lines by their numbers: found without reading all, right at every border."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from integralgit.journal.lines import LONGEST, LineIndex
from integralgit.journal.logs import CHUNK, Logs

SKIP = re.compile(rb"\x1b\[[0-9;]*m")


def count(carried: int, data: bytes) -> int:
    """Something to carry: how many exclamation marks came before."""
    return carried + data.count(b"!")


class LogCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.logs = Logs(self.folder)

    def index(self, data: bytes, *, grown_by: int = 0) -> LineIndex[int]:
        """An index of a log with that content, grown at once or by so many bytes at a time."""
        (self.folder / "1.log").write_bytes(data)
        index = LineIndex(self.logs, 1, 0, count)
        for until in range(grown_by, len(data), grown_by) if grown_by else ():
            index.grow(until)
        self.assertTrue(index.grow(len(data), 1 << 30))
        return index


class LineTests(LogCase):
    def test_lines(self) -> None:
        """Lines have numbers, offsets and what is carried into them; the last may lack its break."""
        index = self.index(b"one!\ntwo\n\nfour")
        self.assertEqual(index.total, 4)
        lines = index.lines(1, 9)
        self.assertEqual([line.data for line in lines], [b"one!", b"two", b"", b"four"])
        self.assertEqual([line.offset for line in lines], [0, 5, 9, 10])
        self.assertEqual([line.before for line in lines], [0, 1, 1, 1])
        self.assertEqual([line.number for line in index.lines(2, 3)], [2, 3])
        self.assertEqual(index.lines(5, 9), [])
        self.assertEqual(
            [index.line_at(offset) for offset in (0, 4, 5, 9, 10, 14)], [1, 1, 2, 3, 4, 4]
        )

    def test_nothing(self) -> None:
        """An empty log, and one that is not there, have no lines."""
        self.assertEqual(self.index(b"").total, 0)
        index = LineIndex(self.logs, 2, 0, count)
        self.assertFalse(index.grow(10))
        self.assertEqual((index.total, index.lines(1, 9), index.find("x", SKIP).lines), (0, [], []))

    def test_a_long_log(self) -> None:
        """Far lines are found from the nearest mark, and the marks are few."""
        data = b"".join(b"line %d!\n" % number for number in range(1, 200_001))
        index = self.index(data)
        self.assertEqual(index.total, 200_000)
        (line,) = index.lines(150_000, 150_000)
        self.assertEqual((line.data, line.before), (b"line 150000!", 149_999))
        self.assertEqual(data[line.offset : line.offset + 11], b"line 150000")
        self.assertEqual(index.line_at(line.offset + 3), 150_000)
        self.assertLess(len(index._marks), len(data) // CHUNK + 3)

    def test_a_log_that_was_emptied(self) -> None:
        """One that is shorter than it was has the lines that it has now."""
        index = self.index(b"one\n" * 1000)
        (self.folder / "1.log").write_bytes(b"new\nlines\n")
        self.assertTrue(index.grow(10))
        self.assertEqual(index.total, 2)
        self.assertEqual([line.data for line in index.lines(1, 9)], [b"new", b"lines"])

    def test_growth_in_turns(self) -> None:
        """A long log is indexed a part at a time, so that no turn takes long."""
        data = b"x\n" * 1000
        (self.folder / "1.log").write_bytes(data)
        index = LineIndex(self.logs, 1, 0, count)
        self.assertFalse(index.grow(len(data), 300))
        self.assertEqual(index.size, 300)
        self.assertTrue(index.grow(len(data), 1 << 30))
        self.assertEqual(index.total, 1000)

    def test_a_long_line(self) -> None:
        """Of a long line the beginning is given; of a long progress line its end."""
        text = b"x" * (3 * CHUNK)
        progress = b"".join(b"%d %%\r" % n for n in range(60_000)) + b"done"
        index = self.index(text + b"\n" + progress + b"\nlast")
        first, second, third = index.lines(1, 3)
        self.assertEqual((first.data, first.left_out), (text[:LONGEST], len(text) - LONGEST))
        self.assertTrue(second.data.endswith(b"59999 %\rdone"))
        self.assertTrue(re.match(rb"\d+ %\r", second.data))
        self.assertEqual(second.left_out + len(second.data), len(progress))
        self.assertEqual((third.data, third.offset), (b"last", len(text) + len(progress) + 2))

    @settings(max_examples=60)
    @given(
        st.lists(st.text("ab!\r", max_size=9).map(str.encode), max_size=30),
        st.integers(1, 40),
        st.integers(1, 31),
    )
    def test_any_growth(self, parts: list[bytes], step: int, first: int) -> None:
        """However the log grows under it, the index says the same."""
        data = b"\n".join(parts)
        index = self.index(data, grown_by=step)
        expected = data.split(b"\n")
        expected = expected[:-1] if expected[-1] == b"" else expected
        self.assertEqual(index.total, len(expected))
        found = index.lines(first, first + 5)
        self.assertEqual([line.data for line in found], expected[first - 1 : first + 5])
        for line in found:
            self.assertEqual(line.before, data[: line.offset].count(b"!"))


class FindTests(LogCase):
    def test_find(self) -> None:
        """Lines that hold a text, whatever its case, colours within it, or signs it is made of."""
        index = self.index(b"Error: a\nfine\n\x1b[31mer\x1b[0mROR (b)\nerrr\nerror error")
        self.assertEqual(index.find("error", SKIP).lines, [1, 3, 5])
        self.assertEqual(index.find("error", SKIP, after=1).lines, [3, 5])
        self.assertEqual(index.find("(b)", SKIP).lines, [3])
        self.assertEqual(index.find("nothing", SKIP).lines, [])

    def test_find_in_a_line_that_goes_on(self) -> None:
        """A line that was not complete is looked at once more, unless it was found."""
        index = self.index(b"one\nconnecting ... ")
        found = index.find("error", SKIP)
        self.assertEqual((found.lines, found.through), ([], 1))
        index = self.index(b"one\nconnecting ... error")
        found = index.find("error", SKIP, found.through)
        self.assertEqual((found.lines, found.through), ([2], 2))

    def test_find_far_away(self) -> None:
        """A text is found wherever it lies, across the borders of what is read at once."""
        filler = b"y" * 99 + b"\n"
        data = filler * 30_000 + b"needle\n" + filler * 30_000 + b"needle"
        index = self.index(data)
        self.assertEqual(index.find("needle", SKIP).lines, [30_001, 60_002])
        self.assertEqual(index.find("needle", SKIP, after=30_001).lines, [60_002])
        found = index.find("y", SKIP)
        self.assertTrue(found.more)
        self.assertEqual(found.lines, list(range(1, found.through + 1)))
        self.assertLess(len(found.lines), 5000)
        self.assertEqual(index.find("y", SKIP, found.through).lines[0], found.through + 1)

    def test_find_in_a_long_line(self) -> None:
        """Nor does a border within one long line hide it."""
        for before in (16 * CHUNK - 3, 16 * CHUNK - 6, 16 * CHUNK):
            index = self.index(b"z" * before + b"needle" + b"z" * CHUNK + b"\nneedle\n")
            self.assertEqual(index.find("needle", SKIP).lines, [1, 2], before)
