"""Tests of taking deliveries in, and of what a look at the config makes of them."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy import acts, inbox
from integralgit.deploy.inbox import Receipt, replay, take_in
from integralgit.deploy.settle import give_up, settle, share
from integralgit.hooks.delivery import Commit, Delivery, Push
from integralgit.journal import deliveries, deploys, freezes, queue, repositories
from integralgit.journal.events import Deploy, Freeze, State, StoredDelivery, Trigger
from integralgit.journal.store import Work
from integralgit.names import Repository
from integralgit.testing import MemoryStore
from tests.archive import stored

T = TypeVar("T")

SITE = Repository("github.com", "acme/site")
NAMES = ("web1",)
BEFORE, AFTER = "1" * 40, "2" * 40
CONFIG_COMMIT = "c" * 40


def config(**hosts: dict[str, object]) -> str:
    """A config file with those entries."""
    return json.dumps({"configs": hosts})


MAIN = config(web1={"location": "/srv/site", "branch": "main"})
DEV = config(web1={"location": "/srv/site", "branch": "dev"})
NOTHING = config(base={"branch": "main"})


def push(branch: str = "main", after: str | None = AFTER, **more: Any) -> Push:
    """A push to a branch."""
    return Push(f"refs/heads/{branch}", BEFORE, after, **more)


def delivery(*pushes: Push, sent_id: str = "") -> Delivery:
    """A delivery of those pushes."""
    return Delivery("github", "push", sent_id, SITE, pushes)


class Door(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = MemoryStore()
        self.now = 1000.0

    def write(self, work: Work[T]) -> T:
        """The result of work that writes."""
        return self.successResultOf(self.memory.store.write(work))

    def take_in(self, sent: Delivery, names: tuple[str, ...] = NAMES) -> Receipt:
        """Take a delivery in."""
        self.now += 1
        (receipt,) = self.write(lambda tx: take_in(tx, [sent], names, self.now))
        return receipt

    def push(self, branch: str = "main", sent_id: str = "", **more: Any) -> Receipt:
        """Take in a delivery of one push."""
        return self.take_in(delivery(push(branch, **more), sent_id=sent_id))

    def configure(
        self, text: str | None, error: str | None = None, commit: str | None = CONFIG_COMMIT
    ) -> None:
        """Let the repository be known with that config."""
        repo = str(SITE)
        told = Delivery("github", "ping", "", SITE)
        number = self.write(lambda tx: stored(tx, told))
        self.write(lambda tx: tx.execute("DELETE FROM deliveries WHERE id = ?", (number,)))
        self.write(lambda tx: repositories.set_config(tx, repo, commit, text, error, 0.0))

    def settle(self, names: tuple[str, ...] = NAMES) -> tuple[str, ...]:
        """Let a look at the config be over; the locations that have something to do."""
        self.now += 1
        record = self.write(lambda tx: repositories.get(tx, str(SITE)))
        assert record is not None
        return self.write(lambda tx: settle(tx, record, names, self.now))

    def end(self, deploy: Deploy, state: State) -> None:
        """Let a deploy end."""
        self.write(lambda tx: deploys.end(tx, deploy.id, state, self.now))

    def get(self, number: int) -> Deploy:
        """A deploy as it is now."""
        return self.write(lambda tx: deploys.known(tx, number))

    def all(self) -> list[tuple[str, str | None, State]]:
        """Branch, location and state of every deploy, oldest first."""
        found = self.write(lambda tx: deploys.newest(tx, None, 100))
        return [(one.branch, one.location, one.state) for one in reversed(found)]

    def deliveries(self) -> list[StoredDelivery]:
        """Every delivery, oldest first."""
        return self.write(lambda tx: deliveries.newest_deliveries(tx, None, 100))[::-1]


class TakingIn(Door):
    def test_the_config_is_not_known(self) -> None:
        """A push of a new repository is accepted, waits without a place, and asks for a look."""
        receipt = self.push(commits=(Commit(AFTER, "Title", "Ann"),))
        self.assertEqual((receipt.outcome, receipt.reason, receipt.look), ("accepted", "", True))
        (deploy,) = receipt.deploys
        self.assertEqual((deploy.repo, deploy.branch), ("github.com/acme/site", "main"))
        self.assertEqual((deploy.host, deploy.location), (None, None))
        self.assertEqual((deploy.state, deploy.trigger), (State.QUEUED, Trigger.PUSH))
        self.assertEqual((deploy.wanted, deploy.created), (AFTER, self.now))
        self.assertEqual([one.message for one in deploy.commits], ["Title"])
        self.assertEqual(self.get(deploy.id), deploy)
        (stored,) = self.deliveries()
        self.assertEqual((stored.id, stored.outcome), (receipt.delivery, "accepted"))
        self.assertEqual([(one.id, one.after) for one in stored.pushes], [(deploy.push, AFTER)])

    def test_the_config_is_known(self) -> None:
        """A push to the branch of the config is queued for its location, without a look."""
        self.configure(MAIN)
        receipt = self.push()
        (deploy,) = receipt.deploys
        self.assertEqual((deploy.host, deploy.location), ("web1", "/srv/site"))
        self.assertEqual((receipt.outcome, receipt.look), ("accepted", False))

    def test_another_branch(self) -> None:
        """A push to a branch that the known config ignores is ignored, and asks for a look."""
        self.configure(MAIN)
        receipt = self.push("dev")
        self.assertEqual(
            (receipt.outcome, receipt.reason, receipt.deploys, receipt.look),
            ("ignored", "branch dev is not deployed here (main is)", (), True),
        )
        (stored,) = self.deliveries()
        self.assertEqual((stored.outcome, stored.reason), ("ignored", receipt.reason))
        self.assertEqual([one.outcome for one in stored.pushes], ["ignored"])

    def test_a_config_with_nothing_for_this_host(self) -> None:
        """A push of a repository that has nothing for this host is ignored, and asks for a look."""
        self.configure(NOTHING)
        receipt = self.push()
        self.assertEqual((receipt.outcome, receipt.deploys), ("ignored", ()))
        self.assertTrue(receipt.look)

    def test_the_last_good_config_decides(self) -> None:
        """While the newest config is broken, pushes go by the last good one."""
        self.configure(MAIN)
        self.configure("{", "config is not JSON")
        receipt = self.push()
        self.assertEqual([one.location for one in receipt.deploys], ["/srv/site"])

    def test_names_that_the_config_in_use_does_not_suit(self) -> None:
        """Where this host has new names that break the config in use, it counts as not known."""
        self.configure(config(web2={"branch": "main"}))
        receipt = self.take_in(delivery(push()), ("web2",))
        self.assertEqual([one.location for one in receipt.deploys], [None])
        self.assertEqual((receipt.outcome, receipt.look), ("accepted", True))

    def test_a_config_push(self) -> None:
        """A push to the config's branch deploys nothing, and asks for a look."""
        self.configure(MAIN)
        receipt = self.push("integralgit")
        self.assertEqual((receipt.outcome, receipt.deploys, receipt.look), ("accepted", (), True))

    def test_what_deploys_nothing(self) -> None:
        """Tags, deletions and odd names are ignored with a reason, and need no look."""
        self.configure(MAIN)
        cases = [
            (Push("refs/tags/main", None, AFTER), "refs/tags/main is not a branch"),
            (push(after=None, deleted=True), "branch main was deleted"),
            (push("-x"), "'-x' cannot be the name"),
            (push("HEAD"), "'HEAD' cannot be the name"),
        ]
        for sent, reason in cases:
            receipt = self.take_in(delivery(sent))
            self.assertEqual((receipt.outcome, receipt.deploys), ("ignored", ()), sent.ref)
            self.assertIn(reason, receipt.reason)
            self.assertFalse(receipt.look, sent.ref)
        self.assertEqual(self.all(), [])

    def test_a_ping(self) -> None:
        """A delivery without pushes is kept and ignored with its own reason."""
        ping = Delivery("github", "ping", "id", SITE, note="the event ping deploys nothing")
        receipt = self.take_in(ping)
        self.assertEqual(
            (receipt.outcome, receipt.reason, receipt.look),
            ("ignored", "the event ping deploys nothing", False),
        )
        self.assertEqual([one.event for one in self.deliveries()], ["ping"])

    def test_several_pushes(self) -> None:
        """Every push of a delivery counts; it is accepted if one of them is."""
        self.configure(
            config(
                web1={"location": "/srv/site", "branch": "main"},
                web2={"location": "/srv/dev", "branch": "dev"},
            )
        )
        receipt = self.take_in(
            delivery(push("dev"), push("other"), Push("refs/tags/v1"), push("main")),
            ("web1", "web2"),
        )
        self.assertEqual(
            [(one.branch, one.host, one.location) for one in receipt.deploys],
            [("dev", "web2", "/srv/dev"), ("main", "web1", "/srv/site")],
        )
        self.assertEqual((receipt.outcome, receipt.reason), ("accepted", ""))
        self.assertTrue(receipt.look, "the branch `other` may have become ours")
        (stored,) = self.deliveries()
        self.assertEqual(
            [one.outcome for one in stored.pushes], ["accepted", "ignored", "ignored", "accepted"]
        )

    def test_several_pushes_of_one_branch(self) -> None:
        """Of several pushes to one branch in a delivery, the last one is deployed."""
        self.configure(MAIN)
        receipt = self.take_in(delivery(push(after="3" * 40), push(after="4" * 40)))
        self.assertEqual(
            [(one.wanted, one.state) for one in receipt.deploys],
            [("3" * 40, State.SUPERSEDED), ("4" * 40, State.QUEUED)],
        )

    def test_one_branch_at_two_locations(self) -> None:
        """A push is deployed at every location of this host that has its branch."""
        self.configure(
            config(
                base={"branch": "main"}, web1={"location": "/srv/a"}, web2={"location": "/srv/b"}
            )
        )
        receipt = self.take_in(delivery(push()), ("web1", "web2"))
        self.assertEqual([one.location for one in receipt.deploys], ["/srv/a", "/srv/b"])

    def test_pushes_that_meet(self) -> None:
        """Pushes that come while one waits leave one deploy of the newest."""
        self.configure(MAIN)
        for n in range(3):
            self.push(after=str(n) * 40)
        self.assertEqual(
            [state for _, _, state in self.all()],
            [State.SUPERSEDED, State.SUPERSEDED, State.QUEUED],
        )
        waiting = self.write(lambda tx: queue.waiting_at(tx, "/srv/site"))
        assert waiting is not None
        self.assertEqual(waiting.wanted, "2" * 40)

    def test_branches_do_not_meet_while_the_config_is_unknown(self) -> None:
        """While the config is not known, pushes wait per branch."""
        self.push("dev")
        self.push("main")
        self.push("main")
        self.assertEqual(
            self.all(),
            [
                ("dev", None, State.QUEUED),
                ("main", None, State.SUPERSEDED),
                ("main", None, State.QUEUED),
            ],
        )


