"""Bringing a location to the newest commit: its lock, one fetch, the config afresh, the update."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from attrs import define, field
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
from integralgit.deploy.inbox import known_deployments
from integralgit.deploy.outcome import Skipped, choose
from integralgit.deploy.plan import Refused
from integralgit.deploy.run import Run
from integralgit.deploy.source import source_of
from integralgit.deploy.turn import Turn
from integralgit.deploy.update import Update, Updated
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
    _verified: Verified = field(factory=Verified, init=False)

    async def enter(
        self, turn: Turn, repo: Repository, trusts: Sequence[Trust]
    ) -> tuple[Turn, int]:
        """The open folder of the location, once the config and the settings allow it.

        What the known config would refuse is looked at afresh first: it may
        have been mended meanwhile, and the turn knows that then.
        """
        try:
            return turn, self._allowed(turn, trusts)
        except (Refused, Skipped, ConfigError):
            turn = replace(turn, known=await self._looks.look(repo))
            return turn, self._allowed(turn, trusts)

    def _allowed(self, turn: Turn, trusts: Sequence[Trust]) -> int:
        deployment = self._chosen(turn.deploy, turn.known, trusts)
        check_place(deployment, trusts)
        return open_location(deployment.location)

    def _chosen(
        self, deploy: Deploy, record: RepositoryRecord, trusts: Sequence[Trust]
    ) -> Deployment:
        return choose(deploy, known_deployments(record, self._configs.host_names) or (), trusts)

    async def forward(
        self,
        run: Run,
        turn: Turn,
        repo: Repository,
        trusts: Sequence[Trust],
        lock: int,
        fetched: Callable[[Deployment, str], None],
    ) -> tuple[Deployment, Updated]:
        """Fetch and update: what the config says, and where HEAD was and is.

        `fetched` is told what is to be done there with which commit, before
        the files are changed. What a git that is cut off leaves locked is noted for the next deploy.
        """
        location = run.deploy.location
        assert location is not None
        folder, is_ours = Path(location, ".git"), False
        try:
            async with run.step("fetch"):
                await self._lock(run, lock)
                is_ours = True
                if leftovers.may_be_in(folder):
                    for left in await self._in_thread(leftovers.clear, folder, location):
                        run.say(f"removed {left}, left by a git that was cut off")
                leftovers.begin(folder)
                deployment, checkout, tips = await self._fetch(run, turn, repo, trusts, lock)
            self._go_on(run)
            fetched(deployment, tips.branch)
            async with run.step("update"):
                updated = await self._update(run, turn, deployment, checkout, tips)
        except Exception as error:
            if is_ours and not (isinstance(error, GitError) and error.was_ended):
                leftovers.end(folder)
            raise
        leftovers.end(folder)
        return deployment, updated

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
        self, run: Run, turn: Turn, repo: Repository, trusts: Sequence[Trust], lock: int
    ) -> tuple[Deployment, Checkout, Tips]:
        """Fetch branch and config together until the config agrees with what was fetched."""
        record = turn.known
        source = source_of(repo, trusts, record.provider)
        deployment = self._chosen(run.deploy, record, trusts)
        location = run.deploy.location
        assert location is not None
        git = self._git.within(location, descriptors={9: lock}, tell=run.tell, owner=run.deploy.id)
        git = git.allowing(source.protocols)
        while True:
            fetched = deployment.remote, deployment.branch
            checkout = Checkout(git, location, deployment.remote, source, self._verified)
            await checkout.prepare(deployment.branch)
            leftovers.begin(Path(location, ".git"))
            tips = await self._fetch_wanted(run, checkout, deployment.branch)
            record = await self._configs.refresh(
                record, tips.config, lambda commit: read_config(git, commit)
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
            deployment = self._chosen(run.deploy, record, trusts)
            if (deployment.remote, deployment.branch) == fetched:
                run.note(
                    branch=deployment.branch, commit=tips.branch, config_commit=record.good_commit
                )
                return deployment, checkout, tips

    async def _fetch_wanted(self, run: Run, checkout: Checkout, branch: str) -> Tips:
        """Fetch, and again for a while if the pushed commit is not there yet."""
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
    ) -> Updated:
        location = deployment.location
        update = Update(checkout, run.say, self._in_thread, deployment.host, deployment.submodules)
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
