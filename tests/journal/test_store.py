"""Tests of the database: shared commits, failures in company, and the making of the tables."""

from __future__ import annotations

import math
import os
import sqlite3
import stat
from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from integralgit.journal import deploys, outbox, schema
from integralgit.journal.events import Event, RepositoryChanged, State
from integralgit.journal.store import (
    ENOUGH,
    ROWS_AT_ONCE,
    Store,
    Transaction,
    Work,
    create,
    may_pass,
    migrate,
    prepare,
)
from integralgit.testing import MemoryStore

T = TypeVar("T")


@define
class HeldPool:
    """A pool that holds its work until the test lets the next piece run."""

    connection: sqlite3.Connection
    held: list[tuple[Callable[..., Any], tuple[Any, ...], Deferred[Any]]] = field(factory=list)

    def runWithConnection(self, func: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.held.append((func, args, done))
        return done

    def run_next(self) -> None:
        """Run what was asked for first."""
        func, args, done = self.held.pop(0)
        try:
            result = func(self.connection, *args)
        except Exception:
            done.errback(Failure())
        else:
            done.callback(result)


@define
class Rounds:
    """The calls for the reactor's next round."""

    calls: list[Callable[[], None]] = field(factory=list)

    def next(self) -> None:
        """A round."""
        calls, self.calls[:] = self.calls[:], []
        for call in calls:
            call()


def add(name: str) -> Work[str]:
    """Work that adds a name to the test's own table and tells of it."""

    def work(tx: Transaction) -> str:
        tx.execute("INSERT INTO names (name) VALUES (?)", (name,))
        tx.emit(RepositoryChanged(name))
        return name

    return work


def add_and_fail(tx: Transaction) -> None:
    """Work that changes something, tells of it, and raises."""
    add("half")(tx)
    raise LookupError("work that fails")


def insert(rows: Sequence[tuple[str, None]], tx: Transaction) -> range:
    """Work that adds rows to the test's own table."""
    return tx.insert("names", "name, friend", rows)


def names(tx: Transaction) -> list[str]:
    """The names in the order in which they were added."""
    return [name for (name,) in tx.execute("SELECT name FROM names ORDER BY rowid")]


def make_table(connection: sqlite3.Connection) -> None:
    """Make the test's own table; `friend` is to be the row of another name."""
    connection.execute(
        "CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT, friend REFERENCES names)"
    )


class SharedCommits(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        create(self.path)
        self.connection = self.connect()
        make_table(self.connection)
        self.writer, self.reader = HeldPool(self.connection), HeldPool(self.connect())
        self.statements: list[str] = []
        self.connection.set_trace_callback(self.statements.append)
        self.events: list[Event] = []
        self.gathered: list[list[str]] = []
        self.store = Store(self.writer, self.reader, self.events.append)

    def connect(self) -> sqlite3.Connection:
        """A connection of its own to the database of the test."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        prepare(connection)
        self.addCleanup(connection.close)
        return connection

    def on_disk(self) -> list[str]:
        """What somebody else finds in the database."""
        return names(Transaction(self.connect()))

    def test_work_that_arrives_meanwhile_shares_one_commit(self) -> None:
        """While a commit is on its way, whatever arrives waits and shares the next one."""
        results = [self.store.write(add(name)) for name in ("a", "b", "c", "d")]
        self.assertEqual(len(self.writer.held), 1)

        self.writer.run_next()
        self.assertEqual(self.successResultOf(results[0]), "a")
        self.assertEqual(self.on_disk(), ["a"])
        self.assertEqual(len(self.writer.held), 1)
        for result in results[1:]:
            self.assertNoResult(result)

        self.writer.run_next()
        self.assertEqual([self.successResultOf(one) for one in results[1:]], ["b", "c", "d"])
        self.assertEqual(self.on_disk(), ["a", "b", "c", "d"])
        self.assertEqual(self.statements.count("COMMIT"), 2)
        self.assertEqual(self.writer.held, [])

    def test_what_is_flushed(self) -> None:
        """A commit is flushed to the disk where any work in it is to outlive a power failure (threat 70)."""
        modes = []
        for batch in ((True,), (False,), (False, False), (False, True), (False,)):
            self.store.write(add("opens"), durable=False)
            for durable in batch:
                self.store.write(add("a"), durable=durable)
            self.writer.run_next()
            self.writer.run_next()
            modes.append(self.connection.execute("PRAGMA synchronous").fetchone()[0])
        normal, full = 1, 2
        self.assertEqual(modes, [full, normal, normal, full, normal])

    def test_what_is_flushed_after_a_failure(self) -> None:
        """How far a commit comes is said once, and again where one has failed."""
        self.run_now(add("a"))
        self.run_now(add("b"))
        told = [one for one in self.statements if one.startswith("PRAGMA synchronous")]
        self.assertEqual(told, ["PRAGMA synchronous=FULL"])
        self.connection.execute("PRAGMA synchronous=OFF")
        self.connection.execute("BEGIN")
        failed = self.store.write(add("c"))
        self.writer.run_next()
        self.failureResultOf(failed, sqlite3.OperationalError)
        self.connection.execute("ROLLBACK")
        self.run_now(add("d"))
        self.assertEqual(self.connection.execute("PRAGMA synchronous").fetchone(), (2,))

    def test_work_that_is_asked_for_by_a_result(self) -> None:
        """Work that is asked for when another is done gets a commit of its own."""
        first = self.store.write(add("a"))
        later: list[Deferred[str]] = []
        first.addCallback(lambda _: later.append(self.store.write(add("b"))))
        self.writer.run_next()
        self.assertNoResult(later[0])
        self.writer.run_next()
        self.assertEqual(self.successResultOf(later[0]), "b")

    def test_work_that_raises(self) -> None:
        """Work that raises changes and tells nothing, and its neighbours do not notice."""
        self.store.write(add("first"))
        before = self.store.write(add("before"))
        bad = self.store.write(add_and_fail)
        after = self.store.write(add("after"))
        self.writer.run_next()
        self.writer.run_next()
        self.assertEqual(self.successResultOf(before), "before")
        self.failureResultOf(bad, LookupError)
        self.assertEqual(self.successResultOf(after), "after")
        self.assertEqual(self.on_disk(), ["first", "before", "after"])
        self.assertEqual(self.events, [RepositoryChanged(n) for n in ("first", "before", "after")])

    def gather(self, *items: str) -> list[Deferred[str]]:
        """Add these names by work that takes many."""
        return [self.store.gather(self.add_all, item) for item in items]

    def add_all(self, tx: Transaction, items: Sequence[str]) -> list[str]:
        """Add names, unless there is a bad one among them; what each is called from now on."""
        self.gathered.append(list(items))
        for item in items:
            add(item)(tx)
        if "bad" in items:
            raise LookupError("a name is bad")
        return [item.upper() for item in items]

    def test_work_that_takes_many(self) -> None:
        """What waits for the same work goes through it together, in its order, each with its result."""
        first = self.gather("a")
        results = self.gather("b", "c")
        other = self.store.write(add("other"))
        results += self.gather("d")
        self.writer.run_next()
        self.writer.run_next()
        self.assertEqual(self.gathered, [["a"], ["b", "c"], ["d"]])
        self.assertEqual(self.successResultOf(first[0]), "A")
        self.assertEqual([self.successResultOf(one) for one in results], ["B", "C", "D"])
        self.assertEqual(self.successResultOf(other), "other")
        self.assertEqual(self.on_disk(), ["a", "b", "c", "other", "d"])
        self.assertEqual(self.events, [RepositoryChanged(name) for name in self.on_disk()])

    def test_one_of_many_that_raises(self) -> None:
        """Where work that takes many raises, each goes through it alone, and only one of them fails."""
        self.store.write(add("first"))
        before, bad, after = self.gather("before", "bad", "after")
        self.writer.run_next()
        self.writer.run_next()
        self.assertEqual(
            self.gathered, [["before", "bad", "after"], ["before"], ["bad"], ["after"]]
        )
        self.assertEqual(self.successResultOf(before), "BEFORE")
        self.failureResultOf(bad, LookupError)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual(self.successResultOf(after), "AFTER")
        self.assertEqual(self.on_disk(), ["first", "before", "after"])
        self.assertEqual(self.events, [RepositoryChanged(name) for name in self.on_disk()])

    def gathering(self) -> Rounds:
        """The rounds of the reactor in which a commit waits for more, from now on."""
        rounds = Rounds()
        self.store = Store(self.writer, self.reader, self.events.append, soon=rounds.calls.append)
        return rounds

    def test_a_commit_waits_for_more(self) -> None:
        """A commit begins after a round that has brought nothing more; other work goes with it."""
        rounds = self.gathering()
        results = self.gather("a")
        for items in (("b", "c"), ("d",)):
            results += self.gather(*items)
            rounds.next()
        other = self.store.write(add("other"))
        rounds.next()
        self.assertEqual(self.writer.held, [])
        rounds.next()
        self.writer.run_next()
        self.assertEqual([self.successResultOf(one) for one in results], ["A", "B", "C", "D"])
        self.assertEqual(self.successResultOf(other), "other")
        self.assertEqual(self.gathered, [["a", "b", "c", "d"]])
        self.assertEqual(rounds.calls, [])

    def test_what_came_during_a_commit_waits_for_more(self) -> None:
        """Whoever has just heard of a commit sends more: that goes with what came meanwhile."""
        rounds = self.gathering()
        self.store.write(add("first")).addCallback(lambda name: self.gather("answered"))
        self.gather("meanwhile")
        self.assertEqual(rounds.calls, [])
        self.writer.run_next()
        rounds.next()
        rounds.next()
        self.writer.run_next()
        self.assertEqual(self.gathered, [["meanwhile", "answered"]])

    def test_a_commit_does_not_wait_for_ever(self) -> None:
        """Once there is enough, the next round begins a commit, whatever it brings."""
        rounds = self.gathering()
        self.gather("0")
        for number in range(1, ENOUGH):
            self.assertEqual(self.writer.held, [], number)
            self.gather(str(number))
            rounds.next()
        self.assertEqual(len(self.writer.held), 1)
        self.writer.run_next()
        self.assertEqual(len(self.on_disk()), ENOUGH)

    def test_other_work_alone_does_not_wait(self) -> None:
        """What a deploy writes is not held up where nothing else comes in."""
        rounds = self.gathering()
        self.store.write(add("a"))
        self.assertEqual(len(self.writer.held), 1)
        self.assertEqual(rounds.calls, [])

    def test_a_full_disk(self) -> None:
        """Where SQLite undoes everything, all hear why, and nothing is left of any; later work is done."""
        self.run_now(add("first"))
        (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
        self.connection.execute(f"PRAGMA max_page_count={pages + 20}")
        self.connection.execute("PRAGMA cache_size=5")
        opens = self.store.write(add("opens"))
        neighbour = self.store.write(add("neighbour"))
        together = self.gather(*["x" * 10_000] * 40)
        self.writer.run_next()
        self.writer.run_next()
        self.assertEqual(self.successResultOf(opens), "opens")
        for one in (neighbour, *together):
            self.assertTrue(may_pass(self.failureResultOf(one, sqlite3.OperationalError).value))
        self.assertEqual(self.on_disk(), ["first", "opens"])
        self.assertEqual(self.run_now(add("later")), "later")

    def test_results_that_are_missing(self) -> None:
        """Work that gives another number of results than it was given items fails."""
        result: Deferred[str] = self.store.gather(lambda tx, items: [], "a")
        self.writer.run_next()
        self.failureResultOf(result, ValueError)

    def test_many_rows(self) -> None:
        """Rows are added in their order and number, by one statement for each `ROWS_AT_ONCE`."""
        self.run_now(lambda tx: tx.execute("INSERT INTO names (id) VALUES (70)"))
        sizes = (0, 1, 2, 3, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 2 * ROWS_AT_ONCE + 7)
        expected = 71
        for size in sizes:
            self.statements.clear()
            rows = [(f"{size} {number}", None) for number in range(size)]
            added = self.run_now(partial(insert, rows))
            self.assertEqual(list(added), list(range(expected, expected + size)))
            found = self.connection.execute("SELECT name FROM names WHERE id >= ?", (expected,))
            self.assertEqual([name for (name,) in found], [name for name, _ in rows])
            expected += size
            statements = [one for one in self.statements if one.startswith("INSERT")]
            self.assertEqual(len(statements), math.ceil(size / ROWS_AT_ONCE))

    def run_now(self, work: Work[T]) -> T:
        """The result of work that is alone in its commit."""
        result = self.store.write(work)
        self.writer.run_next()
        return self.successResultOf(result)

    def test_events_come_after_the_commit(self) -> None:
        """Whoever hears of a change finds it on disk."""
        found: list[list[str]] = []
        store = Store(self.writer, self.reader, lambda event: found.append(self.on_disk()))
        store.write(add("a"))
        self.assertEqual(found, [])
        self.writer.run_next()
        self.assertEqual(found, [["a"]])

    def test_events_come_in_order(self) -> None:
        """Events come in the order of the work, each before the result of its work."""
        heard: list[object] = []
        store = Store(self.writer, self.reader, heard.append)

        def twice(tx: Transaction) -> str:
            add("b")(tx)
            return add("c")(tx)

        store.write(add("a")).addCallback(heard.append)
        store.write(twice).addCallback(heard.append)
        store.write(add("d")).addCallback(heard.append)
        self.writer.run_next()
        self.writer.run_next()
        a, b, c, d = map(RepositoryChanged, "abcd")
        self.assertEqual(heard, [a, "a", b, c, "c", d, "d"])

    def test_a_commit_that_fails(self) -> None:
        """If the commit fails, all of its work fails, nobody hears of it, and the next one works."""

        def dangling(tx: Transaction) -> None:
            tx.execute("PRAGMA defer_foreign_keys=ON")
            tx.execute("INSERT INTO names (name, friend) VALUES ('lonely', 99)")

        self.store.write(add("first"))
        neighbour = self.store.write(add("neighbour"))
        bad = self.store.write(dangling)
        self.writer.run_next()
        self.writer.run_next()
        self.failureResultOf(neighbour, sqlite3.IntegrityError)
        self.failureResultOf(bad, sqlite3.IntegrityError)
        self.assertEqual(self.events, [RepositoryChanged("first")])
        self.assertEqual(self.on_disk(), ["first"])

        again = self.store.write(add("again"))
        self.writer.run_next()
        self.assertEqual(self.successResultOf(again), "again")
        self.assertEqual(self.on_disk(), ["first", "again"])

    def test_reads_beside_the_writer(self) -> None:
        """A read does not wait for a commit that is on its way, and does not see it yet."""
        written = self.store.write(add("a"))
        read = self.store.read(names)
        self.reader.run_next()
        self.assertEqual(self.successResultOf(read), [])
        self.assertNoResult(written)

    def test_reads_change_nothing(self) -> None:
        """What a read writes against the rules is undone, whether it raises or not."""
        careless = self.store.read(add("careless"))
        failing = self.store.read(add_and_fail)
        self.reader.run_next()
        self.reader.run_next()
        self.assertEqual(self.successResultOf(careless), "careless")
        self.failureResultOf(failing, LookupError)
        self.assertEqual(self.on_disk(), [])


def of_version(version: int) -> sqlite3.Connection:
    """A database as an earlier version of this program makes it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys=ON")
    for number in range(1, version + 1):
        file = resources.files(schema).joinpath(f"{number:04}.sql")
        connection.executescript(file.read_text("utf-8"))
    connection.execute(f"PRAGMA user_version={version}")
    return connection


class Tables(SynchronousTestCase):
    def test_migrate_twice(self) -> None:
        """Migrating a database that is new enough changes nothing."""
        memory = MemoryStore()
        make_table(memory.connection)
        self.successResultOf(memory.store.write(add("kept")))
        schema = memory.connection.execute("SELECT sql FROM sqlite_schema").fetchall()
        migrate(memory.connection)
        self.assertEqual(
            memory.connection.execute("SELECT sql FROM sqlite_schema").fetchall(), schema
        )
        self.assertEqual(names(Transaction(memory.connection)), ["kept"])

    def test_from_the_first_version(self) -> None:
        """What a server of the first version left is there after the upgrade, as it was."""
        connection = of_version(1)
        connection.execute(
            "INSERT INTO deploys (repo, branch, trigger, state, created)"
            " VALUES ('github.com/acme/site', 'main', 'push', 'succeeded', 1.0)"
        )
        migrate(connection)
        deploy = deploys.get(Transaction(connection), 1)
        assert deploy is not None
        self.assertEqual((deploy.branch, deploy.state), ("main", State.SUCCEEDED))
        self.assertEqual((deploy.rolls_back, deploy.rolled_back_by), (None, None))

    def test_what_a_person_had_to_mend_before(self) -> None:
        """It is tried again at the first start after an upgrade, as it says."""
        connection = of_version(5)
        said = "the answer was 401; is the token right? (a restart tries again at once)"
        connection.execute("INSERT INTO pauses VALUES ('forge a', 3600, ?)", (said,))
        connection.execute("INSERT INTO pauses VALUES ('forge b', 3600, 'asked to wait')")
        connection.execute(
            "INSERT INTO outbox (receiver, subject, repo, wanted, turn, created, state, next_try,"
            " problem) VALUES ('forge a', 's', 'r', '{}', 1, 0, 'waiting', 3600, ?)",
            (said,),
        )
        migrate(connection)
        tx = Transaction(connection)
        outbox.try_mended(tx)
        self.assertEqual([one.receiver for one in outbox.pauses(tx, 1.0)], ["forge b"])
        self.assertIsNotNone(outbox.next_for(tx, "forge a", 1.0)[0])

    def test_waits_of_before(self) -> None:
        """They hold for ten days at most, which is all that a receiver may ask for (threat 72)."""
        connection = of_version(6)
        for name, until in (("right", 864_000.0), ("ahead", 900_000.0)):
            connection.execute("INSERT INTO pauses VALUES (?, ?, '', 0)", (name, until))
            connection.execute(
                "INSERT INTO outbox (receiver, subject, repo, wanted, turn, created, state, next_try)"
                " VALUES (?, 's', 'r', '{}', 1, 0, 'waiting', ?)",
                (name, until),
            )
        migrate(connection)
        tx = Transaction(connection)
        self.assertEqual([one.receiver for one in outbox.pauses(tx, 1.0)], ["right"])
        self.assertEqual(outbox.next_for(tx, "right", 1.0), (None, 864_000.0))
        self.assertIsNotNone(outbox.next_for(tx, "ahead", 1.0)[0])
        tx.execute("DELETE FROM pauses")
        self.assertEqual(outbox.next_for(tx, "right", 1.0), (None, 864_000.0))

    def test_a_newer_database(self) -> None:
        """A database of a newer version of the program is refused, and left as it is."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.execute("PRAGMA user_version=99")
        with self.assertRaisesRegex(ValueError, "is of version 99, this program knows 8$"):
            migrate(connection)
        self.assertEqual(connection.execute("SELECT * FROM sqlite_schema").fetchall(), [])

    def test_the_file_is_private(self) -> None:
        """The database file is made readable by its owner only, whatever the umask."""
        self.addCleanup(os.umask, os.umask(0))
        path = self.mktemp()
        create(path)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_create_keeps_what_is_there(self) -> None:
        """Starting again with the database of the last time loses nothing."""
        path = self.mktemp()
        create(path)
        connection = sqlite3.connect(path, isolation_level=None)
        make_table(connection)
        add("kept")(Transaction(connection))
        connection.close()
        create(path)
        connection = sqlite3.connect(path)
        self.assertEqual(names(Transaction(connection)), ["kept"])
        connection.close()

    def test_commits_reach_the_disk(self) -> None:
        """A connection is set up so that a commit is on the disk before it is reported (threat 70)."""
        path = self.mktemp()
        create(path)
        connection = sqlite3.connect(path, isolation_level=None)
        prepare(connection)
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
        connection.close()
        self.assertEqual(found, ["wal", 2, 1])


class Witnesses(SynchronousTestCase):
    """Who sees each event in the transaction that it happens in."""

    def store(self, witness: Any) -> Store:
        self.memory = MemoryStore(witness)
        make_table(self.memory.connection)
        return self.memory.store

    def names(self) -> list[str]:
        """What is in the test's table."""
        return names(Transaction(self.memory.connection))

    def test_together_with_the_event(self) -> None:
        """What a witness writes and tells is there exactly where the event is."""

        def witness(tx: Transaction, event: Event) -> None:
            add(f"saw {getattr(event, 'repo', '')}")(tx)

        store = self.store(witness)
        self.successResultOf(store.write(add("a")))
        self.failureResultOf(store.write(add_and_fail), LookupError)
        self.assertEqual(self.names(), ["a", "saw a"])
        told = [RepositoryChanged("a"), RepositoryChanged("saw a")]
        self.assertEqual(self.memory.events, told)

    def test_an_event_that_is_told_twice(self) -> None:
        """A witness sees it once."""
        seen: list[Event] = []
        store = self.store(lambda tx, event: seen.append(event))

        def twice(tx: Transaction) -> None:
            tx.emit(RepositoryChanged("a"))
            tx.emit(RepositoryChanged("a"))

        self.successResultOf(store.write(twice))
        self.assertEqual(seen, [RepositoryChanged("a")])

    def test_a_witness_that_fails(self) -> None:
        """What it wrote and told is undone and the failure logged; the work does not notice."""

        def witness(tx: Transaction, event: Event) -> None:
            add("half")(tx)
            raise LookupError("a witness that fails")

        store = self.store(witness)
        self.assertEqual(self.successResultOf(store.write(add("a"))), "a")
        self.assertEqual(self.names(), ["a"])
        self.assertEqual(self.memory.events, [RepositoryChanged("a")])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
