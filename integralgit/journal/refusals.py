"""Requests that were refused: counted by cause and source, the newest few kept.

They are apart from the deliveries, so that a storm of them displaces nothing,
and are written together about once a second, so that it costs next to nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field
from msgspec.structs import replace
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from integralgit.journal.events import Refusal
from integralgit.journal.store import Store, Transaction

#: How many single refusals are kept, and how many causes and sources are told apart.
NEWEST, TOLD_APART = 50, 500
#: Seconds between two writes.
INTERVAL = 1.0
OTHERS = "others"


def add(tx: Transaction, counted: list[Refusal], newest: list[Refusal]) -> None:
    """Add counts to those that are there, and single refusals to the newest few.

    Where there are too many causes and sources, those that came last are told
    apart, and the rest goes to the others.
    """
    for one in counted:
        _count(tx, one)
    rest = tx.execute(
        "DELETE FROM refusal_counts WHERE (status, cause, source) IN"
        " (SELECT status, cause, source FROM refusal_counts WHERE source <> ?"
        " ORDER BY last DESC, status, cause, source LIMIT -1 OFFSET ?)"
        " RETURNING status, cause, source, first, last, count",
        (OTHERS, TOLD_APART),
    )
    for row in list(rest):
        _count(tx, replace(Refusal(*row), cause=OTHERS, source=OTHERS))
    for one in newest:
        tx.execute(
            "INSERT INTO refusals (at, status, cause, source) VALUES (?, ?, ?, ?)",
            (one.last, one.status, one.cause, one.source),
        )
    tx.execute("DELETE FROM refusals WHERE id <= (SELECT max(id) FROM refusals) - ?", (NEWEST,))


def _count(tx: Transaction, one: Refusal) -> None:
    tx.execute(
        "INSERT INTO refusal_counts (status, cause, source, count, first, last)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count,"
        " first = min(first, excluded.first), last = max(last, excluded.last)",
        (one.status, one.cause, one.source, one.count, one.first, one.last),
    )


def counts(tx: Transaction) -> list[Refusal]:
    """How often requests were refused, by cause and source, the latest first."""
    rows = tx.execute(
        "SELECT status, cause, source, first, last, count FROM refusal_counts ORDER BY last DESC"
    )
    return [Refusal(*row) for row in rows]


def newest(tx: Transaction) -> list[Refusal]:
    """The newest refusals, newest first."""
    rows = tx.execute("SELECT status, cause, source, at, at FROM refusals ORDER BY id DESC")
    return [Refusal(*row) for row in rows]


@define(eq=False, slots=False)
class Refusals(Service):
    """Collects refusals, and writes them seldom."""

    _reactor: Any
    _store: Store
    _now: Callable[[], float]
    _counted: dict[tuple[int, str, str], Refusal] = field(factory=dict, init=False)
    _newest: deque[Refusal] = field(factory=lambda: deque(maxlen=NEWEST), init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def add(self, source: str, status: int, cause: str) -> None:
        """One more, from that client's address."""
        now, cause = self._now(), cause[:300]
        key = (status, cause, source)
        if key not in self._counted and len(self._counted) >= TOLD_APART:
            key = (status, OTHERS, OTHERS)
        before = self._counted.get(key)
        self._counted[key] = (
            replace(before, count=before.count + 1, last=now)
            if before
            else Refusal(*key, first=now, last=now)
        )
        self._newest.append(Refusal(status, cause, source, now, now))
        if self._timer is None or not self._timer.active():
            self._timer = self._reactor.callLater(INTERVAL, self._flush)

    def _flush(self) -> Deferred[None]:
        counted, newest = list(self._counted.values()), list(self._newest)
        self._counted.clear()
        self._newest.clear()
        written = self._store.write(lambda tx: add(tx, counted, newest))
        # What cannot be written is lost; nothing that was accepted is among it.
        return written.addErrback(lambda _: None)

    def stopService(self) -> Deferred[None]:
        """Write what was collected."""
        super().stopService()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        return self._flush()
