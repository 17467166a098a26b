"""Requests that were refused: counted, the newest kept, bounded, and seldom written."""

from __future__ import annotations

import sqlite3
from typing import cast

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from integralgit.journal.events import Refusal
from integralgit.journal.refusals import (
    INTERVAL,
    NEWEST,
    OTHERS,
    TOLD_APART,
    Refusals,
    counts,
    newest,
)
from integralgit.journal.store import Store, Work
from integralgit.testing import MemoryStore

WRONG, LARGE = "no secret proves this", "The body is too large."
HERE, THERE = "203.0.113.7", "203.0.113.9"


@define
class CountingStore:
    """The store, which counts how often it is written to; or fails to."""

    store: Store
    writes: int = field(default=0, init=False)
    fault: Exception | None = field(default=None, init=False)

    def write(self, work: Work[None]) -> Deferred[None]:
        self.writes += 1
        return self.store.write(work) if self.fault is None else fail(self.fault)


class RefusalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = MemoryStore()
        self.clock = Clock()
        self.store = CountingStore(self.memory.store)
        self.refusals = self.service()

    def service(self) -> Refusals:
        """The service, as after a start."""
        made = Refusals(self.clock, cast(Store, self.store), self.clock.seconds)
        made.startService()
        return made

    def counted(self) -> list[Refusal]:
        """The counts in the archive."""
        return self.successResultOf(self.memory.store.read(counts))

    def newest(self) -> list[Refusal]:
        """The single refusals in the archive."""
        return self.successResultOf(self.memory.store.read(newest))

    def pass_interval(self) -> None:
        self.clock.advance(INTERVAL)

    def test_by_cause_and_source(self) -> None:
        """Refusals are counted apart by status, cause and source, with the first and last time."""
        self.refusals.add(HERE, 401, WRONG)
        self.clock.advance(0.25)
        self.refusals.add(HERE, 401, WRONG)
        self.refusals.add(THERE, 401, WRONG)
        self.clock.advance(0.25)
        self.refusals.add(HERE, 413, LARGE)
        self.refusals.add(HERE, 503, LARGE)
        self.pass_interval()
        found = {(one.status, one.cause, one.source): one for one in self.counted()}
        self.assertEqual(
            found,
            {
                (401, WRONG, HERE): Refusal(401, WRONG, HERE, 0.0, 0.25, 2),
                (401, WRONG, THERE): Refusal(401, WRONG, THERE, 0.25, 0.25, 1),
                (413, LARGE, HERE): Refusal(413, LARGE, HERE, 0.5, 0.5, 1),
                (503, LARGE, HERE): Refusal(503, LARGE, HERE, 0.5, 0.5, 1),
            },
        )

    def test_counts_go_on(self) -> None:
        """Later ones are added to what was written, also after a restart, the latest first."""
        self.refusals.add(HERE, 401, WRONG)
        self.refusals.add(THERE, 401, WRONG)
        self.clock.advance(5)
        self.successResultOf(self.refusals.stopService())
        again = self.service()
        again.add(HERE, 401, WRONG)
        again.add(HERE, 401, WRONG)
        self.pass_interval()
        self.assertEqual(
            self.counted(),
            [Refusal(401, WRONG, HERE, 0.0, 5.0, 3), Refusal(401, WRONG, THERE, 0.0, 0.0, 1)],
        )

    def test_newest(self) -> None:
        """Single refusals are kept, newest first, with their time."""
        self.refusals.add(HERE, 401, WRONG)
        self.pass_interval()
        self.refusals.add(THERE, 413, LARGE)
        self.pass_interval()
        self.assertEqual(
            self.newest(),
            [
                Refusal(413, LARGE, THERE, INTERVAL, INTERVAL),
                Refusal(401, WRONG, HERE, 0.0, 0.0),
            ],
        )

    def test_only_the_newest_few(self) -> None:
        """Of single refusals only the newest few are kept, in one write and over several."""
        for number in range(NEWEST * 3):
            self.refusals.add(f"10.0.0.{number}", 401, WRONG)
        self.pass_interval()
        self.assertEqual(
            [one.source for one in self.newest()],
            [f"10.0.0.{number}" for number in reversed(range(NEWEST * 2, NEWEST * 3))],
        )
        for number in range(3):
            self.refusals.add(f"10.0.1.{number}", 401, WRONG)
            self.pass_interval()
        self.assertEqual(len(self.newest()), NEWEST)
        self.assertEqual(self.newest()[0].source, "10.0.1.2")

    def test_a_storm_is_bounded(self) -> None:
        """Beyond so many causes and sources the rest is counted together, and none is lost."""
        total = 0
        for wave in range(3):
            for number in range(TOLD_APART + 200):
                self.refusals.add(f"{wave}.{number}", 401, WRONG)
                total += 1
            self.pass_interval()
        found = self.counted()
        self.assertEqual(sum(one.count for one in found), total)
        self.assertLessEqual(len(found), TOLD_APART + 1)
        self.assertEqual(sum(one.source.startswith("2.") for one in found), TOLD_APART)
        others = [one for one in found if one.source == OTHERS]
        self.assertEqual([(one.status, one.cause) for one in others], [(401, OTHERS)])
        self.assertEqual(others[0].first, 0.0)
        self.assertEqual(others[0].last, 2 * INTERVAL)

    def test_the_known_ones_are_counted_in_a_storm(self) -> None:
        """What is told apart already still is when there is no room for others."""
        self.refusals.add(HERE, 401, WRONG)
        for number in range(TOLD_APART * 2):
            self.refusals.add(f"source {number}", 401, WRONG)
        self.pass_interval()
        self.refusals.add(HERE, 401, WRONG)
        self.pass_interval()
        (here,) = [one for one in self.counted() if one.source == HERE]
        self.assertEqual((here.count, here.last), (2, INTERVAL))

    def test_new_ones_are_told_apart(self) -> None:
        """Once there are too many, the one that came last the longest ago makes room for a new one."""
        for number in range(TOLD_APART):
            self.refusals.add(f"source {number:03}", 401, WRONG)
        self.pass_interval()
        self.refusals.add("source 000", 401, WRONG)
        self.pass_interval()
        for source in (HERE, THERE):
            self.refusals.add(source, 401, WRONG)
        self.pass_interval()
        found = {one.source: one.count for one in self.counted()}
        old = {f"source {number:03}": 1 for number in range(1, TOLD_APART - 2)}
        self.assertEqual(found, {HERE: 1, THERE: 1, "source 000": 2, **old, OTHERS: 2})

    def test_long_causes(self) -> None:
        """A cause is cut to a length that can be shown."""
        self.refusals.add(HERE, 400, "x" * 10_000)
        self.pass_interval()
        self.assertEqual([len(one.cause) for one in self.counted()], [300])
        self.assertEqual([len(one.cause) for one in self.newest()], [300])

    def test_written_together(self) -> None:
        """What comes within a second is written at once, at its end, and only if there is any."""
        self.clock.advance(10)
        self.assertEqual(self.store.writes, 0)
        for _ in range(1000):
            self.refusals.add(HERE, 401, WRONG)
            self.clock.advance(INTERVAL / 1001)
        self.assertEqual((self.store.writes, self.counted()), (0, []))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.store.writes, 1)
        self.assertEqual([one.count for one in self.counted()], [1000])
        self.clock.advance(10)
        self.assertEqual(self.store.writes, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.refusals.add(HERE, 401, WRONG)
        self.pass_interval()
        self.assertEqual(self.store.writes, 2)

    def test_stop(self) -> None:
        """At the stop what was collected is written, and the clock has nothing left to do."""
        self.refusals.add(HERE, 401, WRONG)
        self.successResultOf(self.refusals.stopService())
        self.assertEqual([one.count for one in self.counted()], [1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_displaced(self) -> None:
        """A storm of refusals leaves the deliveries alone."""
        for number in range(TOLD_APART * 2):
            self.refusals.add(f"source {number}", 401, WRONG)
        self.pass_interval()
        (stored,) = self.memory.connection.execute("SELECT count(*) FROM deliveries").fetchone()
        self.assertEqual((stored, self.memory.events), (0, []))

    def test_a_disk_that_fails(self) -> None:
        """What cannot be written is lost without harm, and the next is written again."""
        self.store.fault = sqlite3.OperationalError("disk I/O error")
        self.refusals.add(HERE, 401, WRONG)
        self.pass_interval()
        self.assertEqual(self.store.writes, 1)
        self.store.fault = None
        self.refusals.add(THERE, 401, WRONG)
        self.pass_interval()
        self.assertEqual([one.source for one in self.counted()], [THERE])
