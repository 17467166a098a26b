"""THE STORY: one deploy, from its turn in the lane to its outcome."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from integralgit.deploy import leftovers
from integralgit.deploy.bounds import check_place
from integralgit.deploy.checkout import (
    Checkout,
    Tips,
    lock_holder,
    open_location,
    read_config,
    try_lock,
)
from integralgit.deploy.child import Children, cancel
from integralgit.deploy.configs import Configs, Looks
from integralgit.deploy.decide import why_not
from integralgit.deploy.git import Git, GitError
from integralgit.deploy.health import (
    GivenUp,
    Patience,
    Probe,
    Unhealthy,
    check_of,
    go_back,
)
from integralgit.deploy.inbox import known_deployments
from integralgit.deploy.plan import Refused
from integralgit.deploy.room import NoRoom, hindrance, is_no_room
from integralgit.deploy.run import Marks, Patient, Run, Stopping, Waits
from integralgit.deploy.script import (
    Script,
    ScriptEnd,
    boot_id,
    script_command,
    script_environment,
    start_ticks,
)
from integralgit.deploy.source import source_of
from integralgit.deploy.update import InThread, Update, Updated
from integralgit.hostconfig.resolve import ConfigError, Deployment
from integralgit.journal import deliveries, deploys
from integralgit.journal.events import (
    Check,
    Deploy,
    RepositoryRecord,
    RunningScript,
    State,
    StepState,
    Trigger,
)
from integralgit.journal.logs import Logs
from integralgit.journal.store import Store, Transaction, Work, may_pass
from integralgit.names import CONFIG_BRANCH, Repository, parse_repository
from integralgit.settings import Settings, Trust

T = TypeVar("T")
log = Logger()

#: Seconds before each further fetch while the pushed commit is not there yet.
LATE_COMMIT = (1.0, 2.0, 4.0)
#: Seconds between looks at how much a script has printed.
SIZE_LOOK = 1.0
#: Why a script is ended by us.
TIMEOUT, TOO_MUCH, CANCEL = "timeout", "max_log", "cancel"
#: What a shell means by an exit code (sh(1), "Exit Status for Commands").
_MEANING = {
    126: ", which stands for a command that cannot be executed",
    127: ", which stands for a command that was not found",
}
#: Seconds between tries for a location that another process holds.
LOCK_RETRY = 0.5


@frozen
class Outcome:
    """How a deploy ended: one of the end states, with a sentence where it did not succeed."""

    state: State
    reason: str | None = None
    exit_code: int | None = None
    #: Whether the last good commit is to be brought back.
    roll_back: bool = False


CANCELLED_EARLY = Outcome(State.CANCELLED, "cancelled before its script ran")


class Moved(Exception):
    """The fresh config names another location for this deploy, which goes on there."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(f"the config moved it to {deployment.location}")
        self.deployment = deployment


class Skipped(Exception):
    """The fresh config has nothing for this deploy; the text is the reason."""


class Cancelled(Exception):
    """Somebody has cancelled the deploy."""


class ScriptFailed(Exception):
    """The script did not end well; the text is the outcome's reason."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


def script_outcome(ended: ScriptEnd) -> Outcome:
    """What a script's end means for its deploy."""
    if ended.ending == TOO_MUCH:
        return Outcome(State.FAILED, "the script printed more than max_log allows", ended.code)
    if ended.ending == TIMEOUT:
        return Outcome(State.TIMED_OUT, "the script ran longer than its timeout", ended.code)
    if ended.ending is not None:
        return Outcome(State.CANCELLED, "the script was cancelled", ended.code)
    if ended.code is None:
        return Outcome(State.INTERRUPTED, "the machine went down while the script ran")
    if ended.code:
        how = f"signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
        hint = _MEANING.get(ended.code, "")
        return Outcome(State.FAILED, f"the script failed with {how}{hint}", ended.code)
    return Outcome(State.SUCCEEDED, None, 0)


def why_failed(error: Exception, location: str) -> str:
    """One sentence about what kept a deploy from its end; of a full disk it says where."""
    said = str(error)
    if isinstance(error, OSError):
        said = f"{error.filename or location} cannot be used: {error.strerror}"
    if isinstance(error, GitError | OSError):
        more = hindrance(location, error.said if isinstance(error, GitError) else said)
        if more is not None:
            return f"{said}; {more}"
    return said


