"""The queues: in order, one thing at a time, patient, and remembered over a restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from integralgit.journal import outbox
from integralgit.journal.events import Event, Item, ItemState, Pause
from integralgit.journal.hub import Hub
from integralgit.journal.store import Transaction, Work
from integralgit.report.answers import DAY, MOST_ASKED, Told
from integralgit.report.outbox import Outbox
from integralgit.testing import MemoryStore
from tests.report.fakes import CUT, REFUSED, FakeReceiver, answer

SITE = "github.com/acme/site"
START = 1_000_000.0


class Office(SynchronousTestCase):
    """An outbox with two receivers, `a` and `b`, which answer as `say` has it, else 200."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = MemoryStore()
        self.replies: list[Told | Deferred[Told]] = []
        #: By how much the time of day differs from what timers go by.
        self.off = 0.0
        self.clock.advance(START)
        self.a = FakeReceiver("a", self.respond)
        self.b = FakeReceiver("b", self.respond)
        self.start()

    def tearDown(self) -> None:
        """Leave no coroutine waiting for ever."""
        self.outbox.stopService()
        self.pass_time(5)

    def start(self) -> None:
        """Start a server on the same archive."""
        self.hub = Hub()
        publish: Callable[[Event], None] = self.hub.publish
        self.memory.store._publish = publish
        receivers = {"a": self.a, "b": self.b}
        self.outbox = Outbox(
            self.clock, self.memory.store, self.hub, receivers, self.now, lambda: 1.0
        )
        self.outbox.startService()
        self.pass_time()

    def restart(self) -> None:
        """Stop the server, and start another."""
        stopped = self.outbox.stopService()
        self.pass_time(5)
        self.successResultOf(stopped)
        self.start()

    def now(self) -> float:
        return self.clock.seconds() + self.off

    async def respond(self, item: Item) -> Told:
        reply = self.replies.pop(0) if self.replies else answer()
        return await reply if isinstance(reply, Deferred) else reply

    def pass_time(self, seconds: float = 0.0) -> None:
        """Let the reactor run, and that time pass in small steps."""
        for _ in range(20):
            self.clock.advance(seconds / 20)

    def write(self, work: Work[Any]) -> Any:
        return self.successResultOf(self.memory.store.write(work))

    def want(self, subject: str, wanted: str = "x", receiver: str = "a") -> None:
        """Something is to be told, and the reactor runs."""
        self.write(
            lambda tx: outbox.want(
                tx,
                receiver=receiver,
                subject=subject,
                repo=SITE,
                deploy=1,
                wanted=wanted,
                now=self.now(),
            )
        )
        self.pass_time()

    def item(self, subject: str, receiver: str = "a") -> Item:
        found: Item = self.write(lambda tx: outbox.get(tx, receiver, subject))
        return found


