"""Sending what is in the outbox: each receiver's queue in order, one thing at a time.

What is about to be told is marked on disk before, and what came of it after:
so a restart knows what may have been heard without our knowing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import deferLater
from twisted.logger import Logger, LogLevel

from integralgit.background import Background, Timers, cancel
from integralgit.deploy.lanes import Lanes, pausing
from integralgit.deploy.run import Patient, Stopping, Waits
from integralgit.journal import outbox
from integralgit.journal.events import Event, Item, ItemState, OutboxChanged, Pause
from integralgit.journal.hub import Hub
from integralgit.journal.store import Store, Transaction
from integralgit.report.answers import DAY, Told, Verdict, judge

log = Logger()

#: Seconds that an answer which is on its way has at the end.
FINISH = 3.0
#: Seconds until a queue that met a fault of ours is worked on again.
AGAIN = 10.0
#: Seconds until it is seen whether something is due, at most: the clock by which it is may be set.
CLOCK_LOOK = 60.0
#: Requests at the same time, over all receivers.
AT_ONCE = 8


@define
class Line:
    """What a receiver needs besides: the pace of its writes, and a memory."""

    pace: Callable[[], Awaitable[None]]
    #: Remember on disk what the receiver calls the thing.
    give_back: Callable[[str], Awaitable[None]]


class Receiver(Protocol):
    """Somebody who is told things.

    `spacing` is the least time between two things told, in seconds; `secrets`
    must never be repeated. Where `in_order`, nothing passes what fails. The
    `question` is what to look at where it refuses us.
    """

    @property
    def name(self) -> str: ...
    @property
    def spacing(self) -> float: ...
    @property
    def in_order(self) -> bool: ...
    @property
    def secrets(self) -> tuple[str, ...]: ...
    @property
    def question(self) -> str: ...
    async def tell(self, item: Item, line: Line) -> Told: ...


def without(text: str, secrets: Sequence[str]) -> str:
    """The text with every secret struck out, the longest first, for one may be a part of another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


