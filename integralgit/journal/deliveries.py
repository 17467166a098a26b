"""All SQL about deliveries and their pushes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec

from integralgit.hooks.delivery import MOST_COMMITS, Commit, Delivery
from integralgit.journal import repositories
from integralgit.journal.events import (
    Decision,
    RepositoryChanged,
    StoredDelivery,
    StoredPush,
)
from integralgit.journal.store import Transaction, in_parts, newest_of

#: How many deliveries are kept, and for how many seconds.
KEPT, KEPT_FOR = 10_000, 90 * 86400.0
#: How many are forgotten in one transaction, so that none takes long.
PRUNED_AT_ONCE = 200

_DELIVERY = "received, provider, provider_id, event, repo, outcome, reason"
_CHANGE = (
    "delivery, repo, ref, before_commit, after_commit, deleted, pusher, commits, whole,"
    " outcome, reason, look"
)
_PUSH = "id, delivery, repo, ref, before_commit, after_commit, deleted, pusher, commits, whole, outcome, reason"


def encode_commits(commits: Sequence[Commit]) -> str:
    """Commits as the text of a column."""
    return msgspec.json.encode(commits).decode()


def decode_commits(text: str) -> tuple[Commit, ...]:
    """The commits of a column."""
    return msgspec.json.decode(text, type=tuple[Commit, ...])


class Decided(msgspec.Struct, frozen=True):
    """A delivery with what was decided about it, and about each of its pushes.

    One that repeats another has no decisions; its pushes are not stored again.
    """

    delivery: Delivery
    outcome: str
    reason: str
    decisions: Sequence[Decision] = ()


class Stored(msgspec.Struct, frozen=True):
    """The number that a delivery has from now on, and those of its pushes."""

    number: int
    pushes: Sequence[int]


def add(tx: Transaction, decided: Sequence[Decided], received: float) -> list[Stored]:
    """Store deliveries with their pushes, in their order, and where these leave the branches."""
    rows, heard = [], dict[str, str]()
    for one in decided:
        sent, repo = one.delivery, one.delivery.identity
        event = sent.event[:200]
        rows.append((received, sent.provider, sent.id, event, repo, one.outcome, one.reason))
        if repo is not None:
            heard[repo] = repositories.kind_after(heard.get(repo, ""), sent.provider)
    numbers = tx.insert("deliveries", _DELIVERY, rows)
    for repo, provider in heard.items():
        repositories.hear_of(tx, repo, provider, received)
    return [
        Stored(number, pushes)
        for number, pushes in zip(numbers, _add_pushes(tx, numbers, decided), strict=True)
    ]


def _add_pushes(
    tx: Transaction, numbers: Sequence[int], decided: Sequence[Decided]
) -> list[list[int]]:
    """Store the pushes of deliveries with these numbers; the numbers that each has got."""
    rows, tips = [], dict[tuple[str, str], str]()
    for number, one in zip(numbers, decided, strict=True):
        repo = one.delivery.identity
        for push, decision in zip(one.delivery.pushes, one.decisions, strict=False):
            rows.append(
                (
                    number,
                    repo,
                    push.ref[:1000],
                    push.before,
                    push.after,
                    push.deleted,
                    push.pusher[:200],
                    encode_commits(push.commits[:MOST_COMMITS]),
                    push.whole,
                    decision.outcome,
                    decision.reason,
                    decision.look,
                )
            )
            branch = push.ref.removeprefix("refs/heads/")
            if repo is not None and push.after is not None and branch != push.ref:
                tips[repo, branch] = push.after
    for (repo, branch), commit in tips.items():
        repositories.see(tx, repo, branch, commit)
    added = iter(tx.insert("pushes", _CHANGE, rows))
    return [list(islice(added, len(one.decisions))) for one in decided]


def accepted_before(
    tx: Transaction, provider: str, sent_ids: Sequence[str]
) -> dict[tuple[str, str | None], int]:
    """The newest accepted delivery by a provider's id and the repository, where there is one."""
    return {
        (sent_id, repo): number
        for part in in_parts(sent_ids)
        for sent_id, repo, number in tx.execute(
            "SELECT provider_id, repo, max(id) FROM deliveries WHERE provider = ?"
            f" AND provider_id IN ({', '.join('?' * len(part))}) AND provider_id <> ''"
            " AND outcome = 'accepted' GROUP BY provider_id, repo",
            (provider, *part),
        )
    }


