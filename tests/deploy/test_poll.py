"""Tests of what a look at the remotes makes of what is known."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.poll import Poll, compare
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal import deploys, queue, repositories
from integralgit.journal.events import State, Trigger
from integralgit.journal.store import Transaction
from integralgit.settings import Settings, Trust
from integralgit.testing import MemoryStore
from tests.archive import queued

SITE = "github.com/acme/site"
OLD, NEW = "1" * 40, "2" * 40


class Comparing(SynchronousTestCase):
    def waiting(self, branch: str) -> list[str]:
        """The branches that wait at the location after a look, where a push to `branch` did."""

        def work(tx: Transaction) -> list[str]:
            repositories.hear_of(tx, SITE, "github", 0.0)
            repositories.see(tx, SITE, "dev", OLD)
            queued(tx, branch=branch, wanted=OLD)
            found = (Deployment("web1", "/srv/site", "dev"),)
            woken = compare(tx, SITE, ("web1",), found, {"dev": NEW}, {"dev": OLD}, 1.0)
            self.assertEqual(woken, ["/srv/site"])
            return [one.branch for one in queue.all_waiting_at(tx, "/srv/site")]

        return self.successResultOf(MemoryStore().store.write(work))

    def test_what_waits_already(self) -> None:
        """What waits there brings the newest commit of its branch, and of no other."""
        self.assertEqual(self.waiting("dev"), ["dev"])
        self.assertEqual(self.waiting("main"), ["main", "dev"])


class News(SynchronousTestCase):
    """What a look finds to deploy, where a branch was told of at `seen` and is at `tip`."""

    def setUp(self) -> None:
        self.write = MemoryStore().store.write
        self.number = 0

    def brought(self, location: str, commit: str, trigger: Trigger = Trigger.MANUAL) -> None:
        """Let a deploy have brought a commit there."""

        def work(tx: Transaction) -> None:
            number = queued(tx, location=location, trigger=trigger).id
            deploys.note(tx, number, commit=commit)
            deploys.end(tx, number, State.SUCCEEDED, 1.0)

        self.successResultOf(self.write(work))

    def look(self, tip: str, seen: str | None = None, branch: str = "main") -> list[str]:
        """The locations, of two, that a look finds something for."""
        found = tuple(Deployment("web1", one, branch) for one in ("/srv/a", "/srv/b"))

        def work(tx: Transaction) -> list[str]:
            repositories.hear_of(tx, SITE, "github", 0.0)
            if seen is not None:
                repositories.see(tx, SITE, branch, seen)
            before = {branch: repositories.seen(tx, SITE, branch)}
            return compare(tx, SITE, ("web1",), found, {branch: tip}, before, 1.0)

        return self.successResultOf(self.write(work))

    def test_one_location_has_it(self) -> None:
        """A tip that nobody told of, and that was fetched for one location, is deployed at the other."""
        self.brought("/srv/a", NEW)
        self.brought("/srv/b", OLD)
        self.assertEqual(self.look(NEW, seen=OLD), ["/srv/b"])
        self.assertEqual(self.look(NEW), [])

    def test_a_roll_back(self) -> None:
        """A location that was rolled back from a tip stays there, and goes on with the next one."""
        for location in ("/srv/a", "/srv/b"):
            self.brought(location, NEW)
            self.brought(location, OLD, Trigger.ROLLBACK)
        self.assertEqual(self.look(NEW, seen=OLD), [])
        self.assertEqual(self.look("3" * 40), ["/srv/a", "/srv/b"])

    def test_nothing_was_told_of_the_branch(self) -> None:
        """What was deployed of it counts; another branch that is named now is where it should be."""
        self.brought("/srv/a", OLD)
        self.brought("/srv/b", NEW)
        self.assertEqual(self.look("3" * 40, branch="dev"), [])
        self.assertEqual(self.look(NEW), ["/srv/a"])


class Spelling(SynchronousTestCase):
    def test_another_case(self) -> None:
        """A repository is looked at once, under the name by which its git host has told of it last."""
        memory = MemoryStore()
        trusts = tuple(Trust((), (one,)) for one in ("github.com/ACME/site", "github.com/Acme/New"))
        settings = Settings(trusts=(*trusts, Trust((), ("git.example.com/*",))))
        nothing: Any = None
        names = ("web1",)
        poll = Poll(
            Clock(), settings, memory.store, nothing, nothing, names, lambda: 1.0, lambda: 0.5
        )
        for repo in (SITE, "git.example.com/z", "github.com/acme/Site"):
            self.successResultOf(
                memory.store.write(partial(repositories.hear_of, repo=repo, provider="", now=0.0))
            )
        found = self.successResultOf(Deferred.fromCoroutine(poll._repositories()))
        self.assertEqual(
            [str(one) for one in found],
            ["git.example.com/z", "github.com/Acme/New", "github.com/acme/Site"],
        )
