"""Deliveries that are early, late or out of order: what is fetched, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from attrs import define, field, fields
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.bring import LATE_COMMIT, Bring
from integralgit.deploy.run import Run
from integralgit.journal.events import Deploy
from integralgit.journal.store import Work
from integralgit.location.checkout import Checkout, Tips
from integralgit.testing import MemoryStore
from tests.archive import queued

OLD, PUSHED, NEWER = "1" * 40, "2" * 40, "3" * 40


@define
class Remote:
    """A checkout whose remote shows one commit after the other, the last one for good."""

    shows: list[str]
    here: set[str] = field(factory=set, init=False)
    fetches: int = field(default=0, init=False)

    async def fetch(self, branch: str) -> Tips:
        self.fetches += 1
        tip = self.shows.pop(0) if len(self.shows) > 1 else self.shows[0]
        self.here.add(tip)
        if tip == NEWER:
            self.here.add(PUSHED)
        return Tips(tip, None, None)

    async def has_commit(self, commit: str) -> bool:
        return commit in self.here


@define
class Log:
    """A run of a deploy, and what it says."""

    deploy: Deploy
    record: Callable[[Work[Any]], object]
    said: list[str] = field(factory=list, init=False)

    def say(self, text: str) -> None:
        self.said.append(text)


class OrderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = MemoryStore()
        # A fetch needs the clock and the archive; of the other collaborators there is none.
        nobody: dict[str, Any] = {one.name.lstrip("_"): None for one in fields(Bring) if one.init}

        def sleep(seconds: float) -> Deferred[None]:
            return deferLater(self.clock, seconds, lambda: None)

        self.bring = Bring(**{**nobody, "sleep": sleep})

    def log(self, wanted: str | None) -> Log:
        """A run of a deploy that was made for that commit."""
        write = self.memory.store.write
        return Log(self.successResultOf(write(lambda tx: queued(tx, wanted=wanted))), write)

    def fetch(self, remote: Remote, log: Log) -> Deferred[Tips]:
        """Fetch for a deploy, as it does before its update."""
        return Deferred.fromCoroutine(
            self.bring._fetch_wanted(cast(Run, log), cast(Checkout, remote), "main")
        )

    def test_a_commit_that_is_late(self) -> None:
        """A pushed commit that the remote does not show yet is fetched again, later and later (threat 23)."""
        remote, log = Remote([OLD, OLD, PUSHED]), self.log(PUSHED)
        fetched = self.fetch(remote, log)
        self.assertEqual(remote.fetches, 1)
        self.clock.advance(LATE_COMMIT[0])
        self.assertEqual(remote.fetches, 2)
        self.assertNoResult(fetched)
        self.clock.advance(LATE_COMMIT[1])
        self.assertEqual(self.successResultOf(fetched).branch, PUSHED)
        self.assertEqual(remote.fetches, 3)
        self.assertEqual(len(log.said), 2)
        self.assertIn(f"{PUSHED[:12]} is not there yet", log.said[0])

    def test_a_commit_that_never_comes(self) -> None:
        """After a few seconds it deploys what there is and says that it is something else (threat 23)."""
        remote, log = Remote([OLD]), self.log(PUSHED)
        fetched = self.fetch(remote, log)
        for delay in LATE_COMMIT:
            self.clock.advance(delay)
        self.assertEqual(self.successResultOf(fetched).branch, OLD)
        self.assertEqual(remote.fetches, 1 + len(LATE_COMMIT))
        self.assertIn(OLD[:12], log.said[-1])
        self.assertIn(PUSHED[:12], log.said[-1])
        self.assertLess(sum(LATE_COMMIT), 30)

    def test_an_older_push_that_comes_last(self) -> None:
        """The tip is deployed, not the delivery's older commit, and that is said (threat 24)."""
        remote, log = Remote([NEWER]), self.log(PUSHED)
        self.assertEqual(self.successResultOf(self.fetch(remote, log)).branch, NEWER)
        self.assertEqual(remote.fetches, 1)
        self.assertEqual(len(log.said), 1)
        self.assertIn(NEWER[:12], log.said[0])
        self.assertIn(PUSHED[:12], log.said[0])

    def test_in_order(self) -> None:
        """Where the tip is the pushed commit, or none was named, nothing is said of it."""
        for wanted in (PUSHED, None):
            log = self.log(wanted)
            self.assertEqual(self.successResultOf(self.fetch(Remote([PUSHED]), log)).branch, PUSHED)
            self.assertEqual(log.said, [])
