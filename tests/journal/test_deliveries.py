"""Tests of what the archive keeps of deliveries."""

from __future__ import annotations

from integralgit.hooks.delivery import Commit, Delivery, Push
from integralgit.journal import deliveries, deploys, repositories
from integralgit.journal import events as kept
from integralgit.journal.events import Decision, RepositoryChanged, State, StoredPush
from integralgit.names import Repository
from tests.archive import MemoryTestCase, queued, stored

SITE, OTHER = Repository("github.com", "acme/site"), Repository("github.com", "acme/other")
ONE, TWO = "1" * 40, "2" * 40


def ignored(push: Push, *, look: bool = False) -> tuple[Push, Decision]:
    """A push that was ignored."""
    return push, Decision("ignored", "not here", look=look)


class Archive(MemoryTestCase):
    def add(
        self,
        sent_id: str = "",
        *changes: tuple[Push, Decision],
        repo: Repository | None = SITE,
        outcome: str = "accepted",
        provider: str = "github",
        at: float = 100.0,
    ) -> int:
        """Store a delivery; its number."""
        delivery, reason = Delivery(provider, "push", sent_id, repo), f"was {outcome}"
        return self.write(
            lambda tx: stored(tx, delivery, *changes, outcome=outcome, reason=reason, at=at)
        )

    def pushes(self, delivery: int) -> list[int]:
        """The numbers of a delivery's pushes."""
        found = self.write(lambda tx: deliveries.delivery(tx, delivery))
        assert found is not None
        return [push.id for push in found.pushes]


class Deliveries(Archive):
    def newest(
        self, repo: str | None = None, limit: int = 100, before: int | None = None
    ) -> list[kept.StoredDelivery]:
        """The newest deliveries."""
        return self.write(lambda tx: deliveries.newest_deliveries(tx, repo, limit, before))

    def test_what_is_kept(self) -> None:
        """A delivery is kept with its decision, and its pushes in their order with theirs."""
        commits = (Commit(ONE, "Title", "Ann"), Commit(TWO))
        main = Push("refs/heads/main", ONE, TWO, False, "ann", commits, True)
        tag = Push("refs/tags/v1", ONE, None, True)
        number = self.add("abc", ignored(main, look=True), ignored(tag), at=123.5)
        first, second = self.pushes(number)
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
                commits,
                True,
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
                False,
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
        commits = tuple(Commit(f"{n:040x}") for n in range(60))
        long = Push("refs/heads/" + "r" * 5000, pusher="p" * 5000, commits=commits)
        sent = Delivery("github", "e" * 5000, "", SITE)
        self.write(lambda tx: stored(tx, sent, ignored(long)))
        (delivery,) = self.newest()
        (push,) = delivery.pushes
        self.assertEqual(
            (len(delivery.event), len(push.ref), len(push.pusher), len(push.commits)),
            (200, 1000, 200, 50),
        )
        self.assertEqual(push.commits[0], commits[0])

    def test_a_repository_becomes_known(self) -> None:
        """A repository is known from its first delivery on, and watchers hear of every one."""
        self.add(repo=OTHER)
        self.add()
        self.add()
        self.assertEqual(
            self.events, [RepositoryChanged(str(repo)) for repo in (OTHER, SITE, SITE)]
        )
        self.assertEqual(self.write(repositories.names), [str(OTHER), str(SITE)])

    def test_a_delivery_without_a_repository(self) -> None:
        """A delivery that names no repository is kept, and makes none known."""
        self.add(repo=None)
        self.assertEqual([one.repo for one in self.newest()], [None])
        self.assertEqual(self.write(repositories.names), [])
        self.assertEqual(self.events, [])

    def test_pages(self) -> None:
        """Deliveries are read newest first, page by page, of one repository or of all."""
        a, b, c = self.add(), self.add(repo=OTHER), self.add()
        self.assertEqual([one.id for one in self.newest()], [c, b, a])
        self.assertEqual([one.id for one in self.newest(limit=1)], [c])
        self.assertEqual([one.id for one in self.newest(limit=1, before=c)], [b])
        self.assertEqual([one.id for one in self.newest(str(SITE))], [c, a])
        self.assertEqual([one.id for one in self.newest(str(SITE), before=c)], [a])

    def earlier(
        self, sent_id: str, provider: str = "github", repo: str | None = str(SITE)
    ) -> int | None:
        """The delivery that had that id."""
        asked = [sent_id, "never sent"]
        found = self.write(lambda tx: deliveries.accepted_before(tx, provider, asked))
        return found.get((sent_id, repo))

    def test_an_id_that_came_before(self) -> None:
        """A delivery is recognised by its provider's id, the newest accepted one of them."""
        self.add("abc")
        newest = self.add("abc")
        self.add("abc", outcome="ignored")
        self.assertEqual(self.earlier("abc"), newest)

    def test_an_id_of_another_repository(self) -> None:
        """An id is one of its repository; for another one, or for none, it did not come before."""
        other, none = self.add("abc", repo=OTHER), self.add("abc", repo=None)
        self.assertIsNone(self.earlier("abc"))
        self.assertEqual(self.earlier("abc", repo=str(OTHER)), other)
        self.assertEqual(self.earlier("abc", repo=None), none)

    def test_ids_that_did_not_come_before(self) -> None:
        """Other ids, other providers, ignored deliveries and empty ids are not recognised."""
        self.add("abc")
        self.add("ignored", outcome="ignored")
        self.add("")
        self.assertIsNone(self.earlier("abcd"))
        self.assertIsNone(self.earlier("abc", "gitlab"))
        self.assertIsNone(self.earlier("ignored"))
        self.assertIsNone(self.earlier(""))

    def test_odd_ids(self) -> None:
        """Whatever an id is made of, it is the same again, and no other one is."""
        for odd in ("a\0b", "1", "1.0", "null", "'", '"', "a%", "ä\u2028", "x" * 5000):
            number = self.add(odd)
            self.assertEqual(self.earlier(odd), number)
        self.assertIsNone(self.earlier("a"))
        self.assertIsNone(self.earlier("01"))

    def test_many_ids(self) -> None:
        """Those that came before are found among any number of others."""
        came = {str(number): self.add(str(number)) for number in range(0, 100, 7)}
        asked = [str(number) for number in range(100)]
        found = self.write(lambda tx: deliveries.accepted_before(tx, "github", asked))
        self.assertEqual(found, {(sent, str(SITE)): number for sent, number in came.items()})

    def test_one_delivery(self) -> None:
        """One delivery is read by its number, with its pushes; an unknown number gives nothing."""
        self.add()
        number = self.add("abc", ignored(Push("refs/heads/main")))
        (push,) = self.pushes(number)
        found = self.write(lambda tx: deliveries.delivery(tx, number))
        assert found is not None
        self.assertEqual((found.id, found.provider_id), (number, "abc"))
        self.assertEqual([one.id for one in found.pushes], [push])
        self.assertIsNone(self.write(lambda tx: deliveries.delivery(tx, number + 1)))


