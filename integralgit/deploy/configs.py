"""Keeping what is known of a repository's config fresh, and the last usable one in use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define

from integralgit.hostconfig.resolve import ConfigError, deployments, resolve
from integralgit.journal import deliveries
from integralgit.journal.events import RepositoryRecord
from integralgit.journal.store import Store
from integralgit.names import Repository


def fault(text: str, host_names: tuple[str, ...]) -> str | None:
    """Why these host names cannot use a config, or None."""
    try:
        deployments(resolve(text, host_names))
    except ConfigError as error:
        return str(error)
    return None


@define
class Configs:
    """The configs of all repositories, as this host's names see them."""

    _store: Store
    host_names: tuple[str, ...]
    _now: Callable[[], float]

    async def known(self, repo: Repository) -> RepositoryRecord:
        """What is known of a repository that was heard of."""
        record = await self._store.read(lambda tx: deliveries.repository(tx, str(repo)))
        assert record is not None
        return record

    async def refresh(
        self, repo: Repository, commit: str | None, read: Callable[[str], Awaitable[str]]
    ) -> RepositoryRecord:
        """What is known once the config of that commit is, which `read` gives the text of.

        `commit` is None where the repository has no config branch. A commit
        that is known already is not read again, but judged again: this host's
        names may have changed.
        """
        record = await self.known(repo)
        text, error = None, None
        if commit is not None:
            try:
                is_known = commit == record.config_commit and record.config_text is not None
                text = record.config_text if is_known else await read(commit)
                error = fault(text or "", self.host_names)
            except ConfigError as unreadable:
                error = str(unreadable)
        before = record.config_commit, record.config_text, record.config_error
        if (commit, text, error) == before:
            return record
        await self._store.write(
            lambda tx: deliveries.set_config(tx, str(repo), commit, text, error, self._now())
        )
        return await self.known(repo)
