"""Work beside the way of a request: coroutines that nobody waits for, drained at the end; and calls made later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()
T = TypeVar("T")
#: Calls a function in a thread, for what it may wait for, and gives what it gives.
InThread = Callable[..., Awaitable[Any]]


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

    def shield(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """The result of a coroutine that runs to its end, whatever becomes of who waits for it."""
        result: Deferred[T] = Deferred()

        async def run() -> None:
            try:
                done = await work
            except Exception:
                if result.called:
                    raise
                result.errback(Failure())
            else:
                if not result.called:
                    result.callback(done)

        self.spawn(run())
        return result

    def drain(self) -> Deferred[Any]:
        """Fires when all that were started until now have ended."""
        return DeferredList(list(self._running))


def cancel(timer: IDelayedCall | None) -> None:
    """Cancel a delayed call that may be over, or never have been."""
    if timer is not None and timer.active():
        timer.cancel()


@define
class Timers:
    """Calls that are made later, one for each key; `reactor` has the clock."""

    _reactor: Any
    _timers: dict[str, IDelayedCall] = field(factory=dict, init=False)

    def call(self, key: str, delay: float, what: Callable[[str], object]) -> None:
        """Call `what` with the key in so many seconds, in place of an earlier such call."""
        cancel(self._timers.get(key))
        self._timers[key] = self._reactor.callLater(delay, what, key)

    def stop(self) -> None:
        """None of them is made any more."""
        for timer in self._timers.values():
            cancel(timer)
