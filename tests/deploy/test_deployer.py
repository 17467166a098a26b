"""Tests of what is decided about a deploy: what the config says of it, how its script ended, its end."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.deployer import LOGS_LOOK, Deployer
from integralgit.deploy.lanes import Worker
from integralgit.deploy.outcome import Moved, Outcome, Skipped, choose, script_outcome
from integralgit.deploy.script import ScriptEnd
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal import deploys
from integralgit.journal.events import Deploy, State, Trigger
from integralgit.journal.logs import Logs
from integralgit.journal.queue import MOST_INTERRUPTED
from integralgit.journal.store import Store, Transaction
from integralgit.location.plan import Refused
from integralgit.location.room import NoRoom
from integralgit.processes.child import Children
from integralgit.settings import Settings, Trust
from integralgit.testing import MemoryStore
from tests.archive import queued
from tests.fakes import FakeProcesses


def deploy(
    location: str = "/srv/site",
    *,
    branch: str = "main",
    host: str = "web1",
    trigger: Trigger = Trigger.PUSH,
) -> Deploy:
    """A deploy that is about to run."""
    return Deploy(
        id=7,
        repo="github.com/acme/site",
        branch=branch,
        host=host,
        location=location,
        trigger=trigger,
        push=None,
        wanted=None,
        state=State.RUNNING,
        reason=None,
        commit=None,
        previous_commit=None,
        head=None,
        config_commit=None,
        exit_code=None,
        created=1.0,
        started=2.0,
        finished=None,
        superseded_by=None,
        commits=(),
        log_size=None,
    )


SITE = Deployment("web1", "/srv/site", "main", script="./deploy.sh")
DEV = Deployment("web2", "/srv/dev", "dev")
ANYTHING = Trust(("secret",), ("github.com/**",))
ONLY_WWW = Trust(("secret",), ("github.com/**",), locations=("/www/*",))
ONLY_SRV = Trust(("secret",), ("github.com/**",), locations=("/srv/*",))


class Choosing(SynchronousTestCase):
    def test_what_is_chosen(self) -> None:
        """The deployment at the deploy's location is chosen, whoever else is there."""
        self.assertEqual(choose(deploy(), [SITE], [ANYTHING]), SITE)
        self.assertEqual(choose(deploy(), [DEV, SITE], [ANYTHING]), SITE)
        self.assertEqual(choose(deploy("/srv/dev", branch="dev"), [SITE, DEV], [ANYTHING]), DEV)

    def test_another_name_of_this_host(self) -> None:
        """The location counts, and not the name of the host for which it was queued."""
        renamed = Deployment("web9", "/srv/site", "main")
        self.assertEqual(choose(deploy(), [renamed], [ANYTHING]), renamed)

    def test_fresh_settings(self) -> None:
        """What is chosen has the fresh config's settings."""
        fresh = Deployment("web1", "/srv/site", "main", timeout=5.0, env={"A": "b"})
        self.assertEqual(choose(deploy(), [fresh], [ANYTHING]), fresh)

    def test_nothing_is_left(self) -> None:
        """A deploy about which the config says nothing any more is skipped, and says why."""
        for found, reason in (
            ([], "the config has nothing to deploy for this host"),
            ([DEV], "branch main is not deployed here (dev is)"),
        ):
            with self.assertRaises(Skipped) as raised:
                choose(deploy(), found, [ANYTHING])
            self.assertEqual(str(raised.exception), reason)

    def test_a_push_to_a_branch_that_is_no_longer_deployed(self) -> None:
        """A push is skipped where the fresh config deploys another branch at its location.

        One that was found by looking is, too, and a roll-back.
        """
        changed = Deployment("web1", "/srv/site", "release")
        for trigger in (Trigger.PUSH, Trigger.POLL, Trigger.ROLLBACK):
            with self.assertRaises(Skipped) as raised:
                choose(deploy(trigger=trigger), [changed], [ANYTHING])
            self.assertEqual(str(raised.exception), "branch main is not deployed here (release is)")

    def test_other_triggers_follow_the_branch(self) -> None:
        """What a person asked for is deployed from the branch of the fresh config."""
        changed = Deployment("web1", "/srv/site", "release")
        for trigger in (Trigger.MANUAL, Trigger.RETRY):
            self.assertEqual(choose(deploy(trigger=trigger), [changed], [ANYTHING]), changed)

    def test_moved(self) -> None:
        """A deploy whose host has another location now goes on there."""
        moved = Deployment("web1", "/srv/new", "main")
        with self.assertRaises(Moved) as raised:
            choose(deploy(), [DEV, moved], [ANYTHING])
        self.assertEqual(raised.exception.deployment, moved)
        self.assertEqual(str(raised.exception), "the config moved it to /srv/new")
        with self.assertRaisesRegex(Skipped, "has nothing for /srv/site any more"):
            choose(deploy(trigger=Trigger.ROLLBACK), [DEV, moved], [ANYTHING])

    def test_locations_that_change_places(self) -> None:
        """A deploy goes where its branch goes, though its location is there for another one."""
        main, dev = Deployment("web1", "/srv/new", "main"), Deployment("web2", "/srv/site", "dev")
        with self.assertRaises(Moved) as raised:
            choose(deploy(), [main, dev], [ANYTHING])
        self.assertEqual(raised.exception.deployment, main)

    def test_moved_to_another_branch_too(self) -> None:
        """A push does not move to a location that deploys another branch."""
        moved = Deployment("web1", "/srv/new", "release")
        with self.assertRaises(Skipped):
            choose(deploy(), [moved], [ANYTHING])

    def test_refused(self) -> None:
        """What no trust allows is refused, with the rule that it breaks (threat 53)."""
        cases = [
            (ONLY_WWW, "/srv/site is not in locations = /www/*"),
            (
                Trust((), ("**",), branches=("release", "hotfix/*")),
                "main is not in branches = release, hotfix/*",
            ),
            (Trust((), ("**",), scripts=("./ci/*",)), "./deploy.sh is not in scripts = ./ci/*"),
        ]
        site = replace(SITE, env={"LD_PRELOAD": "./evil.so"})
        cases += [(Trust((), ("**",), env=("APP_*",)), "LD_PRELOAD is not in env = APP_*")]
        for trust, rule in cases:
            with self.assertRaises(Refused) as raised:
                choose(deploy(), [site], [trust])
            self.assertEqual(
                str(raised.exception), f"the server's settings do not allow it: {rule}"
            )

    def test_no_trust_at_all(self) -> None:
        """A repository that no trust covers any more is refused, and that is said."""
        with self.assertRaises(Refused) as raised:
            choose(deploy(), [SITE], [])
        self.assertEqual(
            str(raised.exception),
            "no [[trust]] of the server's settings covers the repository",
        )

    def test_a_location_that_is_gone(self) -> None:
        """Where only another location has the branch, the reason names the one that is gone."""
        with self.assertRaises(Skipped) as raised:
            choose(deploy("/srv/gone", host="web9"), [SITE], [ANYTHING])
        self.assertEqual(str(raised.exception), "the config has nothing for /srv/gone any more")

    def test_the_branch_of_its_own_location_counts(self) -> None:
        """Why a push is skipped is told by the branch of its own location, not of others."""
        changed, other = Deployment("web1", "/srv/site", "release"), Deployment("w", "/o", "main")
        with self.assertRaises(Skipped) as raised:
            choose(deploy(), [changed, other], [ANYTHING])
        self.assertEqual(str(raised.exception), "branch main is not deployed here (release is)")

    def test_one_trust_is_enough(self) -> None:
        """Of several trusts for a repository, one that allows it is enough."""
        self.assertEqual(choose(deploy(), [SITE], [ONLY_WWW, ONLY_SRV]), SITE)

    def test_a_move_is_refused_before_it_is_made(self) -> None:
        """A deploy does not move to a location that the settings do not allow (threat 53)."""
        moved = Deployment("web1", "/etc/site", "main")
        with self.assertRaises(Refused):
            choose(deploy(), [moved], [ONLY_SRV])


