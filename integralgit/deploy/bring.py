"""Bringing a location to the newest commit: its lock, one fetch, the config afresh, the update."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from attrs import define
from msgspec.structs import replace
from twisted.internet.defer import CancelledError

from integralgit.background import InThread
from integralgit.deploy.configs import Configs, Looks
from integralgit.deploy.decide import why_no_config
from integralgit.deploy.inbox import known_deployments
from integralgit.deploy.outcome import Skipped, choose
from integralgit.deploy.run import Run
from integralgit.deploy.turn import Turn
from integralgit.hostconfig.resolve import ConfigError, Deployment, digests
from integralgit.journal.events import Deploy, RepositoryRecord, Trigger
from integralgit.location.bounds import check_place
from integralgit.location.checkout import Checkout, Tips
from integralgit.location.config import read_config
from integralgit.location.git import GitError
from integralgit.location.plan import Refused
from integralgit.location.source import source_of
from integralgit.location.update import Changing, Update, Updated
from integralgit.location.visit import Place, Visit
from integralgit.location.visits import Visits
from integralgit.names import Repository
from integralgit.settings import Trust

#: Seconds before each further fetch while the pushed commit is not there yet.
LATE_COMMIT = (1.0, 2.0, 4.0)
#: Seconds between tries for a location that another process holds.
LOCK_RETRY = 0.5
#: How often it is waited for a git that was left alone there; a person's may stay for longer.
ORPHAN_LOOKS = 60


@define
class Bring:
    """What every deploy does before its script.

    `sleep` waits so many seconds, and `go_on` raises where there is to be no
    next step.
    """

    _configs: Configs
    _looks: Looks
    _visits: Visits
    _in_thread: InThread
    _sleep: Callable[[float], Awaitable[None]]
    _go_on: Callable[[Run], None]

    async def enter(
        self, turn: Turn, repo: Repository, trusts: Sequence[Trust], ahead: Visit | None
    ) -> tuple[Turn, Visit]:
        """Open the location, once the config and the settings allow it; whoever enters leaves it.

        Where that cannot be with the known config, it is looked at afresh
        first: it may have been mended meanwhile, and the turn knows that then.
        `ahead` is a visit that may be the one.
        """
        try:
            place = self._place(turn, repo, trusts)
            if ahead is not None and ahead.place == place:
                return turn, ahead
            visit = self._visits.to(place)
        except (Refused, Skipped, ConfigError):
            turn = replace(turn, known=await self._looks.look(repo))
            visit = self._visits.to(self._place(turn, repo, trusts))
        if ahead is not None:
            await ahead.leave()
        return turn, visit

    def _place(self, turn: Turn, repo: Repository, trusts: Sequence[Trust]) -> Place:
        deployment = self._chosen(turn.deploy, turn.known, trusts)
        check_place(deployment, trusts)
        return Place(repo, deployment, source_of(repo, trusts, turn.known.provider))

    def _chosen(
        self, deploy: Deploy, record: RepositoryRecord, trusts: Sequence[Trust]
    ) -> Deployment:
        return choose(deploy, known_deployments(record, self._configs.host_names) or (), trusts)

    async def forward(
        self,
        run: Run,
        turn: Turn,
        trusts: Sequence[Trust],
        visit: Visit,
        changing: Callable[[Deployment, str, Updated], None],
    ) -> tuple[Deployment, Updated]:
        """Fetch and update: what the config says, and where HEAD was and is.

        `changing` is told what the config says, the remote's commit, and what
        the update comes to, once git has begun with that. The work of the
        visit ends when all is on the disk.
        """
        self._visits.forget(visit.place)
        async with run.step("fetch"):
            tips = await visit.fetched_ahead()
            visit.tell(run.tell)
            self._go_on(run)
            if tips is None:
                await self._take(run, visit)
            tips = await self._fetch(run, turn, trusts, visit, tips)
        run.put_off(visit.settle)
        self._go_on(run)
        deployment = visit.place.deployment
        async with run.step("update"):
            updated = await self._update(
                run, turn, visit, tips, partial(changing, deployment, tips.branch)
            )
        self._visits.remember(visit.place)
        return deployment, updated

    async def _take(self, run: Run, visit: Visit) -> None:
        """Take the location, once no other process, another server or a script of ours, holds it.

        What a git that was cut off has left there goes first. While it waits, others may run.
        """
        told = False
        while not visit.try_lock():
            if not told:
                run.say(f"waiting for the location, which {visit.lock_holder()} holds")
                run.worker.give_way()
                told = True
            await self._sleep(LOCK_RETRY)
            self._go_on(run)
        for look in range(ORPHAN_LOOKS):
            if not await visit.is_worked_in(self._in_thread):
                break
            if not look:
                run.say(
                    "waiting for a git that works in the location, for the last one was cut off"
                )
                run.worker.give_way()
            await self._sleep(LOCK_RETRY)
            self._go_on(run)
        await self._come_back(run)
        for left in await visit.clear(self._in_thread):
            run.say(f"removed {left}, left by a git that was cut off")
        visit.begin()

    async def _come_back(self, run: Run) -> None:
        """Have a worker again, after a wait in which others may have taken them all."""
        coming = run.worker.come_back()
        coming.addErrback(lambda failure: failure.trap(CancelledError))
        try:
            if not coming.called:
                run.say("the location is free; waiting for a worker")
            while not coming.called:
                await self._sleep(LOCK_RETRY)
                self._go_on(run)
        finally:
            coming.cancel()
        self._go_on(run)

    async def _fetch(
        self, run: Run, turn: Turn, trusts: Sequence[Trust], visit: Visit, tips: Tips | None
    ) -> Tips:
        """Fetch branch and config together until the config agrees with what was fetched.

        `tips` were fetched already. The visit is to what the config says then.
        """
        record = turn.known
        while True:
            place = visit.place
            branch = place.deployment.branch
            if tips is None:
                await self._prepare(run, visit, trusts)
                # Only now there is a git folder for certain.
                visit.begin()
                if await visit.refill():
                    run.say("all objects were fetched once more, for some were lost")
            try:
                tips = await self._fetch_wanted(run, visit.checkout, branch, tips)
            except (Refused, GitError) as error:
                tips = await self._without_fetch(run, visit, error)
            else:
                record = await self._configs.refresh(
                    record, tips.config, partial(read_config, visit.checkout.git)
                )
            if record.good_text is None:
                raise Skipped(why_no_config(str(place.repo), record.config_error))
            if record.config_error is not None:
                run.say(
                    f"The newest config is broken ({record.config_error}); the last good one,"
                    f" of {(record.good_commit or '')[:12]}, is used."
                )
            for warning in self._configs.warnings(record):
                run.say(f"The config: {warning}")
            if record is not turn.known:
                now = self._chosen(run.deploy, record, trusts)
                visit.turn_to(replace(place, deployment=now))
                if (now.remote, now.branch) != (place.deployment.remote, branch):
                    tips = None
                    continue
            # The location may have been handed on to another name of this host.
            deployment = visit.place.deployment
            run.note(
                branch=branch,
                host=deployment.host,
                commit=tips.branch,
                config_commit=record.good_commit,
                settings=digests(deployment),
            )
            return tips

    async def _prepare(self, run: Run, visit: Visit, trusts: Sequence[Trust]) -> None:
        """Make the checkout one that can be fetched into.

        Where it cannot be, the config may have been mended meanwhile, which
        could not be fetched there: raises as `choose` then.
        """
        place = visit.place
        try:
            await visit.checkout.prepare(place.deployment.branch)
        except (Refused, GitError) as error:
            self._go_on(run)
            if isinstance(error, GitError) and error.was_ended:
                raise
            try:
                record = await self._looks.look(place.repo)
            except (GitError, OSError):
                raise error from None
            self._chosen(run.deploy, record, trusts)
            raise

    async def _fetch_wanted(
        self, run: Run, checkout: Checkout, branch: str, tips: Tips | None = None
    ) -> Tips:
        """Fetch, unless that was done, and again for a while if the pushed commit is not there yet."""
        if tips is None:
            tips = await checkout.fetch(branch)
        wanted = run.deploy.wanted
        if wanted is None or wanted == tips.branch:
            return tips
        if run.deploy.trigger is Trigger.ROLLBACK:
            if not await checkout.has_commit(wanted):
                raise Refused(f"the commit {wanted[:12]} is no longer in the repository")
            return replace(
                tips, branch=wanted, branch_before=tips.branch, rollback=True, forward=False
            )
        for delay in LATE_COMMIT:
            if await checkout.has_commit(wanted):
                break
            run.say(f"the pushed commit {wanted[:12]} is not there yet; fetching again")
            await self._sleep(delay)
            again, before = await checkout.fetch(branch), tips.branch_before
            tips = replace(again, branch_before=before, forward=tips.forward and again.forward)
        if tips.branch != wanted:
            run.say(
                f"{branch} is at {tips.branch[:12]} by now, not at the pushed commit"
                f" {wanted[:12]}; the newest is deployed"
            )
        return tips

    async def _without_fetch(self, run: Run, visit: Visit, error: Refused | GitError) -> Tips:
        """What a roll-back needs where nothing can be fetched; raises the error where that is not here.

        It goes on with the config that was read last.
        """
        wanted, checkout = run.deploy.wanted, visit.checkout
        visit.fail(error)
        self._go_on(run)
        if run.deploy.trigger is not Trigger.ROLLBACK or wanted is None:
            raise error
        if isinstance(error, GitError) and error.was_ended:
            await visit.clear(self._in_thread)
        if not await checkout.has_commit(wanted):
            raise error
        run.say(f"{error}; the commit to go back to is here, so nothing needs to be fetched")
        remote = checkout.tracking(visit.place.deployment.branch)
        here = (await checkout.refs(remote)).get(remote)
        return Tips(wanted, here, None, rollback=True)

    async def _update(
        self, run: Run, turn: Turn, visit: Visit, tips: Tips, changing: Changing
    ) -> Updated:
        deployment, checkout = visit.place.deployment, visit.checkout
        host, with_submodules = deployment.host, deployment.submodules
        past = run.deploy
        earlier = Updated(past.previous_commit, past.head) if past.head is not None else None
        update = Update(
            checkout, run.say, self._in_thread, host, with_submodules, changing, earlier
        )
        rescue_ref = f"refs/integralgit/rescue/{run.deploy.id}"
        try:
            updated = await update.run(
                deployment.branch, deployment.update, tips, turn.deployed, rescue_ref
            )
        except Exception:
            # What is left there is told of a deploy that has failed, too.
            if (changed := update.changed) is not None:
                run.note(previous_commit=changed.previous, head=changed.head)
            raise
        run.note(previous_commit=updated.previous, head=updated.head)

        async def note_commits() -> None:
            commits = await checkout.commits(updated.previous, updated.head)
            # Nothing new: what is there is told, as by the deploy that is rolled back to.
            if not commits and not run.deploy.commits:
                commits = await checkout.commits(None, updated.head)
            if commits:
                run.note(commits=commits)

        if turn.told != (updated.previous, updated.head):
            run.put_off(note_commits)
        run.say(f"{deployment.location} is at {updated.head[:12]} of {deployment.branch}")
        return updated