class Queues(Office):
    def test_at_once(self) -> None:
        """What is wanted is told at once, once."""
        self.want("s")
        self.assertEqual(self.a.told, [("s", "x")])
        self.assertEqual(self.item("s").state, ItemState.SENT)
        self.want("s")
        self.pass_time(DAY)
        self.assertEqual(self.a.told, [("s", "x")])
        self.want("s", "y")
        self.assertEqual(self.a.told, [("s", "x"), ("s", "y")])

    def test_one_at_a_time(self) -> None:
        """Nothing is told while an answer is waited for; another receiver does not wait for it."""
        slow: Deferred[Told] = Deferred()
        self.replies = [slow]
        self.want("1")
        self.want("2")
        self.want("3", receiver="b")
        self.assertEqual(([s for s, _ in self.a.told], len(self.b.told)), (["1"], 1))
        slow.callback(answer())
        self.pass_time()
        self.assertEqual([s for s, _ in self.a.told], ["1", "2"])

    def test_superseded(self) -> None:
        """A state that was not told before its end is known is never told."""
        slow: Deferred[Told] = Deferred()
        self.replies = [slow]
        self.want("1")
        for state in ("queued", "running", "succeeded"):
            self.want("2", state)
        slow.callback(answer())
        self.pass_time()
        self.assertEqual(self.a.told, [("1", "x"), ("2", "succeeded")])

    def test_what_changes_while_it_is_told(self) -> None:
        """It is told anew, also where the older state could not be told."""
        for reply in (answer(), CUT, answer(422)):
            slow: Deferred[Told] = Deferred()
            self.replies = [slow]
            self.want("1", "running")
            self.want("1", f"succeeded {reply}")
            slow.callback(reply)
            self.pass_time(10)
            self.assertEqual(self.a.told[-1], ("1", f"succeeded {reply}"))
            self.assertEqual(self.item("1").state, ItemState.SENT)

    def test_spacing(self) -> None:
        """Two things are told no less than the receiver's spacing apart."""
        self.a.spacing = 1.0
        for subject in "123":
            self.want(subject)
        self.assertEqual(len(self.a.told), 1)
        self.clock.advance(0.9)
        self.assertEqual(len(self.a.told), 1)
        self.pass_time(1.0)
        self.assertEqual(len(self.a.told), 2)

    def test_patience(self) -> None:
        """What fails is told again, ever more seldom, and what is behind it keeps its place."""
        self.replies = [REFUSED, answer(500), CUT]
        self.want("1")
        self.want("2")
        self.assertEqual([s for s, _ in self.a.told], ["1"])
        self.assertEqual(self.item("1").problem, REFUSED.reason)
        self.pass_time(60)
        self.assertEqual([s for s, _ in self.a.told], ["1", "1", "1", "1", "2"])

    def test_retry_after(self) -> None:
        """The receiver's own word on when to come again is obeyed, over a restart too."""
        self.replies = [answer(429, retry_after="600")]
        self.want("1")
        self.want("2")
        self.pass_time(300)
        self.restart()
        self.pass_time(280)
        self.assertEqual(len(self.a.told), 1)
        self.pass_time(40)
        self.assertEqual([s for s, _ in self.a.told], ["1", "1", "2"])

    def test_what_fails_by_itself(self) -> None:
        """Where order does not matter, what a person has to mend lets the others pass."""
        self.a.in_order = False
        self.replies = [answer(404)]
        self.want("1")
        self.want("2")
        self.assertEqual([s for s, _ in self.a.told], ["1", "2"])
        self.pass_time(4000)
        self.assertEqual([s for s, _ in self.a.told], ["1", "2", "1"])

    def test_given_up(self) -> None:
        """After a day all that waited is given up, with the reason, and nothing is told any more."""
        self.replies = [CUT] * 1000
        for subject in "123":
            self.want(subject)
        for _ in range(100):
            self.pass_time(DAY / 90)
        told = len(self.a.told)
        for subject in "123":
            one = self.item(subject)
            self.assertEqual(one.state, ItemState.GIVEN_UP)
            self.assertIn("given up after a day", one.problem or "")
        self.pass_time(DAY)
        self.assertEqual(len(self.a.told), told)

    def test_secrets(self) -> None:
        """A receiver that repeats a secret does not bring it into the archive (threat 86)."""
        self.a.secrets = ("canary",)
        self.replies = [answer(422, {"message": "the token canary is not for this"})]
        self.want("1")
        self.assertEqual(self.item("1").problem, "the answer was 422: the token … is not for this")

    def test_a_secret_that_would_be_cut(self) -> None:
        """Where what a receiver says is cut, the beginning of a secret is not left (threat 86)."""
        self.a.secrets = ("nary", "canary")
        self.replies = [answer(422, {"message": "x" * 197 + "canary"})]
        self.want("1")
        self.assertEqual(self.item("1").problem, f"the answer was 422: {'x' * 197}…")

    def test_a_fault_of_ours(self) -> None:
        """It is logged, and the queue goes on later."""

        async def fail(item: Item) -> Told:
            raise LookupError("a fault of ours")

        self.a.respond = fail
        self.want("1")
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.a.respond = self.respond
        self.pass_time(11)
        self.assertEqual(self.item("1").state, ItemState.SENT)