def prune(tx: Transaction, now: float) -> None:
    """Forget deliveries beyond the newest `KEPT` and older than `KEPT_FOR`, a few at a time.

    None is forgotten that a queued deploy or a look at the config depends on.
    The first one that is young enough ends the search for old ones. One that
    is yet to come is not old: this clock may be wrong, or that one was.
    """
    tx.execute(
        "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries AS old WHERE id <="
        " max((SELECT max(id) FROM deliveries) - ?, coalesce((SELECT id FROM deliveries"
        " WHERE received BETWEEN ? AND ? ORDER BY id LIMIT 1) - 1,"
        " (SELECT max(id) FROM deliveries)))"
        " AND (received < ? OR id <= (SELECT max(id) FROM deliveries) - ?)"
        " AND NOT EXISTS"
        " (SELECT 1 FROM pushes LEFT JOIN deploys ON deploys.push = pushes.id"
        " WHERE pushes.delivery = old.id AND (look OR state IN ('queued', 'running')))"
        " ORDER BY id LIMIT ?)",
        (KEPT, now - KEPT_FOR, now, now - KEPT_FOR, KEPT, PRUNED_AT_ONCE),
    )


def _push(row: tuple[Any, ...]) -> StoredPush:
    values = list(row)
    values[6], values[8], values[9] = bool(row[6]), decode_commits(row[8]), bool(row[9])
    return StoredPush(*values)


def pushes_to_look_at(tx: Transaction, repo: str) -> list[StoredPush]:
    """The pushes of a repository that wait for a fresh look at its config, oldest first."""
    rows = tx.execute(f"SELECT {_PUSH} FROM pushes WHERE repo = ? AND look ORDER BY id", (repo,))
    return [_push(row) for row in rows]


def refs_to_look_at(tx: Transaction, repo: str) -> list[tuple[str, bool]]:
    """The refs of the pushes that wait for a look, each with whether it was deleted."""
    rows = tx.execute("SELECT DISTINCT ref, deleted FROM pushes WHERE repo = ? AND look", (repo,))
    return [(ref, bool(deleted)) for ref, deleted in rows]


def ignore_pushes(tx: Transaction, repo: str, ref: str, deleted: bool, reason: str) -> None:
    """After a look, all pushes to a ref that waited for it are still ignored, for that reason."""
    which, values = "repo = ? AND look AND ref = ? AND deleted = ?", (repo, ref, deleted)
    # Nearly all say that already, of which a storm brings thousands.
    others = tx.execute(
        f"SELECT delivery FROM pushes WHERE {which} AND reason <> ?", (*values, reason)
    )
    changed = [delivery for (delivery,) in others]
    tx.execute(
        f"UPDATE pushes SET outcome = 'ignored', reason = ?, look = 0 WHERE {which}",
        (reason, *values),
    )
    _tell_why_ignored(tx, changed)
    tx.emit(RepositoryChanged(repo))


def _tell_why_ignored(tx: Transaction, numbers: Sequence[int]) -> None:
    """Let those deliveries that are ignored say why their pushes are, each reason once."""
    for part in in_parts(numbers):
        tx.execute(
            "UPDATE deliveries SET reason = (SELECT coalesce(group_concat(reason, '; '), '') FROM"
            " (SELECT reason FROM pushes WHERE delivery = deliveries.id AND reason <> ''"
            " GROUP BY reason ORDER BY min(id)))"
            f" WHERE outcome = 'ignored' AND id IN ({', '.join('?' * len(part))})",
            part,
        )


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
    else:
        _tell_why_ignored(tx, [push.delivery])
    tx.emit(RepositoryChanged(push.repo))


def newest_deliveries(
    tx: Transaction, repo: str | None, limit: int, before: int | None = None
) -> list[StoredDelivery]:
    """The newest deliveries, of one repository or of all, newest first; `before` pages back."""
    where, values = newest_of(repo, before)
    return _deliveries(tx, f"WHERE {where} ORDER BY id DESC LIMIT ?", (*values, limit))


def delivery(tx: Transaction, number: int) -> StoredDelivery | None:
    """The delivery of that number, or None."""
    found = _deliveries(tx, "WHERE id = ?", (number,))
    return found[0] if found else None


def _deliveries(tx: Transaction, where: str, values: Sequence[object]) -> list[StoredDelivery]:
    rows = tx.execute(f"SELECT id, {_DELIVERY} FROM deliveries {where}", values).fetchall()
    found = []
    for row in rows:
        pushes = tx.execute(f"SELECT {_PUSH} FROM pushes WHERE delivery = ? ORDER BY id", row[:1])
        found.append(StoredDelivery(*[*row, tuple(map(_push, pushes))]))
    return found


def told_whole(tx: Transaction, push: int | None) -> tuple[str, str] | None:
    """From where to where a push went, if it is known to have told every commit of that."""
    row = tx.one("SELECT before_commit, after_commit FROM pushes WHERE id = ? AND whole", (push,))
    return (row[0], row[1]) if row and row[0] and row[1] else None


def was_announced(tx: Transaction, repo: str, commit: str) -> bool:
    """Whether a delivery has told of that commit."""
    return (
        tx.one("SELECT 1 FROM pushes WHERE repo = ? AND after_commit = ?", (repo, commit))
        is not None
    )
