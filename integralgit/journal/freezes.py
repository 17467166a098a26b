"""All SQL about freezes: repositories at which nothing is deployed for a while."""

from __future__ import annotations

from integralgit.journal.events import Deploy, Freeze, RepositoryChanged
from integralgit.journal.store import Transaction


def freeze(tx: Transaction, freeze: Freeze) -> None:
    """Freeze a repository, in place of a freeze that it may have."""
    tx.execute(
        "INSERT OR REPLACE INTO freezes (repo, reason, since, until) VALUES (?, ?, ?, ?)",
        (freeze.repo, freeze.reason, freeze.since, freeze.until),
    )
    tx.emit(RepositoryChanged(freeze.repo))


def lift(tx: Transaction, repo: str, now: float) -> bool:
    """End a repository's freeze; False where it has none, or one that is over."""
    is_frozen = freeze_of(tx, repo, now) is not None
    tx.execute("DELETE FROM freezes WHERE repo = ?", (repo,))
    tx.emit(RepositoryChanged(repo))
    return is_frozen


def freeze_of(tx: Transaction, repo: str, now: float) -> Freeze | None:
    """The freeze that a repository is under now, or None."""
    row = tx.one(
        "SELECT repo, reason, since, until FROM freezes"
        " WHERE repo = ? AND (until IS NULL OR until > ?)",
        (repo, now),
    )
    return Freeze(*row) if row else None


def holding(tx: Transaction, deploy: Deploy, now: float) -> Freeze | None:
    """The freeze that a deploy which waits is held back by, or None.

    What brings the last good commit back is not: a freeze keeps new commits
    away, and is no reason to leave a site broken.
    """
    return None if deploy.rolls_back is not None else freeze_of(tx, deploy.repo, now)
