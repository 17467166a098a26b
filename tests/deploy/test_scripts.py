"""Tests of how a deploy's script is prepared, and let run or not."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy import script as module
from integralgit.deploy import scripts as scripts_module
from integralgit.deploy.outcome import Cancelled, Outcome
from integralgit.deploy.run import Patient, Run, Waits
from integralgit.deploy.script import Script
from integralgit.deploy.scripts import EMPTIED, Scripts
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal import scripts, steps
from integralgit.journal.events import RunningScript, State
from integralgit.journal.logs import Logs
from integralgit.journal.store import Store
from integralgit.location.plan import Refused
from integralgit.location.update import Updated
from integralgit.processes.groups import boot_id
from integralgit.settings import Settings
from integralgit.testing import MemoryStore
from tests.archive import queued
from tests.fakes import FakeProcess, FakeProcesses

ONE, TWO = "1" * 40, "2" * 40


class Prepared(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "deploy.sh").write_text("#!/bin/sh\n")
        (folder / "logs").mkdir()
        self.folder, self.reactor = folder, FakeProcesses()
        self.patch(module, "signal_group", lambda pid, number: True)
        self.patch(module, "group_is_alive", lambda pid: False)
        store, logs, waits = MemoryStore().store, Logs(folder / "logs"), Waits()
        self.store = store
        now = self.reactor.seconds

        deploy = self.successResultOf(store.write(lambda tx: queued(tx, location=str(folder))))
        patient: Any = Patient(store, lambda seconds: Deferred())
        self.run_ = Run(deploy, logs.open(deploy.id), patient, logs, now, self.reactor.callLater)
        self.addCleanup(os.close, self.run_.log)
        self.scripts = Scripts(
            self.reactor,
            self.reactor.spawn,
            Settings(),
            store,
            logs,
            {},
            now,
            lambda deploy: "",
            waits,
        )

    def prepare(self) -> Deferred[Script]:
        """Ask for the wrapper of the script."""
        updated = Updated(ONE, TWO)
        return self.scripts.prepare(self.run_, self.deployment("deploy.sh"), TWO, updated, 71)

    def recorded(self) -> RunningScript | None:
        """What the archive knows of the script."""
        number = self.run_.deploy.id
        return self.successResultOf(self.store.read(lambda tx: scripts.of_deploy(tx, number)))

    def deployment(self, script: str) -> Deployment:
        """The deployment, with that script."""
        return Deployment("web1", str(self.folder), "main", script=script)

    def start(self, preparing: Deferred[Script], script: str = "deploy.sh") -> Deferred[Outcome]:
        """Run the script once it is prepared."""
        return Deferred.fromCoroutine(
            self.scripts.run(
                self.run_,
                self.deployment(script),
                preparing,
                Updated(ONE, TWO),
            )
        )

    def wrapper(self) -> FakeProcess:
        """The wrapper that was started."""
        (process,) = self.reactor.spawned
        return process

    def test_it_runs(self) -> None:
        """Its wrapper waits, recorded with where HEAD was and is to be, and is told how to go on."""
        preparing = self.prepare()
        self.assertEqual(self.wrapper().told, b"")
        recorded = self.recorded()
        assert recorded is not None
        self.assertEqual((recorded.previous, recorded.head, recorded.deadline), (ONE, TWO, 900.0))
        self.assertFalse(self.scripts.has_begun(recorded))
        self.reactor.advance(2)
        running = self.start(preparing)
        self.assertEqual(self.wrapper().told, f"{ONE} /bin/sh\n".encode())
        self.assertEqual(self.recorded(), replace(recorded, deadline=902.0))
        self.assertTrue(self.scripts.has_begun(recorded))
        self.wrapper().exits(0)
        self.assertEqual(self.successResultOf(running).state, State.SUCCEEDED)

    def test_it_waits_for_the_archive(self) -> None:
        """What the archive does not know of does not run, nor once it cannot be written."""
        writing = Deferred[None]()
        self.patch(Store, "write", lambda store, work, durable: writing)
        running = self.start(self.prepare())
        self.assertNoResult(running)
        self.assertEqual((self.wrapper().told, self.wrapper().closed), (b"", []))
        writing.errback(ValueError("no"))
        self.failureResultOf(running, ValueError)
        self.assertEqual((self.wrapper().told, self.wrapper().closed), (b"", [0]))

    def test_whether_it_had_begun(self) -> None:
        """Where the word is lost, it is taken to have begun if the machine went down since."""
        self.prepare()
        recorded = self.recorded()
        assert recorded is not None
        (status,) = (self.folder / "logs").glob("*.exit")
        status.unlink()
        self.assertFalse(self.scripts.has_begun(recorded))
        self.assertTrue(self.scripts.has_begun(replace(recorded, boot_id="another")))
        status.mkdir()
        self.assertTrue(self.scripts.has_begun(recorded))

    def test_cancelled_while_it_was_prepared(self) -> None:
        """The script does not run, also if nobody could be told of it before."""
        preparing = self.prepare()
        self.run_.cancelled = True
        self.assertFalse(
            self.successResultOf(Deferred.fromCoroutine(self.scripts.cancel(self.run_.deploy.id)))
        )
        self.failureResultOf(self.start(preparing), Cancelled)
        self.assertEqual((self.wrapper().told, self.wrapper().closed), (b"", [0]))

    def test_too_many_open_files(self) -> None:
        """Where its wrapper cannot be started for that, the script is not to blame."""
        self.reactor.refuses = OSError(errno.EMFILE, "Too many open files")
        failed = self.failureResultOf(self.start(self.prepare()), OSError)
        self.assertEqual(failed.value.errno, errno.EMFILE)
        self.reactor.refuses = OSError(errno.ENOMEM, "Cannot allocate memory")
        self.failureResultOf(self.start(self.prepare()), Refused)

    def test_a_script_that_cannot_run(self) -> None:
        """Its wrapper is not needed, and its end is waited for."""
        refused = self.start(self.prepare(), "missing")
        self.assertNoResult(refused)
        self.assertEqual((self.wrapper().told, self.wrapper().closed), (b"", [0]))
        self.wrapper().exits(125)
        self.failureResultOf(refused, Refused)

    def prints(self, size: int) -> None:
        """The script prints so much; a second later, that is seen."""
        log = self.folder / "logs" / f"{self.run_.deploy.id}.log"
        os.truncate(log, log.stat().st_size + size)
        self.reactor.advance(1.0)

    def test_it_goes_on_printing_too_much(self) -> None:
        """A script that does not heed that it is to end, but prints on, is made to at once (threat 67)."""
        sent: list[int] = []
        self.patch(module, "signal_group", lambda pid, number: sent.append(number))
        self.start(self.prepare())
        self.prints(Settings().max_log + 1)
        self.assertEqual(sent, [signal.SIGTERM])
        self.prints(100)
        self.assertEqual(sent, [signal.SIGTERM])
        self.prints(100)
        self.reactor.advance(0.0)
        self.assertEqual(sent, [signal.SIGTERM, signal.SIGKILL])
        self.prints(100)
        self.assertEqual(sent, [signal.SIGTERM, signal.SIGKILL])

    def test_a_log_that_cannot_be_looked_at_once(self) -> None:
        """It is looked at again, and bounds the script then."""
        sent: list[int] = []
        self.patch(module, "signal_group", lambda pid, number: sent.append(number))
        self.start(self.prepare())
        size, failing = Logs.size, [OSError(5, "Input/output error")]

        def fails_once(logs: Logs, deploy: int) -> int:
            if failing:
                raise failing.pop()
            return size(logs, deploy)

        self.patch(Logs, "size", fails_once)
        self.prints(Settings().max_log + 1)
        self.assertEqual(sent, [])
        self.reactor.advance(1.0)
        self.assertEqual(sent, [signal.SIGTERM])

    def test_a_log_that_cannot_be_read(self) -> None:
        """A script runs and ends as ever; nothing is said of whether it has emptied its log."""
        read = Logs.read

        def fails(logs: Logs, *_: int) -> bytes:
            raise OSError(5, "Input/output error")

        for before, after in ((fails, fails), (fails, read), (read, fails)):
            self.patch(Logs, "read", before)
            running = self.start(self.prepare())
            self.patch(Logs, "read", after)
            self.reactor.spawned[-1].exits(0)
            self.assertEqual(self.successResultOf(running), Outcome(State.SUCCEEDED, None, 0))
            self.assertEqual(
                (self.folder / "logs" / f"{self.run_.deploy.id}.log").read_bytes(), b""
            )

    def test_it_ends_quietly(self) -> None:
        """One that says a last word after it has printed too much has its time of grace."""
        sent: list[int] = []
        self.patch(module, "signal_group", lambda pid, number: sent.append(number))
        self.start(self.prepare())
        self.prints(Settings().max_log + 1)
        self.prints(100)
        self.reactor.pump([1.0] * 8)
        self.assertEqual(sent, [signal.SIGTERM])
        self.reactor.advance(1.0)
        self.assertEqual(sent, [signal.SIGTERM, signal.SIGKILL])

    def followed(self, status: str, log: bytes, boot: str | None = None) -> tuple[Outcome, bytes]:
        """The outcome of a script that has ended while no server ran, and what its log says then.

        The log has that after its first step began as this would.
        """
        number, ours = self.run_.deploy.id, self.run_
        logs = self.folder / "logs"
        (logs / f"{number}.exit").write_text(status)
        self.successResultOf(self.store.write(lambda tx: steps.begin(tx, number, "fetch", 1.0, 0)))
        os.write(ours.log, log)
        record = RunningScript(number, 2**22 + 1, 1, boot or boot_id(), 1000.0)
        outcome, _ = self.successResultOf(Deferred.fromCoroutine(self.scripts.follow(ours, record)))
        return outcome, (logs / f"{number}.log").read_bytes()

    def test_followed_to_a_failure(self) -> None:
        """What the log of a deploy says at its end, it says after a restart too."""
        begun = "── fetch ──\nprinted\n".encode()
        outcome, said = self.followed("  3\n", begun)
        self.assertEqual((outcome.state, outcome.exit_code), (State.FAILED, 3))
        self.assertEqual(said, begun + b"Failed: the script failed with exit code 3\n")

    def test_followed_to_nothing(self) -> None:
        """Where it left no status, it was killed, or the machine went down; it is deployed again."""
        outcome, said = self.followed("   \n", "── fetch ──\n".encode())
        reason = "the script and its wrapper were killed"
        self.assertEqual(outcome, Outcome(State.INTERRUPTED, reason))
        self.assertTrue(said.endswith(f"Failed: {reason}\n".encode()))
        outcome, said = self.followed("   \n", b"", boot="another")
        reason = "the machine went down while the script ran"
        self.assertEqual(outcome, Outcome(State.INTERRUPTED, reason))
        self.assertTrue(said.endswith(f"Failed: {reason}\n".encode()))

    def test_followed_to_what_it_left(self) -> None:
        """So it is with a process that is left behind."""
        self.patch(scripts_module, "still_runs", lambda record: True)
        _, said = self.followed("  0\n", "── fetch ──\n".encode())
        self.assertTrue(
            said.endswith(b"A background process of the script still runs; it is left alone.\n")
        )

    def test_followed_with_an_emptied_log(self) -> None:
        """And with a log that the script has emptied."""
        _, said = self.followed("  0\n", b"printed\n")
        self.assertEqual(said, f"printed\n{EMPTIED}\n".encode())
