"""All SQL about deliveries, their pushes, and the repositories they speak of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from integralgit.hooks.delivery import Delivery, Push
from integralgit.journal.events import (
    Commit,
    RepositoryChanged,
    RepositoryRecord,
    StoredDelivery,
    StoredPush,
)
from integralgit.journal.store import Transaction

_PUSH = "id, delivery, repo, ref, before_commit, after_commit, deleted, pusher, commits, outcome, reason"


def encode_commits(commits: Sequence[Any]) -> str:
    """Commits as the text of a column."""
    told = [Commit(c.id, c.message.partition("\n")[0][:500], c.author[:200]) for c in commits]
    return msgspec.json.encode(told).decode()


def decode_commits(text: str) -> tuple[Commit, ...]:
    """The commits of a column."""
    return msgspec.json.decode(text, type=tuple[Commit, ...])


def add_delivery(
    tx: Transaction, delivery: Delivery, received: float, outcome: str, reason: str
) -> int:
    """Store a delivery and its decision; the number it has from now on."""
    repo = str(delivery.repo) if delivery.repo else None
    added = tx.execute(
        "INSERT INTO deliveries (received, provider, provider_id, event, repo, outcome, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (received, delivery.provider, delivery.id, delivery.event[:200], repo, outcome, reason),
    )
    if repo:
        tx.execute(
            "INSERT INTO repositories (repo, first_seen) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (repo, received),
        )
        tx.emit(RepositoryChanged(repo))
    assert added.lastrowid is not None
    return added.lastrowid


def add_push(
    tx: Transaction, delivery: int, push: Push, outcome: str, reason: str, look: bool
) -> int:
    """Store one change of a ref and its decision; the number it has from now on."""
    added = tx.execute(
        "INSERT INTO pushes (delivery, repo, ref, before_commit, after_commit, deleted, pusher,"
        " commits, outcome, reason, look) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            delivery,
            str(push.repo),
            push.ref[:1000],
            push.before,
            push.after,
            push.deleted,
            push.pusher[:200],
            encode_commits(push.commits[-50:]),
            outcome,
            reason,
            look,
        ),
    )
    assert added.lastrowid is not None
    return added.lastrowid


def earlier_delivery(tx: Transaction, provider: str, provider_id: str) -> int | None:
    """The newest accepted delivery with that id of its provider, or None."""
    if not provider_id:
        return None
    row = tx.one(
        "SELECT id FROM deliveries WHERE provider = ? AND provider_id = ? AND provider_id <> ''"
        " AND outcome = 'accepted' ORDER BY id DESC",
        (provider, provider_id),
    )
    return row[0] if row else None


def _push(row: tuple[Any, ...]) -> StoredPush:
    values = list(row)
    values[6], values[8] = bool(row[6]), decode_commits(row[8])
    return StoredPush(*values)


def pushes_to_look_at(tx: Transaction, repo: str) -> list[StoredPush]:
    """The pushes of a repository that wait for a fresh look at its config, oldest first."""
    rows = tx.execute(f"SELECT {_PUSH} FROM pushes WHERE repo = ? AND look ORDER BY id", (repo,))
    return [_push(row) for row in rows]


def repositories_to_look_at(tx: Transaction) -> list[str]:
    """The repositories with a push that waits for a fresh look at their config."""
    return [repo for (repo,) in tx.execute("SELECT DISTINCT repo FROM pushes WHERE look")]


def decide_push(tx: Transaction, push: StoredPush, outcome: str, reason: str) -> None:
    """Record what a fresh look at the config made of a push."""
    tx.execute(
        "UPDATE pushes SET outcome = ?, reason = ?, look = 0 WHERE id = ?",
        (outcome, reason, push.id),
    )
    if outcome == "accepted":
        tx.execute(
            "UPDATE deliveries SET outcome = 'accepted', reason = ? WHERE id = ?",
            (reason, push.delivery),
        )
    tx.emit(RepositoryChanged(push.repo))


def newest_deliveries(
    tx: Transaction, repo: str | None, limit: int, before: int | None = None
) -> list[StoredDelivery]:
    """The newest deliveries, of one repository or of all, newest first; `before` pages back."""
    where, values = ["1"], list[object]()
    if repo is not None:
        where.append("repo = ?")
        values.append(repo)
    if before is not None:
        where.append("id < ?")
        values.append(before)
    rows = tx.execute(
        "SELECT id, received, provider, provider_id, event, repo, outcome, reason FROM deliveries"
        f" WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",
        (*values, limit),
    ).fetchall()
    found = []
    for row in rows:
        pushes = tx.execute(f"SELECT {_PUSH} FROM pushes WHERE delivery = ? ORDER BY id", row[:1])
        found.append(StoredDelivery(*[*row, tuple(map(_push, pushes))]))
    return found


def repository(tx: Transaction, repo: str) -> RepositoryRecord | None:
    """What is known of a repository's config, or None for one never heard of."""
    row = tx.one(
        "SELECT repo, config_commit, config_text, config_error, good_commit, good_text"
        " FROM repositories WHERE repo = ?",
        (repo,),
    )
    return RepositoryRecord(*row) if row else None


def repository_names(tx: Transaction) -> list[str]:
    """The identities of all repositories heard of, in alphabetical order."""
    return [repo for (repo,) in tx.execute("SELECT repo FROM repositories ORDER BY repo")]


def set_config(
    tx: Transaction, repo: str, commit: str | None, text: str | None, error: str | None, now: float
) -> None:
    """Record the newest config that was read; a usable one also becomes the one in use.

    A repository without a config branch has neither commit nor text, and then
    nothing is in use.
    """
    tx.execute(
        "UPDATE repositories SET config_commit = ?, config_text = ?, config_error = ?,"
        " config_seen = ? WHERE repo = ?",
        (commit, text, error, now, repo),
    )
    if error is None:
        tx.execute(
            "UPDATE repositories SET good_commit = ?, good_text = ? WHERE repo = ?",
            (commit, text, repo),
        )
    tx.emit(RepositoryChanged(repo))