class Forgetting(Archive):
    def setUp(self) -> None:
        super().setUp()
        self.patch(deliveries, "KEPT", 1000)
        self.patch(deliveries, "KEPT_FOR", 1000.0)

    def prune(self, now: float = 100.0) -> list[int]:
        """Forget old deliveries; those that are left, oldest first."""
        self.write(lambda tx: deliveries.prune(tx, now))
        found = self.write(lambda tx: deliveries.newest_deliveries(tx, None, 1000))
        return [one.id for one in reversed(found)]

    def deploy(self, push: int, state: State) -> int:
        """A deploy that the push caused, in that state; its number."""
        number = self.write(lambda tx: queued(tx, 100.0, location=f"/srv/{push}", push=push).id)
        if state is State.RUNNING:
            self.write(lambda tx: deploys.begin(tx, deploys.known(tx, number), 100.0))
        elif state is not State.QUEUED:
            self.end(number, state)
        return number

    def end(self, deploy: int, state: State = State.SUCCEEDED) -> None:
        """Let a deploy end."""
        self.write(lambda tx: deploys.end(tx, deploy, state, 100.0))

    def test_nothing_yet(self) -> None:
        """Forgetting where nothing is old, or nothing is there, forgets nothing."""
        self.assertEqual(self.prune(), [])
        numbers = [self.add() for _ in range(3)]
        self.assertEqual(self.prune(), numbers)

    def test_beyond_the_newest(self) -> None:
        """Only the newest deliveries are kept, with their pushes."""
        self.patch(deliveries, "KEPT", 2)
        numbers = [self.add("", ignored(Push("refs/heads/main"))) for _ in range(5)]
        self.assertEqual(self.prune(), numbers[3:])
        left = self.write(lambda tx: tx.execute("SELECT delivery FROM pushes").fetchall())
        self.assertEqual([number for (number,) in left], numbers[3:])

    def test_older_ones(self) -> None:
        """Deliveries that are older than they are kept go, however few there are."""
        self.patch(deliveries, "KEPT_FOR", 10.0)
        self.add(at=1.0)
        self.add(at=44.0)
        numbers = [self.add(at=45.0), self.add(at=55.0)]
        self.assertEqual(self.prune(55.0), numbers)
        self.assertEqual(self.prune(1000.0), [])

    def test_one_from_the_future(self) -> None:
        """A delivery that came while the clock was ahead does not keep those that came later."""
        self.patch(deliveries, "KEPT_FOR", 10.0)
        numbers = [self.add(at=at) for at in (500.0, 1.0, 2.0, 98.0)]
        self.assertEqual(self.prune(100.0), [numbers[0], numbers[3]])
        self.patch(deliveries, "KEPT", 1)
        self.assertEqual(self.prune(100.0), numbers[3:])

    def test_a_clock_that_is_behind(self) -> None:
        """Where all seem to be of a time that is yet to come, none is forgotten for its age."""
        numbers = [self.add(at=1e6 + at) for at in range(5)]
        self.assertEqual(self.prune(100.0), numbers)

    def test_a_few_at_a_time(self) -> None:
        """Of many old deliveries only the oldest few go at a time, the oldest first."""
        self.patch(deliveries, "PRUNED_AT_ONCE", 2)
        self.patch(deliveries, "KEPT", 1)
        numbers = [self.add() for _ in range(6)]
        self.assertEqual([self.prune() for _ in range(3)], [numbers[2:], numbers[4:], numbers[5:]])

    def test_what_is_needed(self) -> None:
        """A delivery stays while a push of it waits for a look, or a deploy of it is to end."""
        main, other = (ignored(Push(f"refs/heads/{name}")) for name in ("main", "other"))
        look = self.add("", main, ignored(other[0], look=True), at=0.0)
        waits, runs, ended, _ = (self.add("", main, at=0.0) for _ in range(4))
        waiting = self.deploy(self.pushes(waits)[0], State.QUEUED)
        running = self.deploy(self.pushes(runs)[0], State.RUNNING)
        done = self.deploy(self.pushes(ended)[0], State.FAILED)
        self.assertEqual(self.prune(1e6), [look, waits, runs])
        found = {one.id: one for one in self.write(lambda tx: deploys.newest(tx, None, 9))}
        self.assertEqual(set(found), {waiting, running, done})
        self.assertIsNone(found[done].push)
        self.assertEqual(found[done].state, State.FAILED)
        self.assertIsNotNone(found[waiting].push)
        self.assertIsNotNone(found[running].push)
        self.end(waiting)
        self.end(running)
        (push,) = self.write(lambda tx: deliveries.pushes_to_look_at(tx, str(SITE)))
        self.write(lambda tx: deliveries.decide_push(tx, push, "ignored", "still not here"))
        self.assertEqual(self.prune(1e6), [])
        self.assertEqual(
            [one.push for one in self.write(lambda tx: deploys.newest(tx, None, 9))], [None] * 3
        )