class Duplicates(Door):
    def setUp(self) -> None:
        super().setUp()
        self.configure(MAIN)

    def test_the_second_time(self) -> None:
        """A delivery that was accepted before is ignored, with the deploys of the first time."""
        first = self.push(sent_id="abc")
        second = self.push(sent_id="abc")
        self.assertEqual(
            (second.outcome, second.reason, second.look),
            ("ignored", "the delivery abc was accepted before", False),
        )
        self.assertEqual(second.deploys, first.deploys)
        self.assertEqual(len(self.all()), 1)
        self.assertEqual([one.outcome for one in self.deliveries()], ["accepted", "ignored"])
        self.assertNotEqual(second.delivery, first.delivery)

    def test_while_it_runs_and_after_it_succeeded(self) -> None:
        """A delivery whose deploy waits, runs, succeeded or was superseded does not run again."""
        (deploy,) = self.push(sent_id="abc").deploys
        self.write(lambda tx: deploys.begin(tx, deploys.known(tx, deploy.id), self.now))
        self.assertEqual(self.push(sent_id="abc").outcome, "ignored")
        for state in (State.SUCCEEDED, State.SUPERSEDED, State.SKIPPED):
            self.end(deploy, state)
            receipt = self.push(sent_id="abc")
            self.assertEqual(receipt.outcome, "ignored", state)
            self.assertEqual([one.state for one in receipt.deploys], [state])

    def test_after_a_failure(self) -> None:
        """After a failed run the same delivery runs again, and then not a third time."""
        for state in (State.FAILED, State.TIMED_OUT, State.CANCELLED, State.INTERRUPTED):
            (first,) = self.push(sent_id=state).deploys
            self.end(first, state)
            again = self.push(sent_id=state)
            self.assertEqual(again.outcome, "accepted", state)
            self.assertEqual([one.state for one in again.deploys], [State.QUEUED])
            self.assertGreater(again.deploys[0].id, first.id)
            self.end(again.deploys[0], State.SUCCEEDED)
            third = self.push(sent_id=state)
            self.assertEqual(third.outcome, "ignored", state)
            self.assertEqual([one.id for one in third.deploys], [again.deploys[0].id])

    def test_ignored_ones_are_decided_afresh(self) -> None:
        """A delivery that was ignored is no duplicate: sent again, it goes by the config of then."""
        self.assertEqual(self.push("dev", sent_id="abc").outcome, "ignored")
        self.configure(DEV)
        self.assertEqual(self.push("dev", sent_id="abc").outcome, "accepted")

    def test_without_an_id(self) -> None:
        """Deliveries of hosts that give no ids are never taken for duplicates."""
        self.assertEqual([self.push().outcome for _ in range(2)], ["accepted", "accepted"])

    def test_another_provider(self) -> None:
        """Ids of two providers do not meet."""
        self.push(sent_id="abc")
        other = Delivery("generic", "push", "abc", SITE, (push(),))
        self.assertEqual(self.take_in(other).outcome, "accepted")

    def test_another_repository(self) -> None:
        """One id of a provider for two repositories is two deliveries, each recognised by itself."""
        other = Repository("github.com", "acme/other")
        for repo in (SITE, other):
            sent = Delivery("github", "push", "abc", repo, (push(),))
            first = self.take_in(sent)
            self.assertEqual(first.outcome, "accepted", str(repo))
            self.assertEqual([one.repo for one in first.deploys], [str(repo)])
            again = self.take_in(sent)
            self.assertEqual((again.outcome, again.deploys), ("ignored", first.deploys))
        self.assertEqual(len(self.all()), 2)

    def test_no_repository(self) -> None:
        """A delivery that names no repository is not taken for one that does."""
        self.push(sent_id="abc")
        ping = Delivery("github", "ping", "abc", None, note="the event ping deploys nothing")
        self.assertEqual(self.take_in(ping).reason, "the event ping deploys nothing")


