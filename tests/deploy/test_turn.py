"""Tests of what is next at a location."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.turn import Turn, take
from integralgit.journal import freezes, repositories
from integralgit.journal.events import Freeze, Trigger
from integralgit.journal.store import Transaction
from integralgit.testing import MemoryStore
from tests.archive import queued

SITE, OTHER = "github.com/acme/site", "github.com/acme/other"


class Turns(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = MemoryStore()

        def prepare(tx: Transaction) -> None:
            for repo in (SITE, OTHER):
                repositories.hear_of(tx, repo, "github", 0.0)
                queued(tx, repo=repo)

        self.successResultOf(self.memory.store.write(prepare))

    def freeze(self, repo: str, until: float | None) -> Freeze:
        """Freeze a repository."""
        one = Freeze(repo, "a release", 0.0, until)
        self.successResultOf(self.memory.store.write(lambda tx: freezes.freeze(tx, one)))
        return one

    def take(self) -> Turn | Freeze | None:
        """What is next."""
        return self.successResultOf(self.memory.store.write(lambda tx: take(tx, "/srv/site", 10.0)))

    def next_repo(self) -> str:
        """Whose deploy is next."""
        turn = self.take()
        assert isinstance(turn, Turn)
        return turn.deploy.repo

    def test_in_their_order(self) -> None:
        """What waits longest is next, and then nothing."""
        self.assertEqual([self.next_repo(), self.next_repo()], [SITE, OTHER])
        self.assertIsNone(self.take())

    def test_a_frozen_repository(self) -> None:
        """It does not keep another one waiting that has the same location."""
        freeze = self.freeze(SITE, None)
        self.assertEqual(self.next_repo(), OTHER)
        self.assertEqual(self.take(), freeze)

    def test_all_are_frozen(self) -> None:
        """The freeze that ends first is to be waited for."""
        self.freeze(SITE, None)
        first = self.freeze(OTHER, 20.0)
        self.assertEqual(self.take(), first)

    def test_a_push_beside_a_roll_back(self) -> None:
        """The last good commit comes back first, and is not brought over the newer one after that."""

        def work(tx: Transaction) -> int:
            unhealthy = queued(tx, location="/srv/elsewhere")
            return queued(tx, trigger=Trigger.ROLLBACK, rolls_back=unhealthy.id).id

        number = self.successResultOf(self.memory.store.write(work))
        turns = [self.take() for _ in range(3)]
        taken = [one.deploy.id for one in turns if isinstance(one, Turn)]
        self.assertEqual(taken, [number, 1, 2])

    def test_a_roll_back_of_what_is_not_healthy(self) -> None:
        """A freeze does not keep the last good commit from coming back, as it does the others."""
        self.freeze(SITE, None)
        self.freeze(OTHER, None)

        def work(tx: Transaction) -> int:
            unhealthy = queued(tx, location="/srv/elsewhere")
            back = queued(tx, trigger=Trigger.ROLLBACK, rolls_back=unhealthy.id)
            return back.id

        number = self.successResultOf(self.memory.store.write(work))
        turn = self.take()
        assert isinstance(turn, Turn)
        self.assertEqual(turn.deploy.id, number)
        self.assertIsInstance(self.take(), Freeze)
