"""Looks at configs that pushes wait for: at a pace in a storm, and once more where one failed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from typing import Any

from attrs import define, field
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from integralgit.background import Timers
from integralgit.deploy.configs import Looks
from integralgit.deploy.lanes import Lanes, pausing
from integralgit.deploy.settle import give_up, settle
from integralgit.journal import deliveries, queue
from integralgit.journal.store import Store, may_pass
from integralgit.location.git import GitError
from integralgit.names import parse_repository

log = Logger()

#: Seconds between looks at the config of one repository in a storm; all that wait share one.
APART = 1.0
#: How many looks may come at once before that.
AT_ONCE = 10
#: Seconds until a look that failed is tried again, if a push depends on it.
AGAIN = 60.0
#: Seconds until one that met a fault of ours, or of the disk, is tried again.
AFTER_FAULT = 10.0


@define
class FreshLooks:
    """Reads configs afresh, and decides what waited for that; `wake` is told where something waits then.

    `spawn` starts a coroutine in the background. Nothing is looked at before
    `begin`, nor after `stop`.
    """

    _reactor: Any
    _store: Store
    _looks: Looks
    _host_names: tuple[str, ...]
    _now: Callable[[], float]
    _wake: Callable[[str], None]
    _spawn: Callable[[Coroutine[Any, Any, None]], object]
    _at_once: DeferredSemaphore
    _lanes: Lanes = field(init=False)
    _timers: Timers = field(init=False)
    _is_open: bool = field(default=False, init=False)
    #: Until when the looks at a repository's config are used up, had they come at their pace.
    _used: dict[str, float] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._timers = Timers(self._reactor)
        self._lanes = Lanes(self._look, self._spawn, self._at_once, pausing(self._reactor))

    def begin(self) -> None:
        """From now on there may be looks."""
        self._is_open = True

    def stop(self) -> None:
        """From now on there are none."""
        self._is_open = False
        self._timers.stop()

    def want(self, identity: str) -> None:
        """A repository's config is to be read afresh.

        In a storm there is only one look in `APART` seconds, once `AT_ONCE`
        are used up, which come back at that pace.
        """
        if not self._is_open:
            return
        now = self._reactor.seconds()
        used_until = max(now, self._used.get(identity, 0.0))
        wait = used_until - now - (AT_ONCE - 1) * APART
        if wait <= 0:
            self._used[identity] = used_until + APART
            self._lanes.wake(identity)
        else:
            self._timers.call(identity, wait, self.want)

    async def _look(self, identity: str) -> None:
        """A look; if that meets a fault, of the disk perhaps, another."""
        try:
            await self._look_once(identity)
        except Exception as error:
            if isinstance(error, OSError) or may_pass(error):
                log.warn("{repo} waits for its config: {error}", repo=identity, error=error)
            else:
                log.failure("a look at {repo} failed; it is tried again", repo=identity)
            if self._is_open:
                self._timers.call(identity, AFTER_FAULT, self.want)

    async def _look_once(self, identity: str) -> None:
        waiting = await self._store.read(lambda tx: queue.unplaced(tx, identity))
        if not self._is_open:
            return
        try:
            record = await self._looks.look(parse_repository(identity))
        except GitError as error:
            await self._failed(identity, [one.id for one in waiting], error)
            return
        names, now = self._host_names, self._now()
        for location in await self._store.write(lambda tx: settle(tx, record, names, now)):
            self._wake(location)

    async def _failed(self, identity: str, waiting: Collection[int], error: GitError) -> None:
        """What waited when the look began fails; what came since then has a look of its own."""
        if not self._is_open:
            return
        reason = f"the config of {identity} could not be read: {error}"
        log.warn("{reason}", reason=reason)
        await self._store.write(lambda tx: give_up(tx, identity, waiting, reason, self._now()))
        if await self._store.read(lambda tx: queue.unplaced(tx, identity)):
            self.want(identity)
        elif await self._store.read(lambda tx: deliveries.pushes_to_look_at(tx, identity)):
            self._timers.call(identity, AGAIN, self.want)
