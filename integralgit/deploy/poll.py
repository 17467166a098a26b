"""Looking for pushes that nobody told of: one cheap look per repository, now and then.

Compared is what the remote has with what a delivery or a look has last told of,
and with what each location was brought to; a tip that is new to both is deployed.
What is fetched for one location counts for no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from integralgit.background import Background
from integralgit.deploy.inbox import known_deployments
from integralgit.deploy.workshop import Workshop
from integralgit.hostconfig.resolve import ConfigError, Deployment
from integralgit.journal import history, queue, repositories
from integralgit.journal.events import Deploy, RepositoryRecord, Trigger
from integralgit.journal.store import Store, Transaction
from integralgit.location.git import GitError
from integralgit.location.mirror import Mirrors
from integralgit.location.source import source_of
from integralgit.names import CONFIG_BRANCH, Repository, parse_repository
from integralgit.settings import Settings

log = Logger()

#: Seconds after the start until the first look, at most.
FIRST = 3.0


def belongs_to_another(
    tx: Transaction, repo: str, last: Deploy, host_names: tuple[str, ...]
) -> bool:
    """Whether another repository was deployed there last, and its config in use still says so.

    So it is after a repository was renamed at its git host, which answers to the old name, too.
    """
    if last.repo == repo:
        return False
    try:
        theirs = known_deployments(repositories.get(tx, last.repo), host_names) or ()
    except ConfigError:
        return False
    return last.location in {one.location for one in theirs}


def is_news(
    tx: Transaction, repo: str, to: Deployment, tip: str, host_names: tuple[str, ...]
) -> bool:
    """Whether a tip of the branch that is deployed there is one that nobody knew of."""
    seen = repositories.seen(tx, repo, to.branch)
    if tip == seen:
        return False
    last = history.deployed_at(tx, to.location)
    if last is None:
        return seen is not None or not history.has_any(tx, to.location)
    if tip == last.commit or belongs_to_another(tx, repo, last, host_names):
        return False
    return seen is not None or (last.repo, last.branch) == (repo, to.branch)


def compare(
    tx: Transaction,
    repo: str,
    host_names: tuple[str, ...],
    found: tuple[Deployment, ...],
    tips: Mapping[str, str],
    before: Mapping[str, str | None],
    now: float,
) -> list[str]:
    """Queue a deploy for every tip that nobody knew of; the locations that have one now.

    A branch that is looked at for the first time, because the config names
    it now, counts as seen; but a location that never had a deploy gets one.
    A location that was rolled back stays where it is until there is news.
    `before` is what was known when the look began: a branch of which more is
    known by now was told of meanwhile.
    """
    tips = {
        branch: tip
        for branch, tip in tips.items()
        if branch == CONFIG_BRANCH or repositories.seen(tx, repo, branch) == before.get(branch)
    }
    woken = []
    for one in found:
        tip = tips.get(one.branch)
        if tip is None or not is_news(tx, repo, one, tip, host_names):
            continue
        waiting = queue.waiting_at(tx, one.location)
        if (
            waiting is None
            or (waiting.repo, waiting.branch) != (repo, one.branch)
            or waiting.trigger is Trigger.ROLLBACK
        ):
            entry = queue.Entry(repo, one.branch, one.host, one.location, Trigger.POLL, wanted=tip)
            queue.enqueue(tx, entry, now)
        woken.append(one.location)
    for branch, tip in tips.items():
        if branch != CONFIG_BRANCH:
            repositories.see(tx, repo, branch, tip)
    return woken


@define(eq=False, slots=False)
class Poll(Service):
    """Looks at all repositories at the start, and then every `settings.poll` seconds or so.

    `chance` gives numbers from 0 to 1, for the jitter that keeps many hosts
    from asking at the same moment.
    """

    _reactor: Any
    _settings: Settings
    _store: Store
    _mirrors: Mirrors
    _workshop: Workshop
    _host_names: tuple[str, ...]
    _now: Callable[[], float]
    _chance: Callable[[], float]
    _background: Background = field(factory=Background, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def startService(self) -> None:
        super().startService()
        if self._settings.poll:
            self._later(FIRST * self._chance())

    def stopService(self) -> Deferred[Any]:
        """Look no more."""
        super().stopService()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        return self._background.drain()

    def _later(self, delay: float) -> None:
        if self.running:
            self._timer = self._reactor.callLater(
                delay, lambda: self._background.spawn(self._round())
            )

    async def _round(self) -> None:
        """Look at every repository, one after the other."""
        try:
            for repo in await self._repositories():
                if self.running:
                    try:
                        await self._look(repo)
                    except Exception:
                        log.failure("the look at {repo} failed", repo=str(repo))
        finally:
            self._later(self._settings.poll * (0.9 + 0.2 * self._chance()))

    async def _repositories(self) -> list[Repository]:
        """Those that were heard of, and those that a trust names without a pattern, however it spells them."""
        named = {
            pattern.lower(): pattern
            for trust in self._settings.trusts
            for pattern in trust.repos
            if not set("*?") & set(pattern)
        }

        def known(tx: Transaction) -> set[str]:
            called = {repositories.spelling(tx, pattern) for pattern in named.values()}
            return called.union(repositories.different(tx))

        repos = []
        for identity in sorted(await self._store.read(known)):
            try:
                repos.append(parse_repository(identity))
            except ValueError:
                log.warn("a trust names {name}, which is no repository", name=identity)
        return [repo for repo in repos if self._settings.trusts_for(repo)]

    async def _look(self, repo: Repository) -> None:
        identity, now = str(repo), self._now()
        await self._store.write(lambda tx: repositories.hear_of(tx, identity, "", now))
        record = await self._store.read(lambda tx: repositories.known(tx, identity))
        source = source_of(repo, self._settings.trusts_for(repo), record.provider)
        found = self._found(record)
        branches = {one.branch for one in found}
        before = await self._store.read(
            lambda tx: {branch: repositories.seen(tx, identity, branch) for branch in branches}
        )
        try:
            tips = await self._mirrors.tips(source, {CONFIG_BRANCH, *branches})
        except GitError as error:
            log.warn("{repo} could not be looked at: {reason}", repo=identity, reason=str(error))
            return
        if tips.get(CONFIG_BRANCH) != record.config_commit:
            self._workshop.look(identity)

        def work(tx: Transaction) -> list[str]:
            # A look may have brought a new config meanwhile.
            known = self._found(repositories.known(tx, identity))
            return compare(tx, identity, self._host_names, known, tips, before, now)

        for location in await self._store.write(work):
            self._workshop.wake(location)

    def _found(self, record: RepositoryRecord) -> tuple[Deployment, ...]:
        """This host's deployments by the config in use, as far as it can be used."""
        try:
            return known_deployments(record, self._host_names) or ()
        except ConfigError:
            return ()
