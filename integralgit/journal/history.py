"""What the deploys of before say: what is live at a location, what went well there, how a commit fared."""

from __future__ import annotations

from integralgit.journal.deploys import select
from integralgit.journal.events import Deploy
from integralgit.journal.store import Transaction


def has_any(tx: Transaction, location: str) -> bool:
    """Whether there ever was a deploy for that location."""
    return tx.one("SELECT 1 FROM deploys WHERE location = ?", (location,)) is not None


def was_there(tx: Transaction, deploy: Deploy, location: str) -> bool:
    """Whether the push or commit of a deploy has one at that location, too, whatever came of it."""
    row = tx.one(
        "SELECT 1 FROM deploys WHERE location = ? AND repo = ? AND branch = ?"
        " AND (push = ? OR coalesce(commit_id, wanted) = ?)",
        (location, deploy.repo, deploy.branch, deploy.push, deploy.wanted),
    )
    return row is not None


def deployed_at(tx: Transaction, location: str) -> Deploy | None:
    """The newest deploy that brought the newest commit to a location, as a roll-back does not; or None."""
    found = select(
        tx,
        "WHERE location = ? AND commit_id IS NOT NULL AND trigger <> 'rollback'"
        " ORDER BY id DESC LIMIT 1",
        (location,),
    )
    return found[0] if found else None


def newest_by_config(tx: Transaction, repo: str, host: str) -> Deploy | None:
    """The newest deploy of a repository for a host that came as far as to have read its config."""
    where = "WHERE repo = ? AND host = ? AND config_commit IS NOT NULL ORDER BY id DESC LIMIT 1"
    found = select(tx, where, (repo, host))
    return found[0] if found else None


def last_good_at(tx: Transaction, repo: str, location: str) -> Deploy | None:
    """The newest deploy of a repository that succeeded at a location, or None."""
    where = "WHERE repo = ? AND location = ? AND state = 'succeeded' ORDER BY id DESC LIMIT 1"
    found = select(tx, where, (repo, location))
    return found[0] if found else None


def last_good(tx: Transaction, deploy: Deploy) -> Deploy | None:
    """The newest deploy that brought another commit of the branch there, and succeeded."""
    found = select(
        tx,
        "WHERE repo = ? AND location = ? AND branch = ? AND state = 'succeeded' AND id < ?"
        " AND commit_id <> coalesce(?, '') ORDER BY id DESC LIMIT 1",
        (deploy.repo, deploy.location, deploy.branch, deploy.id, deploy.commit),
    )
    return found[0] if found else None


def changed_since(tx: Transaction, repo: str, location: str, good: int) -> Deploy | None:
    """The newest deploy after that one which moved the checkout and did not succeed, or None."""
    found = select(
        tx,
        "WHERE repo = ? AND location = ? AND id > ? AND head IS NOT NULL"
        " AND head IS NOT previous_commit"
        " AND state IN ('failed', 'timed_out', 'cancelled', 'interrupted')"
        " ORDER BY id DESC LIMIT 1",
        (repo, location, good),
    )
    return found[0] if found else None


def commits_deployed_at(tx: Transaction, location: str, limit: int = 50) -> list[str]:
    """The remote commits that were deployed at a location, newest first."""
    row = tx.one(
        "SELECT group_concat(commit_id, ' ') FROM (SELECT commit_id FROM deploys"
        " WHERE location = ? AND commit_id IS NOT NULL ORDER BY id DESC LIMIT ?)",
        (location, limit),
    )
    return list(dict.fromkeys(row[0].split())) if row and row[0] else []


def telling(tx: Transaction, repo: str, host: str, commit: str) -> Deploy | None:
    """The deploy that says how it stands with a commit at a host: the newest that came to anything.

    One that ended before it began counts only where there is no other.
    """
    found = select(
        tx,
        "WHERE repo = ? AND host = ? AND coalesce(commit_id, wanted) = ?"
        " ORDER BY state IN ('superseded', 'skipped') OR (state = 'cancelled' AND started IS NULL),"
        " id DESC LIMIT 1",
        (repo, host, commit),
    )
    return found[0] if found else None


def result_before(tx: Transaction, deploy: Deploy) -> Deploy | None:
    """The newest deploy before this one that succeeded or failed where this one went.

    Where either never had a location, the branch is the place.
    """
    where, values = "branch = ?", [deploy.branch]
    if deploy.location is not None:
        where, values = (
            f"(location = ? OR location IS NULL AND {where})",
            [
                deploy.location,
                deploy.branch,
            ],
        )
    found = select(
        tx,
        f"WHERE repo = ? AND id < ? AND state IN ('succeeded', 'failed', 'timed_out') AND {where}"
        " ORDER BY id DESC LIMIT 1",
        (deploy.repo, deploy.id, *values),
    )
    return found[0] if found else None