@define(eq=False, slots=False)
class Outbox(Service):
    """Tells every receiver what waits for it; `chance` gives numbers from 0 to 1, for jitter."""

    _reactor: Any
    _store: Store
    _hub: Hub
    _receivers: Mapping[str, Receiver]
    _now: Callable[[], float]
    _chance: Callable[[], float]
    _background: Background = field(factory=Background, init=False)
    _lanes: Lanes = field(init=False)
    _timers: Timers = field(init=False)
    _wrote: dict[str, float] = field(factory=dict, init=False)
    _asking: set[Deferred[Any]] = field(factory=set, init=False)
    _waits: Waits = field(factory=Waits, init=False)
    _unwatch: Callable[[], None] = field(default=lambda: None, init=False)

    def __attrs_post_init__(self) -> None:
        self._timers, limit = Timers(self._reactor), DeferredSemaphore(AT_ONCE)
        self._lanes = Lanes(self._work, self._background.spawn, limit, pausing(self._reactor))

    def startService(self) -> None:
        super().startService()
        self._unwatch = self._hub.watch(self._heard)
        self._background.spawn(self._recover())

    def stopService(self) -> Deferred[Any]:
        """Tell nothing new; what is on its way has a moment, and is asked about at the next start."""
        super().stopService()
        self._unwatch()
        self._timers.stop()
        self._waits.stop()
        late = self._reactor.callLater(FINISH, self._give_up_asking)

        def drained(result: Any) -> Any:
            cancel(late)
            return result

        return self._background.drain().addBoth(drained)

    def _give_up_asking(self) -> None:
        for asking in list(self._asking):
            asking.cancel()

    def _heard(self, event: Event) -> None:
        if isinstance(event, OutboxChanged):
            self.wake(event.receiver)

    def wake(self, receiver: str) -> None:
        """There may be something to tell that receiver."""
        if self.running:
            self._lanes.wake(receiver)

    async def _recover(self) -> None:
        """Go on where the server before us stopped; give up what nobody is there for any more.

        What a person had to mend may be mended now, and is tried at once.
        """

        def work(tx: Transaction) -> list[str]:
            outbox.try_mended(tx)
            return outbox.receivers_waited_for(tx)

        try:
            names = await Patient(self._store, self._sleep).write(work)
        except Stopping:
            return
        for name in names:
            if name in self._receivers:
                self.wake(name)
                continue
            await self._give_up(name, "the settings do not name this receiver any more")

    async def _sleep(self, seconds: float) -> None:
        await self._waits.until(deferLater(self._reactor, seconds, lambda: None))

    async def _give_up(self, name: str, problem: str) -> None:
        now = self._now()
        await self._store.write(lambda tx: outbox.give_up_old(tx, name, now + 1, now, problem))

    async def _work(self, name: str) -> None:
        """Tell a receiver whatever is due; if that meets a fault of ours, once more later."""
        if not self.running or name not in self._receivers:
            return
        try:
            while self.running and await self._tell_next(self._receivers[name]):
                pass
        except Stopping:
            pass
        except Exception:
            log.failure("the outbox for {receiver} met a fault", receiver=name)
            self._later(name, AGAIN)

    def _later(self, name: str, delay: float) -> None:
        if self.running:
            self._timers.call(name, delay, self.wake)

    async def _tell_next(self, receiver: Receiver) -> bool:
        """Tell a receiver the next thing; False where nothing is due, and a timer set."""
        name, now = receiver.name, self._now()
        item, when = await self._store.read(lambda tx: outbox.next_for(tx, name, now))
        if item is None:
            if when is not None:
                self._later(name, min(max(0.05, when - now), CLOCK_LOOK))
            return False
        number = item.id
        await self._pace(receiver)
        item = await self._store.write(lambda tx: outbox.begin(tx, number))
        if item is None:
            return True
        told = await self._ask(receiver, item)
        if told is None:
            return False

        def strike(text: str) -> str:
            return without(text, receiver.secrets)

        order, question = receiver.in_order, receiver.question
        verdict = judge(told, item, self._now(), self._chance(), order, strike, question)
        if verdict.problem is not None:
            log.emit(
                LogLevel.warn if verdict.to_mend else LogLevel.info,
                "{receiver} was not told {subject}: {problem}",
                receiver=name,
                subject=item.subject,
                problem=strike(verdict.problem),
            )
        await self._record(receiver, item, verdict)
        return True

    async def _ask(self, receiver: Receiver, item: Item) -> Told | None:
        """What the receiver answers; None where the server stops before it does."""

        async def pace() -> None:
            await self._pace(receiver)
            self._wrote[receiver.name] = self._reactor.seconds()

        async def give_back(name: str) -> None:
            await self._store.write(lambda tx: outbox.give_back(tx, item.id, name))

        asking = Deferred.fromCoroutine(receiver.tell(item, Line(pace, give_back)))
        self._asking.add(asking)
        try:
            return await asking
        except Exception:
            if not self.running:
                return None
            raise
        finally:
            self._asking.discard(asking)

    async def _pace(self, receiver: Receiver) -> None:
        """Wait until the receiver may be written to again."""
        now = self._reactor.seconds()
        wait = self._wrote.get(receiver.name, float("-inf")) + receiver.spacing - now
        if wait > 0:
            await self._sleep(wait)

    async def _record(self, receiver: Receiver, item: Item, verdict: Verdict) -> None:
        now, name = self._now(), receiver.name
        problem = without(verdict.problem or "", receiver.secrets) or None

        def work(tx: Transaction) -> None:
            if verdict.pause > now:
                why = problem or "asked to wait"
                outbox.pause(tx, Pause(name, verdict.pause, why, verdict.to_mend), now)
                outbox.give_up_old(
                    tx, name, now - DAY, now, f"{problem or 'no answer'}; given up after a day"
                )
            if verdict.state is ItemState.WAITING:
                outbox.postpone(
                    tx,
                    item,
                    verdict.at,
                    now,
                    problem or "",
                    doubt=verdict.doubt,
                    to_mend=verdict.to_mend,
                )
            else:
                outbox.finish(tx, item, verdict.state, now, problem)

        await self._store.write(work)
