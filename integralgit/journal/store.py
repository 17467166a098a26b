"""The database: one thread writes, another reads, and writes that meet share one commit.

Work is a function of a `Transaction`; it runs in the database's thread and must
not touch anything else but the clock. What it `emit`s is published after the commit.

With each statement, and each row that it gives, the thread has to wait for its
turn with the reactor's: it is worth having few of them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from integralgit.journal.events import Event

log = Logger()
T = TypeVar("T")
A = TypeVar("A")
Work = Callable[["Transaction"], T]
#: Work on several items at once, with a result for each.
Gathered = Callable[["Transaction", Sequence[A]], Sequence[T]]
Witness = Callable[["Transaction", Event], None]

#: How long a connection waits for another process that holds the database, in milliseconds.
BUSY_TIMEOUT = 5000
#: The most rows that are added, or values that are asked for, by one statement.
ROWS_AT_ONCE = 32
#: For how many jobs a commit no longer waits for more of them.
ENOUGH = 64
#: How many statements a connection keeps compiled: all, with one for each number of rows.
STATEMENTS = 256
#: Faults that are not of the statement but of the surroundings, and may pass.
_MAY_PASS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)


def may_pass(error: BaseException) -> bool:
    """Whether the same work may succeed later: the disk is full, or another holds the database.

    The low byte of an extended code is the plain one (sqlite.org/rescode.html).
    """
    return isinstance(error, sqlite3.Error) and (
        getattr(error, "sqlite_errorcode", 0) & 0xFF in _MAY_PASS
    )


class Pool(Protocol):
    """What we use of `twisted.enterprise.adbapi.ConnectionPool`."""

    def runWithConnection(self, func: Callable[..., Any], *args: Any) -> Deferred[Any]: ...


@define
class Transaction:
    """What a piece of work may do: run statements, and tell what changed."""

    _connection: sqlite3.Connection
    events: list[Event] = field(factory=list)

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one statement; the cursor gives its rows and `lastrowid`."""
        return self._connection.execute(sql, values)

    def one(self, sql: str, values: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        row: tuple[Any, ...] | None = self.execute(sql, values).fetchone()
        return row

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[object]]) -> range:
        """Add rows to a table that numbers them itself; their numbers, in their order.

        Each is one more than the largest before it (sqlite.org/autoinc.html).
        """
        last = 0
        for part in in_parts(rows):
            values = [value for row in part for value in row]
            added = self.execute(_insertion(table, columns, len(part)), values)
            assert added.lastrowid is not None
            last = added.lastrowid
        return range(last - len(rows) + 1, last + 1)

    def emit(self, event: Event) -> None:
        """Tell the watchers, once this is committed."""
        self.events.append(event)


@lru_cache(maxsize=STATEMENTS)
def _insertion(table: str, columns: str, rows: int) -> str:
    """The statement that adds so many rows."""
    row = f"({', '.join('?' * len(columns.split(',')))})"
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([row] * rows)}"


def in_parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Values in parts for one statement each."""
    for start in range(0, len(values), ROWS_AT_ONCE):
        yield values[start : start + ROWS_AT_ONCE]


def newest_of(repo: str | None, before: int | None) -> tuple[str, list[object]]:
    """The condition, and its values, for the rows of a repository, or all, before a number."""
    conditions = {"repo = ?": repo, "id < ?": before}
    given = {text: value for text, value in conditions.items() if value is not None}
    return " AND ".join(given) or "1", list(given.values())


def prepare(connection: sqlite3.Connection) -> None:
    """Set up a new connection; how far a commit has come when it is reported, `_write` says."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT}")
    # What a savepoint may have to undo would be written to a file.
    connection.execute("PRAGMA temp_store=MEMORY")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to the newest version; each step is one transaction.

    Raises `ValueError` for a database of a newer version of this program.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    scripts = sorted(
        file for file in Path(__file__).with_name("schema").iterdir() if file.suffix == ".sql"
    )
    if version > len(scripts):
        raise ValueError(f"the database is of version {version}, this program knows {len(scripts)}")
    for number, file in enumerate(scripts[version:], version + 1):
        sql = file.read_text("utf-8")
        connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version={number};\nCOMMIT;")


