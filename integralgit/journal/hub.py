"""Tells whoever watches what has just been written to the archive."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.logger import Logger

from integralgit.journal.events import Event

log = Logger()


@define
class Hub:
    """Watchers by the order in which they came; one that fails does not harm the others."""

    _watchers: dict[object, Callable[[Event], None]] = field(factory=dict, init=False)

    def watch(self, watcher: Callable[[Event], None]) -> Callable[[], None]:
        """Call the watcher with every event from now on; returns the way to stop that."""
        token = object()
        self._watchers[token] = watcher

        def stop() -> None:
            self._watchers.pop(token, None)

        return stop

    def publish(self, event: Event) -> None:
        """Tell all watchers of an event that is on disk."""
        for watcher in list(self._watchers.values()):
            try:
                watcher(event)
            except Exception:
                log.failure("a watcher failed on {event!r}", event=event)
