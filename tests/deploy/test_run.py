"""Tests of writing what must not be lost, while the database cannot be written."""

from __future__ import annotations

import sqlite3
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.run import AGAIN, Patient, Stopping, Waits
from integralgit.journal.store import Store, Work
from integralgit.testing import MemoryStore


def full() -> sqlite3.Error:
    """What SQLite raises on a full disk."""
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


@define
class Failing:
    """A store that raises, and after that does what is asked of it."""

    store: Store
    errors: list[Exception]
    tries: int = field(default=0, init=False)

    def write(self, work: Work[Any], *, durable: bool) -> Deferred[Any]:
        self.tries += 1
        if self.errors:
            return fail(self.errors.pop(0))
        return self.store.write(work, durable=durable)


class Writing(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.waits = Clock(), Waits()

    def write(self, *errors: Exception) -> Deferred[int]:
        """Write something to a store that fails so often."""
        self.store = Failing(MemoryStore().store, list(errors))

        def sleep(seconds: float) -> Deferred[None]:
            return self.waits.until(deferLater(self.clock, seconds, lambda: None))

        return Deferred.fromCoroutine(Patient(cast(Store, self.store), sleep).write(lambda tx: 7))

    def test_at_once(self) -> None:
        """Where nothing is wrong, nothing waits."""
        self.assertEqual(self.successResultOf(self.write()), 7)

    def test_as_long_as_it_takes(self) -> None:
        """A full disk is waited for, ever again."""
        written = self.write(*(full() for _ in range(10)))
        for delay in (*AGAIN, *AGAIN[-1:] * 6):
            self.assertNoResult(written)
            self.clock.advance(delay)
        self.assertEqual(self.successResultOf(written), 7)
        self.assertEqual(self.store.tries, 11)

    def test_what_does_not_pass(self) -> None:
        """A fault of the work itself is not waited for."""
        for error in (LookupError("no"), sqlite3.IntegrityError("no"), sqlite3.OperationalError()):
            self.failureResultOf(self.write(error), type(error))

    def test_the_end_of_the_server(self) -> None:
        """A wait ends with the server."""
        written = self.write(full())
        self.waits.stop()
        self.failureResultOf(written, Stopping)
