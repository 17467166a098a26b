"""The lines of a log: which number is where, without keeping or reading the whole file.

An index remembers, about every 64 kB, which line begins there and whatever
else its reader carries from line to line, so that any line is found with one
small read, and an index that has grown old only reads what is new. Reading is
meant for a thread.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from attrs import define, field, frozen

from integralgit.journal.logs import CHUNK, Logs

S = TypeVar("S")

#: The most of one line that is given, in bytes; of a progress line that is its end.
LONGEST = 16 * 1024
#: The most lines that one search gives.
MOST_FOUND = 1000


@frozen
class Line(Generic[S]):
    """A line, counted from 1: where it begins in the log, its bytes without the line break.

    `before` is what the reader carried into it; `left_out` are the bytes that
    were too many.
    """

    number: int
    offset: int
    data: bytes
    before: S
    left_out: int = 0


@frozen
class _Mark(Generic[S]):
    line: int
    offset: int
    carried: S


@define
class LineIndex(Generic[S]):
    """The index of one deploy's log; `carry` folds what a reader carries over a piece of it."""

    _logs: Logs
    _deploy: int
    _start: S
    _carry: Callable[[S, bytes], S]
    #: Line breaks so far, and the size up to which they were counted.
    breaks: int = field(default=0, init=False)
    size: int = field(default=0, init=False)
    #: Where the last line begins that has begun.
    last: int = field(default=0, init=False)
    _marks: list[_Mark[S]] = field(init=False)
    _carried: S = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._marks = [_Mark(1, 0, self._start)]
        self._carried = self._start

    @property
    def total(self) -> int:
        """How many lines there are, one that has no line break yet among them."""
        return self.breaks + (self.size > self.last)

    def grow(self, until: int, most: int = 64 * CHUNK) -> bool:
        """Index more of the log, up to `until`; False where that was cut short after `most` bytes."""
        end = min(until, self.size + most)
        while self.size < end:
            piece = self._logs.read(self._deploy, self.size, end)
            if not piece:
                break
            newest = piece.rfind(b"\n") + 1
            self._carried = self._carry(self._carried, piece[:newest] if newest else piece)
            self.breaks += piece.count(b"\n")
            if newest:
                self.last = self.size + newest
                self._marks.append(_Mark(self.breaks + 1, self.last, self._carried))
                self._carried = self._carry(self._carried, piece[newest:])
            self.size += len(piece)
        return self.size >= until

    def line_at(self, offset: int) -> int:
        """The number of the line to which the byte at an offset belongs."""
        mark = self._marks[bisect_right(self._marks, offset, key=lambda one: one.offset) - 1]
        number, position, end = mark.line, mark.offset, min(offset, self.size)
        while position < end and (piece := self._logs.read(self._deploy, position, end)):
            number += piece.count(b"\n")
            position += len(piece)
        return number

    def lines(self, first: int, last: int) -> list[Line[S]]:
        """The lines of those numbers that there are, within the indexed part."""
        mark = self._marks[bisect_right(self._marks, first, key=lambda one: one.line) - 1]
        found = []
        for line in self._from(mark):
            if line.number > last:
                break
            if line.number >= first:
                found.append(line)
        return found

    def _from(self, mark: _Mark[S]) -> Iterator[Line[S]]:
        """The lines from a mark on."""
        number, begin, carried = mark.line, mark.offset, mark.carried
        head, rest, length = b"", b"", 0
        position = begin
        while position < self.size:
            piece = self._logs.read(self._deploy, position, self.size)
            if not piece:
                break
            position += len(piece)
            *complete, open_ = piece.split(b"\n")
            for part in complete:
                yield self._line(number, begin, head, rest + part, length + len(part), carried)
                carried = self._carry(carried, head + rest + part)
                begin += length + len(part) + 1
                number, head, rest, length = number + 1, b"", b"", 0
            length += len(open_)
            if len(head) < LONGEST:
                taken = LONGEST - len(head)
                head, open_ = head + open_[:taken], open_[taken:]
            rest = (rest + open_)[-LONGEST:]
        if length:
            yield self._line(number, begin, head, rest, length, carried)

    @staticmethod
    def _line(
        number: int, begin: int, head: bytes, rest: bytes, length: int, carried: S
    ) -> Line[S]:
        whole = head + rest
        if len(whole) == length <= LONGEST:
            return Line(number, begin, whole, carried)
        tail = whole[-LONGEST:]
        rewritten = tail.rstrip(b"\r").find(b"\r")
        data = tail[rewritten + 1 :] if rewritten >= 0 else whole[:LONGEST]
        return Line(number, begin, data, carried, length - len(data))

    def find(self, text: str, skip: re.Pattern[bytes], after: int = 0) -> list[int]:
        """The numbers of the lines after one that hold a text, without regard to (ASCII) case.

        What `skip` matches is not looked at. At most `MOST_FOUND`.
        """
        wanted = re.compile(re.escape(text.encode("utf-8", "surrogateescape")), re.IGNORECASE)
        found: list[int] = []
        mark = self._marks[bisect_right(self._marks, after + 1, key=lambda one: one.line) - 1]
        number, position, rest = mark.line, mark.offset, b""
        while position < self.size and len(found) < MOST_FOUND:
            piece = self._logs.read(self._deploy, position, self.size, 16 * CHUNK)
            if not piece:
                break
            position += len(piece)
            piece = rest + piece
            newest = piece.rfind(b"\n") + 1
            if position >= self.size:
                newest = len(piece)
            elif not newest:
                # One long line: its end is joined with what follows, so that nothing is cut in two.
                newest = max(0, len(piece) - len(text) * 4)
            block, rest = piece[:newest], piece[newest:]
            plain = skip.sub(b"", block) if b"\x1b" in block else block
            counted = 0
            for hit in wanted.finditer(plain):
                number += plain.count(b"\n", counted, hit.start())
                counted = hit.start()
                if number > after and found[-1:] != [number]:
                    found.append(number)
            number += plain.count(b"\n", counted)
        return found[:MOST_FOUND]
