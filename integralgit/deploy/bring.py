"""Bringing a location to the newest commit: its lock, one fetch, the config afresh, the update."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from attrs import define
from msgspec.structs import replace

from integralgit.background import InThread
from integralgit.deploy import leftovers
from integralgit.deploy.bounds import check_place
from integralgit.deploy.checkout import (
    Checkout,
    Tips,
    Verified,
    lock_holder,
    open_location,
    read_config,
    try_lock,
)
from integralgit.deploy.configs import Configs, Looks
from integralgit.deploy.git import Git, GitError
from integralgit.deploy.headstart import HeadStart, HeadStarts, Place
from integralgit.deploy.inbox import known_deployments
from integralgit.deploy.outcome import Skipped, choose
from integralgit.deploy.plan import Refused
from integralgit.deploy.run import Run
from integralgit.deploy.source import source_of
from integralgit.deploy.turn import Turn
from integralgit.deploy.update import Changing, Update, Updated
from integralgit.hostconfig.resolve import ConfigError, Deployment
from integralgit.journal import deliveries
from integralgit.journal.events import Deploy, RepositoryRecord, Trigger
from integralgit.names import CONFIG_BRANCH, Repository
from integralgit.settings import Trust

#: Seconds before each further fetch while the pushed commit is not there yet.
LATE_COMMIT = (1.0, 2.0, 4.0)
#: Seconds between tries for a location that another process holds.
LOCK_RETRY = 0.5


@define
class Visit:
    """A location that a deploy has entered: what is its turn, by which trusts, and the lock, to be taken.

    `ahead` is the fetch that was begun for it, which has the lock.
    """

    turn: Turn
    place: Place
    trusts: Sequence[Trust]
    lock: int
    ahead: HeadStart | None = None


@define
class Bring:
    """What every deploy does before its script.

    `sleep` waits so many seconds, and `go_on` raises where there is to be no
    next step.
    """

    _configs: Configs
    _looks: Looks
    _git: Git
    _in_thread: InThread
    _sleep: Callable[[float], Awaitable[None]]
    _go_on: Callable[[Run], None]
    _verified: Verified
    _head_starts: HeadStarts

    async def enter(
        self, turn: Turn, repo: Repository, trusts: Sequence[Trust], ahead: HeadStart | None
    ) -> Visit:
        """The open folder of the location, once the config and the settings allow it.

        What the known config would refuse is looked at afresh first: it may
        have been mended meanwhile, and the visit knows that then.
        """
        try:
            place = self._place(turn, repo, trusts)
        except (Refused, Skipped, ConfigError):
            turn = replace(turn, known=await self._looks.look(repo))
            place = self._place(turn, repo, trusts)
        if ahead is not None and ahead.place == place:
            return Visit(turn, place, trusts, ahead.hand_over(), ahead)
        if ahead is not None:
            await ahead.leave()
        return Visit(turn, place, trusts, open_location(place.location))

    def _place(self, turn: Turn, repo: Repository, trusts: Sequence[Trust]) -> Place:
        deployment = self._chosen(turn.deploy, turn.known, trusts)
        check_place(deployment, trusts)
        return Place(repo, deployment, source_of(repo, trusts, turn.known.provider))

    def _chosen(
        self, deploy: Deploy, record: RepositoryRecord, trusts: Sequence[Trust]
    ) -> Deployment:
        return choose(deploy, known_deployments(record, self._configs.host_names) or (), trusts)

    async def forward(
        self, run: Run, visit: Visit, changing: Callable[[Deployment, str, Updated], None]
    ) -> tuple[Deployment, Updated]:
        """Fetch and update: what the config says, and where HEAD was and is.

        `changing` is told what the config says, the remote's commit, and what
        the update comes to, once git has begun with that. What a git that is
        cut off leaves locked is noted for the next deploy.
        """
        folder, is_ours = visit.place.git_folder, False
        self._head_starts.forget(visit.place)
        try:
            async with run.step("fetch"):
                tips = await self._ahead(run, visit)
                if tips is None:
                    await self._lock(run, visit.lock)
                    is_ours = True
                    if leftovers.may_be_in(folder):
                        for left in await self._in_thread(
                            leftovers.clear, folder, visit.place.location
                        ):
                            run.say(f"removed {left}, left by a git that was cut off")
                    leftovers.begin(folder)
                is_ours = True
                place, checkout, tips = await self._fetch(run, visit, tips)
            self._go_on(run)
            told = partial(changing, place.deployment, tips.branch)
            async with run.step("update"):
                updated = await self._update(
                    run, visit.turn, place.deployment, checkout, tips, told
                )
        except Exception as error:
            if is_ours and not (isinstance(error, GitError) and error.was_ended):
                leftovers.end(folder)
            raise
        leftovers.end(folder)
        self._head_starts.remember(place)
        return place.deployment, updated

    async def _ahead(self, run: Run, visit: Visit) -> Tips | None:
        """What the fetch that was begun before has brought, if there was one and it went well."""
        if visit.ahead is None:
            return None
        tips = await visit.ahead.tips()
        self._go_on(run)
        for said in visit.ahead.said if tips is not None else ():
            run.tell(said)
        return tips

    async def _lock(self, run: Run, lock: int) -> None:
        """Wait until no other process, another server or a script of ours, holds the location."""
        told = False
        while not try_lock(lock):
            if not told:
                run.say(f"waiting for the location, which {lock_holder(lock)} holds")
                told = True
            await self._sleep(LOCK_RETRY)
            self._go_on(run)

    async def _fetch(
        self, run: Run, visit: Visit, tips: Tips | None
    ) -> tuple[Place, Checkout, Tips]:
        """Fetch branch and config together until the config agrees with what was fetched.

        `tips` were fetched already.
        """
        record, place = visit.turn.known, visit.place
        while True:
            fetched = place.deployment
            checkout = place.checkout(self._git, self._verified, visit.lock, run.tell)
            await checkout.prepare(fetched.branch)
            leftovers.begin(place.git_folder)
            tips = await self._fetch_wanted(run, checkout, fetched.branch, tips)
            record = await self._configs.refresh(
                record, tips.config, partial(read_config, checkout.git)
            )
            if record.good_text is None:
                raise Skipped(
                    record.config_error
                    or f"{place.repo} has no branch {CONFIG_BRANCH} with a config"
                )
            if record.config_error is not None:
                run.say(
                    f"The newest config is broken ({record.config_error}); the last good one,"
                    f" of {(record.good_commit or '')[:12]}, is used."
                )
            if record is not visit.turn.known:
                place = replace(place, deployment=self._chosen(run.deploy, record, visit.trusts))
            if (place.deployment.remote, place.deployment.branch) == (
                fetched.remote,
                fetched.branch,
            ):
                run.note(
                    branch=fetched.branch, commit=tips.branch, config_commit=record.good_commit
                )
                return place, checkout, tips
            tips = None

    async def _fetch_wanted(
        self, run: Run, checkout: Checkout, branch: str, tips: Tips | None = None
    ) -> Tips:
        """Fetch, unless that was done, and again for a while if the pushed commit is not there yet."""
        if tips is None:
            tips = await checkout.fetch(branch)
        repo, tip = run.deploy.repo, tips.branch
        run.record(lambda tx: deliveries.see(tx, repo, branch, tip))
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

    async def _update(
        self,
        run: Run,
        turn: Turn,
        deployment: Deployment,
        checkout: Checkout,
        tips: Tips,
        changing: Changing,
    ) -> Updated:
        location = deployment.location
        host, with_submodules = deployment.host, deployment.submodules
        update = Update(checkout, run.say, self._in_thread, host, with_submodules, changing)
        rescue_ref = f"refs/integralgit/rescue/{run.deploy.id}"
        updated = await update.run(
            deployment.branch, deployment.update, tips, turn.deployed, rescue_ref
        )
        run.put_off(update.settle)
        run.note(previous_commit=updated.previous, head=updated.head)

        async def note_commits() -> None:
            run.note(commits=await checkout.commits(updated.previous, updated.head))

        if turn.told != (updated.previous, updated.head):
            run.put_off(note_commits)
        run.say(f"{location} is at {updated.head[:12]} of {deployment.branch}")
        return updated
