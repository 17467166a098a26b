"""All SQL about deploys themselves: what each is, and how it begins and ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import msgspec
from msgspec.structs import replace

from integralgit.hooks.delivery import Commit
from integralgit.journal.deliveries import decode_commits, encode_commits
from integralgit.journal.events import (
    Deploy,
    DeployChanged,
    State,
    StepState,
    Trigger,
)
from integralgit.journal.store import Transaction, newest_of

#: How many deploys of a repository are kept, and for how many seconds.
KEPT, KEPT_FOR = 500, 365 * 86400.0
#: How many are forgotten in one transaction, so that none takes long.
PRUNED_AT_ONCE = 100

_DEPLOY = (
    "id, repo, branch, host, location, trigger, push, wanted, state, created, reason, commit_id,"
    " previous_commit, head, config_commit, exit_code, started, finished,"
    " superseded_by, commits, log_size,"
    " (SELECT pusher FROM pushes WHERE pushes.id = deploys.push), rolls_back, rolled_back_by, is_to_end"
)


def _deploy(row: tuple[Any, ...]) -> Deploy:
    values = list(row)
    values[5], values[8], values[19] = Trigger(row[5]), State(row[8]), decode_commits(row[19])
    values[21], values[24] = row[21] or "", bool(row[24])
    return Deploy(*values)


def select(tx: Transaction, where: str, values: Sequence[object]) -> list[Deploy]:
    """The deploys by the end of a query: its condition, order and limit, and their values."""
    return [_deploy(row) for row in tx.execute(f"SELECT {_DEPLOY} FROM deploys {where}", values)]


def get(tx: Transaction, deploy: int) -> Deploy | None:
    """The deploy of that number, or None."""
    found = select(tx, "WHERE id = ?", (deploy,))
    return found[0] if found else None


def known(tx: Transaction, deploy: int) -> Deploy:
    """The deploy of that number, which exists."""
    found = get(tx, deploy)
    assert found is not None
    return found


def of_delivery(tx: Transaction, delivery: int) -> list[Deploy]:
    """The deploys that a delivery caused, oldest first."""
    return select(
        tx, "WHERE push IN (SELECT id FROM pushes WHERE delivery = ?) ORDER BY id", (delivery,)
    )


def numbers_of_delivery(tx: Transaction, delivery: int) -> list[int]:
    """The numbers of the deploys that a delivery caused, oldest first."""
    rows = tx.execute(
        "SELECT id FROM deploys WHERE push IN (SELECT id FROM pushes WHERE delivery = ?)"
        " ORDER BY id",
        (delivery,),
    )
    return [number for (number,) in rows]


def newest(
    tx: Transaction, repo: str | None, limit: int, before: int | None = None
) -> list[Deploy]:
    """The newest deploys, of one repository or of all, newest first; `before` pages back."""
    where, values = newest_of(repo, before)
    return select(tx, f"WHERE {where} ORDER BY id DESC LIMIT ?", (*values, limit))


def newest_in(tx: Transaction, repo: str, states: Collection[State]) -> Deploy | None:
    """The newest deploy of a repository that is in one of those states, or None.

    Only what is newer is read on the way to it.
    """
    marks = ", ".join("?" * len(states))
    where = f"WHERE repo = ? AND state IN ({marks}) ORDER BY id DESC LIMIT 1"
    found = select(tx, where, (repo, *states))
    return found[0] if found else None


def change(tx: Transaction, deploy: int, columns: str, values: Sequence[object]) -> None:
    """Give these columns of a deploy new values, and tell that it has changed."""
    row = tx.one(
        f"UPDATE deploys SET {columns} WHERE id = ? RETURNING repo, state", (*values, deploy)
    )
    assert row is not None
    tx.emit(DeployChanged(deploy, row[0], State(row[1])))


def prune(tx: Transaction, repo: str, now: float) -> list[int]:
    """Forget old deploys of a repository, a few at a time; their numbers, for their logs.

    The newest `KEPT` stay, unless they are older than `KEPT_FOR`; and of each
    location the newest that succeeded, however old it is.
    """
    rows = tx.execute(
        "SELECT id FROM deploys AS old WHERE repo = ? AND state NOT IN ('queued', 'running')"
        " AND (created < ? OR id <= coalesce((SELECT id FROM deploys WHERE repo = ?"
        " ORDER BY id DESC LIMIT 1 OFFSET ?), 0))"
        " AND NOT (state = 'succeeded' AND id = (SELECT max(id) FROM deploys"
        " WHERE location = old.location AND state = 'succeeded' AND commit_id IS NOT NULL))"
        " ORDER BY id LIMIT ?",
        (repo, now - KEPT_FOR, repo, KEPT, PRUNED_AT_ONCE),
    )
    numbers = [number for (number,) in rows]
    for number in numbers:
        tx.execute("DELETE FROM deploys WHERE id = ?", (number,))
    return numbers


def running(tx: Transaction) -> list[Deploy]:
    """The deploys that the archive says are running."""
    return select(tx, "WHERE state = 'running' ORDER BY id", ())


def begin(tx: Transaction, deploy: Deploy, now: float) -> Deploy:
    """A deploy that waits runs from now on; as it is then."""
    tx.execute("UPDATE deploys SET state = 'running', started = ? WHERE id = ?", (now, deploy.id))
    tx.emit(DeployChanged(deploy.id, deploy.repo, State.RUNNING))
    return replace(deploy, state=State.RUNNING, started=now)


class Findings(TypedDict, total=False):
    """What a running deploy finds out; None says no more than what is left out.

    `settings` has a digest of what each key of the config says.
    """

    branch: str | None
    host: str | None
    commit: str | None
    previous_commit: str | None
    head: str | None
    config_commit: str | None
    commits: Sequence[Commit]
    settings: Mapping[str, str]


def note(tx: Transaction, deploy: int, **found: Unpack[Findings]) -> None:
    """Record what a running deploy has found out; all else stays as it is."""
    columns: dict[str, object] = {**found, "commit_id": found.get("commit")}
    columns.pop("commit", None)
    if "commits" in found:
        columns["commits"] = encode_commits(found["commits"])
    if "settings" in found:
        columns["settings"] = msgspec.json.encode(found["settings"]).decode()
    known = {name: value for name, value in columns.items() if value is not None}
    if known:
        change(tx, deploy, ", ".join(f"{name} = ?" for name in known), [*known.values()])


def settings(tx: Transaction, deploy: int) -> dict[str, str]:
    """The digests with which a deploy ran, by the keys of the config; empty where none are known."""
    row = tx.one("SELECT settings FROM deploys WHERE id = ?", (deploy,))
    return msgspec.json.decode(row[0], type=dict[str, str]) if row and row[0] else {}


def readable(text: str) -> str:
    """A text as the archive can have it; bytes of a name that is not UTF-8 are written out."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def end(
    tx: Transaction,
    deploy: int,
    state: State,
    now: float,
    *,
    reason: str | None = None,
    exit_code: int | None = None,
    log_size: int | None = None,
) -> None:
    """The deploy ends in that state, and a step that still ran with it."""
    reason = None if reason is None else readable(reason)
    change(
        tx,
        deploy,
        "state = ?, reason = ?, exit_code = ?, log_size = ?, finished = ?",
        (state, reason, exit_code, log_size, now),
    )
    tx.execute(
        "UPDATE steps SET state = ?, finished = ?, detail = ? WHERE deploy = ? AND state = 'running'",
        (
            StepState.SUCCEEDED if state is State.SUCCEEDED else StepState.FAILED,
            now,
            reason or "",
            deploy,
        ),
    )
    tx.execute("DELETE FROM scripts WHERE deploy = ?", (deploy,))
    tx.execute("DELETE FROM checks WHERE deploy = ?", (deploy,))


def log_size(tx: Transaction, deploy: int) -> int | None:
    """How large the deploy's log was when it ended; None where it has not, or is not known."""
    row = tx.one("SELECT log_size FROM deploys WHERE id = ?", (deploy,))
    return row[0] if row else None


def want_cancelled(tx: Transaction, deploy: int) -> None:
    """A deploy that runs is to end, also if the server ends first."""
    tx.execute("UPDATE deploys SET is_to_end = 1 WHERE id = ?", (deploy,))