class ScriptOutcomes(SynchronousTestCase):
    def test_every_end(self) -> None:
        """Each way in which a script can end has its state, its reason and its exit code."""
        code, means = "the script failed with exit code", "which stands for a command that"
        timeout = "the script ran longer than its timeout of 2.5 s (`timeout` in the config)"
        cancelled = "the script was cancelled"
        wrapper = (
            "the script's wrapper was killed from outside (out of memory?), and with it the script"
        )
        cases = [
            (ScriptEnd(0), Outcome(State.SUCCEEDED, None, 0)),
            (ScriptEnd(0, left_behind=True), Outcome(State.SUCCEEDED, None, 0)),
            (ScriptEnd(1), Outcome(State.FAILED, "the script failed with exit code 1", 1)),
            (ScriptEnd(126), Outcome(State.FAILED, f"{code} 126, {means} cannot be executed", 126)),
            (ScriptEnd(127), Outcome(State.FAILED, f"{code} 127, {means} was not found", 127)),
            (ScriptEnd(-9), Outcome(State.FAILED, "the script failed with signal 9", -9)),
            (
                ScriptEnd(None),
                Outcome(State.INTERRUPTED, "the machine went down while the script ran"),
            ),
            (ScriptEnd(-9, "wrapper killed"), Outcome(State.FAILED, wrapper, -9)),
            (
                ScriptEnd(None, "killed"),
                Outcome(State.INTERRUPTED, "the script and its wrapper were killed"),
            ),
            (ScriptEnd(143, "timeout"), Outcome(State.TIMED_OUT, timeout, 143)),
            (ScriptEnd(0, "timeout"), Outcome(State.TIMED_OUT, timeout, 0)),
            (ScriptEnd(None, "timeout"), Outcome(State.TIMED_OUT, timeout, None)),
            (ScriptEnd(-15, "cancel"), Outcome(State.CANCELLED, cancelled, -15)),
            (ScriptEnd(None, "cancel", True), Outcome(State.CANCELLED, cancelled, None)),
        ]
        for ended, expected in cases:
            self.assertEqual(script_outcome(ended, 2.5), expected, ended)
        older = script_outcome(ScriptEnd(143, "timeout"), None)
        self.assertEqual(
            older.reason, "the script ran longer than its timeout (`timeout` in the config)"
        )


