"""Fakes for tests of this package and of what is built on it: no threads, no waiting."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred

from integralgit.journal.events import Event
from integralgit.journal.store import Store, Witness, migrate


@define
class ImmediatePool:
    """A connection pool that runs its work at once, in this thread, on one connection."""

    connection: sqlite3.Connection

    def runWithConnection(self, func: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Call the function with the connection; its result or failure is there at once."""
        return maybeDeferred(func, self.connection, *args)


@define
class MemoryStore:
    """A store in memory, and every event that it published, in order."""

    witness: Witness | None = None
    connection: sqlite3.Connection = field(init=False)
    store: Store = field(init=False)
    events: list[Event] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.execute("PRAGMA foreign_keys=ON")
        migrate(self.connection)
        pool = ImmediatePool(self.connection)
        self.store = Store(pool, pool, self.events.append, self.witness)
