"""Tests of one piece of work at a time per key."""

from __future__ import annotations

from functools import partial

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from integralgit.background import Background
from integralgit.deploy.lanes import Lanes


async def pause() -> None:
    """A reactor that is always just about to run."""


@define
class FakeWork:
    """Work that lasts until the test ends it."""

    started: list[str] = field(factory=list)
    running: dict[str, Deferred[None]] = field(factory=dict)

    async def __call__(self, key: str) -> None:
        if key in self.running:
            raise AssertionError(f"{key} is worked on twice at the same time")
        self.started.append(key)
        self.running[key] = Deferred()
        try:
            await self.running[key]
        finally:
            del self.running[key]

    def ends(self, key: str) -> None:
        """The work for the key is done."""
        self.running[key].callback(None)

    def fails(self, key: str) -> None:
        """The work for the key raises."""
        self.running[key].errback(LookupError("work that fails"))


class OneAtATime(SynchronousTestCase):
    def setUp(self) -> None:
        self.work = FakeWork()
        self.background = Background()
        self.lanes = self.make(100)

    def make(self, limit: int) -> Lanes:
        """Lanes with a limit over all keys."""
        return Lanes(self.work, self.background.spawn, DeferredSemaphore(limit), pause)

    def idle(self) -> bool:
        """Whether everything that was started has ended, and no lane is left."""
        return self.background.drain().called and self.lanes._lanes == {}

    def test_a_wake(self) -> None:
        """A key that is woken is worked on at once, and once."""
        self.lanes.wake("a")
        self.assertEqual(self.work.started, ["a"])
        self.work.ends("a")
        self.assertEqual(self.work.started, ["a"])

    def test_keys_do_not_wait_for_each_other(self) -> None:
        """Different keys are worked on at the same time."""
        for key in "abc":
            self.lanes.wake(key)
        self.assertEqual(self.work.started, ["a", "b", "c"])

    def test_whether_it_is_idle(self) -> None:
        """Work for a key would begin at once where it has none, and the limit leaves a place."""
        lanes = self.make(1)
        self.assertTrue(lanes.is_idle("a"))
        lanes.wake("a")
        self.assertFalse(lanes.is_idle("a"))
        self.assertFalse(lanes.is_idle("b"))
        self.work.ends("a")
        self.assertTrue(lanes.is_idle("a"))

    def test_only_who_has_waited_pauses(self) -> None:
        """Work that need not wait begins at once; what comes after other work, when the reactor has run."""
        clock = Clock()
        spawn, limit = self.background.spawn, DeferredSemaphore(2)
        lanes = Lanes(self.work, spawn, limit, lambda: deferLater(clock, 0, lambda: None))
        for key in "aabc":
            lanes.wake(key)
        self.assertEqual(self.work.started, ["a", "b"])
        self.work.ends("a")
        self.assertEqual(self.work.started, ["a", "b"])
        clock.advance(0)
        self.assertEqual(self.work.started, ["a", "b", "c"])
        for key in "bc":
            self.work.ends(key)
        clock.advance(0)
        self.work.ends("a")

    def test_woken_while_it_runs(self) -> None:
        """A key that is woken while its work runs is worked on exactly once more, afterwards (threat 43)."""
        self.lanes.wake("a")
        for _ in range(3):
            self.lanes.wake("a")
        self.assertEqual(self.work.started, ["a"])
        self.work.ends("a")
        self.assertEqual(self.work.started, ["a", "a"])
        self.work.ends("a")
        self.assertEqual(self.work.started, ["a", "a"])
        self.assertTrue(self.idle())

    def test_woken_in_every_run(self) -> None:
        """A wake is never lost: each run that is woken is followed by another."""
        self.lanes.wake("a")
        for _ in range(5):
            self.lanes.wake("a")
            self.work.ends("a")
        self.work.ends("a")
        self.assertEqual(self.work.started, ["a"] * 6)

    def test_woken_again_when_all_is_done(self) -> None:
        """A key whose lane has vanished can be woken again."""
        for _ in range(2):
            self.lanes.wake("a")
            self.work.ends("a")
        self.assertEqual(self.work.started, ["a", "a"])

    def test_three_thousand_wakes_while_it_runs(self) -> None:
        """Any number of wakes while the work runs is one more run, and then all is quiet."""
        self.lanes.wake("a")
        for _ in range(3000):
            self.lanes.wake("a")
        self.work.ends("a")
        self.work.ends("a")
        self.assertEqual(self.work.started, ["a", "a"])
        self.assertTrue(self.idle())

    def test_three_thousand_wakes_of_quick_work(self) -> None:
        """Work that ends at once can be woken any number of times, one after the other."""
        runs: list[str] = []

        async def quick(key: str) -> None:
            runs.append(key)

        self.lanes = Lanes(quick, self.background.spawn, DeferredSemaphore(1), pause)
        for n in range(3000):
            self.lanes.wake(f"key {n % 7}")
        self.assertEqual(len(runs), 3000)
        self.assertTrue(self.idle())

    def test_three_thousand_keys(self) -> None:
        """Any number of keys may wait for the limit; all get their turn, in their order."""
        self.lanes = self.make(4)
        keys = [f"key {n}" for n in range(3000)]
        for key in keys:
            self.lanes.wake(key)
        for key in keys:
            self.work.ends(key)
        self.assertEqual(self.work.started, keys)
        self.assertTrue(self.idle())

    def test_a_long_row_of_quick_work(self) -> None:
        """Three thousand keys whose work ends at once, behind one that took long, all get their turn."""
        clock = Clock()
        runs: list[str] = []
        first: Deferred[None] = Deferred()

        async def work(key: str) -> None:
            runs.append(key)
            if key == "first":
                await first

        self.lanes = Lanes(
            work,
            self.background.spawn,
            DeferredSemaphore(1),
            lambda: deferLater(clock, 0, lambda: None),
        )
        self.lanes.wake("first")
        clock.advance(0)
        keys = [f"key {n}" for n in range(3000)]
        for key in keys:
            self.lanes.wake(key)
        first.callback(None)
        for _ in keys:
            clock.advance(0)
        self.assertEqual(runs, ["first", *keys])
        self.assertTrue(self.idle())

    def test_the_limit(self) -> None:
        """No more keys than the limit are worked on at the same time; the next one follows."""
        self.lanes = self.make(2)
        for key in "abcd":
            self.lanes.wake(key)
        self.assertEqual(set(self.work.running), {"a", "b"})
        self.work.ends("b")
        self.assertEqual(set(self.work.running), {"a", "c"})
        self.work.ends("a")
        self.work.ends("c")
        self.assertEqual(set(self.work.running), {"d"})
        self.work.ends("d")
        self.assertTrue(self.idle())

    def test_woken_while_it_waits_for_the_limit(self) -> None:
        """A key that is woken while it waits for the limit is worked on once."""
        self.lanes = self.make(1)
        self.lanes.wake("a")
        self.lanes.wake("b")
        self.lanes.wake("b")
        self.work.ends("a")
        self.work.ends("b")
        self.assertEqual(self.work.started, ["a", "b"])
        self.assertTrue(self.idle())

    def test_a_busy_key_takes_no_more_than_its_place(self) -> None:
        """A key that is woken again and again leaves the limit's other places to others."""
        self.lanes = self.make(2)
        for _ in range(5):
            self.lanes.wake("a")
        self.lanes.wake("b")
        self.assertEqual(set(self.work.running), {"a", "b"})

    def test_lanes_vanish(self) -> None:
        """Nothing is kept of a key that has nothing to do, and what is kept of others stays."""
        self.lanes.wake("a")
        self.lanes.wake("b")
        self.lanes.wake("b")
        self.work.ends("a")
        self.work.ends("b")
        self.assertEqual(set(self.lanes._lanes), {"b"})
        self.work.ends("b")
        self.assertEqual(self.lanes._lanes, {})

    def test_follow(self) -> None:
        """What runs already has its lane at once, whatever the limit; work there waits for its end."""
        self.lanes = self.make(1)
        self.lanes.wake("a")
        ends: dict[str, Deferred[None]] = {key: Deferred() for key in "bc"}

        async def runs(key: str) -> None:
            self.work.started.append(f"{key} runs")
            await ends[key]

        for key in ends:
            self.lanes.follow(key, partial(runs, key))
            self.lanes.wake(key)
        self.work.ends("a")
        self.assertEqual(self.work.started, ["a", "b runs", "c runs"])
        ends["c"].callback(None)
        self.assertEqual(self.work.started[3:], ["c"])
        ends["b"].callback(None)
        self.work.ends("c")
        self.work.ends("b")
        self.assertEqual(self.work.started[4:], ["b"])
        self.assertTrue(self.idle())

    def test_work_that_fails(self) -> None:
        """Work that raises is logged, and releases its lane and its place under the limit."""
        self.lanes = self.make(1)
        self.lanes.wake("a")
        self.lanes.wake("a")
        self.lanes.wake("b")
        self.work.fails("a")
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        for _ in range(2):
            (key,) = self.work.running
            self.work.ends(key)
        self.assertEqual(sorted(self.work.started), ["a", "a", "b"])
        self.assertTrue(self.idle())

    def test_work_that_gives_way(self) -> None:
        """Work that is all but over lets another key begin, once; its own key still waits for its end."""
        self.lanes = self.make(1)
        for key in "abc":
            self.lanes.wake(key)
        self.lanes.wake("a")
        worker = self.lanes.worker("a")
        for _ in range(2):
            worker.give_way()
        self.assertEqual(set(self.work.running), {"a", "b"})
        self.work.ends("a")
        self.assertEqual(set(self.work.running), {"b"})
        self.work.ends("b")
        self.assertEqual(set(self.work.running), {"c"})
        self.work.ends("c")
        self.assertEqual(set(self.work.running), {"a"})
        self.work.ends("a")
        self.assertTrue(self.idle())

    def coming_back(self) -> Deferred[None]:
        """Fires when the work for `a`, which gave its place to that for `b`, has one again."""
        self.lanes = self.make(1)
        self.lanes.wake("a")
        self.lanes.wake("b")
        worker = self.lanes.worker("a")
        worker.give_way()
        return worker.come_back()

    def test_work_that_comes_back(self) -> None:
        """Work that gave way while it waited goes on when there is a place again."""
        coming = self.coming_back()
        self.assertEqual(set(self.work.running), {"a", "b"})
        self.assertNoResult(coming)
        self.work.ends("b")
        self.successResultOf(coming)
        self.lanes.wake("c")
        self.assertEqual(set(self.work.running), {"a"})
        self.work.ends("a")
        self.work.ends("c")
        self.assertTrue(self.idle())

    def test_work_that_waits_for_a_place_no_longer(self) -> None:
        """What is cancelled while it waits for a place takes none."""
        coming = self.coming_back()
        coming.cancel()
        self.failureResultOf(coming, CancelledError)
        self.work.ends("a")
        self.lanes.wake("c")
        self.work.ends("b")
        self.work.ends("c")
        self.assertTrue(self.idle())
