"""Logs as pages show them: numbered lines, in the sections of their steps, with times.

Of a deploy that runs, one look at its log serves all who watch it; of a long
one only the lines are read that somebody sees.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from attrs import define, field
from twisted.internet.defer import DeferredLock

from integralgit.background import Background, InThread
from integralgit.journal.lines import Line, LineIndex, Matches
from integralgit.journal.logs import Logs, Mark
from integralgit.web.ansi import ESCAPES, PLAIN, Style, render, style_after

Json = dict[str, Any]
T = TypeVar("T")

#: The most lines in one answer, and in one page without JavaScript.
MOST_LINES, PAGE_LINES = 1000, 400
#: The most bytes of a log in one answer, but for its first line.
MOST_BYTES = 256 * 1024
#: How many logs are remembered by their lines.
_REMEMBERED = 64


class Section(msgspec.Struct, frozen=True):
    """The lines of one step; `name` is empty for what stands before the first."""

    name: str
    state: str
    first: int
    last: int
    took: str


class Rows(msgspec.Struct, frozen=True):
    """Lines as rows of HTML, of `total` lines that there are; `size` is that of the log, in bytes."""

    first: int
    last: int
    total: int
    size: int
    html: str


def clock(seconds: float) -> str:
    """Seconds since the start as a clock shows them: 0:07, 12:34, 1:02:03."""
    minutes, second = divmod(int(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def _seconds(moment: str | None) -> float | None:
    return None if moment is None else datetime.fromisoformat(moment).timestamp()


class Times(msgspec.Struct, frozen=True):
    """When what was printed, as far as the marks of a log tell; `start` is the deploy's own."""

    start: float
    marks: tuple[Mark, ...]

    @classmethod
    def of(cls, deploy: Json, marks: Sequence[Mark]) -> Times:
        """The times of a deploy's log: its marks, the starts of its steps, and its end."""
        steps = [(step["log_offset"], _seconds(step["started_at"])) for step in deploy["steps"]]
        ends = [(deploy["log_size"] or 0, _seconds(deploy["finished_at"]))]
        known = [Mark(size, time) for size, time in [*steps, *ends] if time is not None]
        start = _seconds(deploy["started_at"]) or 0.0
        ordered = sorted([*marks, *known], key=lambda mark: (mark.size, mark.time))
        return cls(start, tuple(mark for mark in ordered if mark.time >= start))

    def at(self, offset: int) -> str:
        """When the byte at an offset was printed at the latest, or nothing where no mark says."""
        index = bisect_right(self.marks, offset, key=lambda mark: mark.size)
        return clock(self.marks[index].time - self.start) if index < len(self.marks) else ""


def rows(lines: Sequence[Line[Style]], times: Times) -> Iterator[str]:
    """The lines as rows; a time stands where it changes."""
    for line in lines:
        at = times.at(line.offset)
        told = f"<i>{at}</i>" if line.offset == 0 or at != times.at(line.offset - 1) else ""
        cut = f'<i class="cut">… {line.left_out} more bytes</i>' if line.left_out else ""
        number = line.number
        yield (
            f'<div class="l" id="L{number}"><a href="#L{number}" tabindex="-1">{number}</a>{told}'
            f"<span>{render(line.data, line.before)}{cut}</span></div>\n"
        )


@define
class LogView:
    """The log of one deploy by its lines."""

    _index: LineIndex[Style]
    _logs: Logs
    _deploy: int
    _in_thread: InThread
    _background: Background
    _lock: DeferredLock = field(factory=DeferredLock, init=False)

    async def _grown(self, size: int, work: Callable[[], T]) -> T:
        """What `work` gives, in a thread, once the index knows the log up to that size.

        To its end, also if nobody waits for it any more: an index is for one
        thread at a time.
        """
        return await self._background.shield(self._do(size, work))

    async def _do(self, size: int, work: Callable[[], T]) -> T:
        await self._lock.acquire()
        try:
            # In parts, so that no thread is held for long by one log.
            while not await self._in_thread(self._index.grow, size):
                if self._logs.size(self._deploy) <= self._index.size:
                    break
            done: T = await self._in_thread(work)
            return done
        finally:
            self._lock.release()

    async def rows(self, deploy: Json, first: int, last: int) -> Rows:
        """Some of the lines of a deploy's log; `deploy` is its JSON."""

        def work() -> Rows:
            lines = self._index.lines(first, min(last, first + MOST_LINES - 1), MOST_BYTES)
            times = Times.of(deploy, self._logs.marks(self._deploy))
            return Rows(
                first,
                lines[-1].number if lines else first - 1,
                self._index.total,
                self._index.size,
                "".join(rows(lines, times)),
            )

        return await self._grown(deploy["log_size"] or 0, work)

    async def total(self, deploy: Json) -> int:
        """How many lines there are."""
        return await self._grown(deploy["log_size"] or 0, lambda: self._index.total)

    async def find(self, deploy: Json, text: str, after: int) -> Matches:
        """The lines after one that hold a text; others may look at the log meanwhile."""
        await self.total(deploy)
        found: Matches = await self._in_thread(self._index.find, text, ESCAPES, after)
        return found

    async def sections(self, deploy: Json, took: Callable[[Json], str]) -> list[Section]:
        """The parts of the log that belong to its steps, and what stands before them."""
        steps = deploy["steps"]

        def work() -> list[Section]:
            starts = [self._index.line_at(step["log_offset"]) for step in steps]
            ends = [*(start - 1 for start in starts[1:]), self._index.total]
            found = (
                [
                    Section(step["name"], step["state"], start, end, took(step))
                    for step, start, end in zip(steps, starts, ends, strict=True)
                ]
                if steps
                else []
            )
            before = starts[0] - 1 if starts else self._index.total
            return [Section("", "", 1, before, ""), *found] if before else found

        return await self._grown(deploy["log_size"] or 0, work)


@define
class LogViews:
    """The logs that somebody has looked at lately."""

    _logs: Logs
    _in_thread: InThread
    _background: Background
    _views: OrderedDict[int, LogView] = field(factory=OrderedDict, init=False)

    def of(self, deploy: int) -> LogView:
        """The log of a deploy."""
        if deploy not in self._views:
            index = LineIndex(self._logs, deploy, PLAIN, style_after)
            self._views[deploy] = LogView(
                index, self._logs, deploy, self._in_thread, self._background
            )
        self._views.move_to_end(deploy)
        while len(self._views) > _REMEMBERED:
            self._views.popitem(last=False)
        return self._views[deploy]
