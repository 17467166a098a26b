"""THE STORY: one deploy, from its turn in the lane to its outcome."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from integralgit.background import InThread
from integralgit.deploy.bring import Bring
from integralgit.deploy.configs import Configs, Looks
from integralgit.deploy.health import Health, Probe, check_of, go_back
from integralgit.deploy.lanes import Worker
from integralgit.deploy.outcome import (
    CANCELLED_EARLY,
    NOT_AGAIN,
    Cancelled,
    Moved,
    Outcome,
    ScriptFailed,
    Skipped,
    why_failed,
)
from integralgit.deploy.run import Patient, Run, Stopping, Waits
from integralgit.deploy.script import Script
from integralgit.deploy.scripts import Scripts
from integralgit.deploy.turn import Turn
from integralgit.hostconfig.resolve import ConfigError, Deployment
from integralgit.journal import deploys, queue, scripts, steps
from integralgit.journal.events import Deploy, RunningScript, State, StepState
from integralgit.journal.logs import Logs
from integralgit.journal.store import Store, Transaction, Work, may_pass
from integralgit.location.git import GitError
from integralgit.location.plan import Refused
from integralgit.location.room import NoRoom, is_no_room, is_out_of_files
from integralgit.location.update import Updated
from integralgit.location.visit import Visit
from integralgit.location.visits import Visits
from integralgit.names import parse_repository
from integralgit.processes.child import Children
from integralgit.settings import Settings

T = TypeVar("T")
log = Logger()

#: Seconds between looks at whether logs go on growing after their deploys have ended.
LOGS_LOOK = 30.0


@define
class Deployer:
    """Runs deploys; the lanes see to it that there is one at a time per location.

    `host_names` are this host's own, `environment` is the server's, `url`
    gives the address of a deploy's page, and `probe` asks whether it is healthy.
    """

    _reactor: Any
    _settings: Settings
    _configs: Configs
    _looks: Looks
    _store: Store
    _logs: Logs
    _visits: Visits
    _children: Children
    _environment: Mapping[str, str]
    _in_thread: InThread
    _now: Callable[[], float]
    _url: Callable[[Deploy], str]
    _probe: Probe
    _waits: Waits = field(factory=Waits, init=False)
    #: The deploys that run, by their numbers.
    _runs: dict[int, Run] = field(factory=dict, init=False)
    _archive: Patient = field(init=False)
    _bring: Bring = field(init=False)
    _scripts: Scripts = field(init=False)
    _health: Health = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._archive = Patient(self._store, self.sleep)
        self._bring = Bring(
            self._configs,
            self._looks,
            self._visits,
            self._in_thread,
            self.sleep,
            self._go_on,
        )
        self._scripts = Scripts(
            self._reactor,
            self._children.spawn,
            self._settings,
            self._store,
            self._logs,
            self._environment,
            self._now,
            self._url,
            self._waits,
        )
        self._health = Health(self._reactor, self._probe, self._now, self._waits, self.record)

    async def record(self, work: Work[T], *, durable: bool = True) -> T:
        """Write what must not be lost; while the database cannot be written, that waits.

        Raises `Stopping` if the server stops meanwhile.
        """
        return await self._archive.write(work, durable=durable)

    async def deploy(
        self, turn: Turn, worker: Worker, ahead: Visit | None = None
    ) -> tuple[str, ...]:
        """Run a deploy to its end; the locations at which something waits then.

        `ahead` is a visit that has begun to fetch, if it proves to be for this.
        The `worker` gives way while it waits for others, or for the disk.
        Raises `NoRoom`, and puts it back into the queue, if it could not be run
        because the state folder cannot be written, or no more files be opened.
        """
        deploy = turn.deploy
        try:
            run = self._begin(deploy, worker)
        except OSError as error:
            reason = f"the log of the deploy cannot be written: {error.strerror}"
            if is_no_room(error):
                await self._queue_again(deploy, deploy.host, deploy.location)
                raise NoRoom(reason) from None
            return await self._end(deploy, Outcome(State.FAILED, reason))
        try:
            outcome = await self._outcome(run, turn, ahead)
        except Moved as moved:
            run.say(str(moved))
            if not run.cancelled:
                await self._queue_again(deploy, moved.deployment.host, moved.deployment.location)
                assert deploy.location is not None
                return deploy.location, moved.deployment.location
            outcome = CANCELLED_EARLY
        except (Stopping, NoRoom) as cut_off:
            # Where a script has run, the next server finds it, and its status.
            if deploy.id in self._scripts:
                return ()
            if not run.cancelled:
                await self._queue_again(deploy, deploy.host, deploy.location)
                if isinstance(cut_off, NoRoom):
                    run.say(f"{cut_off}; it is tried again later.")
                    raise
                return ()
            outcome = CANCELLED_EARLY
        finally:
            self._over(run)
        return await self._end(deploy, outcome, earlier=run.unwritten())

    def _begin(self, deploy: Deploy, worker: Worker) -> Run:
        """Its log is opened; raises `OSError`."""
        log, later = self._logs.open(deploy.id), self._reactor.callLater
        run = Run(deploy, log, self._archive, self._logs, self._now, later, worker)
        self._runs[deploy.id] = run
        return run

    def _over(self, run: Run) -> None:
        """Nothing is written to its log any more, and there is nothing to cancel."""
        os.close(run.log)
        del self._runs[run.deploy.id]

    async def _queue_again(self, deploy: Deploy, host: str | None, location: str | None) -> None:
        assert host is not None and location is not None
        with suppress(Stopping):
            await self.record(
                lambda tx: queue.place(tx, deploy.id, host, location, deploy.branch, self._now())
            )

    async def _end(
        self,
        deploy: Deploy,
        outcome: Outcome,
        at: float | None = None,
        earlier: Work[None] = lambda tx: None,
    ) -> tuple[str, ...]:
        """Record a deploy's end, at that time or now, after what was found out earlier.

        It is queued again if the machine went down. Gives its location if something waits there.
        """
        number, location, size = deploy.id, deploy.location, self._logs.known_size(deploy.id)
        finished = self._now() if at is None else at

        def end(tx: Transaction) -> bool:
            reason = outcome.reason
            if outcome.roll_back:
                reason = f"{reason}; {go_back(tx, deploys.known(tx, number), self._now())}"
            is_cut_off = outcome.state is State.INTERRUPTED
            if is_cut_off and not queue.enqueue_interrupted(tx, number, self._now()):
                reason = f"{reason}; {NOT_AGAIN}"
            deploys.end(
                tx,
                number,
                outcome.state,
                finished,
                reason=reason,
                exit_code=outcome.exit_code,
                log_size=size,
            )
            return location is not None and queue.waiting_at(tx, location) is not None

        def all_of_it(tx: Transaction) -> bool:
            earlier(tx)
            return end(tx)

        try:
            try:
                more = await self.record(all_of_it)
            except Stopping:
                raise
            except Exception:
                log.failure("deploy {deploy}: what it found out is lost", deploy=number)
                more = await self.record(end)
        except Stopping:
            return ()
        self._scripts.forget(number)
        log.info(
            "deploy {deploy} ended: {state} {reason}",
            deploy=number,
            state=outcome.state.value,
            reason=deploys.readable(outcome.reason or ""),
        )
        return (location,) if more and location is not None else ()

    async def _outcome(self, run: Run, turn: Turn, ahead: Visit | None) -> Outcome:
        """The story's end as a value; only `Moved`, `Stopping` and `NoRoom` pass through."""
        try:
            return await self._story(run, turn, ahead)
        except (Moved, Stopping, NoRoom):
            raise
        except Cancelled:
            run.say("Cancelled.")
            return CANCELLED_EARLY
        except Skipped as skipped:
            return Outcome(State.SKIPPED, str(skipped))
        except ScriptFailed as failed:
            return failed.outcome
        except (Refused, ConfigError, GitError, OSError) as error:
            if self._waits.stopping:
                raise Stopping from None
            if run.cancelled:
                return CANCELLED_EARLY
            if (
                isinstance(error, OSError)
                and is_out_of_files(error)
                and run.deploy.id not in self._scripts
            ):
                raise NoRoom(f"the server cannot open any more files: {error.strerror}") from None
            reason = why_failed(error, run.deploy.location or "")
            run.say(f"Failed: {reason}")
            for way in error.ways_out if isinstance(error, Refused) else ():
                run.say(way)
            return Outcome(State.FAILED, reason)
        except Exception as error:
            if may_pass(error) and run.deploy.id not in self._scripts:
                raise NoRoom(f"the database cannot be used: {error}") from None
            incident = uuid4().hex[:12]
            log.failure(
                "deploy {deploy} met a fault of ours, incident {incident}",
                deploy=run.deploy.id,
                incident=incident,
            )
            return Outcome(
                State.FAILED, f"a fault of the server; its log has it as incident {incident}"
            )

    async def _story(self, run: Run, turn: Turn, ahead: Visit | None) -> Outcome:
        repo = parse_repository(run.deploy.repo)
        trusts = self._settings.trusts_for(repo)
        turn, visit = await self._bring.enter(turn, repo, trusts, ahead)
        preparing: Deferred[Script] | None = None

        def changing(deployment: Deployment, commit: str, updated: Updated) -> None:
            nonlocal preparing
            if deployment.script is not None and preparing is None:
                preparing = self._scripts.prepare(
                    run, deployment, commit, updated, visit.lend_lock()
                )

        try:
            deployment, updated = await self._bring.forward(run, turn, trusts, visit, changing)
            self._go_on(run)
            outcome = Outcome(State.SUCCEEDED)
            if preparing is not None:
                async with run.step("script"):
                    prepared, preparing = preparing, None
                    outcome = await self._scripts.run(run, deployment, prepared, updated)
                    visit.lock_is_back()
                    if outcome.state is not State.SUCCEEDED:
                        raise ScriptFailed(outcome)
            outcome = await self._health.after(run, check_of(deployment), outcome)
            run.worker.give_way()
            await run.complete()
            return outcome
        except Exception as error:
            visit.fail(error)
            if preparing is not None:
                await self._scripts.never_mind(preparing)
            run.worker.give_way()
            await run.leave()
            raise
        finally:
            # Only now, for what was put off may have started a git, which is given the lock as well.
            await visit.leave()

    def _go_on(self, run: Run) -> None:
        """Between two steps: raises `Stopping` or `Cancelled` if there is to be no next one."""
        if self._waits.stopping:
            raise Stopping
        if run.cancelled:
            raise Cancelled

    def sleep(self, seconds: float) -> Deferred[None]:
        """Wait so many seconds; fails with `Stopping` if the server stops meanwhile."""
        return self._waits.until(deferLater(self._reactor, seconds, lambda: None))

    def has_begun(self, script: RunningScript) -> bool:
        """Whether a script that the archive knows of was let run by the server before us."""
        return self._scripts.has_begun(script)

    async def adopt(self, deploy: Deploy, record: RunningScript) -> None:
        """Follow a script that the server before us started, and record its end.

        Raises `OSError` where the deploy's log cannot be opened.
        """
        assert deploy.location is not None
        run = self._begin(deploy, Worker())
        try:
            outcome, at = await self._followed(run, record)
            await self._visits.settle(deploy.location)
        except Stopping:
            return
        finally:
            await run.leave()
            self._over(run)
        await self._end(deploy, outcome, at)

    async def _followed(self, run: Run, record: RunningScript) -> tuple[Outcome, float | None]:
        """The outcome of a deploy whose script an earlier server started; when, if not now."""
        number = run.deploy.id
        # That may have happened since the recovery.
        known = await self._store.read(lambda tx: deploys.known(tx, number))
        run.cancelled |= known.is_to_end
        outcome, at = await self._scripts.follow(run, record)
        check = await self._store.read(lambda tx: scripts.check_of(tx, number))
        if check is None or outcome.state is not State.SUCCEEDED:
            return outcome, at
        script_end = self._now() if at is None else at
        await self.record(
            lambda tx: steps.end(tx, number, "script", StepState.SUCCEEDED, script_end, "")
        )
        return await self._health.after(run, check, outcome), None

    async def cancel(self, deploy: Deploy) -> None:
        """Ask a running deploy to end: its health step, its script, its fetch, or before its next step."""
        number, location = deploy.id, deploy.location
        assert location is not None
        if number in self._runs:
            self._runs[number].cancelled = True
        if not self._health.cancel(number) and not await self._scripts.cancel(number):
            self._children.stop(location)

    async def bound_logs(self) -> None:
        """Cut logs that have grown too much since their deploys ended, until the server stops.

        What a script has left behind may print into its log for ever, and
        nobody is shown that.
        """
        with suppress(Stopping):
            while True:
                await self.sleep(LOGS_LOOK)
                try:
                    await self._cut_logs()
                except Exception:
                    log.failure("the sizes of the logs could not be looked at")

    async def _cut_logs(self) -> None:
        for number in await self._in_thread(self._logs.larger_than, self._settings.max_log):
            size = await self._store.read(partial(deploys.log_size, deploy=number))
            if size is not None:
                await self._in_thread(self._logs.cut, number, size)

    def stop(self) -> None:
        """Leave scripts running, and end every other wait with `Stopping`."""
        self._scripts.abandon()
        self._waits.stop()
