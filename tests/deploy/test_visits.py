"""Tests of where a fetch may begin before its deploy is known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.checkout import Checkout, Verified, open_location, try_lock
from integralgit.deploy.child import Children
from integralgit.deploy.git import Git
from integralgit.deploy.headstart import HeadStart, HeadStarts, Place
from integralgit.deploy.source import Source
from integralgit.hooks.delivery import Delivery, Push
from integralgit.hostconfig.resolve import Deployment
from integralgit.names import Repository
from integralgit.settings import Settings, Trust
from tests.fakes import FakeProcesses

SITE, OTHER = Repository("github.com", "acme/site"), Repository("github.com", "acme/other")
TIP = "1" * 40


class HeadStartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.www = Path(self.mktemp()).absolute()
        (self.www / ".git" / "refs").mkdir(parents=True)
        (self.www / ".git" / "config").write_text("")
        self.reactor, self.verified = FakeProcesses(), Verified()
        self.place = self.at(str(self.www))
        self.starts = self.make(Settings(trusts=(Trust((), ("github.com/**",)),)))

    def at(self, location: str, branch: str = "main", repo: Repository = SITE) -> Place:
        """A place where a repository is deployed."""
        source = Source(repo, f"https://{repo}.git")
        return Place(repo, Deployment("web1", location, branch), source)

    def make(self, settings: Settings) -> HeadStarts:
        """Head starts by these settings."""
        children = Children(self.reactor, self.reactor.spawn)
        return HeadStarts(settings, Git(children, {}, 60.0), self.verified)

    def expected(self, *pushes: Push, repo: Repository | None = SITE) -> list[Place]:
        """Where a delivery with these pushes is expected."""
        return self.starts.expected(Delivery("github", "push", "1", repo, pushes))

    def verify(self) -> None:
        """The checkout is found to be in order."""
        nothing: Any = None
        remote, source = self.place.deployment.remote, self.place.source
        checkout = Checkout(nothing, str(self.www), remote, source, self.verified)
        self.verified.remember(str(self.www), checkout._look())

    def begun(self) -> HeadStart:
        """A head start at the place, whose lock is let go at the end of the test."""
        self.verify()
        start = self.starts.begin(self.place)
        assert start is not None
        return start

    def is_free(self) -> bool:
        """Whether somebody else could have the lock of the location."""
        lock = open_location(str(self.www))
        try:
            return try_lock(lock)
        finally:
            os.close(lock)

    def test_where_it_is_expected(self) -> None:
        """Where the repository's branch was deployed well the last time, and nowhere else."""
        main, dev = Push("refs/heads/main", "", TIP), Push("refs/heads/dev", "", TIP)
        self.assertEqual(self.expected(main), [])
        places = [self.at("/srv/a"), self.at("/srv/b", "dev"), self.at("/srv/c")]
        for place in (*places, self.at("/srv/d", repo=OTHER)):
            self.starts.remember(place)
        self.assertEqual(self.expected(main), [places[0], places[2]])
        self.assertEqual(self.expected(main, dev), places)
        self.assertEqual(self.expected(replace(main, deleted=True), dev), [places[1]])
        self.assertEqual(self.expected(Push("refs/tags/main", "", TIP)), [])
        self.assertEqual((self.expected(), self.expected(main, repo=None)), ([], []))
        self.starts.forget(places[0])
        self.starts.forget(self.at("/srv/none", repo=Repository("github.com", "acme/none")))
        self.assertEqual(self.expected(main), [places[2]])

    def test_one_place_for_each_location(self) -> None:
        """What is deployed now at a location takes the place of what was."""
        self.starts.remember(self.at("/srv/a", "dev"))
        self.starts.remember(self.at("/srv/a"))
        self.assertEqual(self.expected(Push("refs/heads/dev", "", TIP)), [])
        self.assertEqual(self.expected(Push("refs/heads/main", "", TIP)), [self.at("/srv/a")])

    def test_a_fetch(self) -> None:
        """It holds the location, and leaves its note there, until nobody needs it."""
        start, note = self.begun(), self.www / ".git" / "integralgit-at-work"
        (fetch,) = self.reactor.spawned
        self.assertIn("refs/heads/main:refs/remotes/origin/main", fetch.argv)
        self.assertEqual(fetch.descriptors[9], start.lock)
        self.assertEqual((self.is_free(), note.exists()), (False, True))
        leaving = self.leave(start)
        self.assertNoResult(leaving)
        fetch.ends(1)
        self.successResultOf(leaving)
        self.assertEqual((self.is_free(), note.exists()), (True, False))

    def leave(self, start: HeadStart) -> Deferred[None]:
        """Nobody needs it."""
        return Deferred.fromCoroutine(start.leave())

    def test_a_fetch_that_was_ended(self) -> None:
        """Its note stays, for it may have left locks."""
        start = self.begun()
        leaving = self.leave(start)
        self.reactor.spawned[0].ends(signal=15)
        self.successResultOf(leaving)
        self.assertTrue((self.www / ".git" / "integralgit-at-work").exists())

    def test_one_that_was_handed_over(self) -> None:
        """Whoever has the lock lets it go, and the fetch goes on."""
        start = self.begun()
        lock = start.hand_over()
        self.successResultOf(self.leave(start))
        self.assertFalse(self.is_free())
        os.close(lock)

    def test_where_it_would_have_to_wait(self) -> None:
        """Nothing is begun where the deploy itself has to look first, or to wait, or is refused."""
        self.assertIsNone(self.starts.begin(self.place))
        self.verify()
        lock = open_location(str(self.www))
        try_lock(lock)
        self.assertIsNone(self.starts.begin(self.place))
        os.close(lock)
        note = self.www / ".git" / "integralgit-at-work"
        note.touch()
        self.assertIsNone(self.starts.begin(self.place))
        note.unlink()
        not_there = Trust((), ("github.com/**",), locations=("/srv/*",))
        self.assertIsNone(self.make(Settings(trusts=(not_there,))).begin(self.place))
        (self.www / ".git" / "config").write_text("[core]\n")
        self.assertIsNone(self.starts.begin(self.place))
        self.assertEqual(self.reactor.spawned, [])
        self.assertTrue(self.is_free())
