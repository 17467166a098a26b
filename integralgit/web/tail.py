"""The end of a growing log, looked at once for all pages that follow it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from msgspec.structs import asdict

from integralgit.background import Background
from integralgit.journal.events import DeployChanged, Event, StepChanged
from integralgit.journal.logs import Logs
from integralgit.web.logview import LogView, Rows, Section
from integralgit.web.stream import DeployEvents, Ticker, event

#: The most lines that one event tells of; whoever wants those before them asks.
TOLD = 200


@define(eq=False)
class Tail:
    """One log that pages follow: on a tick, its new lines become one event for all of them.

    `look` reads the deploy's JSON; `sections` gives its parts.
    """

    _deploy: int
    _view: LogView
    _logs: Logs
    _ticker: Ticker
    _background: Background
    _look: Callable[[], Awaitable[dict[str, Any]]]
    _took: Callable[[dict[str, Any]], str]
    _viewers: list[LineEvents] = field(factory=list, init=False)
    _looking: bool = field(default=False, init=False)
    _again: bool = field(default=False, init=False)
    #: The lines that were told of, and the size of the log then.
    _told: int = field(default=0, init=False)
    _size: int = field(default=-1, init=False)
    #: The newest event, how many there were, and whether the deploy had ended by then.
    newest: bytes = field(default=b"", init=False)
    number: int = field(default=0, init=False)
    ended: bool = field(default=False, init=False)

    def join(self, viewer: LineEvents) -> None:
        """Tell a viewer from now on."""
        if not self._viewers:
            self._ticker.add(self, self._ticked, is_viewer=False)
        self._viewers.append(viewer)
        self.look_again()

    def leave(self, viewer: LineEvents) -> None:
        """Tell a viewer no more."""
        if viewer in self._viewers:
            self._viewers.remove(viewer)
            if not self._viewers:
                self._ticker.remove(self)

    def _ticked(self) -> None:
        if not self.ended and self._logs.size(self._deploy) != self._size:
            self.look_again()

    def look_again(self) -> None:
        """Something is new: look as soon as may be."""
        self._again = True
        if not self._looking:
            self._looking = True
            self._background.spawn(self._look_while_wanted())

    async def _look_while_wanted(self) -> None:
        try:
            while self._again and self._viewers:
                self._again = False
                await self._look_once()
                for viewer in list(self._viewers):
                    viewer.pump()
        finally:
            self._looking = False

    async def _look_once(self) -> None:
        deploy = await self._look()
        sections = await self._view.sections(deploy, self._took)
        total = await self._view.total(deploy)
        # The last line may have grown since it was told.
        first = max(1, total - TOLD + 1, min(self._told, total))
        rows = await self._view.rows(deploy, first, first + TOLD)
        self.newest = event("lines", told(rows, sections))
        self.number += 1
        self._told, self._size = rows.total, rows.size
        self.ended = deploy["finished_at"] is not None


def told(rows: Rows, sections: list[Section]) -> dict[str, Any]:
    """Rows and sections of a log as JSON, for a page."""
    return {
        "first": rows.first,
        "last": rows.last,
        "total": rows.total,
        "html": rows.html,
        "sections": [asdict(section) for section in sections],
    }


@define(eq=False)
class LineEvents(DeployEvents):
    """A deploy with the lines of its log as rows of a page; a slow viewer misses some, and asks."""

    _tail: Tail
    _seen: int = field(default=0, init=False)

    def open(self) -> None:
        super().open()
        self._tail.join(self)

    def _heard(self, event: Event) -> None:
        super()._heard(event)
        if isinstance(event, DeployChanged | StepChanged) and event.deploy == self._deploy:
            self._tail.look_again()

    def _pump(self) -> None:
        if self.ready and self._tail.number > self._seen:
            self._seen = self._tail.number
            self.write(self._tail.newest)
        if self.ready and self._ended and self._tail.ended and self._seen == self._tail.number:
            self.write(event("end", {}))
            self.finish()

    def _closed(self, _: object) -> None:
        self._tail.leave(self)
        super()._closed(_)

    def finish(self) -> None:
        self._tail.leave(self)
        super().finish()