OTHER = Repository("github.com", "acme/other")
#: What may meet on its way to the disk.
MEETING = (
    delivery(push(after="3" * 40), sent_id="a"),
    delivery(push("dev"), push(after="4" * 40, commits=(Commit("4" * 40, "Title"),)), sent_id="b"),
    delivery(push(after="3" * 40), sent_id="a"),
    Delivery("github", "ping", "c", SITE, note="the event ping deploys nothing"),
    Delivery("github", "push", "a", OTHER, (push(after="5" * 40),)),
    Delivery("gitlab", "push", "a", SITE, (push("integralgit"),)),
    delivery(push(after=None, deleted=True)),
    Delivery("github", "ping", "", None, note="the event ping deploys nothing"),
    delivery(Push("refs/tags/v1", BEFORE, AFTER), push(after="6" * 40)),
    delivery(push(after="4" * 40), sent_id="b"),
)


class Together(Door):
    """Deliveries that come in while the disk is written to are taken in together."""

    def setUp(self) -> None:
        super().setUp()
        self.configure(MAIN)

    def together(self, *sent: Delivery) -> list[Receipt]:
        """Take deliveries in, all at once."""
        return self.write(lambda tx: take_in(tx, sent, NAMES, self.now))

    def left(self) -> list[object]:
        """What the archive has, but for the times, and for which one superseded another."""
        tables = {
            "deliveries": "id, provider, provider_id, event, repo, outcome, reason",
            "pushes": "*",
            "deploys": "id, repo, branch, host, location, trigger, push, wanted, state, commits",
            "tips": "*",
            "repositories": "repo, provider, good_text",
        }
        return [
            self.memory.connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()
            for table, columns in tables.items()
        ]

    def test_the_same_as_one_by_one(self) -> None:
        """They leave what they would have left one after the other, and get the same answers."""
        receipts = self.together(*MEETING)
        single = Together()
        single.setUp()
        expected = [single.take_in(one) for one in MEETING]
        self.assertEqual(self.left(), single.left())

        def told(receipt: Receipt) -> object:
            deploys = [(one.id, one.repo, one.branch, one.location) for one in receipt.deploys]
            return receipt.delivery, receipt.outcome, receipt.reason, deploys, receipt.look

        self.assertEqual([told(one) for one in receipts], [told(one) for one in expected])

    def test_only_the_newest_waits(self) -> None:
        """Of pushes that meet, the newest waits, and the others are superseded by it."""
        before = self.push(after="3" * 40).deploys[0]
        first, second, third = (
            receipt.deploys[0]
            for receipt in self.together(
                *[delivery(push(after=letter * 40), sent_id=letter) for letter in "abc"]
            )
        )
        self.assertEqual(self.get(third.id), third)
        self.assertEqual((third.state, third.wanted), (State.QUEUED, "c" * 40))
        for older in (before, first, second):
            found = self.get(older.id)
            self.assertEqual((found.state, found.superseded_by), (State.SUPERSEDED, third.id))
            self.assertEqual(found.reason, f"deploy {third.id} waits for the same and is newer")
        self.assertEqual([self.get(one.id) for one in (first, second)], [first, second])

    def test_the_same_one_three_times(self) -> None:
        """Of deliveries with one id, the first counts, and the others get its deploys."""
        receipts = self.together(*[delivery(push(), sent_id="a")] * 3)
        self.assertEqual([one.outcome for one in receipts], ["accepted", "ignored", "ignored"])
        self.assertEqual({one.deploys[0].id for one in receipts}, {1})
        self.assertEqual(len(self.all()), 1)

    def test_another_case(self) -> None:
        """A git host that tells a name in another case speaks of the same repository, frozen or not."""
        self.write(lambda tx: freezes.freeze(tx, Freeze(str(SITE), "a release", 0.0, None)))
        other = Repository("github.com", "Acme/SITE")
        receipts = self.together(
            delivery(push(), sent_id="a"),
            Delivery("github", "push", "b", other, (push(),)),
            Delivery("github", "push", "a", other, (push(),)),
        )
        self.assertEqual([one.repo for one in receipts], [str(SITE)] * 3)
        self.assertEqual([one.outcome for one in receipts], ["accepted", "accepted", "ignored"])
        self.assertIn("is frozen", receipts[1].reason)
        self.assertEqual({one.repo for one in self.deliveries()}, {str(SITE)})
        found = self.write(repositories.names)
        self.assertEqual(found, [str(SITE)])

    def test_a_host_that_tells_case_apart(self) -> None:
        """Where names that differ in case are of different repositories, each push is one of its own."""
        names = ("Site", "site", "SITE")
        found = self.together(
            *(
                Delivery(provider, "push", name, Repository("git.test", f"acme/{name}"), (push(),))
                for name in names
                for provider in ("generic", "sourcehut")
            )
        )
        self.assertEqual({one.repo for one in found}, {f"git.test/acme/{one}" for one in names})

    def test_a_plain_push_in_another_case(self) -> None:
        """It is one of the repository of which a host told that does not tell case apart."""
        other = Repository("github.com", SITE.full_name.upper())
        found = self.together(delivery(push()), Delivery("generic", "push", "", other, (push(),)))
        self.assertEqual({one.repo for one in found}, {str(SITE)})

    def test_a_frozen_repository(self) -> None:
        """Each whose push waits for the end of a freeze is told so, and nobody else."""
        self.write(lambda tx: freezes.freeze(tx, Freeze(str(SITE), "a release", 0.0, None)))
        waits, ignored, other = self.together(
            delivery(push()),
            delivery(push("dev")),
            Delivery("github", "push", "", OTHER, (push(),)),
        )
        reason = "the repository is frozen and its newest push waits: a release"
        self.assertEqual(waits.reason, reason)
        self.assertEqual(ignored.reason, "branch dev is not deployed here (main is)")
        self.assertEqual((other.outcome, other.reason), ("accepted", ""))

    def test_forgetting(self) -> None:
        """Old deliveries are forgotten whichever of those that meet has the number for that."""
        self.patch(inbox, "PRUNE_EVERY", 4)
        self.patch(deliveries, "KEPT", 2)
        ping = Delivery("github", "ping", "", SITE)
        self.together(*[ping] * 3)
        self.together(*[ping] * 3)
        self.assertEqual([one.id for one in self.deliveries()], [5, 6])

    def test_forgetting_in_a_storm(self) -> None:
        """However many come at once, as many are forgotten; and none of those that are to be deployed."""
        self.patch(inbox, "PRUNE_EVERY", 4)
        self.patch(deliveries, "KEPT", 2)
        self.patch(deliveries, "PRUNED_AT_ONCE", 5)
        sent = [Delivery("github", "ping", "", SITE)] * 30
        self.together(*sent, delivery(push()), *sent)
        self.assertEqual([one.id for one in self.deliveries()], [31, 60, 61])


