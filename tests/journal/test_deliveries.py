"""Tests of what the archive keeps of deliveries, and of the configs of repositories."""

from __future__ import annotations

from typing import TypeVar

from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Commit, Delivery, Push
from integralgit.journal import deliveries
from integralgit.journal import events as kept
from integralgit.journal.events import RepositoryChanged, StoredPush
from integralgit.journal.store import Work
from integralgit.names import Repository
from integralgit.testing import MemoryStore

T = TypeVar("T")

SITE, OTHER = Repository("github.com", "acme/site"), Repository("github.com", "acme/other")
ONE, TWO = "1" * 40, "2" * 40


class Archive(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = MemoryStore()
        self.events = self.memory.events

    def write(self, work: Work[T]) -> T:
        """The result of work that writes."""
        return self.successResultOf(self.memory.store.write(work))

    def add(
        self,
        sent_id: str = "",
        *,
        repo: Repository | None = SITE,
        outcome: str = "accepted",
        provider: str = "github",
        at: float = 100.0,
    ) -> int:
        """Store a delivery; its number."""
        delivery = Delivery(provider, "push", sent_id, repo)
        return self.write(
            lambda tx: deliveries.add_delivery(tx, delivery, at, outcome, f"was {outcome}")
        )

    def add_push(self, delivery: int, push: Push, *, look: bool = False) -> int:
        """Store a push that was ignored; its number."""
        return self.write(
            lambda tx: deliveries.add_push(tx, delivery, push, "ignored", "not here", look)
        )


class Deliveries(Archive):
    def newest(
        self, repo: str | None = None, limit: int = 100, before: int | None = None
    ) -> list[kept.StoredDelivery]:
        """The newest deliveries."""
        return self.write(lambda tx: deliveries.newest_deliveries(tx, repo, limit, before))

    def test_what_is_kept(self) -> None:
        """A delivery is kept with its decision, and its pushes in their order with theirs."""
        commits = (Commit(ONE, "Title\n\nBody", "Ann"), Commit(TWO))
        number = self.add("abc", at=123.5)
        first = self.add_push(
            number, Push("refs/heads/main", ONE, TWO, False, "ann", commits), look=True
        )
        second = self.add_push(number, Push("refs/tags/v1", ONE, None, True))
        told = (kept.Commit(ONE, "Title", "Ann"), kept.Commit(TWO, "", ""))
        pushes = (
            StoredPush(
                first,
                number,
                str(SITE),
                "refs/heads/main",
                ONE,
                TWO,
                False,
                "ann",
                told,
                "ignored",
                "not here",
            ),
            StoredPush(
                second,
                number,
                str(SITE),
                "refs/tags/v1",
                ONE,
                None,
                True,
                "",
                (),
                "ignored",
                "not here",
            ),
        )
        expected = kept.StoredDelivery(
            number, 123.5, "github", "abc", "push", str(SITE), "accepted", "was accepted", pushes
        )
        self.assertEqual(self.newest(), [expected])

    def test_what_is_sent_is_bounded(self) -> None:
        """Texts and lists of any length are kept up to a bound."""
        number = self.write(
            lambda tx: deliveries.add_delivery(
                tx, Delivery("github", "e" * 5000, "", SITE), 1.0, "accepted", ""
            )
        )
        commits = tuple(Commit(f"{n:040x}", "m" * 5000, "a" * 5000) for n in range(60))
        self.add_push(number, Push("refs/heads/" + "r" * 5000, pusher="p" * 5000, commits=commits))
        (delivery,) = self.newest()
        (push,) = delivery.pushes
        self.assertEqual(
            (len(delivery.event), len(push.ref), len(push.pusher), len(push.commits)),
            (200, 1000, 200, 50),
        )
        self.assertEqual(push.commits[-1], kept.Commit(f"{59:040x}", "m" * 500, "a" * 200))

    def test_a_repository_becomes_known(self) -> None:
        """A repository is known from its first delivery on, and watchers hear of every one."""
        self.add(repo=OTHER)
        self.add()
        self.add()
        self.assertEqual(
            self.events, [RepositoryChanged(str(repo)) for repo in (OTHER, SITE, SITE)]
        )
        self.assertEqual(self.write(deliveries.repository_names), [str(OTHER), str(SITE)])

    def test_a_delivery_without_a_repository(self) -> None:
        """A delivery that names no repository is kept, and makes none known."""
        self.add(repo=None)
        self.assertEqual([one.repo for one in self.newest()], [None])
        self.assertEqual(self.write(deliveries.repository_names), [])
        self.assertEqual(self.events, [])

    def test_pages(self) -> None:
        """Deliveries are read newest first, page by page, of one repository or of all."""
        a, b, c = self.add(), self.add(repo=OTHER), self.add()
        self.assertEqual([one.id for one in self.newest()], [c, b, a])
        self.assertEqual([one.id for one in self.newest(limit=1)], [c])
        self.assertEqual([one.id for one in self.newest(limit=1, before=c)], [b])
        self.assertEqual([one.id for one in self.newest(str(SITE))], [c, a])
        self.assertEqual([one.id for one in self.newest(str(SITE), before=c)], [a])

    def earlier(self, sent_id: str, provider: str = "github") -> int | None:
        """The delivery that had that id."""
        return self.write(lambda tx: deliveries.earlier_delivery(tx, provider, sent_id, str(SITE)))

    def test_an_id_that_came_before(self) -> None:
        """A delivery is recognised by its provider's id, the newest accepted one of them."""
        self.add("abc")
        newest = self.add("abc")
        self.add("abc", outcome="ignored")
        self.assertEqual(self.earlier("abc"), newest)

    def test_ids_that_did_not_come_before(self) -> None:
        """Other ids, other providers, ignored deliveries and empty ids are not recognised."""
        self.add("abc")
        self.add("ignored", outcome="ignored")
        self.add("")
        self.assertIsNone(self.earlier("abcd"))
        self.assertIsNone(self.earlier("abc", "gitlab"))
        self.assertIsNone(self.earlier("ignored"))
        self.assertIsNone(self.earlier(""))


class FreshLooks(Archive):
    def waiting(self, repo: Repository = SITE) -> list[StoredPush]:
        """The pushes that wait for a look."""
        return self.write(lambda tx: deliveries.pushes_to_look_at(tx, str(repo)))

    def test_what_waits_for_a_look(self) -> None:
        """The pushes that wait for a look are given oldest first, by repository."""
        number = self.add()
        first = self.add_push(number, Push("refs/heads/a"), look=True)
        self.add_push(number, Push("refs/heads/b"))
        second = self.add_push(number, Push("refs/heads/c"), look=True)
        other = self.add_push(self.add(repo=OTHER), Push("refs/heads/a"), look=True)
        self.assertEqual([push.id for push in self.waiting()], [first, second])
        self.assertEqual([push.id for push in self.waiting(OTHER)], [other])
        repos = self.write(deliveries.repositories_to_look_at)
        self.assertEqual(sorted(repos), [str(OTHER), str(SITE)])

    def test_a_push_that_is_accepted_after_a_look(self) -> None:
        """A push that a look accepts waits no more, and its delivery is accepted with it."""
        number = self.add("abc", outcome="ignored")
        self.add_push(number, Push("refs/heads/dev"), look=True)
        self.events.clear()
        (push,) = self.waiting()
        self.write(lambda tx: deliveries.decide_push(tx, push, "accepted", "new config"))
        (delivery,) = self.write(lambda tx: deliveries.newest_deliveries(tx, None, 9))
        self.assertEqual((delivery.outcome, delivery.reason), ("accepted", "new config"))
        self.assertEqual(delivery.pushes[0].outcome, "accepted")
        self.assertEqual(self.waiting(), [])
        self.assertEqual(self.events, [RepositoryChanged(str(SITE))])

    def test_a_push_that_is_ignored_after_a_look(self) -> None:
        """A push that a look ignores again waits no more, and its delivery stays as it was."""
        number = self.add(outcome="ignored")
        self.add_push(number, Push("refs/heads/dev"), look=True)
        (push,) = self.waiting()
        self.write(lambda tx: deliveries.decide_push(tx, push, "ignored", "still not here"))
        (delivery,) = self.write(lambda tx: deliveries.newest_deliveries(tx, None, 9))
        self.assertEqual((delivery.outcome, delivery.reason), ("ignored", "was ignored"))
        self.assertEqual(delivery.pushes[0].reason, "still not here")
        self.assertEqual(self.write(deliveries.repositories_to_look_at), [])


class Configs(Archive):
    def set_config(self, commit: str | None, text: str | None, error: str | None) -> None:
        """Record a config of the repository."""
        self.write(lambda tx: deliveries.set_config(tx, str(SITE), commit, text, error, 5.0))

    def record(self) -> tuple[str | None, ...]:
        """The newest config that was read, its error, and the one in use."""
        found = self.write(lambda tx: deliveries.repository(tx, str(SITE)))
        assert found is not None
        self.assertEqual(found.repo, str(SITE))
        newest = found.config_commit, found.config_text, found.config_error
        return (*newest, found.good_commit, found.good_text)

    def test_a_repository_never_heard_of(self) -> None:
        """Nothing is known of a repository that sent nothing."""
        self.add(repo=OTHER)
        self.assertIsNone(self.write(lambda tx: deliveries.repository(tx, str(SITE))))

    def test_a_config_that_was_never_read(self) -> None:
        """Of a repository that is new, only the name is known."""
        self.add()
        self.assertEqual(self.record(), (None, None, None, None, None))

    def test_the_last_good_one_stays_in_use(self) -> None:
        """While the newest config is broken, the last good one stays; a new good one replaces it."""
        self.add()
        self.set_config(ONE, "good", None)
        self.set_config(TWO, "broken", "no location")
        self.assertEqual(self.record(), (TWO, "broken", "no location", ONE, "good"))
        self.set_config(TWO, "better", None)
        self.assertEqual(self.record(), (TWO, "better", None, TWO, "better"))

    def test_a_config_that_is_gone(self) -> None:
        """Without a config branch nothing is in use, whatever was before."""
        self.add()
        self.set_config(ONE, "good", None)
        self.set_config(None, None, None)
        self.assertEqual(self.record(), (None, None, None, None, None))

    def test_watchers_hear_of_a_config(self) -> None:
        """Watchers hear that a config was read."""
        self.add()
        self.events.clear()
        self.set_config(ONE, "good", None)
        self.assertEqual(self.events, [RepositoryChanged(str(SITE))])
