"""Tests of how a deploy's script is prepared, and let run or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy import script as module
from integralgit.deploy.outcome import Outcome
from integralgit.deploy.plan import Refused
from integralgit.deploy.run import Patient, Run, Waits
from integralgit.deploy.script import Script
from integralgit.deploy.scripts import Scripts
from integralgit.deploy.update import Updated
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal.events import State
from integralgit.journal.logs import Logs
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
        self.cancelled = False

    def prepare(self) -> Deferred[Script]:
        """Ask for the wrapper of the script."""
        return self.scripts.prepare(self.run_, self.deployment("deploy.sh"), "deploy.sh", TWO, 71)

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
                is_cancelled=lambda: self.cancelled,
            )
        )

    def wrapper(self) -> FakeProcess:
        """The wrapper that was started."""
        (process,) = self.reactor.spawned
        return process

    def test_it_runs(self) -> None:
        """Its wrapper is started when the reactor has a moment, and told how to go on after that."""
        preparing = self.prepare()
        self.assertEqual(self.reactor.spawned, [])
        self.reactor.advance(0)
        self.assertEqual(self.wrapper().told, b"")
        running = self.start(preparing)
        self.assertEqual(self.wrapper().told, f"{ONE} /bin/sh\n".encode())
        self.wrapper().exits(0)
        self.assertEqual(self.successResultOf(running).state, State.SUCCEEDED)

    def test_cancelled_while_it_was_prepared(self) -> None:
        """The script does not run, also if nobody could be told of it before."""
        running = self.start(self.prepare())
        self.cancelled = True
        self.assertFalse(
            self.successResultOf(Deferred.fromCoroutine(self.scripts.cancel(self.run_.deploy.id)))
        )
        self.reactor.advance(0)
        self.assertEqual((self.wrapper().told, self.wrapper().closed), (b"", [0]))
        self.wrapper().exits(125)
        self.assertEqual(self.successResultOf(running).state, State.CANCELLED)

    def test_a_script_that_cannot_run(self) -> None:
        """Its wrapper is not needed; if it was started already, its end is waited for."""
        self.failureResultOf(self.start(self.prepare(), "missing"), Refused)
        self.assertEqual((self.reactor.spawned, self.reactor.getDelayedCalls()), ([], []))
        preparing = self.prepare()
        self.reactor.advance(0)
        refused = self.start(preparing, "missing")
        self.assertNoResult(refused)
        self.assertEqual((self.wrapper().told, self.wrapper().closed), (b"", [0]))
        self.wrapper().exits(125)
        self.failureResultOf(refused, Refused)
