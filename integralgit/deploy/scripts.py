"""The scripts that run: started, watched until they end, and picked up from an earlier server."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from integralgit.background import cancel
from integralgit.deploy.health import check_of
from integralgit.deploy.outcome import (
    CANCEL,
    TIMEOUT,
    TOO_MUCH,
    Cancelled,
    Outcome,
    script_outcome,
)
from integralgit.deploy.run import Marks, Run, Waits, heading
from integralgit.deploy.script import (
    KILLED,
    Script,
    ScriptEnd,
    interpreter_of,
    script_environment,
    still_runs,
)
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal import scripts, steps
from integralgit.journal.events import Deploy, RunningScript, StepState
from integralgit.journal.logs import Logs
from integralgit.journal.store import Store, Transaction
from integralgit.location.plan import Refused
from integralgit.location.room import NoRoom, is_out_of_files
from integralgit.location.update import Updated
from integralgit.processes.groups import boot_id, start_ticks
from integralgit.processes.spawn import Spawn
from integralgit.settings import Settings

log = Logger()

#: Seconds from a script's start until what would slow it down is done.
A_MOMENT = 0.05
#: Seconds between looks at how much a script has printed.
SIZE_LOOK = 1.0
#: By how many bytes it is told whether a log begins as before the script.
BEGINNING = 64
#: What a log says that is a file, and was opened once more for writing.
EMPTIED = (
    "What was here before is gone: the script has opened /dev/stdout or /dev/stderr anew, which"
    " empties this log; let it write with >> or >&2."
)


class _Beginning(msgspec.Struct, frozen=True):
    """What a log has there until somebody empties it."""

    offset: int
    text: bytes


@define
class Scripts:
    """The scripts of this server, by the numbers of their deploys, until their ends are recorded.

    `environment` is the server's, and `url` gives the address of a deploy's page.
    """

    _reactor: Any
    _spawn: Spawn
    _settings: Settings
    _store: Store
    _logs: Logs
    _environment: Mapping[str, str]
    _now: Callable[[], float]
    _url: Callable[[Deploy], str]
    _waits: Waits
    _running: dict[int, Script] = field(factory=dict, init=False)

    def __contains__(self, deploy: int) -> bool:
        return deploy in self._running

    def has_begun(self, record: RunningScript) -> bool:
        """Whether the script of a deploy that ran when the server ended was let run."""
        return self._script(record.deploy).has_begun(record)

    def forget(self, deploy: int) -> None:
        """The end of the deploy's script is recorded."""
        self._running.pop(deploy, None)

    def _script(self, deploy: int) -> Script:
        return Script(self._reactor, self._spawn, self._logs.status_file(deploy))

    def prepare(
        self, run: Run, deployment: Deployment, commit: str, updated: Updated, lock: int
    ) -> Deferred[Script]:
        """The wrapper of a deploy's script, started and on its way to the archive.

        Whoever asks for it lets it run, or sees to it that it ends. The
        Deferred fails with `OSError` or `NoRoom` where it cannot be started.
        """
        return execute(self._start, run, deployment, commit, updated, lock)

    def _start(
        self, run: Run, deployment: Deployment, commit: str, updated: Updated, lock: int
    ) -> Script:
        assert deployment.script is not None
        deploy, check = run.deploy, check_of(deployment)
        script = self._script(deploy.id)
        script.start(
            os.path.join(deployment.location, deployment.script),
            script_environment(self._environment, deployment, deploy, commit, self._url(deploy)),
            location=deployment.location,
            umask=self._settings.umask,
            log=run.log,
            lock=lock,
        )
        record = RunningScript(
            deploy.id,
            script.pid,
            start_ticks(script.pid) or 0,
            boot_id(),
            self._now() + deployment.timeout,
            previous=updated.previous,
            head=updated.head,
            timeout=deployment.timeout,
        )

        def work(tx: Transaction) -> None:
            scripts.add(tx, record)
            if check is not None:
                scripts.add_check(tx, deploy.id, check)

        run.record(work)
        run.flush()
        return script

    async def never_mind(self, preparing: Deferred[Script]) -> None:
        """Let a wrapper end that is not needed, which holds the lock until then."""
        with suppress(NoRoom, OSError):
            script = await preparing
            script.never_mind()
            await script.ended

    async def run(
        self,
        run: Run,
        deployment: Deployment,
        preparing: Deferred[Script],
        updated: Updated,
    ) -> Outcome:
        """Run the script of a deploy to its end.

        Raises `Cancelled` before it runs, and `Refused`, `NoRoom` or `OSError` where it cannot be run.
        """
        assert deployment.script is not None
        deploy = run.deploy
        try:
            interpreter = interpreter_of(deployment.location, deployment.script)
        except (Refused, OSError):
            await self.never_mind(preparing)
            raise
        try:
            script = await preparing
        except OSError as error:
            if is_out_of_files(error):
                raise
            raise Refused(f"the script could not be started: {error.strerror}") from None
        try:
            beginning = _Beginning(0, self._read(deploy.id, 0, BEGINNING) or b"")
            # What nobody could pick up again must not run.
            await run.flushed()
            if run.cancelled:
                raise Cancelled
            script.go(updated.previous, interpreter)
        except Exception:
            script.never_mind()
            raise
        self._running[deploy.id] = script
        deadline = self._now() + deployment.timeout
        run.record(lambda tx: scripts.begin(tx, deploy.id, deadline))
        run.flush()
        catching_up = self._reactor.callLater(A_MOMENT, run.catch_up)
        ended = await self._until_end(script, deploy.id, deadline)
        cancel(catching_up)
        return self._outcome(run, ended, beginning, deployment.timeout)

    def _outcome(
        self, run: Run, ended: ScriptEnd, beginning: _Beginning, timeout: float | None
    ) -> Outcome:
        """What the end of a deploy's script means, which its log says as well."""
        deploy, at = run.deploy.id, beginning.offset
        if self._read(deploy, at, at + len(beginning.text)) not in (beginning.text, None):
            run.record(lambda tx: steps.log_was_emptied(tx, deploy))
            run.say(EMPTIED)
        if ended.left_behind:
            run.say("A background process of the script still runs; it is left alone.")
        outcome = script_outcome(ended, timeout)
        if outcome.reason:
            run.say(f"Failed: {outcome.reason}")
        return outcome

    def _read(self, deploy: int, offset: int, end: int) -> bytes | None:
        """That part of a log; None where it cannot be read, which keeps no script from its outcome."""
        try:
            return self._logs.read(deploy, offset, end)
        except OSError as error:
            log.warn("the log of deploy {deploy}: {error}", deploy=deploy, error=error)
            return None

    async def _until_end(self, script: Script, deploy: int, deadline: float) -> ScriptEnd:
        """Wait for a script's end; at the deadline that is recorded and then brought about."""

        def end(why: str) -> None:
            if script.ending is None:
                ending = self._store.write(lambda tx: scripts.note_ending(tx, deploy, why))
                ending.addBoth(lambda _: script.stop(why))

        marks = Marks(self._logs, deploy, self._now())
        # Once it was told to end: how much it had printed when that was looked at.
        so_far: int | None = None

        def look_at_size() -> None:
            nonlocal so_far
            try:
                size, is_ending = self._logs.size(deploy), script.ending is not None
            except OSError:
                # A disk that fails for a moment is no reason to look no more.
                return
            marks.look(size, self._now())
            if size > self._settings.max_log:
                end(TOO_MUCH)
                if so_far is not None and size > so_far:
                    script.kill()
            so_far = size if is_ending else None

        remaining = max(0.0, deadline - self._now())
        timer = self._reactor.callLater(remaining, end, TIMEOUT)
        looks = LoopingCall(look_at_size)
        looks.clock = self._reactor
        looks.start(SIZE_LOOK, now=False)
        try:
            ended = await self._waits.until(script.ended)
        finally:
            cancel(timer)
            looks.stop()
        return ended

    async def follow(self, run: Run, record: RunningScript) -> tuple[Outcome, float | None]:
        """Follow a script that the server before us started; how it ended, and when.

        Raises `Stopping` if the server stops before it has ended.
        """
        deploy = run.deploy
        script = self._script(deploy.id)
        begun = await self._store.read(lambda tx: steps.of_deploy(tx, deploy.id))
        first = (_Beginning(one.log_start, heading(one.name).encode()) for one in begun)
        beginning = next(first, _Beginning(0, b""))
        if script.adopt(record):
            log.info("deploy {deploy} still runs and is picked up again", deploy=deploy.id)
            self._running[deploy.id] = script
            if record.ending is not None or run.cancelled:
                script.stop(record.ending or CANCEL)
            ended = await self._until_end(script, deploy.id, record.deadline)
        else:
            status, ending = script.status(), record.ending
            if status is None and ending is None and run.cancelled:
                ending = CANCEL
            elif status is None and ending is None and record.boot_id == boot_id():
                ending = KILLED
            ended = ScriptEnd(status, ending, left_behind=still_runs(record))
        if any(one.name == "script" and one.state is not StepState.RUNNING for one in begun):
            # Its log says so already; what it waited for was its health.
            return script_outcome(ended, record.timeout), script.ended_at()
        outcome = self._outcome(run, ended, beginning, record.timeout)
        return outcome, script.ended_at()

    async def cancel(self, deploy: int) -> bool:
        """Ask a deploy's script to end; False where none runs."""
        script = self._running.get(deploy)
        if script is None:
            return False
        await self._store.write(lambda tx: scripts.note_ending(tx, deploy, CANCEL))
        script.stop(CANCEL)
        return True

    def abandon(self) -> None:
        """Leave all of them running, for the end of this server."""
        for script in self._running.values():
            script.abandon()