def deployer_of(
    reactor: FakeProcesses, store: Store, logs: Logs, settings: Settings | None = None
) -> Deployer:
    """A deployer that goes nowhere: only what it does at the ends of deploys can be asked of it."""
    nothing: Any = None
    return Deployer(
        reactor,
        settings or Settings(),
        *(nothing, nothing, store, logs, nothing),
        Children(reactor, reactor.spawn),
        {},
        *(in_no_thread, reactor.seconds, lambda deploy: "", nothing),
    )


class Ending(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore().store
        reactor, folder = FakeProcesses(), Path(self.mktemp())
        folder.mkdir()
        self.deployer = deployer_of(reactor, self.store, Logs(folder))

    def test_interrupted_again_and_again(self) -> None:
        """A deploy that is cut off each time is not queued for ever, and says what may end it."""
        self.successResultOf(self.store.write(queued))
        for number in range(1, MOST_INTERRUPTED + 1):

            def begin(tx: Transaction, one: int = number) -> Deploy:
                return deploys.begin(tx, deploys.known(tx, one), 1.0)

            begun = self.successResultOf(self.store.write(begin))
            found_out = partial(deploys.note, deploy=number, commit="1" * 40)
            outcome = script_outcome(ScriptEnd(None), None)
            ending = self.deployer._end(begun, outcome, earlier=found_out)
            waits = self.successResultOf(Deferred.fromCoroutine(ending))
            self.assertEqual(waits, ("/srv/site",) if number < MOST_INTERRUPTED else ())
        ended = self.successResultOf(self.store.read(lambda tx: deploys.known(tx, number)))
        self.assertEqual(ended.state, State.INTERRUPTED)
        self.assertIn("5 times in a row", ended.reason or "")
        self.assertIn("KillMode=process", ended.reason or "")

    def test_cancelled_while_it_moves(self) -> None:
        """A deploy that was cancelled does not go on where a new config has it."""
        one = Deployment("web1", "/srv/new", "main")

        async def moves(*_: object) -> Outcome:
            await self.deployer.cancel(begun)
            raise Moved(one)

        begun = self.successResultOf(
            self.store.write(lambda tx: deploys.begin(tx, queued(tx), 1.0))
        )
        self.patch(Deployer, "_outcome", moves)
        turn: Any = SimpleNamespace(deploy=begun)
        self.successResultOf(Deferred.fromCoroutine(self.deployer.deploy(turn, Worker())))
        ended = self.successResultOf(self.store.read(lambda tx: deploys.known(tx, begun.id)))
        self.assertEqual((ended.state, ended.location), (State.CANCELLED, "/srv/site"))

    def test_cancelled_as_it_was_queued_again(self) -> None:
        """A cancel that came just then holds for its next turn."""

        async def moves(*_: object) -> Outcome:
            raise Moved(Deployment("web1", "/srv/new", "main"))

        def work(tx: Transaction) -> Deploy:
            number = queued(tx).id
            deploys.want_cancelled(tx, number)
            return deploys.begin(tx, deploys.known(tx, number), 1.0)

        self.patch(Deployer, "_outcome", moves)
        turn: Any = SimpleNamespace(deploy=self.successResultOf(self.store.write(work)))
        self.successResultOf(Deferred.fromCoroutine(self.deployer.deploy(turn, Worker())))
        ended = self.successResultOf(self.store.read(lambda tx: deploys.known(tx, turn.deploy.id)))
        self.assertEqual(ended.state, State.CANCELLED)

    def test_a_log_that_cannot_be_looked_at(self) -> None:
        """It ends all the same, and nobody knows how large its log is."""
        begun = self.successResultOf(
            self.store.write(lambda tx: deploys.begin(tx, queued(tx), 1.0))
        )

        def size(logs: Logs, deploy: int) -> int:
            raise PermissionError(13, "Permission denied")

        self.patch(Logs, "size", size)
        ending = self.deployer._end(begun, Outcome(State.FAILED, "it failed"))
        self.successResultOf(Deferred.fromCoroutine(ending))
        ended = self.successResultOf(self.store.read(lambda tx: deploys.known(tx, begun.id)))
        self.assertEqual((ended.state, ended.log_size), (State.FAILED, None))

    def test_what_it_found_out_cannot_be_written(self) -> None:
        """The end itself is recorded all the same; the fault is in the server's log."""
        store = self.store
        begun = self.successResultOf(store.write(lambda tx: deploys.begin(tx, queued(tx), 1.0)))

        def found_out(tx: Transaction) -> None:
            deploys.note(tx, begun.id, commit="1" * 40)
            raise ValueError("a fault of ours")

        ending = self.deployer._end(begun, Outcome(State.SUCCEEDED), earlier=found_out)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(ending)), ())
        ended = self.successResultOf(store.read(lambda tx: deploys.known(tx, begun.id)))
        self.assertEqual((ended.state, ended.commit), (State.SUCCEEDED, None))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class NoFiles(SynchronousTestCase):
    def test_too_many_open_files(self) -> None:
        """A deploy waits in the queue where no more files can be opened."""
        reactor, store, logs = FakeProcesses(), MemoryStore().store, Logs(Path(self.mktemp()))
        logs._folder.mkdir()
        deployer = deployer_of(reactor, store, logs)
        errors = [
            (OSError(errno.EMFILE, "Too many open files"), State.QUEUED),
            (PermissionError(errno.EACCES, "Permission denied"), State.FAILED),
        ]
        for error, expected in errors:

            async def story(*arguments: object, error: OSError = error) -> Outcome:
                raise error

            self.patch(Deployer, "_story", story)
            begun = self.successResultOf(store.write(lambda tx: deploys.begin(tx, queued(tx), 1.0)))
            turn: Any = SimpleNamespace(deploy=begun)
            ending = Deferred.fromCoroutine(deployer.deploy(turn, Worker()))
            if expected is State.QUEUED:
                self.failureResultOf(ending, NoRoom)
            else:
                self.successResultOf(ending)
            now = self.successResultOf(store.read(partial(deploys.known, deploy=begun.id)))
            self.assertEqual(now.state, expected)