class Replaying(Door):
    def replay(self, number: int, repo: str = str(SITE)) -> Receipt | None:
        """Take a delivery in once more."""
        self.now += 1
        return self.write(lambda tx: replay(tx, number, repo, NAMES, self.now))

    def test_by_the_config_of_now(self) -> None:
        """An accepted delivery is taken in again as a new one, and goes by the config of now."""
        self.configure(MAIN)
        commits = (Commit(AFTER, "Title", "Ann"),)
        first = self.push(sent_id="abc", commits=commits, pusher="ann")
        self.end(first.deploys[0], State.SUCCEEDED)
        self.configure(config(web1={"location": "/srv/new", "branch": "main"}))
        again = self.replay(first.delivery)
        assert again is not None
        self.assertEqual((again.outcome, again.look), ("accepted", False))
        (deploy,) = again.deploys
        self.assertEqual((deploy.location, deploy.state), ("/srv/new", State.QUEUED))
        self.assertEqual((deploy.wanted, deploy.created), (AFTER, self.now))
        old, new = self.deliveries()
        self.assertEqual((old.id, new.id), (first.delivery, again.delivery))
        self.assertEqual((new.provider, new.provider_id, new.event), ("github", "", "push"))
        (one,), (two,) = old.pushes, new.pushes
        self.assertEqual(
            (two.ref, two.before, two.after, two.pusher, two.commits),
            (one.ref, one.before, one.after, one.pusher, one.commits),
        )
        self.assertEqual(two.id, deploy.push)

    def test_a_branch_that_is_no_longer_deployed(self) -> None:
        """A delivery whose branch the config of now ignores is ignored when it is taken in again."""
        self.configure(MAIN)
        first = self.push()
        self.configure(DEV)
        again = self.replay(first.delivery)
        assert again is not None
        self.assertEqual((again.outcome, again.deploys, again.look), ("ignored", (), True))
        self.assertEqual(again.reason, "branch main is not deployed here (dev is)")

    def test_as_often_as_one_likes(self) -> None:
        """A delivery that waits, or was taken in again, is no duplicate of itself."""
        self.configure(MAIN)
        number = self.push(sent_id="abc").delivery
        for _ in range(3):
            again = self.replay(number)
            assert again is not None
            self.assertEqual([one.state for one in again.deploys], [State.QUEUED])
            number = again.delivery

    def test_what_cannot_be_taken_in_again(self) -> None:
        """An unknown number, another repository's or an ignored delivery are not taken in again."""
        self.configure(MAIN)
        accepted, ignored = self.push().delivery, self.push("dev").delivery
        before = self.deliveries()
        self.assertIsNone(self.replay(ignored + 1))
        self.assertIsNone(self.replay(-1))
        self.assertIsNone(self.replay(accepted, "github.com/acme/other"))
        self.assertIsNone(self.replay(ignored))
        self.assertEqual(self.deliveries(), before)
        self.assertEqual(len(self.all()), 1)


