"""One running deploy's line to the archive: its log, its steps, what it finds out."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain, repeat
from typing import Any, TypeVar, Unpack

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from integralgit.background import cancel
from integralgit.deploy.lanes import Worker
from integralgit.journal import deploys, steps
from integralgit.journal.deploys import Findings
from integralgit.journal.events import Deploy, StepState
from integralgit.journal.logs import Logs, Mark
from integralgit.journal.store import Store, Transaction, Work, may_pass

T = TypeVar("T")
log = Logger()

#: About how many marks a log gets in as much time again as has gone by.
MARKS = 300
#: Seconds that what was found out waits for more of it, for one commit costs as much as another.
SOON = 0.05
#: Seconds between tries to write to a database that cannot be written; the last one for ever.
AGAIN = (1.0, 2.0, 5.0, 10.0)


def heading(step: str) -> str:
    """The line with which a step begins in the log."""
    return f"── {step} ──"


class Stopping(Exception):
    """The server stops, and the wait is over; scripts go on, everything else is queued again."""


@define
class Waits:
    """Waits that end early, with `Stopping`, when the server stops."""

    stopping: bool = field(default=False, init=False)
    _waits: set[Deferred[Any]] = field(factory=set, init=False)

    def until(self, event: Deferred[T]) -> Deferred[T]:
        """The event's result; or `Stopping`, and then the result is for nobody."""
        if self.stopping:
            return fail(Stopping())
        wait: Deferred[T] = Deferred()
        self._waits.add(wait)

        def happened(result: Any) -> None:
            if wait in self._waits:
                self._waits.discard(wait)
                wait.callback(result)

        event.addBoth(happened)
        return wait

    def stop(self) -> None:
        """End all waits, those to come too."""
        self.stopping = True
        while self._waits:
            self._waits.pop().errback(Stopping())


@define
class Marks:
    """Marks of a growing log, which are further apart the longer its script runs."""

    _logs: Logs
    _deploy: int
    _began: float
    _last: Mark = field(default=Mark(0, 0.0), init=False)

    def look(self, size: int, now: float) -> None:
        """The log has that size now."""
        apart = max(1.0, (now - self._began) / MARKS)
        if size > self._last.size and now >= self._last.time + apart - 0.5:
            self._last = Mark(size, now)
            try:
                self._logs.mark(self._deploy, self._last)
            except OSError as error:
                log.warn("the log of deploy {deploy}: {error}", deploy=self._deploy, error=error)


@define
class Patient:
    """Writes what must not be lost: while the database cannot be written, that waits.

    A deploy waits with it, so that it never goes on without what it has found
    out. `sleep` ends with `Stopping` when the server stops.
    """

    _store: Store
    _sleep: Callable[[float], Awaitable[None]]

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """The result of the work, once it is on disk; `durable` as for the store."""
        waited = False
        for delay in chain(AGAIN, repeat(AGAIN[-1])):
            try:
                result = await self._store.write(work, durable=durable)
                break
            except Exception as error:
                if not may_pass(error):
                    raise
                log.warn("the database cannot be written, {error}; it is waited for", error=error)
            waited = True
            await self._sleep(delay)
        if waited:
            log.info("the database can be written again")
        return result


def _in_order(works: Sequence[Work[Any]]) -> Work[None]:
    """Several pieces of work as one."""

    def all_of_them(tx: Transaction) -> None:
        for work in works:
            work(tx)

    return all_of_them


@define
class Run:
    """A deploy while it runs; `log` is a descriptor of its log file that its owner closes.

    `later` calls something after so many seconds, and `worker` is its place among
    those that may run. `cancelled` becomes true when somebody cancels it.
    """

    deploy: Deploy
    log: int
    _archive: Patient
    _logs: Logs
    _now: Callable[[], float]
    _later: Callable[[float, Callable[[], None]], IDelayedCall]
    worker: Worker = field(factory=Worker)
    cancelled: bool = field(init=False)
    _waiting: list[Work[Any]] = field(factory=list, init=False)
    _due: IDelayedCall | None = field(default=None, init=False)
    _writing: Deferred[None] | None = field(default=None, init=False)
    _fault: Exception | None = field(default=None, init=False)
    _put_off: list[Callable[[], Coroutine[Any, Any, None]]] = field(factory=list, init=False)
    _meanwhile: list[Deferred[None]] = field(factory=list, init=False)

    @cancelled.default
    def _was_cancelled(self) -> bool:
        return self.deploy.is_to_end

    def record(self, work: Work[Any]) -> None:
        """Write this, in its order, while the deploy goes on; its script waits for it.

        After a failure of the machine the deploy is done again, from its beginning.
        """
        self._waiting.append(work)
        if self._due is None:
            self._due = self._later(SOON, self.flush)

    def flush(self) -> None:
        """Write what was recorded now, and do not wait for more of it."""
        cancel(self._due)
        self._due = None
        is_writing = self._writing is not None and not self._writing.called
        if self._waiting and not is_writing and self._fault is None:
            self._writing = Deferred.fromCoroutine(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._archive.write(_in_order(batch), durable=False)
        except Exception as error:
            self._fault = error

    async def written(self) -> None:
        """What was recorded is on disk; raises what kept it from that."""
        self.flush()
        await self.flushed()

    async def flushed(self) -> None:
        """What is being written is on disk; raises what kept it from that."""
        if self._writing is not None:
            await self._writing
        if self._fault is not None:
            raise self._fault

    def unwritten(self) -> Work[None]:
        """What was recorded and is not on its way yet, for whoever writes it with the end."""
        cancel(self._due)
        rest, self._waiting, self._due = self._waiting, [], None
        return _in_order(rest)

    def put_off(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do this when the script runs, which it would only delay, or else at the end."""
        self._put_off.append(work)

    def catch_up(self) -> None:
        """Begin with what was put off; the end of the deploy waits for it."""
        begun, self._put_off = self._put_off, []
        self._meanwhile += [Deferred.fromCoroutine(work()) for work in begun]

    async def complete(self) -> None:
        """What was put off is done, and what is on its way is on disk; raises as `written`."""
        self.catch_up()
        while self._meanwhile:
            await self._meanwhile.pop()
        await self.flushed()

    async def leave(self) -> None:
        """All is done and on disk; where a fault has ended the deploy, so that this one says nothing."""
        with suppress(Exception):
            await self.complete()
        with suppress(Exception):
            await self.written()

    def say(self, text: str) -> None:
        """Write lines of ours to the deploy's log."""
        self.tell(f"{text}\n".encode("utf-8", "surrogateescape"))

    def tell(self, data: bytes) -> None:
        """Write to the deploy's log what a child said."""
        try:
            os.write(self.log, data)
        except OSError as error:
            log.warn("the log of deploy {deploy}: {error}", deploy=self.deploy.id, error=error)

    def note(self, **found: Unpack[Findings]) -> None:
        """Record what was found out."""
        self.record(lambda tx: deploys.note(tx, self.deploy.id, **found))

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """A step around what it encloses; it fails with the exception that passes through it."""
        start, now = os.fstat(self.log).st_size, self._now()
        self.record(lambda tx: steps.begin(tx, self.deploy.id, name, now, start))
        self.say(heading(name))
        try:
            yield
        except Stopping:
            raise
        except Exception as error:
            self._end_step(name, StepState.FAILED, str(error))
            raise
        self._end_step(name, StepState.SUCCEEDED, "")

    def _end_step(self, name: str, state: StepState, detail: str) -> None:
        now = self._now()
        self.record(lambda tx: steps.end(tx, self.deploy.id, name, state, now, detail))