class GrowingLogs(SynchronousTestCase):
    def test_what_was_left_behind_prints_on(self) -> None:
        """A log that has grown too much since its deploy ended is cut to what it was then (threat 67)."""
        reactor, store, logs = FakeProcesses(), MemoryStore().store, Logs(Path(self.mktemp()))
        logs._folder.mkdir()
        deployer = deployer_of(reactor, store, logs, Settings(max_log=10))

        def ended_and_running(tx: Transaction) -> None:
            for location, size in (("/srv/a", 5), ("/srv/b", 15), ("/srv/c", None)):
                one = deploys.begin(tx, queued(tx, location=location), 1.0)
                if size is not None:
                    deploys.end(tx, one.id, State.SUCCEEDED, 2.0, log_size=size)

        self.successResultOf(store.write(ended_and_running))
        looking = Deferred.fromCoroutine(deployer.bound_logs())
        for printed, expected in ((8, [8, 8, 8]), (20, [5, 15, 20]), (20, [5, 15, 20])):
            for number in (1, 2, 3):
                (logs._folder / f"{number}.log").write_bytes(b"x" * printed)
            reactor.advance(LOGS_LOOK)
            self.assertEqual([logs.size(number) for number in (1, 2, 3)], expected)
        (logs._folder / "1.log").unlink()
        logs._folder.rename(f"{logs._folder}-gone")
        reactor.advance(LOGS_LOOK)
        self.assertEqual(len(self.flushLoggedErrors(FileNotFoundError)), 1)
        deployer.stop()
        self.assertIsNone(self.successResultOf(looking))


async def in_no_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Stands for a thread."""
    return function(*arguments)