def choose(deploy: Deploy, found: Sequence[Deployment], trusts: Sequence[Trust]) -> Deployment:
    """What the config says about a deploy.

    Raises `Skipped` where it says nothing, `Moved` where it names another
    location, and `Refused` where the server's settings do not allow it.
    """
    here = [one for one in found if one.location == deploy.location]
    moved = [one for one in found if one.host == deploy.host]
    if not here and not moved:
        elsewhere = any(one.branch == deploy.branch for one in found)
        reason = f"the config has nothing for {deploy.location} any more"
        raise Skipped(reason if elsewhere else why_not(deploy.branch, found))
    one = (here or moved)[0]
    if one.branch != deploy.branch and deploy.trigger in (Trigger.PUSH, Trigger.ROLLBACK):
        raise Skipped(why_not(deploy.branch, [one]))
    violations = [trust.violation(one.location, one.branch, one.script) for trust in trusts]
    if not violations:
        raise Refused("no [[trust]] of the server's settings covers the repository")
    if None not in violations:
        raise Refused(str(violations[0]))
    if not here:
        raise Moved(one)
    return one


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
    _git: Git
    _children: Children
    _environment: Mapping[str, str]
    _in_thread: InThread
    _now: Callable[[], float]
    _url: Callable[[Deploy], str]
    _probe: Probe
    _waits: Waits = field(factory=Waits, init=False)
    _patience: dict[int, Patience] = field(factory=dict, init=False)
    _scripts: dict[int, Script] = field(factory=dict, init=False)
    _cancelled: set[int] = field(factory=set, init=False)
    _archive: Patient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._archive = Patient(self._store, self._sleep)

    async def record(self, work: Work[T]) -> T:
        """Write what must not be lost; while the database cannot be written, that waits.

        Raises `Stopping` if the server stops meanwhile.
        """
        return await self._archive.write(work)

    async def deploy(self, deploy: Deploy) -> str | None:
        """Run a queued deploy to its end; the location at which it goes on, if it moved.

        Raises `NoRoom`, and leaves it in the queue, if it could not be run
        because the state folder cannot be written.
        """
        if not await self.record(lambda tx: deploys.begin(tx, deploy.id, self._now())):
            return None
        try:
            run = Run(deploy, self._logs.open(deploy.id), self._archive, self._logs, self._now)
        except OSError as error:
            reason = f"the log of the deploy cannot be written: {error.strerror}"
            if is_no_room(error):
                await self._queue_again(deploy, deploy.host, deploy.location)
                raise NoRoom(reason) from None
            await self._end(deploy.id, Outcome(State.FAILED, reason))
            return None
        try:
            outcome = await self._outcome(run)
        except Moved as moved:
            run.say(str(moved))
            await self._queue_again(deploy, moved.deployment.host, moved.deployment.location)
            return moved.deployment.location
        except (Stopping, NoRoom) as cut_off:
            # Where a script has run, the next server finds it, and its status.
            if deploy.id in self._scripts:
                return None
            if deploy.id not in self._cancelled:
                await self._queue_again(deploy, deploy.host, deploy.location)
                if isinstance(cut_off, NoRoom):
                    run.say(f"{cut_off}; it is tried again later.")
                    raise
                return None
            outcome = CANCELLED_EARLY
        finally:
            os.close(run.log)
        self._cancelled.discard(deploy.id)
        with suppress(Stopping):
            await self._end(deploy.id, outcome)
        return None

    async def _queue_again(self, deploy: Deploy, host: str | None, location: str | None) -> None:
        assert host is not None and location is not None
        with suppress(Stopping):
            await self.record(
                lambda tx: deploys.place(tx, deploy.id, host, location, deploy.branch, self._now())
            )

    async def _end(self, deploy: int, outcome: Outcome, at: float | None = None) -> None:
        """Record a deploy's end, at that time or now; queue it again if the machine went down."""
        size = self._logs.size(deploy)
        finished = self._now() if at is None else at

        def end(tx: Transaction) -> None:
            reason = outcome.reason
            if outcome.roll_back:
                reason = f"{reason}; {go_back(tx, deploys.known(tx, deploy), self._now())}"
            deploys.end(
                tx,
                deploy,
                outcome.state,
                finished,
                reason=reason,
                exit_code=outcome.exit_code,
                log_size=size,
            )
            if outcome.state is State.INTERRUPTED:
                deploys.enqueue_interrupted(tx, deploy, self._now())

        await self.record(end)
        self._scripts.pop(deploy, None)
        log.info(
            "deploy {deploy} ended: {state} {reason}",
            deploy=deploy,
            state=outcome.state.value,
            reason=outcome.reason or "",
        )

    async def _outcome(self, run: Run) -> Outcome:
        """The story's end as a value; only `Moved`, `Stopping` and `NoRoom` pass through."""
        try:
            return await self._story(run)
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
            if run.deploy.id in self._cancelled:
                return CANCELLED_EARLY
            reason = why_failed(error, run.deploy.location or "")
            run.say(f"Failed: {reason}")
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

    async def _story(self, run: Run) -> Outcome:
        repo = parse_repository(run.deploy.repo)
        trusts = self._settings.trusts_for(repo)
        location = run.deploy.location
        assert location is not None
        lock = await self._enter(run, repo, trusts)
        try:
            deployment, tips, updated = await self._bring(run, repo, trusts, lock)
            self._go_on(run)
            outcome = Outcome(State.SUCCEEDED)
            if deployment.script is not None:
                async with run.step("script"):
                    outcome = await self._script(run, deployment, tips.branch, updated, lock)
                    if outcome.state is not State.SUCCEEDED:
                        raise ScriptFailed(outcome)
            return await self._healthy(run, check_of(deployment), outcome)
        finally:
            os.close(lock)

    async def _bring(
        self, run: Run, repo: Repository, trusts: Sequence[Trust], lock: int
    ) -> tuple[Deployment, Tips, Updated]:
        """Fetch and update; what a git that is cut off leaves locked is noted for the next deploy."""
        location = run.deploy.location
        assert location is not None
        folder, is_ours = Path(location, ".git"), False
        try:
            async with run.step("fetch"):
                await self._lock(run, lock)
                is_ours = True
                for left in await self._in_thread(leftovers.clear, folder, location):
                    run.say(f"removed {left}, left by a git that was cut off")
                leftovers.begin(folder)
                deployment, checkout, tips = await self._fetch(run, repo, trusts, lock)
            self._go_on(run)
            async with run.step("update"):
                updated = await self._update(run, deployment, checkout, tips)
        except Exception as error:
            if is_ours and not (isinstance(error, GitError) and error.was_ended):
                leftovers.end(folder)
            raise
        leftovers.end(folder)
        return deployment, tips, updated

    async def _enter(self, run: Run, repo: Repository, trusts: Sequence[Trust]) -> int:
        """The open folder of the location, once the config and the settings allow it.

        What the known config would refuse is looked at afresh first: it may
        have been mended meanwhile.
        """
        try:
            return self._allowed(run, await self._configs.known(repo), trusts)
        except (Refused, Skipped, ConfigError):
            return self._allowed(run, await self._looks.look(repo), trusts)

    def _allowed(self, run: Run, record: RepositoryRecord, trusts: Sequence[Trust]) -> int:
        known = known_deployments(record, self._configs.host_names)
        deployment = choose(run.deploy, known or (), trusts)
        check_place(deployment, trusts)
        return open_location(deployment.location)

    async def _lock(self, run: Run, lock: int) -> None:
        """Wait until no other process, another server or a script of ours, holds the location."""
        told = False
        while not try_lock(lock):
            if not told:
                run.say(f"waiting for the location, which {lock_holder(lock)} holds")
                told = True
            await self._sleep(LOCK_RETRY)
            self._go_on(run)

    def _go_on(self, run: Run) -> None:
        """Between two steps: raises `Stopping` or `Cancelled` if there is to be no next one."""
        if self._waits.stopping:
            raise Stopping
        if run.deploy.id in self._cancelled:
            raise Cancelled

    def _sleep(self, seconds: float) -> Deferred[None]:
        return self._waits.until(deferLater(self._reactor, seconds, lambda: None))

    async def _fetch(
        self, run: Run, repo: Repository, trusts: Sequence[Trust], lock: int
    ) -> tuple[Deployment, Checkout, Tips]:
        """Fetch branch and config together until the config agrees with what was fetched."""
        record = await self._configs.known(repo)
        source = source_of(repo, trusts, record.provider)
        known = known_deployments(record, self._configs.host_names)
        deployment = choose(run.deploy, known or (), trusts)
        location = run.deploy.location
        assert location is not None
        git = self._git.within(location, descriptors={9: lock}, tell=run.tell, owner=run.deploy.id)
        git = git.allowing(source.protocols)
        while True:
            fetched = deployment.remote, deployment.branch
            checkout = Checkout(git, deployment.location, deployment.remote, source)
            await checkout.prepare(deployment.branch)
            leftovers.begin(Path(location, ".git"))
            tips = await self._fetch_wanted(run, checkout, deployment.branch)
            record = await self._configs.refresh(
                repo, tips.config, lambda commit: read_config(git, commit)
            )
            if record.good_text is None:
                raise Skipped(
                    record.config_error or f"{repo} has no branch {CONFIG_BRANCH} with a config"
                )
            if record.config_error is not None:
                run.say(
                    f"The newest config is broken ({record.config_error}); the last good one,"
                    f" of {(record.good_commit or '')[:12]}, is used."
                )
            known = known_deployments(record, self._configs.host_names)
            deployment = choose(run.deploy, known or (), trusts)
            if (deployment.remote, deployment.branch) == fetched:
                await run.note(
                    branch=deployment.branch, commit=tips.branch, config_commit=record.good_commit
                )
                return deployment, checkout, tips

    async def _fetch_wanted(self, run: Run, checkout: Checkout, branch: str) -> Tips:
        """Fetch, and again for a while if the pushed commit is not there yet."""
        tips = await checkout.fetch(branch)
        repo, tip = run.deploy.repo, tips.branch
        await self.record(lambda tx: deliveries.see(tx, repo, branch, tip))
        wanted = run.deploy.wanted
        if wanted is None or wanted == tips.branch:
            return tips
        if run.deploy.trigger is Trigger.ROLLBACK:
            if not await checkout.has_commit(wanted):
                raise Refused(f"the commit {wanted[:12]} is no longer in the repository")
            return evolve(tips, branch=wanted, branch_before=tips.branch, rollback=True)
        for delay in LATE_COMMIT:
            if await checkout.has_commit(wanted):
                break
            run.say(f"the pushed commit {wanted[:12]} is not there yet; fetching again")
            await self._sleep(delay)
            tips = evolve(await checkout.fetch(branch), branch_before=tips.branch_before)
        if tips.branch != wanted:
            run.say(
                f"{branch} is at {tips.branch[:12]} by now, not at the pushed commit"
                f" {wanted[:12]}; the newest is deployed"
            )
        return tips

    async def _update(
        self, run: Run, deployment: Deployment, checkout: Checkout, tips: Tips
    ) -> Updated:
        location = deployment.location
        deployed = await self._store.read(lambda tx: deploys.commits_deployed_at(tx, location))
        update = Update(checkout, run.say, self._in_thread, deployment.host, deployment.submodules)
        updated = await update.run(
            deployment.branch,
            deployment.update,
            tips,
            deployed,
            f"refs/integralgit/rescue/{run.deploy.id}",
        )
        commits = await checkout.commits(updated.previous, updated.head)
        await run.note(previous_commit=updated.previous, head=updated.head, commits=commits)
        run.say(f"{location} is at {updated.head[:12]} of {deployment.branch}")
        return updated

    async def _script(
        self, run: Run, deployment: Deployment, commit: str, updated: Updated, lock: int
    ) -> Outcome:
        assert deployment.script is not None
        deploy, location = run.deploy, deployment.location
        self._go_on(run)
        command = script_command(location, deployment.script)
        environment = script_environment(
            self._environment, deployment, deploy, commit, updated.previous, self._url(deploy)
        )
        script = Script(self._reactor, self._logs.status_file(deploy.id))
        self._scripts[deploy.id] = script
        try:
            script.start(
                command,
                environment,
                location=location,
                umask=self._settings.umask,
                log=run.log,
                lock=lock,
            )
        except NoRoom:
            del self._scripts[deploy.id]
            raise
        except OSError as error:
            del self._scripts[deploy.id]
            raise Refused(f"the script could not be started: {error.strerror}") from None
        deadline = self._now() + deployment.timeout
        record = RunningScript(
            deploy.id, script.pid, start_ticks(script.pid) or 0, boot_id(), deadline, None
        )
        try:
            await run.started(record, check_of(deployment))
        except Exception:
            # Nobody could pick it up again, so it must not run.
            script.never_mind()
            del self._scripts[deploy.id]
            raise
        script.go()
        ended = await self._until_end(script, record)
        if ended.left_behind:
            run.say("A background process of the script still runs; it is left alone.")
        outcome = script_outcome(ended)
        if outcome.reason:
            run.say(f"Failed: {outcome.reason}")
        return outcome

    async def _until_end(self, script: Script, record: RunningScript) -> ScriptEnd:
        """Wait for a script's end; at the deadline that is recorded and then brought about."""

        def end(why: str) -> None:
            if script.ending is None:
                ending = self._store.write(lambda tx: deploys.end_script(tx, record.deploy, why))
                ending.addBoth(lambda _: script.stop(why))

        marks = Marks(self._logs, record.deploy, self._now())

        def look_at_size() -> None:
            size = self._logs.size(record.deploy)
            marks.look(size, self._now())
            if size > self._settings.max_log:
                end(TOO_MUCH)

        if record.ending is not None:
            script.stop(record.ending)
        remaining = max(0.0, record.deadline - self._now())
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

    async def adopt(self, deploy: Deploy, record: RunningScript) -> None:
        """Follow a script that the server before us started, and record its end."""
        script = Script(self._reactor, self._logs.status_file(deploy.id))
        if script.adopt(record):
            log.info("deploy {deploy} still runs and is picked up again", deploy=deploy.id)
            self._scripts[deploy.id] = script
            if deploy.id in self._cancelled:
                script.stop(CANCEL)
            try:
                ended = await self._until_end(script, record)
            except Stopping:
                return
        else:
            ended = ScriptEnd(script.status(), record.ending)
        outcome, at = script_outcome(ended), script.ended_at()
        check = await self._store.read(lambda tx: deploys.check_of(tx, deploy.id))
        with suppress(Stopping):
            if check is not None and outcome.state is State.SUCCEEDED:
                outcome, at = await self._healthy_now(deploy, check, outcome, at), None
            await self._end(deploy.id, outcome, at)

    async def _healthy_now(
        self, deploy: Deploy, check: Check, outcome: Outcome, at: float | None
    ) -> Outcome:
        """Go on with the health step of a deploy whose script an earlier server started."""
        number, script_end = deploy.id, self._now() if at is None else at
        await self.record(
            lambda tx: deploys.end_step(tx, number, "script", StepState.SUCCEEDED, script_end, "")
        )
        run = Run(deploy, self._logs.open(number), self._archive, self._logs, self._now)
        try:
            return await self._healthy(run, check, outcome)
        finally:
            os.close(run.log)

    async def _healthy(self, run: Run, check: Check | None, outcome: Outcome) -> Outcome:
        """The outcome after the health step, if there is one: an unhealthy deploy has failed."""
        if check is None:
            return outcome
        number = run.deploy.id
        if check.deadline is None:
            check = evolve(check, deadline=self._now() + check.timeout)
            await self.record(lambda tx: deploys.add_check(tx, number, check))
        patience = Patience(self._reactor, self._probe, self._now, run.say, self._waits, check)
        self._patience[number] = patience
        try:
            async with run.step("health"):
                if number in self._cancelled:
                    raise GivenUp
                await patience.until_healthy()
        except Unhealthy as unhealthy:
            run.say(f"Failed: {unhealthy}")
            reason, back = str(unhealthy), check.rollback
            return Outcome(State.FAILED, reason, outcome.exit_code, roll_back=back)
        except GivenUp:
            run.say("Cancelled.")
            reason = "cancelled while its health was awaited"
            return Outcome(State.CANCELLED, reason, outcome.exit_code)
        finally:
            del self._patience[number]
        return outcome

    async def cancel(self, number: int) -> None:
        """Ask a running deploy to end: its script, or else its fetch, or before its next step."""
        self._cancelled.add(number)
        if number in self._patience:
            self._patience[number].give_up()
            return
        script = self._scripts.get(number)
        if script is not None:
            await self._store.write(lambda tx: deploys.end_script(tx, number, CANCEL))
            script.stop(CANCEL)
        else:
            self._children.stop(number)

    def stop(self) -> None:
        """Leave scripts running, and end every other wait with `Stopping`."""
        for script in self._scripts.values():
            script.abandon()
        self._waits.stop()