class Restarts(Office):
    def test_what_may_have_been_heard(self) -> None:
        """A try that the end of a server cut off leaves a doubt, of which the next one knows."""
        doubts = []

        async def respond(item: Item) -> Told:
            doubts.append(item.doubt)
            return await never if len(doubts) == 1 else answer()

        never: Deferred[Told] = Deferred()
        self.a.respond = respond
        self.want("1")
        self.want("2")
        self.restart()
        self.assertEqual(doubts, [False, True, False])
        self.assertEqual(self.item("2").state, ItemState.SENT)

    def test_an_answer_on_its_way(self) -> None:
        """It is waited for a moment at the end, and then nothing is told twice."""
        slow: Deferred[Told] = Deferred()
        self.replies = [slow]
        self.want("1")
        stopped = self.outbox.stopService()
        self.assertNoResult(stopped)
        slow.callback(answer())
        self.successResultOf(stopped)
        self.start()
        self.assertEqual(len(self.a.told), 1)

    def test_what_a_person_has_mended(self) -> None:
        """What waited for a person is told at once by the next server; what was asked for is kept."""
        self.b.in_order = False
        self.replies = [answer(401), answer(403)]
        with capturedLogs() as logged:
            self.want("1")
            self.want("2", receiver="b")
        warned = [formatEvent(one) for one in logged if one["log_level"] is LogLevel.warn]
        problem = "was not told {}: the answer was {}; is it set up right? (a restart tries again"
        self.assertIn(problem.format(1, 401), warned[0])
        self.assertIn(problem.format(2, 403), warned[1])
        self.pass_time(600)
        self.assertEqual((len(self.a.told), len(self.b.told)), (1, 1))
        self.replies = [answer(429, retry_after="3000")]
        self.restart()
        self.assertEqual((len(self.a.told), len(self.b.told)), (2, 2))
        self.restart()
        self.assertEqual(len(self.a.told), 2)
        self.assertEqual(self.item("2", "b").state, ItemState.SENT)

    def test_a_clock_that_was_ahead(self) -> None:
        """What it put off is told once it is set back, and what is new too (threat 72)."""
        self.off = 2 * DAY
        self.replies = [REFUSED, REFUSED]
        self.want("1")
        self.want("2", receiver="b")
        self.put_off(self.now() + 600)
        self.off = 0.0
        self.want("3")
        self.pass_time(60)
        self.assertEqual([subject for subject, _ in self.a.told], ["1", "1", "3"])
        self.assertEqual([subject for subject, _ in self.b.told], ["2", "2"])

    def test_the_longest_wait(self) -> None:
        """It is kept, over a restart too, and is no sign of a clock that was ahead (threat 72)."""
        self.wait_long()
        self.assertEqual(len(self.write(lambda tx: outbox.pauses(tx, self.now()))), 1)

    def test_a_clock_that_is_set(self) -> None:
        """What is due by the time of day is told within a minute, though no timer has come to that (threat 72)."""
        self.wait_long()
        self.off = MOST_ASKED
        self.pass_time(60)
        self.assertEqual((len(self.a.told), len(self.b.told)), (2, 2))

    def wait_long(self) -> None:
        """Let both wait as long as any may, over a restart."""
        self.replies = [REFUSED, REFUSED]
        self.want("1")
        self.want("2", receiver="b")
        self.put_off(self.now() + MOST_ASKED)
        self.restart()
        self.pass_time(60)
        self.assertEqual((len(self.a.told), len(self.b.told)), (1, 1))

    def put_off(self, until: float) -> None:
        """Let `a` be asked nothing until then, and what waits for `b` be told no sooner."""

        def work(tx: Transaction) -> None:
            why, now = "asked to wait", self.now()
            outbox.pause(tx, Pause("a", until, why), now)
            outbox.pause(tx, Pause("b", 0.0, why), now)
            waiting = {one.receiver: one for one in outbox.waiting(tx, 9)}
            outbox.postpone(tx, waiting["a"], 0.0, now, why, doubt=False, to_mend=False)
            outbox.postpone(tx, waiting["b"], until, now, why, doubt=False, to_mend=False)

        self.write(work)

    def test_a_receiver_that_is_gone(self) -> None:
        """What waits for somebody whom the settings do not name any more is given up, and says so."""
        self.want("1", receiver="c")
        self.restart()
        one = self.item("1", "c")
        self.assertEqual(one.state, ItemState.GIVEN_UP)
        self.assertIn("do not name this receiver", one.problem or "")


class Bounds(Office):
    def test_what_is_kept(self) -> None:
        """Of what is done, the newest are kept; of what waits for one receiver, too."""
        self.patch(outbox, "KEPT", 3)
        for number in range(6):
            self.want(str(number))
            self.pass_time(1)
        kept = self.write(lambda tx: outbox.done(tx, ItemState.SENT, 99))
        self.assertEqual([one.subject for one in kept], ["5", "4", "3", "2"])
        self.patch(outbox, "MOST_WAITING", 2)
        self.replies = [answer(429, retry_after="60")]
        for subject in "abcd":
            self.want(subject)
        waiting = self.write(lambda tx: outbox.waiting(tx, 99))
        self.assertEqual([one.subject for one in waiting], ["c", "d"])
        self.assertEqual(self.item("b").problem, "too much waited for it")


class Silences(Office):
    def test_once(self) -> None:
        """That nobody tells of pushes is to be told once."""
        self.assertTrue(self.write(lambda tx: outbox.tell_of_silence(tx, SITE, 5.0)))
        self.assertFalse(self.write(lambda tx: outbox.tell_of_silence(tx, SITE, 9.0)))
