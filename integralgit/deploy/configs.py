"""Keeping what is known of a repository's config fresh, and the last usable one in use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from attrs import define, field
from twisted.internet.defer import DeferredLock

from integralgit.deploy.settle import share
from integralgit.hostconfig.resolve import ConfigError, deployments, resolve
from integralgit.journal import repositories
from integralgit.journal.events import RepositoryRecord
from integralgit.journal.store import Store, Transaction
from integralgit.location.mirror import Mirrors, Outdated
from integralgit.location.source import source_of
from integralgit.names import Repository
from integralgit.settings import Settings


def fault(text: str, host_names: tuple[str, ...]) -> str | None:
    """Why these host names cannot use a config, or None."""
    try:
        deployments(resolve(text, host_names))
    except ConfigError as error:
        return str(error)
    return None


def _newest(record: RepositoryRecord) -> tuple[str | None, str | None, str | None]:
    return record.config_commit, record.config_text, record.config_error


@define
class Configs:
    """The configs of all repositories, as this host's names see them."""

    _store: Store
    host_names: tuple[str, ...]
    _now: Callable[[], float]

    def warnings(self, record: RepositoryRecord) -> list[str]:
        """What the config in use says and nobody heeds, such as a key that is none."""
        found = resolve(record.good_text, self.host_names) if record.good_text else ()
        return list(dict.fromkeys(warning for one in found for warning in one.warnings))

    async def known(self, repo: Repository) -> RepositoryRecord:
        """What is known of a repository; one that was not heard of is, from now on."""
        name = str(repo)
        record = await self._store.read(lambda tx: repositories.get(tx, name))
        if record is not None:
            return record
        return await self._store.write(lambda tx: repositories.known_again(tx, name, self._now()))

    async def refresh(
        self,
        record: RepositoryRecord,
        commit: str | None,
        read: Callable[[str], Awaitable[str]],
    ) -> RepositoryRecord:
        """What is known once the config of that commit is, which `read` gives the text of.

        Pushes that wait are shared with the locations that it has besides.
        `record` is what was known before the remote was asked; where somebody
        else has asked it meanwhile, what he found stays. `commit` is None
        where the repository has no config branch. A commit that is known
        already is not read again, but judged again: this host's names may have
        changed.
        """
        text, error = None, None
        if commit is not None:
            try:
                is_known = commit == record.config_commit and record.config_text is not None
                text = record.config_text if is_known else await read(commit)
                error = fault(text or "", self.host_names)
            except ConfigError as unreadable:
                error = str(unreadable)
        if (commit, text, error) == _newest(record):
            return record

        def put(tx: Transaction) -> RepositoryRecord:
            if _newest(repositories.known(tx, record.repo)) == _newest(record):
                now = self._now()
                repositories.set_config(tx, record.repo, commit, text, error, now)
                share(tx, repositories.known(tx, record.repo), self.host_names, now)
            return repositories.known(tx, record.repo)

        return await self._store.write(put)


@define
class Looks:
    """Looks at the configs at the remotes, one at a time per repository, for each has one mirror."""

    _configs: Configs
    _mirrors: Mirrors
    _settings: Settings
    _locks: dict[str, DeferredLock] = field(factory=dict, init=False)

    async def look(self, repo: Repository) -> RepositoryRecord:
        """What is known of a repository's config after a fresh look; raises `GitError`."""
        lock = self._locks.setdefault(str(repo), DeferredLock())
        await lock.acquire()
        try:
            known = await self._configs.known(repo)
            source = source_of(repo, self._settings.trusts_for(repo), known.provider)
            commit = await self._mirrors.tip(source)
            while True:
                try:
                    return await self._configs.refresh(
                        known, commit, partial(self._mirrors.config, source)
                    )
                except Outdated as outdated:
                    commit = outdated.tip
        finally:
            lock.release()
