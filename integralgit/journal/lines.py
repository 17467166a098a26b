"""The lines of a log: which number is where, without keeping or reading the whole file.

An index remembers, about every 64 kB, which line begins there and whatever
else its reader carries from line to line, so that any line is found with one
small read, and an index that has grown old only reads what is new. Reading is
meant for a thread.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec
from attrs import define, field, frozen

from integralgit.journal.logs import CHUNK, Logs

S = TypeVar("S")

#: The most of one line that is given, in bytes; of a progress line that is its end.
LONGEST = 16 * 1024
#: The most lines that one search gives, and the seconds that it may take.
MOST_FOUND, SEARCH = 1000, 2.0
#: More than anything that is carried is long, in bytes.
_KEPT = 256


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


class Matches(msgspec.Struct, frozen=True):
    """The numbers of lines that were found, up to which line was looked, and whether more follow."""

    lines: list[int]
    through: int
    more: bool


@define
class LineIndex(Generic[S]):
    """The index of one deploy's log; `carry` folds what a reader carries over a piece of it."""

    _logs: Logs
    _deploy: int
    _start: S
    _carry: Callable[[S, bytes], S]
    #: Line breaks so far, and the size up to which they were counted.
    breaks: int = field(init=False)
    size: int = field(init=False)
    #: Where the last line begins that has begun.
    last: int = field(init=False)
    _marks: list[_Mark[S]] = field(init=False)
    _carried: S = field(init=False)
    #: What of the line that is not complete yet has not been carried.
    _tail: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.breaks = self.size = self.last = 0
        self._marks = [_Mark(1, 0, self._start)]
        self._carried, self._tail = self._start, b""

    @property
    def total(self) -> int:
        """How many lines there are, one that has no line break yet among them."""
        return self.breaks + (self.size > self.last)

    def grow(self, until: int, most: int = 64 * CHUNK) -> bool:
        """Index more of the log, up to `until`; False where that was cut short after `most` bytes.

        One that is shorter than before was emptied by its script, and is indexed anew.
        """
        if until < self.size:
            self._begin()
        end = min(until, self.size + most)
        while self.size < end:
            piece = self._logs.read(self._deploy, self.size, end)
            if not piece:
                break
            # From a line's beginning, so that nothing that is carried is cut in two.
            tail = self._tail + piece
            whole = tail.rfind(b"\n") + 1
            self._carried = self._carry(self._carried, tail[:whole])
            self._tail = tail[whole:]
            self.breaks += piece.count(b"\n")
            if whole:
                self.last = self.size + len(piece) - len(self._tail)
                self._marks.append(_Mark(self.breaks + 1, self.last, self._carried))
            elif len(self._tail) > CHUNK:
                most_of_it, self._tail = self._tail[:-_KEPT], self._tail[-_KEPT:]
                self._carried = self._carry(self._carried, most_of_it)
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

    def lines(self, first: int, last: int, most: int = 1 << 40) -> list[Line[S]]:
        """The lines of those numbers that there are, within the indexed part.

        At least one of them, and no more than so many bytes of the others.
        """
        mark = self._marks[bisect_right(self._marks, first, key=lambda one: one.line) - 1]
        found: list[Line[S]] = []
        for line in self._from(mark):
            most -= len(line.data) if line.number >= first else 0
            if line.number > last or (found and most < 0):
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

    def find(self, text: str, skip: re.Pattern[bytes], after: int = 0) -> Matches:
        """The lines after one that hold a text, without regard to (ASCII) case.

        What `skip` matches is not looked at. A search that takes long, or
        finds much, ends early and says up to where.
        """
        wanted = text.encode("utf-8", "surrogateescape").lower()
        found: list[int] = []
        mark = self._marks[bisect_right(self._marks, after + 1, key=lambda one: one.line) - 1]
        number, position, rest = mark.line, mark.offset, b""
        # It may grow meanwhile, and the last line of now, too: that is looked at again.
        size, complete = self.size, self.breaks
        deadline = time.monotonic() + SEARCH
        while position < size:
            if len(found) >= MOST_FOUND or time.monotonic() > deadline:
                return Matches(found, max(after, number - 1), more=True)
            piece = self._logs.read(self._deploy, position, size)
            if not piece:
                break
            position += len(piece)
            piece = rest + piece
            whole = piece.rfind(b"\n") + 1
            if position >= size:
                whole = len(piece)
            elif not whole:
                # One long line: its end is joined with what follows, so that nothing is cut in two.
                whole = max(0, len(piece) - len(wanted) - _KEPT)
            block, rest = piece[:whole], piece[whole:]
            plain = (skip.sub(b"", block) if b"\x1b" in block else block).lower()
            counted = 0
            while (hit := plain.find(wanted, counted)) >= 0:
                number += plain.count(b"\n", counted, hit)
                if number > after and found[-1:] != [number]:
                    found.append(number)
                line_end = plain.find(b"\n", hit)
                counted = line_end if line_end >= 0 else len(plain)
            number += plain.count(b"\n", counted)
        return Matches(found, max([after, complete, *found[-1:]]), more=False)
