"""Keeps the queue moving: takes deliveries in, wakes the lanes, picks up what a restart left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger

from integralgit.background import Background, Timers
from integralgit.deploy import acts
from integralgit.deploy.acts import Conflict
from integralgit.deploy.configs import Configs, Looks
from integralgit.deploy.deployer import Deployer
from integralgit.deploy.fresh import FreshLooks
from integralgit.deploy.inbox import Receipt, replay, take_in
from integralgit.deploy.lanes import Lanes, pausing
from integralgit.deploy.outcome import CANCELLED_EARLY, CANCELLED_MIDWAY
from integralgit.deploy.run import Stopping
from integralgit.deploy.turn import Turn, take
from integralgit.hooks.delivery import Delivery
from integralgit.journal import deliveries, deploys, freezes, queue, repositories, scripts
from integralgit.journal.events import ConfigRead, Deploy, Event, Freeze, RunningScript, State
from integralgit.journal.hub import Hub
from integralgit.journal.logs import Logs
from integralgit.journal.store import Store, Transaction, Work
from integralgit.location.git import GitError
from integralgit.location.room import NoRoom
from integralgit.location.unfinished import cut_off_at
from integralgit.location.visit import Place, Visit
from integralgit.location.visits import Visits
from integralgit.names import parse_repository
from integralgit.processes.child import Children
from integralgit.settings import Settings

log = Logger()

#: After how many deploys, those that were superseded too, the oldest are forgotten.
PRUNE_EVERY = 20
#: Seconds until work at a location that met a fault is tried again.
WORK_AGAIN = 10.0
#: Seconds until it is seen whether a freeze is over, at most: the clock by which it ends may be set.
CLOCK_LOOK = 60.0


@define
class _Expected:
    """A deploy that a delivery is likely to ask for, which is being written down until `taken_in`."""

    place: Place
    taken_in: Deferred[None] = field(factory=Deferred)


def _note_what_was_changed(tx: Transaction, deploy: Deploy, location: str) -> bool:
    """Record from where to where git was changing files when it was killed; whether it was."""
    changing = cut_off_at(location)
    if changing is not None:
        deploys.note(tx, deploy.id, previous_commit=changing[0], head=changing[1])
    return changing is not None


@define(eq=False, slots=False)
class Workshop(Service):
    """The room as a service: it starts by making true what the archive says."""

    _reactor: Any
    _settings: Settings
    _store: Store
    _hub: Hub
    _logs: Logs
    _configs: Configs
    _looks: Looks
    _visits: Visits
    _deployer: Deployer
    _children: Children
    _now: Callable[[], float]
    _background: Background = field(factory=Background, init=False)
    _locations: Lanes = field(init=False)
    _fresh: FreshLooks = field(init=False)
    _stopping: bool = field(default=False, init=False)
    #: Nothing begins before the archive is true again.
    _recovered: bool = field(default=False, init=False)
    _timers: Timers = field(init=False)
    _expected: dict[str, _Expected] = field(factory=dict, init=False)
    #: How far the deploys were numbered when the oldest of a repository were forgotten.
    _forgotten: dict[str, int] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        workers = self._settings.workers
        spawn = self._background.spawn

        self._locations = Lanes(
            self._work_at, spawn, DeferredSemaphore(workers), pausing(self._reactor)
        )
        self._timers = Timers(self._reactor)
        self._fresh = FreshLooks(
            self._reactor,
            self._store,
            self._looks,
            self._configs.host_names,
            self._now,
            self.wake,
            spawn,
            DeferredSemaphore(workers),
        )

    def startService(self) -> None:
        super().startService()
        self._hub.watch(self._heard)
        self._background.spawn(self._recover())

    def stopService(self) -> Deferred[Any]:
        """Scripts go on; git is asked to end and its deploys go back to the queue."""
        super().stopService()
        self._stopping = True
        self._timers.stop()
        self._fresh.stop()
        self._deployer.stop()
        self._children.stop()
        return self._background.drain()

    async def receive(self, delivery: Delivery) -> Receipt:
        """Take a delivery in; when this returns, it and its deploys are on disk."""
        expected = self._expect(delivery)
        try:
            receipt = await self._store.gather(self._take_in, delivery)
        finally:
            for one in expected.values():
                one.taken_in.callback(None)
        self._set_going(receipt, but=expected)
        return receipt

    def _expect(self, delivery: Delivery) -> dict[str, _Expected]:
        """The turns that begin already, by their locations; each waits for the delivery then."""
        expected = {}
        for place in self._visits.expected(delivery):
            if self._recovered and not self._stopping and self._locations.is_idle(place.location):
                expected[place.location] = self._expected[place.location] = _Expected(place)
                self._locations.wake(place.location)
        return expected

    def _take_in(self, tx: Transaction, sent: Sequence[Delivery]) -> list[Receipt]:
        """Take in what has come in while the disk was written to."""
        return take_in(tx, sent, self._configs.host_names, self._now())

    async def replay(self, repo: str, number: int) -> Receipt | None:
        """Take an accepted delivery in once more; None where the repository has no such one."""
        names, now = self._configs.host_names, self._now()
        receipt = await self._store.write(lambda tx: replay(tx, number, repo, names, now))
        if receipt is not None:
            self._set_going(receipt)
        return receipt

    def _set_going(self, receipt: Receipt, but: Collection[str] = ()) -> None:
        """Wake the locations of what was queued, but those whose turn waits for it anyway."""
        for deploy in receipt.deploys:
            location = deploy.location
            if location is not None and location not in but and deploy.state is State.QUEUED:
                self.wake(location)
        if receipt.look:
            self._fresh.want(receipt.repo)

    def wake(self, location: str) -> None:
        """There is something to do at a location; before the recovery, it finds that itself."""
        if self._recovered and not self._stopping:
            self._locations.wake(location)

    def look(self, identity: str) -> None:
        """A repository's config is to be read afresh; before the recovery, that finds it itself."""
        self._fresh.want(identity)

    async def _wake_all(self) -> None:
        """Wake the locations at which something waits."""
        locations, _ = await self._store.read(queue.heads)
        for location in locations:
            self.wake(location)

    def _heard(self, event: Event) -> None:
        """A new config may have brought something for a location."""
        if isinstance(event, ConfigRead) and not self._stopping:
            self._background.spawn(self._wake_all())

    async def _recover(self) -> None:
        """Make true again what the archive says: queued deploys run, running ones are followed."""

        def work(tx: Transaction) -> tuple[list[tuple[Deploy, RunningScript]], list[str], set[str]]:
            to_follow = self._sort_out(tx)
            locations, repos = queue.heads(tx)
            return to_follow, locations, {*repos, *deliveries.repositories_to_look_at(tx)}

        try:
            to_follow, locations, repos = await self._deployer.record(work)
        except Stopping:
            return
        # What still runs comes first, and has its deadline at once.
        for deploy, script in to_follow:
            self._follow(deploy, script)
        self._recovered = True
        self._fresh.begin()
        self._background.spawn(self._deployer.bound_logs())
        for location in locations:
            self.wake(location)
        for repo in repos:
            self._fresh.want(repo)

    def _follow(self, deploy: Deploy, script: RunningScript) -> None:
        """Follow the script of the server before us to its end, and then see what waits there."""
        location = deploy.location
        assert location is not None

        async def follow() -> None:
            with suppress(Stopping):
                # Between two tries, too, nothing else begins there: the script may still run.
                while not await self._is_followed(deploy, script):
                    await self._deployer.sleep(WORK_AGAIN)
            self.wake(location)

        self._locations.follow(location, follow)

    async def _is_followed(self, deploy: Deploy, script: RunningScript) -> bool:
        """Follow a script to its end; False where that met a fault, of the disk perhaps."""
        try:
            await self._deployer.adopt(deploy, script)
        except Exception:
            log.failure("deploy {deploy} could not be followed", deploy=deploy.id)
            return False
        return True

    def _sort_out(self, tx: Transaction) -> list[tuple[Deploy, RunningScript]]:
        """The deploys whose script may still run; the others end if they were to, or are queued again."""
        to_follow = []
        for deploy in deploys.running(tx):
            record = scripts.of_deploy(tx, deploy.id)
            assert deploy.host is not None and deploy.location is not None
            if record is not None and self._deployer.has_begun(record):
                log_size = self._logs.known_size(deploy.id) or 0
                scripts.complete_update(tx, record, self._now(), log_size)
                to_follow.append((deploy, record))
            elif deploy.is_to_end:
                self._end_cancelled(tx, deploy, deploy.location)
            else:
                _note_what_was_changed(tx, deploy, deploy.location)
                queue.place(tx, deploy.id, deploy.host, deploy.location, deploy.branch, self._now())
        return to_follow

    def _end_cancelled(self, tx: Transaction, deploy: Deploy, location: str) -> None:
        """End a deploy that was to end, and was cut off before its script."""
        is_changed = _note_what_was_changed(tx, deploy, location)
        outcome = CANCELLED_MIDWAY if is_changed else CANCELLED_EARLY
        size = self._logs.known_size(deploy.id)
        deploys.end(tx, deploy.id, outcome.state, self._now(), reason=outcome.reason, log_size=size)

    async def _work_at(self, location: str) -> None:
        """One deploy at a location; if that meets a fault, of the disk perhaps, another try."""
        try:
            await self._work_once_at(location)
        except Stopping:
            return
        except NoRoom as error:
            log.warn("{location} waits: {error}", location=location, error=error)
        except Exception:
            log.failure("work at {location} failed; it is tried again", location=location)
        else:
            return
        if not self._stopping:
            self._timers.call(location, WORK_AGAIN, self.wake)

    async def _work_once_at(self, location: str) -> None:
        """One deploy at a location, the one that waits or is being written down."""
        expected, ahead = self._expected.pop(location, None), None
        if expected is not None and not self._stopping:
            ahead = self._visits.ahead_to(expected.place)
            await expected.taken_in
        try:
            await self._deploy_at(location, ahead)
        finally:
            if ahead is not None:
                await ahead.leave()

    async def _deploy_at(self, location: str, ahead: Visit | None) -> None:
        """One deploy at a location, for which a fetch may have begun."""
        if self._stopping:
            return
        taken = await self._deployer.record(
            lambda tx: take(tx, location, self._now()), durable=False
        )
        if not isinstance(taken, Turn):
            if ahead is not None:
                self._visits.forget(ahead.place)
            if taken is not None and taken.until is not None:
                # It may have ended while it was looked at.
                remaining = max(0.0, taken.until - self._now())
                self._timers.call(location, min(remaining, CLOCK_LOOK), self.wake)
            return
        next_ones = await self._deployer.deploy(taken, self._locations.worker(location), ahead)
        for waiting in next_ones:
            self.wake(waiting)
        number, repo = taken.deploy.id, taken.deploy.repo
        if number >= self._forgotten.get(repo, 0) + PRUNE_EVERY:
            self._forgotten[repo] = number
            await self._forget_old(repo)

    async def _forget_old(self, repo: str) -> None:
        """Forget the oldest deploys of a repository, and then their logs, a few at a time."""
        more = True
        while more and not self._stopping:
            numbers = await self._store.write(lambda tx: deploys.prune(tx, repo, self._now()))
            for number in numbers:
                self._logs.forget(number)
            more = len(numbers) == deploys.PRUNED_AT_ONCE

    async def freeze(self, repo: str, reason: str, until: float | None) -> None:
        """Let what is pushed wait, until that time or until it is lifted."""
        one = Freeze(repo, reason, self._now(), until)
        await self._store.write(lambda tx: freezes.freeze(tx, one))
        # What waits already has a timer for the end of the freeze that this one may replace.
        await self._wake_all()

    async def unfreeze(self, repo: str) -> bool:
        """Lift a freeze, and deploy what has waited; False where there is none."""
        lifted = await self._store.write(lambda tx: freezes.lift(tx, repo, self._now()))
        await self._wake_all()
        return lifted

    async def deploy_now(self, identity: str) -> list[Deploy]:
        """Deploy the newest commit of a repository that a trust covers, heard of or not.

        Raises `Conflict` where there is nothing to deploy.
        """
        asked, names = str(parse_repository(identity)), self._configs.host_names
        identity = await self._store.read(lambda tx: repositories.spelling(tx, asked))
        repo = parse_repository(identity)
        if not self._settings.trusts_for(repo):
            raise Conflict(f"no [[trust]] of the server's settings covers {identity}")
        is_new = await self._store.write(
            lambda tx: repositories.hear_of(tx, identity, "", self._now())
        )
        try:
            await self._looks.look(repo)
        except GitError as error:
            if is_new:
                await self._store.write(lambda tx: repositories.forget(tx, identity))
            raise Conflict(str(error)) from None
        self._fresh.want(identity)
        return await self._queue(lambda tx: acts.deploy_now(tx, identity, names, self._now()))

    async def retry(self, deploy: Deploy) -> list[Deploy]:
        """Deploy the newest commit where that deploy was to go; raises `Conflict`."""
        return await self._queue(lambda tx: acts.retry(tx, deploy, self._now()))

    async def roll_back(self, deploy: Deploy) -> list[Deploy]:
        """Go back to the commit of that deploy, until the next push; raises `Conflict`."""
        names = self._configs.host_names
        return await self._queue(lambda tx: acts.roll_back(tx, deploy, names, self._now()))

    async def cancel(self, number: int) -> None:
        """End a deploy that waits, or ask one that runs to end; raises `Conflict`."""
        now = self._now()

        def work(tx: Transaction) -> Deploy | None:
            deploy = deploys.known(tx, number)
            if acts.cancel_queued(tx, deploy, now):
                return None
            deploys.want_cancelled(tx, number)
            return deploy

        running = await self._store.write(work)
        if running is not None:
            await self._deployer.cancel(running)

    async def _queue(self, work: Work[list[int]]) -> list[Deploy]:
        """Run work that queues deploys, and set them going."""
        queued = await self._store.write(
            lambda tx: [deploys.known(tx, number) for number in work(tx)]
        )
        for deploy in queued:
            assert deploy.location is not None
            self.wake(deploy.location)
        return queued
