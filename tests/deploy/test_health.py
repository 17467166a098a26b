"""Asking whether it is healthy: until it is, for too long, or until somebody cancels; going back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.health import (
    GivenUp,
    Patience,
    Probed,
    Unhealthy,
    check_of,
    go_back,
)
from integralgit.deploy.run import Stopping, Waits
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal import deploys, freezes, queue
from integralgit.journal.events import Check, Deploy, Freeze, State, Trigger
from integralgit.journal.store import Transaction, Work
from integralgit.testing import MemoryStore
from tests.archive import queued

URL = "http://ann:canary@127.0.0.1:8000/health?key=canary"
GOOD, BAD = Probed(True, "the answer was 200"), Probed(False, "the answer was 503")


class Asking(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.waits = Clock(), Waits()
        self.said: list[str] = []
        self.run_: Any = SimpleNamespace(say=self.said.append, cancelled=False)
        self.asked: list[tuple[str, float]] = []
        self.answers: list[Deferred[Probed]] = []

    async def probe(self, url: str, seconds: float) -> Probed:
        self.asked.append((url, seconds))
        return await self.answers.pop(0)

    def patience(
        self, *answers: Probed | Deferred[Probed], timeout: float = 30.0
    ) -> Deferred[None]:
        """The wait for health where the questions are answered so."""
        self.answers = [one if isinstance(one, Deferred) else succeed(one) for one in answers]
        check = Check(URL, timeout, False, deadline=timeout)
        self.one = Patience(
            self.clock, self.probe, self.clock.seconds, self.run_, self.waits, check
        )
        return Deferred.fromCoroutine(self.one.until_healthy())

    def test_healthy_at_last(self) -> None:
        """It is asked every second until it answers well, and each answer stands in the log."""
        wait = self.patience(BAD, BAD, GOOD)
        self.assertEqual(self.said, ["GET http://127.0.0.1:8000/health?…: the answer was 503"])
        self.clock.advance(1)
        self.assertNoResult(wait)
        self.clock.advance(1)
        self.successResultOf(wait)
        self.assertEqual(len(self.said), 3)
        self.assertEqual(self.asked[0], (URL, 10.0))
        self.assertNotIn("canary", " ".join(self.said))

    def test_never_healthy(self) -> None:
        """When its time is over it is unhealthy, and why is what was answered last."""
        wait = self.patience(*[BAD] * 50, timeout=30.0)
        for _ in range(30):
            self.clock.advance(1)
        error = self.failureResultOf(wait, Unhealthy).value
        self.assertEqual(
            str(error),
            "http://127.0.0.1:8000/health?… was not healthy within 30 seconds: the answer was 503",
        )
        self.assertEqual(len(self.asked), 14)

    def test_at_least_once(self) -> None:
        """Where the deadline is over, by a restart perhaps, it is asked once all the same."""
        self.clock.advance(100)
        self.successResultOf(self.patience(GOOD))
        self.failureResultOf(self.patience(BAD), Unhealthy)

    def test_cancelled(self) -> None:
        """A cancel ends the wait at once, for an answer as between two questions, or before the first."""
        cut: Deferred[Probed] = Deferred(lambda one: one.callback(BAD))
        for answers in ([Deferred[Probed]()], [cut], [BAD, GOOD]):
            self.run_.cancelled = False
            wait = self.patience(*answers)
            said = len(self.said)
            self.run_.cancelled = True
            self.one.cut_short()
            self.failureResultOf(wait, GivenUp)
            self.assertEqual(len(self.said), said)
        self.failureResultOf(self.patience(), GivenUp)

    def test_the_end_of_the_server(self) -> None:
        """It ends the wait without an outcome, for the next server goes on."""
        wait = self.patience(BAD)
        self.waits.stop()
        self.failureResultOf(wait, Stopping)

    def test_what_the_config_asks_for(self) -> None:
        """A config without `health` asks for nothing."""
        self.assertIsNone(check_of(Deployment("web1", "/srv", "main")))
        one = Deployment("web1", "/srv", "main", health=URL, health_timeout=5.0, rollback=True)
        self.assertEqual(check_of(one), Check(URL, 5.0, True))


class GoingBack(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = MemoryStore()

    def write(self, work: Work[Any]) -> Any:
        return self.successResultOf(self.memory.store.write(work))

    def queue(self, letter: str, trigger: Trigger = Trigger.PUSH) -> int:
        """Queue a deploy of a commit of that letter."""
        number: int = self.write(lambda tx: queued(tx, 1.0, trigger=trigger, wanted=letter * 40).id)
        return number

    def running(self, letter: str, trigger: Trigger = Trigger.PUSH) -> int:
        """A deploy that runs; its number."""
        number = self.queue(letter, trigger)

        def work(tx: Transaction) -> None:
            deploys.begin(tx, deploys.known(tx, number), 2.0)
            deploys.note(tx, number, commit=letter * 40)

        self.write(work)
        return number

    def ended(self, letter: str, state: State = State.SUCCEEDED) -> int:
        """A deploy that has ended; its number."""
        number = self.running(letter)
        self.write(lambda tx: deploys.end(tx, number, state, 3.0))
        return number

    def go_back(self, number: int) -> str:
        said: str = self.write(lambda tx: go_back(tx, deploys.known(tx, number), 4.0))
        return said

    def known(self, number: int) -> Deploy:
        found: Deploy = self.write(lambda tx: deploys.known(tx, number))
        return found

    def test_the_last_good_commit(self) -> None:
        """The newest other commit that succeeded there is queued, and each names the other."""
        self.ended("a")
        self.ended("b")
        self.ended("c", State.FAILED)
        self.ended("d")
        number = self.running("d")
        self.assertEqual(self.go_back(number), "deploy 6 rolls back to bbbbbbbbbbbb")
        back = self.known(6)
        self.assertEqual((back.trigger, back.wanted), (Trigger.ROLLBACK, "b" * 40))
        self.assertEqual((back.rolls_back, self.known(number).rolled_back_by), (number, 6))

    def test_nothing_to_go_back_to(self) -> None:
        """Where no other commit succeeded there, that is said, and nothing is queued."""
        self.ended("a", State.FAILED)
        number = self.running("b")
        self.assertEqual(self.go_back(number), "there is no earlier good commit to go back to")
        self.assertIsNone(self.known(number).rolled_back_by)

    def test_a_newer_push_waits(self) -> None:
        """What waits for the same is newer, and is deployed instead."""
        self.ended("a")
        number = self.running("b")
        self.queue("c")
        self.assertEqual(
            self.go_back(number),
            "deploy 3 waits for the same and is newer, so nothing is rolled back",
        )
        self.assertEqual(self.known(3).state, State.QUEUED)

    def test_a_newer_push_is_frozen(self) -> None:
        """It waits for the end of the freeze, and the last good commit comes back meanwhile."""
        self.ended("a")
        number = self.running("b")
        self.queue("c")
        one = Freeze(self.known(number).repo, "a release", 0.0, None)
        self.write(lambda tx: freezes.freeze(tx, one))
        self.assertEqual(self.go_back(number), "deploy 4 rolls back to aaaaaaaaaaaa")
        self.queue("d")
        states = [self.known(number).state for number in (3, 4, 5)]
        self.assertEqual(states, [State.SUPERSEDED, State.QUEUED, State.QUEUED])

    def test_a_roll_back(self) -> None:
        """A roll-back never rolls back again."""
        self.ended("a")
        number = self.running("b", Trigger.ROLLBACK)
        self.assertEqual(self.go_back(number), "a roll-back is not rolled back")

    def test_an_interrupted_roll_back(self) -> None:
        """The deploy that takes its place takes its part, too."""
        self.ended("a")
        number = self.running("b")
        self.go_back(number)
        self.write(lambda tx: deploys.end(tx, number, State.FAILED, 5.0))
        self.write(lambda tx: deploys.begin(tx, deploys.known(tx, 3), 6.0))
        self.write(lambda tx: deploys.end(tx, 3, State.INTERRUPTED, 7.0))
        self.write(lambda tx: queue.enqueue_interrupted(tx, 3, 8.0))
        self.assertEqual((self.known(4).rolls_back, self.known(number).rolled_back_by), (number, 4))

    def test_an_interrupted_roll_back_beside_a_push(self) -> None:
        """It is queued again, although a push waits, which may have to wait for the end of a freeze."""
        self.ended("a")
        number = self.running("b")
        self.go_back(number)
        self.write(lambda tx: deploys.end(tx, number, State.FAILED, 5.0))
        self.queue("c")
        self.write(lambda tx: deploys.begin(tx, deploys.known(tx, 3), 6.0))
        self.write(lambda tx: deploys.end(tx, 3, State.INTERRUPTED, 7.0))
        self.write(lambda tx: queue.enqueue_interrupted(tx, 3, 8.0))
        self.assertEqual([self.known(one).state for one in (4, 5)], [State.QUEUED] * 2)
        self.assertEqual((self.known(4).head, self.known(5).rolls_back), (None, number))