class Forgetting(Door):
    def test_every_so_many_deliveries(self) -> None:
        """Now and then, when a delivery comes in, old ones are forgotten."""
        self.patch(inbox, "PRUNE_EVERY", 4)
        self.patch(deliveries, "KEPT", 2)
        kept = []
        for _ in range(8):
            self.take_in(Delivery("github", "ping", "", SITE))
            kept.append([one.id for one in self.deliveries()])
        self.assertEqual(
            kept,
            [[1], [1, 2], [1, 2, 3], [3, 4], [3, 4, 5], [3, 4, 5, 6], [3, 4, 5, 6, 7], [7, 8]],
        )


class Sharing(Door):
    """A push that waits by an old config, when a new one becomes known."""

    BOTH = config(base={"branch": "main"}, web1={"location": "/srv/a"}, web2={"location": "/srv/b"})

    def share(self, text: str) -> list[tuple[str, str | None, State]]:
        """Let a new config be known; the deploys there are then, oldest first."""
        self.configure(text, commit="d" * 40)
        record = self.write(lambda tx: repositories.known(tx, str(SITE)))
        self.write(lambda tx: share(tx, record, ("web1", "web2"), self.now))
        return self.all()

    def setUp(self) -> None:
        super().setUp()
        self.configure(config(web1={"location": "/srv/a", "branch": "main"}))

    def test_another_location(self) -> None:
        """It goes to the location that the new config has besides, once, and with what it is of."""
        (first,) = self.push(commits=(Commit(AFTER, "Title", "Ann"),), pusher="ann").deploys
        both = [("main", "/srv/a", State.QUEUED), ("main", "/srv/b", State.QUEUED)]
        self.assertEqual(self.share(self.BOTH), both)
        self.assertEqual(self.share(self.BOTH), both)
        second = self.get(first.id + 1)
        self.assertEqual(
            (second.host, second.trigger, second.push, second.wanted, second.pusher),
            ("web2", Trigger.PUSH, first.push, AFTER, "ann"),
        )
        self.assertEqual(second.commits, first.commits)

    def test_the_newest_of_several(self) -> None:
        """Of several pushes that wait, the newest goes to the new location."""
        (runs,) = self.push().deploys
        self.write(lambda tx: deploys.begin(tx, runs, self.now))
        (waits,) = self.take_in(delivery(Push("refs/heads/main", AFTER, "3" * 40))).deploys
        self.share(self.BOTH)
        self.assertEqual(len(self.all()), 3)
        self.assertEqual(self.get(waits.id + 1).wanted, "3" * 40)

    def test_the_config_alone(self) -> None:
        """Nothing is queued for a push that has been fetched, has ended, or is of another branch."""
        (first,) = self.push().deploys
        self.write(lambda tx: deploys.begin(tx, first, self.now))
        self.write(lambda tx: deploys.note(tx, first.id, commit=AFTER))
        self.assertEqual(len(self.share(self.BOTH)), 1)
        self.end(first, State.SUCCEEDED)
        self.assertEqual(len(self.share(self.BOTH)), 1)
        self.push("main", sent_id="again")
        dev = config(
            web1={"location": "/srv/a", "branch": "main"},
            web2={"location": "/srv/b", "branch": "dev"},
        )
        self.assertEqual(len(self.share(dev)), 2)

    def test_a_location_that_moves(self) -> None:
        """Where the push goes on at another location by itself, none is queued besides."""
        self.push()
        moved = config(web1={"location": "/srv/new", "branch": "main"})
        self.assertEqual(self.share(moved), [("main", "/srv/a", State.QUEUED)])

    def test_the_branch_goes_to_another_host(self) -> None:
        """Where its own location gets another branch, it goes to the host that has its branch now."""
        self.push()
        swapped = config(
            web1={"location": "/srv/a", "branch": "dev"},
            web2={"location": "/srv/b", "branch": "main"},
        )
        both = [("main", "/srv/a", State.QUEUED), ("main", "/srv/b", State.QUEUED)]
        self.assertEqual(self.share(swapped), both)

    def test_what_a_person_asked_for(self) -> None:
        """A retry stays where it is."""
        (first,) = self.push().deploys
        self.end(first, State.FAILED)
        failed = self.get(first.id)
        self.write(lambda tx: acts.retry(tx, failed, self.now))
        self.assertEqual(len(self.share(self.BOTH)), 2)


