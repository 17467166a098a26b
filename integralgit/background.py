"""Coroutines that nobody waits for: tracked, their failures logged, drained at the end."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()


@define
class Background:
    """The coroutines that were started here and have not ended."""

    _running: set[Deferred[Any]] = field(factory=set, init=False)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a coroutine; what it raises is logged as a fault of ours."""
        running = Deferred.fromCoroutine(work)
        self._running.add(running)

        def ended(result: object) -> None:
            self._running.discard(running)
            if isinstance(result, Failure):
                log.failure("work in the background failed", failure=result)

        running.addBoth(ended)

    def drain(self) -> Deferred[Any]:
        """Fires when all that were started until now have ended."""
        return DeferredList(list(self._running))