class FreshLooks(Archive):
    def waiting(self, repo: Repository = SITE) -> list[StoredPush]:
        """The pushes that wait for a look."""
        return self.write(lambda tx: deliveries.pushes_to_look_at(tx, str(repo)))

    def test_what_waits_for_a_look(self) -> None:
        """The pushes that wait for a look are given oldest first, by repository."""
        a, b, c = (Push(f"refs/heads/{name}") for name in "abc")
        changes = ignored(a, look=True), ignored(b), ignored(c, look=True)
        first, _, second = self.pushes(self.add("", *changes))
        (other,) = self.pushes(self.add("", ignored(a, look=True), repo=OTHER))
        self.assertEqual([push.id for push in self.waiting()], [first, second])
        self.assertEqual([push.id for push in self.waiting(OTHER)], [other])
        repos = self.write(deliveries.repositories_to_look_at)
        self.assertEqual(sorted(repos), [str(OTHER), str(SITE)])

    def test_a_push_that_is_accepted_after_a_look(self) -> None:
        """A push that a look accepts waits no more, and its delivery is accepted with it."""
        self.add("abc", ignored(Push("refs/heads/dev"), look=True), outcome="ignored")
        self.events.clear()
        (push,) = self.waiting()
        self.write(lambda tx: deliveries.decide_push(tx, push, "accepted", "new config"))
        (delivery,) = self.write(lambda tx: deliveries.newest_deliveries(tx, None, 9))
        self.assertEqual((delivery.outcome, delivery.reason), ("accepted", "new config"))
        self.assertEqual(delivery.pushes[0].outcome, "accepted")
        self.assertEqual(self.waiting(), [])
        self.assertEqual(self.events, [RepositoryChanged(str(SITE))])

    def test_a_push_that_is_ignored_after_a_look(self) -> None:
        """A push that a look ignores again waits no more, and its delivery says why, too."""
        self.add("", ignored(Push("refs/heads/dev"), look=True), outcome="ignored")
        (push,) = self.waiting()
        self.write(lambda tx: deliveries.decide_push(tx, push, "ignored", "still not here"))
        (delivery,) = self.write(lambda tx: deliveries.newest_deliveries(tx, None, 9))
        self.assertEqual((delivery.outcome, delivery.reason), ("ignored", "still not here"))
        self.assertEqual(delivery.pushes[0].reason, "still not here")
        self.assertEqual(self.write(deliveries.repositories_to_look_at), [])

    def test_all_pushes_to_a_ref(self) -> None:
        """What waited is ignored at once; a delivery says why its pushes are, if none was accepted."""
        name = str(SITE)
        dev, tag = (Push(f"refs/heads/{one}") for one in ("dev", "tag"))
        waits = ignored(dev, look=True)
        self.add("", ignored(tag), waits, waits, outcome="ignored")
        self.add("", waits, ignored(tag), outcome="ignored")
        self.add("", waits, outcome="accepted")
        self.write(lambda tx: deliveries.ignore_pushes(tx, name, dev.ref, False, "dev is not"))
        found = self.write(lambda tx: deliveries.newest_deliveries(tx, None, 9))[::-1]
        self.assertEqual(
            [one.reason for one in found],
            ["not here; dev is not", "dev is not; not here", "was accepted"],
        )
        self.assertEqual(self.waiting(), [])
