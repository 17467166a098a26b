"""Tests of visits: where a fetch may begin before its deploy is known, and what is left behind."""

from __future__ import annotations

import os
from pathlib import Path
from shutil import copytree

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Delivery, Push
from integralgit.hostconfig.resolve import Deployment
from integralgit.location.disks import Disks
from integralgit.location.folders import open_location
from integralgit.location.git import Git
from integralgit.location.lock import try_lock
from integralgit.location.source import Source
from integralgit.location.submodules import Incomplete
from integralgit.location.visit import Place, Visit
from integralgit.location.visits import Visits
from integralgit.names import Repository
from integralgit.processes.child import Children
from integralgit.processes.groups import boot_id
from integralgit.settings import Settings, Trust
from tests.fakes import FakeProcesses

SITE, OTHER = Repository("github.com", "acme/site"), Repository("github.com", "acme/other")
TIP = "1" * 40


class VisitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.www = Path(self.mktemp()).absolute()
        (self.www / ".git" / "refs").mkdir(parents=True)
        (self.www / ".git" / "config").write_text("")
        self.reactor = FakeProcesses()
        self.place = self.at(str(self.www))
        children = Children(self.reactor, self.reactor.spawn)
        settings = Settings(trusts=(Trust((), ("github.com/**",), locations=(str(self.www),)),))
        self.disk: Deferred[None] = succeed(None)
        self.synced: list[str] = []
        disks = Disks(self.reactor, self.sync)
        self.visits = Visits(settings, Git(children, {}, 60.0), disks)

    def sync(self, _: object, folder: str) -> Deferred[None]:
        """The disk, for which the test may let others wait."""
        self.synced.append(folder)
        return self.disk

    def at(self, location: str, branch: str = "main", repo: Repository = SITE) -> Place:
        """A place where a repository is deployed."""
        source = Source(repo, f"https://{repo}.git")
        return Place(repo, Deployment("web1", location, branch), source)

    def expected(self, *pushes: Push, repo: Repository | None = SITE) -> list[Place]:
        """Where a delivery with these pushes is expected."""
        return self.visits.expected(Delivery("github", "push", "1", repo, pushes))

    def verify(self) -> None:
        """The checkout is found to be in order."""
        visit = self.visits.to(self.place)
        visit._verified.remember(str(self.www), visit.checkout._look())
        visit.close()

    def begun(self) -> Visit:
        """A visit that has begun to fetch."""
        self.verify()
        visit = self.visits.ahead_to(self.place)
        assert visit is not None
        return visit

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
            self.visits.remember(place)
        self.assertEqual(self.expected(main), [places[0], places[2]])
        self.assertEqual(self.expected(main, dev), places)
        self.assertEqual(self.expected(replace(main, deleted=True), dev), [places[1]])
        self.assertEqual(self.expected(Push("refs/tags/main", "", TIP)), [])
        self.assertEqual((self.expected(), self.expected(main, repo=None)), ([], []))
        self.visits.forget(places[0])
        self.visits.forget(self.at("/srv/none", repo=Repository("github.com", "acme/none")))
        self.assertEqual(self.expected(main), [places[2]])

    def test_one_place_for_each_location(self) -> None:
        """What is deployed now at a location takes the place of what was."""
        self.visits.remember(self.at("/srv/a", "dev"))
        self.visits.remember(self.at("/srv/a"))
        self.assertEqual(self.expected(Push("refs/heads/dev", "", TIP)), [])
        self.assertEqual(self.expected(Push("refs/heads/main", "", TIP)), [self.at("/srv/a")])

    def test_a_fetch(self) -> None:
        """It holds the location, and leaves its note there, until nobody needs it."""
        visit, note = self.begun(), self.www / ".git" / "integralgit-at-work"
        (fetch,) = self.reactor.spawned
        self.assertIn("refs/heads/main:refs/remotes/origin/main", fetch.argv)
        self.assertNotIn(9, fetch.descriptors)
        self.assertEqual((self.is_free(), note.exists()), (False, True))
        leaving = self.leave(visit)
        self.assertNoResult(leaving)
        fetch.ends(1)
        self.successResultOf(leaving)
        self.assertEqual((self.is_free(), note.exists()), (True, False))
        self.assertEqual(len(self.synced), 1)
        self.successResultOf(self.leave(visit))
        self.assertEqual(len(self.synced), 1)

    def test_what_is_left_is_on_the_disk(self) -> None:
        """A fetch that was in vain, or has failed, has its note until the disk has what it brought."""
        branch = self.www / ".git" / "refs" / "remotes" / "origin" / "main"
        branch.parent.mkdir(parents=True)
        branch.write_text(TIP)
        for code in (0, 1):
            self.disk = Deferred()
            visit, note = self.begun(), self.www / ".git" / "integralgit-at-work"
            leaving = self.leave(visit)
            self.reactor.spawned[-1].ends(code)
            self.assertNoResult(leaving)
            self.assertEqual((self.is_free(), note.exists()), (False, True))
            self.disk.callback(None)
            self.successResultOf(leaving)
            self.assertEqual((self.is_free(), note.exists()), (True, False))

    def test_nothing_was_written(self) -> None:
        """Where no git was at work, or there is no git folder, nobody waits for the disk."""
        self.successResultOf(self.leave(self.visits.to(self.place)))
        empty = self.visits.to(self.at(f"{self.www}-new"))
        empty.begin()
        self.successResultOf(self.leave(empty))
        self.assertEqual(self.synced, [])

    def test_a_submodule_that_failed(self) -> None:
        """What is done is on the disk, and needs no completion; a lock may have been left all the same."""
        (self.www / ".git" / "integralgit-updated").symlink_to(f"main\n{TIP}\n{TIP}\n{boot_id()}")
        visit = self.visits.to(self.place)
        visit.begin()
        visit.fail(Incomplete("not all of its submodules"))
        self.successResultOf(self.leave(visit))
        notes = [path.name for path in (self.www / ".git").glob("integralgit-*")]
        self.assertEqual((notes, len(self.synced)), (["integralgit-at-work"], 1))

    def test_whose_the_lock_is(self) -> None:
        """What git has left behind does not keep it; a script that outlives us does."""
        first, second, third = (self.visits.to(self.place) for _ in range(3))
        self.addCleanup(third.close)
        self.assertTrue(first.try_lock())
        helper = os.dup(first.lock)
        self.addCleanup(os.close, helper)
        self.assertFalse(second.try_lock())
        first.close()
        self.assertTrue(second.try_lock())

        script = os.dup(second.lend_lock())
        second.close()
        self.assertFalse(third.try_lock())
        os.close(script)
        self.assertTrue(third.try_lock())

        script = os.dup(third.lend_lock())
        self.addCleanup(os.close, script)
        third.lock_is_back()
        third.close()
        self.assertTrue(try_lock(script))

    def test_a_git_folder_elsewhere(self) -> None:
        """The note stands in the git folder, wherever that is."""
        elsewhere = self.www.parent / f"{self.www.name}-elsewhere"
        (self.www / ".git").rename(elsewhere)
        for path in (elsewhere, f"../{elsewhere.name}"):
            (self.www / ".git").write_text(f"gitdir: {path}\n")
            visit = self.visits.to(self.place)
            visit.begin()
            self.assertTrue((elsewhere / "integralgit-at-work").exists())
            self.assertFalse(visit.fetch_ahead())
            visit.close()
            (elsewhere / "integralgit-at-work").unlink()

    def leave(self, visit: Visit) -> Deferred[None]:
        """Nobody needs it."""
        return Deferred.fromCoroutine(visit.leave())

    def test_a_fetch_that_was_ended(self) -> None:
        """Its note stays, for it may have left locks."""
        visit = self.begun()
        leaving = self.leave(visit)
        self.reactor.spawned[0].ends(signal=15)
        self.successResultOf(leaving)
        self.assertTrue((self.www / ".git" / "integralgit-at-work").exists())

    def test_what_git_says(self) -> None:
        """It is told to who comes later, and what a fetch that has failed said is told to nobody."""
        for code, told in ((0, [b"one\n", b"two\n"]), (1, [b"two\n"])):
            (self.www / ".git" / "refs" / "remotes" / "origin").mkdir(parents=True, exist_ok=True)
            (self.www / ".git" / "refs" / "remotes" / "origin" / "main").write_text(TIP)
            visit = self.begun()
            heard: list[bytes] = []
            self.reactor.spawned[-1].complains(b"one\n")
            fetched = Deferred.fromCoroutine(visit.fetched_ahead())
            self.reactor.spawned[-1].ends(code)
            tips = self.successResultOf(fetched)
            self.assertEqual(tips is not None, code == 0)
            visit.tell(heard.append)
            visit._said_there(b"two\n")
            self.assertEqual(heard, told)
            self.successResultOf(self.leave(visit))

    def test_where_it_would_have_to_wait(self) -> None:
        """Nothing is begun where the deploy itself has to look first, or to wait, or is refused."""
        self.assertIsNone(self.visits.ahead_to(self.place))
        self.verify()
        lock = open_location(str(self.www))
        try_lock(lock)
        self.assertIsNone(self.visits.ahead_to(self.place))
        os.close(lock)
        note = self.www / ".git" / "integralgit-at-work"
        note.touch()
        self.assertIsNone(self.visits.ahead_to(self.place))
        note.unlink()
        self.www.rename(f"{self.www}-moved")
        copytree(f"{self.www}-moved", self.www)
        self.assertIsNone(self.visits.ahead_to(self.place))
        (self.www / ".git" / "config").write_text("[core]\n")
        self.assertIsNone(self.visits.ahead_to(self.place))
        self.assertEqual(self.reactor.spawned, [])
        self.assertTrue(self.is_free())

    def test_where_it_is_not_allowed(self) -> None:
        """Where links lead elsewhere since, nothing is begun, and no folder is made."""
        self.verify()
        outside = Path(self.mktemp()).absolute()
        outside.mkdir()
        self.www.rename(outside / "moved")
        self.www.symlink_to(outside / "new")
        self.assertIsNone(self.visits.ahead_to(self.place))
        self.assertEqual(sorted(path.name for path in outside.iterdir()), ["moved"])

    def test_a_fault_of_ours(self) -> None:
        """The location is let go all the same."""
        visit = self.begun()
        visit._ahead = fail(KeyError("a fault"))
        self.failureResultOf(self.leave(visit), KeyError)
        self.assertTrue(self.is_free())
