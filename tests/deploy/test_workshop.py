"""What the workshop does when people ask for it: freezes that end, a deploy now."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.run import Waits
from integralgit.deploy.turn import Turn
from integralgit.deploy.workshop import Workshop
from integralgit.journal import deploys, repositories, scripts
from integralgit.journal.events import Deploy, RepositoryRecord, RunningScript, State, Trigger
from integralgit.journal.hub import Hub
from integralgit.journal.logs import Logs
from integralgit.journal.store import Store, Transaction, Work
from integralgit.location.unfinished import Unfinished
from integralgit.names import Repository
from integralgit.settings import Settings, Trust
from integralgit.testing import MemoryStore
from tests.archive import queued

SITE = "github.com/acme/site"


@define
class FakeDeployer:
    """Deploys nothing, and remembers the numbers of what it was to deploy."""

    store: Store
    clock: Clock
    #: What keeps it from following scripts, each time.
    faults: list[Exception] = field(factory=list, init=False)
    waits: Waits = field(factory=Waits, init=False)
    deployed: list[int] = field(factory=list, init=False)

    async def record(self, work: Work[Any], *, durable: bool = True) -> Any:
        return await self.store.write(work)

    async def deploy(self, turn: Turn, *_: object) -> tuple[str, ...]:
        self.deployed.append(turn.deploy.id)
        return ()

    def has_begun(self, script: RunningScript) -> bool:
        return True

    async def adopt(self, deploy: Deploy, record: RunningScript) -> None:
        if self.faults:
            raise self.faults.pop()
        self.deployed.append(deploy.id)

    def sleep(self, seconds: float) -> Deferred[None]:
        return self.waits.until(deferLater(self.clock, seconds, lambda: None))

    async def bound_logs(self) -> None:
        """There are none."""

    def stop(self) -> None:
        self.waits.stop()


@define
class FakeLooks:
    """Finds what is known already."""

    store: Store

    async def look(self, repo: Repository) -> RepositoryRecord:
        return await self.store.read(lambda tx: repositories.known(tx, str(repo)))


class Workshops(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.memory = Clock(), MemoryStore()
        self.deployer = FakeDeployer(self.memory.store, self.clock)
        self.workshop = self.made()
        self.write(lambda tx: repositories.hear_of(tx, SITE, "github", 0.0))
        self.workshop.startService()
        self.addCleanup(lambda: self.successResultOf(self.workshop.stopService()))

    def made(self, logs: Logs | None = None) -> Workshop:
        """A workshop on the archive, which has not started."""
        others: Any = SimpleNamespace(stop=lambda: None, host_names=("web1",))
        return Workshop(
            self.clock,
            Settings(trusts=(Trust((), ("github.com/acme/*",)),)),
            self.memory.store,
            Hub(),
            logs or others,
            others,
            cast(Any, FakeLooks(self.memory.store)),
            others,
            cast(Any, self.deployer),
            others,
            self.clock.seconds,
        )

    def write(self, work: Work[Any]) -> Any:
        return self.successResultOf(self.memory.store.write(work))


class Recovery(Workshops):
    def test_a_database_that_cannot_be_read_at_first(self) -> None:
        """What waits is deployed once it can be: a start does not end with the first failure."""
        number = self.write(lambda tx: queued(tx).id)
        self.successResultOf(self.workshop.stopService())
        errors = [sqlite3.OperationalError("disk I/O error")]
        read = self.memory.store.read

        def fails_once(work: Work[Any]) -> Deferred[Any]:
            return fail(errors.pop()) if errors else read(work)

        self.patch(Store, "read", lambda _, work: fails_once(work))
        again = self.made()
        again.startService()
        self.clock.pump([1.0] * 20)
        self.successResultOf(again.stopService())
        self.assertEqual(self.deployer.deployed, [number])

    def test_a_log_that_cannot_be_looked_at(self) -> None:
        """What was cut off is queued again and ends as it was to, all else is deployed."""
        number = self.write(lambda tx: queued(tx, location="/srv/other").id)

        def cancelled(tx: Transaction) -> None:
            one = queued(tx).id
            deploys.begin(tx, deploys.known(tx, one), 1.0)
            deploys.want_cancelled(tx, one)

        self.write(cancelled)
        folder = Path(self.mktemp())
        folder.mkdir()

        def size(logs: Logs, deploy: int) -> int:
            raise PermissionError(13, "Permission denied")

        self.patch(Logs, "size", size)
        self.successResultOf(self.workshop.stopService())
        again = self.made(Logs(folder))
        again.startService()
        self.clock.advance(0)
        self.successResultOf(again.stopService())
        self.assertEqual(self.deployer.deployed, [number])

    def recovered(self, *, cancelled: bool) -> Deploy:
        """What the next server makes of a deploy that was killed while git changed the files."""
        folder = Path(self.mktemp())
        (folder / ".git").mkdir(parents=True)
        Unfinished(folder / ".git", cast(Any, None), print).begin("main", "1" * 40, "2" * 40)
        location = str(folder)

        def runs(tx: Transaction) -> int:
            one = deploys.begin(tx, queued(tx, location=location), 1.0)
            if cancelled:
                deploys.want_cancelled(tx, one.id)
            return one.id

        self.successResultOf(self.workshop.stopService())
        number = self.write(runs)
        again = self.made(Logs(folder))
        again.startService()
        self.successResultOf(again.stopService())
        found: Deploy = self.write(lambda tx: deploys.known(tx, number))
        self.assertEqual((found.previous_commit, found.head), ("1" * 40, "2" * 40))
        return found

    def test_cancelled_while_git_changed_the_files(self) -> None:
        """What was to end ends with where the files were going, and says that some are changed."""
        ended = self.recovered(cancelled=True)
        self.assertEqual(ended.state, State.CANCELLED)
        self.assertIn("the next deploy completes that", ended.reason or "")

    def test_killed_while_git_changed_the_files(self) -> None:
        """Where the files were going is known while it waits for its next turn, whatever ends it."""
        self.assertEqual(self.recovered(cancelled=False).trigger, Trigger.PUSH)

    def test_a_script_that_cannot_be_followed_at_first(self) -> None:
        """Nothing else begins at its location until it was, and a stop does not wait for that."""
        self.successResultOf(self.workshop.stopService())

        def runs(tx: Transaction) -> int:
            one = deploys.begin(tx, queued(tx), 1.0)
            scripts.add(tx, RunningScript(one.id, 4000, 1, "boot", 900.0))
            return one.id

        first = self.write(runs)
        second = self.write(lambda tx: queued(tx).id)
        folder = Path(self.mktemp())
        folder.mkdir()
        for moments, deployed in ((9, []), (30, [first, second])):
            self.deployer = FakeDeployer(self.memory.store, self.clock)
            self.deployer.faults += [OSError(5, "Input/output error")] * 2
            again = self.made(Logs(folder))
            again.startService()
            self.clock.pump([1.0] * moments)
            self.assertEqual(self.deployer.deployed, deployed)
            stopped = again.stopService()
            self.clock.advance(0)
            self.successResultOf(stopped)
            self.assertEqual(self.deployer.deployed, deployed)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 3)


class Freezes(Workshops):
    def freeze(self, until: float | None) -> None:
        """Freeze the repository until that second."""
        self.successResultOf(Deferred.fromCoroutine(self.workshop.freeze(SITE, "a fair", until)))

    def push(self) -> int:
        """A push that waits from now on; its number."""

        def work(tx: Transaction) -> int:
            return queued(tx, self.clock.seconds()).id

        number: int = self.write(work)
        self.workshop.wake("/srv/site")
        return number

    def test_another_end(self) -> None:
        """What waits is deployed at the end of the newest freeze, be that earlier or later."""
        for before in (None, 50.0):
            self.freeze(before and self.clock.seconds() + before)
            number = self.push()
            self.freeze(self.clock.seconds() + 20.0)
            self.clock.advance(19.0)
            self.assertNotIn(number, self.deployer.deployed)
            self.clock.advance(1.0)
            self.assertIn(number, self.deployer.deployed)
        self.freeze(self.clock.seconds() + 20.0)
        number = self.push()
        self.freeze(None)
        self.clock.pump([30.0] * 4)
        self.assertNotIn(number, self.deployer.deployed)

    def test_an_end_while_it_is_looked_at(self) -> None:
        """What waits is deployed at once then."""
        self.freeze(20.0)
        moments = [20.5, 19.5]
        self.workshop._now = lambda: moments.pop() if moments else 21.0
        number = self.push()
        self.assertEqual([one.getTime() for one in self.clock.getDelayedCalls()], [0.0])
        self.clock.advance(0)
        self.assertEqual(self.deployer.deployed, [number])

    def test_lifting_one(self) -> None:
        """What waits is deployed at once; there is nothing to lift where a freeze is over."""
        self.freeze(None)
        number = self.push()
        self.assertTrue(self.unfreeze())
        self.clock.advance(0)
        self.assertEqual(self.deployer.deployed, [number])
        self.freeze(self.clock.seconds() + 10.0)
        self.clock.advance(10.0)
        self.assertFalse(self.unfreeze())

    def unfreeze(self) -> bool:
        """Lift the freeze; whether there was one."""
        lifted: bool = self.successResultOf(Deferred.fromCoroutine(self.workshop.unfreeze(SITE)))
        return lifted


class Forgetting(Workshops):
    def test_many_pushes_share_a_deploy(self) -> None:
        """The oldest are forgotten by what was added, however few of them ran and however many go."""
        self.patch(deploys, "KEPT", 3)
        self.patch(deploys, "PRUNED_AT_ONCE", 5)
        self.successResultOf(self.workshop.stopService())
        folder = Path(self.mktemp())
        folder.mkdir()
        again = self.made(Logs(folder))
        again.startService()
        self.addCleanup(lambda: self.successResultOf(again.stopService()))
        for run in range(1, 4):
            for _ in range(23):
                newest = self.write(lambda tx: queued(tx).id)
                (folder / f"{newest}.log").touch()
            again.wake("/srv/site")
            self.assertEqual(self.deployer.deployed[run - 1 :], [newest])
            found = self.write(lambda tx: deploys.newest(tx, SITE, 100))
            old = [one.id for one in found if one.state is State.SUPERSEDED]
            self.assertEqual(old, [newest - 1, newest - 2])
            self.assertEqual(len(list(folder.iterdir())), len(found))


class Now(Workshops):
    def test_another_spelling(self) -> None:
        """An identity that only case tells from a known one is that one."""
        text = '{"configs": {"web1": {"location": "/srv/site"}}}'
        self.write(lambda tx: repositories.set_config(tx, SITE, "c" * 40, text, None, 0.0))
        asked = self.workshop.deploy_now("github.com/ACME/Site")
        (deploy,) = self.successResultOf(Deferred.fromCoroutine(asked))
        self.assertEqual((deploy.repo, deploy.location), (SITE, "/srv/site"))
        self.assertEqual(self.write(repositories.names), [SITE])