def create(path: str) -> None:
    """Make or upgrade the database file, readable by its owner only; blocks, for the start."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        prepare(connection)
        migrate(connection)
    finally:
        connection.close()


@define(eq=False)
class _Job:
    """Work on an item that waits for the next commit; neighbours of the same work go together."""

    work: Gathered[Any, Any]
    item: Any
    durable: bool
    result: Deferred[Any] = field(factory=Deferred)


@define
class _Written:
    """What jobs gave, each its own; what they tell together, and what failed beside that."""

    values: Sequence[Any]
    events: Sequence[Event] = ()
    failures: Sequence[Failure] = ()


@define
class Store:
    """Work on the database, in the order it was asked for.

    `publish` is called with each event after its transaction is on disk. The
    `witness` is called with each event before that, in the database's thread
    and within the same transaction, for what has to be on disk together with
    the event; if it fails, what it wrote is undone, and nothing else.
    `soon` calls a function in the reactor's next round.
    """

    _writer: Pool
    _reader: Pool
    _publish: Callable[[Event], None]
    _witness: Witness | None = None
    _soon: Callable[[Callable[[], None]], object] = lambda call: call()
    _waiting: list[_Job] = field(factory=list, init=False)
    _writing: bool = field(default=False, init=False)
    #: Whether the next commit waits for more jobs.
    _gathering: bool = field(default=False, init=False)
    #: How far a commit has come when it is reported, where that is known.
    _synchronous: str | None = field(default=None, init=False)

    def read(self, work: Work[T]) -> Deferred[T]:
        """Run work that only reads, beside the writer."""
        return self._reader.runWithConnection(_read, work)

    def write(self, work: Work[T], *, durable: bool = True) -> Deferred[T]:
        """Run work that writes; the Deferred fires once its result is on disk.

        What is not `durable` outlives this process, but not a power failure
        in the next seconds. Work that arrives while another commit is on its
        way shares the next one. Work that raises changes nothing, and does
        not harm its neighbours.
        """
        job = _Job(lambda tx, _: [work(tx)], None, durable)
        self._waiting.append(job)
        if not self._gathering:
            self._flush()
        return job.result

    def gather(self, work: Gathered[A, T], item: A) -> Deferred[T]:
        """Run work that takes many items; the Deferred fires with this one's result, on disk.

        It is given the items that wait for the same commit, next to each
        other, and gives as many results. Where it raises for several, it is
        run for each of them alone.
        """
        job = _Job(work, item, durable=True)
        self._waiting.append(job)
        self._flush_soon()
        return job.result

    def _flush_soon(self) -> None:
        """Begin a commit once a round of the reactor has brought nothing more.

        In a storm the reactor's thread and the database's would else stand in
        each other's way all the time, for commits of a few jobs each.
        """
        if not (self._gathering or self._writing):
            self._gathering = True
            self._look_for_more(0)

    def _look_for_more(self, before: int) -> None:
        """Begin a commit if no job has come in since there were so many, or there are enough."""
        waiting = len(self._waiting)
        if before < waiting < ENOUGH:
            self._soon(partial(self._look_for_more, waiting))
        else:
            self._gathering = False
            self._flush()

    def _flush(self) -> None:
        if self._writing or not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        self._writing = True
        synchronous = "FULL" if any(job.durable for job in batch) else "NORMAL"
        change = synchronous if synchronous != self._synchronous else None
        done = self._writer.runWithConnection(_write, batch, self._witness, change)
        done.addBoth(self._written, batch, synchronous)

    def _written(self, outcome: Any, batch: list[_Job], synchronous: str) -> None:
        self._writing = False
        self._synchronous = None if isinstance(outcome, Failure) else synchronous
        self._flush_soon()
        if isinstance(outcome, Failure):
            for job in batch:
                job.result.errback(outcome)
            return
        jobs = iter(batch)
        written: _Written
        for written in outcome:
            for failure in written.failures:
                log.failure("a witness failed, or work on several at once", failure)
            for event in written.events:
                self._publish(event)
            for value, job in zip(written.values, islice(jobs, len(written.values)), strict=True):
                job.result.callback(value)


def _plain(connection: Any) -> sqlite3.Connection:
    """The sqlite3 connection behind adbapi's wrapper, or the connection itself."""
    plain: sqlite3.Connection = getattr(connection, "_connection", connection)
    return plain


def _read(connection: Any, work: Work[T]) -> T:
    plain = _plain(connection)
    plain.execute("BEGIN")
    try:
        return work(Transaction(plain))
    finally:
        plain.execute("ROLLBACK")


def _write(
    connection: Any, batch: list[_Job], witness: Witness | None, synchronous: str | None
) -> list[_Written]:
    """Run the jobs in one transaction; `synchronous` is for the connection, where that changes.

    With `FULL` the journal is flushed at the commit, with what went before
    without that; with `NORMAL` it stays consistent, and is flushed later
    (sqlite.org/pragma.html#pragma_synchronous).
    """
    plain = _plain(connection)
    written: list[_Written] = []
    if synchronous is not None:
        plain.execute(f"PRAGMA synchronous={synchronous}")
    plain.execute("BEGIN IMMEDIATE")
    try:
        for work, jobs in groupby(batch, lambda job: job.work):
            written += _run(plain, work, [job.item for job in jobs], witness)
        plain.execute("COMMIT")
    except BaseException:
        if plain.in_transaction:
            plain.execute("ROLLBACK")
        raise
    return written


def _run(
    plain: sqlite3.Connection,
    work: Gathered[Any, Any],
    items: Sequence[Any],
    witness: Witness | None,
) -> list[_Written]:
    """Run work on these items; where it raises for several of them, on each alone."""
    transaction = Transaction(plain)
    plain.execute("SAVEPOINT work")
    try:
        results = zip(items, work(transaction, items), strict=True)
        values = [value for _, value in results]
        failures = _witnessed(plain, transaction, witness) if witness else []
        written = [_Written(values, transaction.events, failures)]
    except Exception:
        if not plain.in_transaction:
            # The disk is full, and SQLite has undone everything (sqlite.org/lang_transaction.html).
            raise
        failed = Failure()
        plain.execute("ROLLBACK TO work")
        if len(items) == 1:
            written = [_Written([failed])]
        else:
            written = [_Written([], failures=[failed])]
            written += [one for item in items for one in _run(plain, work, [item], witness)]
    plain.execute("RELEASE work")
    return written


def _witnessed(
    plain: sqlite3.Connection, transaction: Transaction, witness: Witness
) -> list[Failure]:
    """Let the witness see each event once; its failures, which harm nobody else."""
    failures = []
    for event in dict.fromkeys(transaction.events):
        told = len(transaction.events)
        plain.execute("SAVEPOINT witness")
        try:
            witness(transaction, event)
        except Exception:
            if not plain.in_transaction:
                raise
            failures.append(Failure())
            del transaction.events[told:]
            plain.execute("ROLLBACK TO witness")
        plain.execute("RELEASE witness")
    return failures
