"""One piece of work at a time per key, and at most one more that waits.

Built on `DeferredLock`. Whoever waits takes the newest from the queue on disk
when its turn comes, so a second waiter would find nothing to do. A turn that
had to wait lets the reactor run once, or a long row of turns that end at once
would reach the recursion limit and wedge the lock for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore, succeed
from twisted.internet.task import deferLater


def pausing(reactor: Any) -> Callable[[], Deferred[None]]:
    """What waits until that reactor has run once."""
    return lambda: deferLater(reactor, 0, lambda: None)


@frozen
class Worker:
    """The place that some work has among those that may run at the same time; or work that needs none.

    `give_way` leaves it to others, for work that only waits. What `come_back`
    gives fires when there is a place again; whoever waits no longer cancels it.
    """

    give_way: Callable[[], None] = lambda: None
    come_back: Callable[[], Deferred[None]] = lambda: succeed(None)


@define
class _Lane:
    lock: DeferredLock = field(factory=DeferredLock)
    waiting: bool = False
    #: Whether it has one of the places that the limit allows.
    has_place: bool = False


@define
class Lanes:
    """Calls `work(key)` for every key that is woken, one call at a time per key.

    `spawn` starts a coroutine in the background, and `pause` waits until the
    reactor has run once. `limit` bounds the calls at the same time over all
    keys, but for those that have given way. A key that is woken while its work
    runs is worked on once more afterwards, however often it was woken.
    """

    _work: Callable[[str], Awaitable[None]]
    _spawn: Callable[[Coroutine[Any, Any, None]], object]
    _limit: DeferredSemaphore
    _pause: Callable[[], Awaitable[None]]
    _lanes: dict[str, _Lane] = field(factory=dict, init=False)

    def wake(self, key: str) -> None:
        """There is something to do for the key."""
        lane = self._lanes.setdefault(key, _Lane())
        if not lane.waiting:
            lane.waiting = True
            self._spawn(self._turn(key, lane))

    def is_idle(self, key: str) -> bool:
        """Whether work for the key would begin at once."""
        return key not in self._lanes and self._limit.tokens > 0

    def worker(self, key: str) -> Worker:
        """The place of the work that runs for the key."""
        lane = self._lanes[key]
        return Worker(partial(self._give_way, lane), partial(self._come_back, lane))

    def _come_back(self, lane: _Lane) -> Deferred[None]:
        if lane.has_place:
            return succeed(None)

        def is_there(_: object) -> None:
            lane.has_place = True

        return self._limit.acquire().addCallback(is_there)

    def _give_way(self, lane: _Lane) -> None:
        if lane.has_place:
            lane.has_place = False
            self._limit.release()

    def follow(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do this for the key next, whatever the limit: it is something that runs already."""
        self._spawn(self._follow(key, self._lanes.setdefault(key, _Lane()), work))

    async def _follow(self, key: str, lane: _Lane, work: Callable[[], Awaitable[None]]) -> None:
        await lane.lock.acquire()
        try:
            await self._pause()
            await work()
        finally:
            self._leave(key, lane)

    async def _turn(self, key: str, lane: _Lane) -> None:
        has_to_wait = lane.lock.locked or not self._limit.tokens
        await lane.lock.acquire()
        try:
            await self._limit.acquire()
            lane.has_place = True
            try:
                if has_to_wait:
                    await self._pause()
                lane.waiting = False
                await self._work(key)
            finally:
                self._give_way(lane)
        finally:
            self._leave(key, lane)

    def _leave(self, key: str, lane: _Lane) -> None:
        lane.lock.release()
        if not lane.waiting and not lane.lock.locked:
            self._lanes.pop(key, None)