class Settling(Door):
    def test_a_waiting_deploy_gets_its_place(self) -> None:
        """Once the config is known, what waited for it waits at its location, which is woken."""
        (waiting,) = self.push().deploys
        self.configure(MAIN)
        self.assertEqual(self.settle(), ("/srv/site",))
        placed = self.get(waiting.id)
        self.assertEqual(
            (placed.host, placed.location, placed.state), ("web1", "/srv/site", State.QUEUED)
        )

    def test_a_waiting_deploy_with_two_places(self) -> None:
        """A branch that two of this host's names deploy waits at both locations."""
        (waiting,) = self.push().deploys
        self.configure(
            config(
                base={"branch": "main"}, web1={"location": "/srv/a"}, web2={"location": "/srv/b"}
            )
        )
        self.assertEqual(sorted(self.settle(("web1", "web2"))), ["/srv/a", "/srv/b"])
        self.assertEqual(
            sorted(location or "" for _, location, _ in self.all()), ["/srv/a", "/srv/b"]
        )
        (stored,) = self.deliveries()
        caused = self.write(lambda tx: deploys.of_delivery(tx, stored.id))
        self.assertEqual(len(caused), 2)
        self.assertEqual({one.push for one in caused}, {waiting.push})
        self.assertEqual({one.wanted for one in caused}, {AFTER})

    def test_other_branches_are_skipped(self) -> None:
        """What waited on a branch that is not ours is skipped, and says why."""
        (dev,), (main,) = self.push("dev").deploys, self.push("main").deploys
        self.configure(MAIN)
        self.assertEqual(self.settle(), ("/srv/site",))
        skipped = self.get(dev.id)
        self.assertEqual(
            (skipped.state, skipped.reason, skipped.finished),
            (State.SKIPPED, "branch dev is not deployed here (main is)", self.now),
        )
        self.assertEqual(self.get(main.id).state, State.QUEUED)

    def test_nothing_for_this_host(self) -> None:
        """What waited is skipped where the config has nothing for this host."""
        (waiting,) = self.push().deploys
        self.configure(NOTHING)
        self.assertEqual(self.settle(), ())
        skipped = self.get(waiting.id)
        self.assertEqual(
            (skipped.state, skipped.reason),
            (State.SKIPPED, "the config has nothing to deploy for this host"),
        )

    def test_no_config_at_all(self) -> None:
        """What waited is skipped where the repository has no config."""
        (waiting,) = self.push().deploys
        self.configure(None, commit=None)
        self.assertEqual(self.settle(), ())
        skipped = self.get(waiting.id)
        self.assertEqual(
            (skipped.state, skipped.reason),
            (
                State.SKIPPED,
                "github.com/acme/site has no branch integralgit with a config",
            ),
        )

    def test_a_first_config_that_is_broken(self) -> None:
        """What waited fails with the error of a config that was never usable."""
        (waiting,) = self.push().deploys
        self.configure("{", "config is not JSON: line 1")
        self.assertEqual(self.settle(), ())
        failed = self.get(waiting.id)
        self.assertEqual(
            (failed.state, failed.reason), (State.FAILED, "config is not JSON: line 1")
        )

    def test_a_later_config_that_is_broken(self) -> None:
        """What waited goes by the last good config while the newest is broken."""
        self.configure(MAIN)
        self.configure("{", "config is not JSON")
        self.push("dev")
        self.assertEqual(self.settle(), ())
        (stored,) = self.deliveries()
        self.assertEqual(stored.outcome, "ignored")
        self.assertEqual(stored.pushes[0].reason, "branch dev is not deployed here (main is)")

    def test_an_ignored_push_that_the_new_config_deploys(self) -> None:
        """A push that the old config ignored is deployed if the config has changed unannounced."""
        self.configure(MAIN)
        self.push("dev")
        self.configure(DEV)
        self.assertEqual(self.settle(), ("/srv/site",))
        self.assertEqual(self.all(), [("dev", "/srv/site", State.QUEUED)])
        (stored,) = self.deliveries()
        reason = "the config had changed and now deploys this branch"
        self.assertEqual((stored.outcome, stored.reason), ("accepted", reason))
        self.assertEqual(
            [(one.outcome, one.reason) for one in stored.pushes], [("accepted", reason)]
        )
        waiting = self.write(lambda tx: queue.waiting_at(tx, "/srv/site"))
        assert waiting is not None
        self.assertEqual((waiting.wanted, waiting.push), (AFTER, stored.pushes[0].id))

    def test_an_ignored_push_that_stays_ignored(self) -> None:
        """A push that the fresh config ignores too is ignored for good."""
        self.configure(MAIN)
        self.push("dev")
        self.assertEqual(self.settle(), ())
        self.configure(DEV)
        self.assertEqual(self.settle(), ())
        self.assertEqual(self.all(), [])

    def test_looks_are_settled_once(self) -> None:
        """Settling a second time deploys nothing a second time."""
        self.configure(MAIN)
        self.push("dev")
        self.configure(DEV)
        self.settle()
        self.assertEqual(self.settle(), ())
        self.assertEqual(len(self.all()), 1)

    def test_several_ignored_pushes(self) -> None:
        """Of several pushes that waited for one look, the newest is deployed."""
        self.configure(MAIN)
        for n in range(3):
            self.push("dev", after=str(n) * 40)
        self.configure(DEV)
        self.assertEqual(self.settle(), ("/srv/site",))
        waiting = self.write(lambda tx: queue.waiting_at(tx, "/srv/site"))
        assert waiting is not None
        self.assertEqual(waiting.wanted, "2" * 40)

    def test_a_config_push(self) -> None:
        """A config push says what was read, and deploys nothing."""
        self.push("integralgit", sent_id="good")
        self.configure(MAIN)
        self.settle()
        self.push("integralgit", sent_id="bad")
        self.configure("{", "config is not JSON")
        self.settle()
        self.assertEqual(
            [(one.outcome, one.pushes[0].reason) for one in self.deliveries()],
            [
                ("accepted", "the config was read: it is fine"),
                ("accepted", "the config was read: config is not JSON"),
            ],
        )
        self.assertEqual(self.all(), [])

    def test_a_config_that_was_deleted(self) -> None:
        """The push that deleted the config says that there is none any more."""
        self.configure(MAIN)
        receipt = self.push("integralgit", after=None, deleted=True)
        self.assertEqual((receipt.outcome, receipt.look), ("ignored", True))
        self.configure(None, commit=None)
        self.assertEqual(self.settle(), ())
        (stored,) = self.deliveries()
        self.assertEqual(
            (stored.outcome, stored.pushes[0].outcome, stored.pushes[0].reason),
            ("ignored", "ignored", "the config was read: there is none any more"),
        )

    def test_names_that_break_the_config_in_use(self) -> None:
        """Where this host's names break the config in use, whatever waited for a look says how."""
        self.configure(config(web1={"location": "/srv/site"}, web2={"branch": "main"}))
        (waiting,) = self.take_in(delivery(push("main")), ("web2",)).deploys
        self.push("dev")
        self.push("integralgit")
        self.assertEqual(self.settle(("web2",)), ())
        error = "host web2, layer web2, key location: no location results"
        failed = self.get(waiting.id)
        self.assertEqual((failed.state, failed.reason), (State.FAILED, error))
        self.assertEqual(
            [(one.pushes[0].outcome, one.pushes[0].reason) for one in self.deliveries()],
            [("accepted", ""), ("ignored", error), ("accepted", error)],
        )
        self.assertEqual(self.write(deliveries.repositories_to_look_at), [])

    def test_giving_up(self) -> None:
        """If the config cannot be read, what waited for it fails with the reason, and only that."""
        (waiting,) = self.push().deploys
        self.configure(MAIN)
        (placed,) = self.push().deploys
        numbers = [waiting.id, placed.id]
        self.write(lambda tx: give_up(tx, str(SITE), numbers, "no route to host", self.now))
        failed = self.get(waiting.id)
        self.assertEqual(
            (failed.state, failed.reason, failed.finished),
            (State.FAILED, "no route to host", self.now),
        )
        self.assertEqual(self.get(placed.id).state, State.QUEUED)

    def test_giving_up_leaves_looks_to_be_tried_again(self) -> None:
        """A push that waits for a look goes on waiting when the config cannot be read."""
        self.configure(MAIN)
        self.push("dev")
        self.write(lambda tx: give_up(tx, str(SITE), [], "no route to host", self.now))
        self.configure(DEV)
        self.assertEqual(self.settle(), ("/srv/site",))

    def test_another_repository_is_left_alone(self) -> None:
        """Settling one repository does not touch what waits for the config of another."""
        other = Repository("github.com", "acme/other")
        sent = Delivery("github", "push", "", other, (Push("refs/heads/main"),))
        (waiting,) = self.take_in(sent).deploys
        self.push()
        self.configure(MAIN)
        self.settle()
        self.write(lambda tx: give_up(tx, str(SITE), [waiting.id], "no", self.now))
        found = self.get(waiting.id)
        self.assertEqual((found.location, found.state), (None, State.QUEUED))
