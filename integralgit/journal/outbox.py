"""All SQL about the outbox: what others are to be told, and how far that has come.

A row is one subject of one receiver, and holds what is wanted of it now: what
was not told before it changed is never told. The rows of a receiver are told
in the order of their turns. A wait holds only from when it was set: where now
is before that, the clock was ahead then, and the wait counts as over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from integralgit.journal.events import Item, ItemState, OutboxChanged, Pause
from integralgit.journal.store import Transaction

#: How many rows that are done are kept, and how many may wait for one receiver.
KEPT, MOST_WAITING = 500, 2000

_ITEM = (
    "id, receiver, subject, repo, deploy, wanted, version, created, state, tries, doubt, next_try,"
    " problem, given_back, finished"
)


_PAUSE = "receiver, until, problem, to_mend"


def _a_pause(row: tuple[Any, ...]) -> Pause:
    receiver, until, problem, to_mend = row
    return Pause(receiver, until, problem, bool(to_mend))


def _item(row: tuple[Any, ...]) -> Item:
    values = list(row)
    values[8], values[10] = ItemState(row[8]), bool(row[10])
    return Item(*values)


def _items(tx: Transaction, where: str, values: Sequence[object]) -> list[Item]:
    return [_item(row) for row in tx.execute(f"SELECT {_ITEM} FROM outbox {where}", values)]


def get(tx: Transaction, receiver: str, subject: str) -> Item | None:
    """What is known of that subject at that receiver, or None."""
    found = _items(tx, "WHERE receiver = ? AND subject = ?", (receiver, subject))
    return found[0] if found else None


def of_deploy(tx: Transaction, deploy: int) -> list[Item]:
    """What was, or is to be, told of a deploy."""
    return _items(tx, "WHERE deploy = ? ORDER BY turn", (deploy,))


def want(
    tx: Transaction,
    *,
    receiver: str,
    subject: str,
    repo: str,
    deploy: int | None,
    wanted: str,
    now: float,
) -> None:
    """The receiver is to be told that from now on, in place of anything earlier on the subject.

    What it was told already is not told again. What still waits keeps its
    place in the queue.
    """
    known = get(tx, receiver, subject)
    if known is not None and known.wanted == wanted:
        return
    turn = tx.one("SELECT coalesce(max(turn), 0) + 1 FROM outbox")
    tx.execute(
        "INSERT INTO outbox (receiver, subject, repo, deploy, wanted, turn, created, state)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting') ON CONFLICT DO UPDATE SET deploy ="
        " excluded.deploy, wanted = excluded.wanted, version = version + 1, created ="
        " excluded.created, turn = CASE state WHEN 'waiting' THEN turn ELSE excluded.turn END,"
        " state = 'waiting', tries = 0, doubt = 0, next_try = 0, problem = NULL, finished = NULL",
        (receiver, subject, repo, deploy, wanted, *(turn or (1,)), now),
    )
    tx.execute(
        "UPDATE outbox SET state = 'given_up', finished = ?, problem = 'too much waited for it'"
        " WHERE receiver = ? AND state = 'waiting' AND turn <= (SELECT turn FROM outbox"
        " WHERE receiver = ? AND state = 'waiting' ORDER BY turn DESC LIMIT 1 OFFSET ?)",
        (now, receiver, receiver, MOST_WAITING),
    )
    tx.emit(OutboxChanged(receiver))


def receivers_waited_for(tx: Transaction) -> list[str]:
    """The receivers for which something waits."""
    rows = tx.execute("SELECT DISTINCT receiver FROM outbox WHERE state = 'waiting'")
    return [receiver for (receiver,) in rows]


def next_for(tx: Transaction, receiver: str, now: float) -> tuple[Item | None, float | None]:
    """What a receiver is to be told now, or else when there will be something."""
    pause = pause_of(tx, receiver, now)
    due = now if pause is None else pause.until
    found = _items(
        tx,
        "WHERE receiver = ? AND state = 'waiting' AND (next_try <= ? OR put_off > ?)"
        " ORDER BY turn LIMIT 1",
        (receiver, due, now),
    )
    if found:
        return (found[0], None) if pause is None else (None, pause.until)
    row = tx.one(
        "SELECT min(next_try) FROM outbox WHERE receiver = ? AND state = 'waiting'", (receiver,)
    )
    return None, row[0] if row else None


def begin(tx: Transaction, number: int) -> Item | None:
    """It is about to be told, and from now on may have been heard; None if it no longer waits.

    On disk before anything is sent, so that a crash does not hide a try.
    """
    found = _items(tx, "WHERE id = ? AND state = 'waiting'", (number,))
    tx.execute("UPDATE outbox SET tries = tries + 1, doubt = 1 WHERE id = ?", (number,))
    return found[0] if found else None


def give_back(tx: Transaction, number: int, name: str) -> None:
    """The receiver calls it so."""
    tx.execute("UPDATE outbox SET given_back = ? WHERE id = ?", (name, number))


def finish(
    tx: Transaction, item: Item, state: ItemState, now: float, problem: str | None = None
) -> None:
    """It is done, unless something else is wanted by now; then that goes on waiting."""
    tx.execute(
        "UPDATE outbox SET state = ?, finished = ?, problem = ?, doubt = 0"
        " WHERE id = ? AND version = ?",
        (state, now, problem, item.id, item.version),
    )
    tx.execute(
        "DELETE FROM outbox WHERE state <> 'waiting' AND finished < (SELECT finished FROM outbox"
        " WHERE state <> 'waiting' ORDER BY finished DESC LIMIT 1 OFFSET ?)",
        (KEPT,),
    )
    tx.emit(OutboxChanged(item.receiver))


def postpone(
    tx: Transaction, item: Item, at: float, now: float, problem: str, *, doubt: bool, to_mend: bool
) -> None:
    """It is told again at that time, unless something else is wanted by now."""
    tx.execute(
        "UPDATE outbox SET next_try = ?, put_off = ?, problem = ?, doubt = ?, to_mend = ?"
        " WHERE id = ? AND version = ?",
        (at, now, problem, doubt, to_mend, item.id, item.version),
    )
    tx.emit(OutboxChanged(item.receiver))


def pause(tx: Transaction, pause: Pause, now: float) -> None:
    """Ask the receiver nothing before that time."""
    tx.execute(
        f"INSERT OR REPLACE INTO pauses ({_PAUSE}, since) VALUES (?, ?, ?, ?, ?)",
        (pause.receiver, pause.until, pause.problem, pause.to_mend, now),
    )


def pause_of(tx: Transaction, receiver: str, now: float) -> Pause | None:
    """The pause that a receiver has now, or None."""
    row = tx.one(
        f"SELECT {_PAUSE} FROM pauses WHERE receiver = ? AND until > ? AND since <= ?",
        (receiver, now, now),
    )
    return _a_pause(row) if row else None


def try_mended(tx: Transaction) -> None:
    """End the pauses and the waits for what a person has to mend."""
    tx.execute("DELETE FROM pauses WHERE to_mend")
    tx.execute("UPDATE outbox SET next_try = 0 WHERE state = 'waiting' AND to_mend")


def give_up_old(tx: Transaction, receiver: str, before: float, now: float, problem: str) -> None:
    """Give up whatever has waited for that receiver since before that time."""
    tx.execute(
        "UPDATE outbox SET state = 'given_up', finished = ?, problem = ?"
        " WHERE receiver = ? AND state = 'waiting' AND created < ?",
        (now, problem, receiver, before),
    )


def pauses(tx: Transaction, now: float) -> list[Pause]:
    """The pauses of now, by receiver."""
    rows = tx.execute(
        f"SELECT {_PAUSE} FROM pauses WHERE until > ? AND since <= ? ORDER BY receiver",
        (now, now),
    )
    return [_a_pause(row) for row in rows]


def waiting(tx: Transaction, limit: int) -> list[Item]:
    """What waits, in the order of its turns."""
    return _items(tx, "WHERE state = 'waiting' ORDER BY turn LIMIT ?", (limit,))


def done(tx: Transaction, state: ItemState, limit: int) -> list[Item]:
    """What was sent, or what was given up; newest first."""
    return _items(tx, "WHERE state = ? ORDER BY finished DESC, id DESC LIMIT ?", (state, limit))


def tell_of_silence(tx: Transaction, repo: str, now: float) -> bool:
    """Whether it is yet to be told that no delivery tells of a repository's pushes.

    True once, and again after a delivery has come in.
    """
    row = tx.one(
        "SELECT since FROM silences WHERE repo = ? AND since >="
        " coalesce((SELECT max(received) FROM deliveries WHERE repo = ?), 0)",
        (repo, repo),
    )
    if row is not None:
        return False
    tx.execute("INSERT OR REPLACE INTO silences (repo, since) VALUES (?, ?)", (repo, now))
    return True
