"""Tests of what the deploys of before say."""

from __future__ import annotations

from integralgit.hooks import delivery as sent
from integralgit.journal import deliveries, deploys, history, queue
from integralgit.journal.deliveries import Decided
from integralgit.journal.events import Decision
from integralgit.journal.store import Transaction
from integralgit.names import Repository
from tests.archive import ONE, OTHER, REPO, THREE, TWO, ArchiveTestCase


class History(ArchiveTestCase):
    def test_newest(self) -> None:
        """The history is read newest first, page by page, of one repository or of all."""
        a, b, c, d = (self.enqueue(f"/srv/{n}", repo=OTHER if n == 2 else REPO) for n in range(4))

        def numbers(repo: str | None, limit: int, before: int | None = None) -> list[int]:
            found = self.write(lambda tx: deploys.newest(tx, repo, limit, before))
            return [one.id for one in found]

        self.assertEqual(numbers(None, 10), [d, c, b, a])
        self.assertEqual(numbers(None, 2), [d, c])
        self.assertEqual(numbers(None, 2, c), [b, a])
        self.assertEqual(numbers(REPO, 10), [d, b, a])
        self.assertEqual(numbers(REPO, 1, d), [b])
        self.assertEqual(numbers("github.com/acme/none", 10), [])

    def test_a_clock_that_goes_back(self) -> None:
        """Order is that of the numbers, whatever the clock says of the times (threat 72)."""
        first, second, third = (
            self.enqueue(branch=name, now=now)
            for name, now in (("a", 9000.0), ("b", 100.0), ("c", 5000.0))
        )
        found = self.write(lambda tx: deploys.newest(tx, None, 10))
        self.assertEqual([one.id for one in found], [third, second, first])
        found = self.write(queue.unfinished)
        self.assertEqual([one.id for one in found], [first, second, third])
        waiting = self.write(lambda tx: queue.waiting_at(tx, "/srv/site"))
        assert waiting is not None
        self.assertEqual(waiting.id, first)
        newest = self.enqueue(branch="a", now=1.0)
        self.assertEqual(self.get(first).superseded_by, newest)

    def test_no_such_deploy(self) -> None:
        """A number that no deploy has gives nothing."""
        number = self.enqueue()
        self.assertIsNone(self.write(lambda tx: deploys.get(tx, number + 1)))

    def test_the_deploys_of_a_delivery(self) -> None:
        """The deploys of all pushes of a delivery belong to it, oldest first, and no others."""
        repo = Repository("github.com", "acme/site")

        def deliver(tx: Transaction) -> tuple[int, list[int]]:
            pushes = tuple(sent.Push(f"refs/heads/{name}") for name in ("main", "dev"))
            delivery = sent.Delivery("github", "push", "id", repo, pushes)
            accepted = Decided(delivery, "accepted", "", [Decision("accepted")] * 2)
            (stored,) = deliveries.add(tx, [accepted], 1.0)
            return stored.number, list(stored.pushes)

        first, (main, dev) = self.write(deliver)
        second, (again, _) = self.write(deliver)
        numbers = [self.enqueue(f"/srv/{push}", push=push) for push in (dev, again, main)]
        self.enqueue("/srv/manual")
        found = self.write(lambda tx: deploys.of_delivery(tx, first))
        self.assertEqual([one.id for one in found], [numbers[0], numbers[2]])
        found = self.write(lambda tx: deploys.of_delivery(tx, second))
        self.assertEqual([one.id for one in found], [numbers[1]])

    def note_commit(self, deploy: int, commit: str | None) -> None:
        """Note the remote commit of a deploy."""
        self.write(lambda tx: deploys.note(tx, deploy, commit=commit))

    def test_commits_deployed_at(self) -> None:
        """The remote commits deployed at a location are given newest first, each once."""
        for location, commit in (
            ("/srv/a", ONE),
            ("/srv/b", "f" * 40),
            ("/srv/a", TWO),
            ("/srv/a", None),
            ("/srv/a", TWO),
            ("/srv/a", THREE),
        ):
            number = self.enqueue(location)
            self.begin(number)
            self.note_commit(number, commit)
            self.end(number)
        found = self.write(lambda tx: history.commits_deployed_at(tx, "/srv/a"))
        self.assertEqual(found, [THREE, TWO, ONE])
