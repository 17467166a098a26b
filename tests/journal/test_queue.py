"""Tests of the queue as the archive keeps it."""

from __future__ import annotations

from functools import partial

from integralgit.hooks import delivery as sent
from integralgit.hooks.delivery import Commit
from integralgit.journal import deploys, queue
from integralgit.journal.events import (
    Deploy,
    State,
    Trigger,
)
from integralgit.journal.store import Transaction
from tests.archive import ONE, OTHER, REPO, TWO, ArchiveTestCase, queued


class Queue(ArchiveTestCase):
    def test_a_new_deploy(self) -> None:
        """A queued deploy has what it was queued with, and nothing else yet."""
        number = self.write(
            lambda tx: (
                queued(
                    tx,
                    100.0,
                    trigger=Trigger.POLL,
                    wanted=ONE,
                    commits=(Commit(ONE, "A title", "Ann"),),
                ).id
            )
        )
        expected = Deploy(
            id=number,
            repo=REPO,
            branch="main",
            host="web1",
            location="/srv/site",
            trigger=Trigger.POLL,
            push=None,
            wanted=ONE,
            state=State.QUEUED,
            reason=None,
            commit=None,
            previous_commit=None,
            head=None,
            config_commit=None,
            exit_code=None,
            created=100.0,
            started=None,
            finished=None,
            superseded_by=None,
            commits=(Commit(ONE, "A title", "Ann"),),
            log_size=None,
        )
        self.assertEqual(self.get(number), expected)

    def test_only_the_newest_fifty_commits_are_kept(self) -> None:
        """Of a push of many commits the last fifty are kept to be shown."""
        commits = [sent.Commit(f"{n:040x}") for n in range(60)]
        number = self.write(lambda tx: queued(tx, commits=commits).id)
        kept = [one.id for one in self.get(number).commits]
        self.assertEqual(kept, [one.id for one in commits[:50]])

    def test_one_waits_for_the_same(self) -> None:
        """Of the deploys of a repository's branch that wait for a location only the newest stays."""
        first = self.enqueue(now=1)
        second = self.enqueue(now=2)
        self.assertEqual(self.states(), {first: State.SUPERSEDED, second: State.QUEUED})
        one = self.get(first)
        self.assertEqual((one.superseded_by, one.finished, one.started), (second, 2.0, None))
        self.assertEqual(one.reason, f"deploy {second} waits for the same and is newer")

    def test_a_roll_back_takes_the_place_of_a_push(self) -> None:
        """The push was not superseded by a newer commit, and says so."""
        first = self.enqueue()
        second = self.write(lambda tx: queued(tx, trigger=Trigger.ROLLBACK).id)
        one = self.get(first)
        self.assertEqual((one.state, one.superseded_by), (State.SUPERSEDED, second))
        said = f"deploy {second}, a roll-back, takes its place; that stays until the next push"
        self.assertEqual(one.reason, said)

    def test_others_at_the_same_location(self) -> None:
        """Another branch's or repository's deploy displaces none; they wait in their order."""
        first = self.enqueue(now=1)
        second = self.enqueue(branch="dev", now=2)
        third = self.enqueue(repo=OTHER, now=3)
        self.assertEqual(set(self.states().values()), {State.QUEUED})
        for number in (first, second, third):
            waiting = self.write(lambda tx: queue.waiting_at(tx, "/srv/site"))
            self.assertEqual(waiting, self.get(number))
            self.fails(number)

    def fails(self, number: int) -> None:
        """The deploy fails."""
        self.write(lambda tx: deploys.end(tx, number, State.FAILED, 4.0))

    def test_the_queue_is_found_without_the_history(self) -> None:
        """What pushes and pages ask of the queue is answered by the index of what waits."""
        asked: list[str] = []
        self.memory.connection.set_trace_callback(asked.append)
        self.enqueue()
        self.write(lambda tx: queue.waiting_at(tx, "/srv/site"))
        self.write(queue.unfinished)
        self.write(queue.heads)
        self.write(lambda tx: queue.unplaced(tx, REPO))
        self.memory.connection.set_trace_callback(None)
        queries = [sql for sql in asked if sql.startswith("SELECT") and "'queued'" in sql]
        self.assertGreaterEqual(len(queries), 6)
        for sql in queries:
            plan = self.memory.connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
            self.assertIn("deploys_waiting", str(plan), sql)

    def newest_ended(self, repo: str) -> int | None:
        """The newest deploy of a repository that succeeded or failed."""
        states = (State.SUCCEEDED, State.FAILED)
        found = self.write(lambda tx: deploys.newest_in(tx, repo, states))
        return found.id if found else None

    def test_the_newest_in_a_state(self) -> None:
        """It is found behind however many others, by the index of its repository's deploys."""
        done = self.enqueue()
        self.begin(done)
        self.end(done)
        for _ in range(20):
            self.enqueue()
        failed = self.enqueue(repo=OTHER)
        self.begin(failed)
        self.end(failed, State.FAILED)
        asked: list[str] = []
        self.memory.connection.set_trace_callback(asked.append)
        self.assertEqual(self.newest_ended(REPO), done)
        self.assertEqual(self.newest_ended(OTHER), failed)
        self.assertIsNone(self.newest_ended("github.com/acme/none"))
        self.memory.connection.set_trace_callback(None)
        for sql in asked:
            if sql.startswith("SELECT"):
                plan = str(self.memory.connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall())
                self.assertIn("deploys_by_repo (repo=?)", plan)
                self.assertNotIn("TEMP B-TREE", plan)

    def test_a_superseded_deploy_has_no_log(self) -> None:
        """A deploy that was superseded before it ran has no size of a log, not even nought."""
        first, unplaced = self.enqueue("/srv/site"), self.enqueue(None)
        self.enqueue("/srv/site")
        self.place(unplaced, "/srv/site")
        for number in (first, unplaced):
            found = self.get(number)
            self.assertEqual((found.state, found.log_size), (State.SUPERSEDED, None))

    def test_locations_do_not_meet(self) -> None:
        """Deploys for different locations do not supersede each other."""
        numbers = [self.enqueue("/srv/a"), self.enqueue("/srv/b"), self.enqueue("/srv/a/b")]
        self.assertEqual(set(self.states().values()), {State.QUEUED})
        waiting = self.write(lambda tx: queue.waiting_at(tx, "/srv/b"))
        self.assertEqual(waiting, self.get(numbers[1]))
        self.assertIsNone(self.write(lambda tx: queue.waiting_at(tx, "/srv/c")))

    def test_what_runs_is_not_superseded(self) -> None:
        """A deploy that runs is left alone, and one more waits."""
        running = self.enqueue()
        self.begin(running)
        waiting, newest = self.enqueue(), self.enqueue()
        self.assertEqual(
            self.states(),
            {running: State.RUNNING, waiting: State.SUPERSEDED, newest: State.QUEUED},
        )

    def test_one_waits_per_branch_while_the_config_is_unknown(self) -> None:
        """Without a location, only deploys of the same repository and branch are the same."""
        first = self.enqueue(None)
        dev = self.enqueue(None, branch="dev")
        other = self.enqueue(None, repo=OTHER)
        placed = self.enqueue("/srv/site")
        newest = self.enqueue(None)
        self.assertEqual(
            self.states(),
            {
                first: State.SUPERSEDED,
                dev: State.QUEUED,
                other: State.QUEUED,
                placed: State.QUEUED,
                newest: State.QUEUED,
            },
        )
        self.assertEqual(self.get(first).superseded_by, newest)
        unplaced = self.write(lambda tx: queue.unplaced(tx, REPO))
        self.assertEqual([one.id for one in unplaced], [dev, newest])

    def test_placing(self) -> None:
        """A deploy that gets its location supersedes what is older there."""
        older = self.enqueue("/srv/site")
        number = self.enqueue(None)
        self.place(number, "/srv/site")
        self.assertEqual(self.states(), {older: State.SUPERSEDED, number: State.QUEUED})
        placed = self.get(number)
        self.assertEqual((placed.host, placed.location), ("web1", "/srv/site"))
        self.assertEqual(self.write(lambda tx: queue.unplaced(tx, REPO)), [])

    def test_placing_behind_a_newer_one(self) -> None:
        """A deploy that gets its location where a newer one waits is superseded by that."""
        number = self.enqueue(None)
        newer = self.enqueue("/srv/site")
        self.place(number, "/srv/site")
        self.assertEqual(self.states(), {number: State.SUPERSEDED, newer: State.QUEUED})
        self.assertEqual(self.get(number).superseded_by, newer)

    def test_a_running_deploy_goes_back_to_the_queue(self) -> None:
        """A deploy that was running can be queued again, as if it had not begun."""
        number = self.enqueue("/srv/old")
        self.begin(number)
        self.place(number, "/srv/new")
        found = self.get(number)
        self.assertEqual(
            (found.state, found.location, found.started), (State.QUEUED, "/srv/new", None)
        )

    def test_an_interrupted_deploy(self) -> None:
        """It is queued again as a new one, unless a newer one of the same repository and branch waits."""

        def interrupt(number: int) -> list[int]:
            def end(tx: Transaction) -> list[int]:
                deploys.end(tx, number, State.INTERRUPTED, 200.0)
                queue.enqueue_interrupted(tx, number, 200.0)
                waiting = deploys.newest(tx, None, 10)
                return [one.id for one in waiting if one.state is State.QUEUED]

            return self.write(end)

        first = self.enqueue()
        self.write(lambda tx: deploys.begin(tx, deploys.known(tx, first), 150.0))
        other = self.enqueue(branch="dev")
        self.assertEqual(interrupt(first), [other + 1, other])
        again = other + 1
        self.write(lambda tx: deploys.begin(tx, deploys.known(tx, again), 250.0))
        newer = self.enqueue()
        self.assertEqual(interrupt(again), [newer, other])

    def test_interrupted_again(self) -> None:
        """Of one commit, the fifth that is interrupted in a row is not queued again."""

        def interrupt(number: int, commit: str) -> bool:
            self.begin(number)
            self.write(lambda tx: deploys.note(tx, number, commit=commit))
            is_queued = self.write(lambda tx: queue.enqueue_interrupted(tx, number, 200.0))
            self.end(number, State.INTERRUPTED)
            return is_queued

        self.enqueue()
        self.assertEqual([interrupt(n, ONE) for n in (1, 2, 3)], [True] * 3)
        self.assertEqual([interrupt(n, TWO) for n in range(4, 9)], [*[True] * 4, False])
        self.assertEqual(self.states(), dict.fromkeys(range(1, 9), State.INTERRUPTED))
        self.enqueue()
        self.assertTrue(interrupt(9, ONE))

    def test_what_an_interrupted_deploy_has_brought(self) -> None:
        """Where HEAD was before it is known to the deploy that takes its place, a newer one, too."""
        brought = partial(deploys.note, previous_commit=ONE, head=TWO)
        for newer in (False, True):
            number = self.enqueue()
            self.begin(number)
            self.write(partial(brought, deploy=number))
            if newer:
                self.enqueue()
            self.end(number, State.INTERRUPTED)
            self.write(partial(queue.enqueue_interrupted, number=number, now=200.0))
            found = self.get(number + 1)
            self.assertEqual((found.previous_commit, found.head), (ONE, TWO))
            self.assertEqual(found.state, State.QUEUED)

    def test_unfinished(self) -> None:
        """The deploys that run come before those that wait, each group oldest first."""
        a, b, c, d, e = (self.enqueue(f"/srv/{name}") for name in "abcde")
        self.begin(d)
        self.begin(b)
        self.begin(c)
        self.end(c)
        found = self.write(queue.unfinished)
        self.assertEqual([one.id for one in found], [b, d, a, e])
        self.assertEqual([one.id for one in self.write(deploys.running)], [b, d])

    def test_queue_heads(self) -> None:
        """What waits is named once: locations, and repositories that have none yet."""
        self.enqueue("/srv/a")
        self.enqueue("/srv/b")
        self.begin(self.enqueue("/srv/c"))
        self.enqueue(None)
        self.enqueue(None, branch="dev")
        self.end(self.enqueue(None, repo=OTHER), State.SKIPPED)
        locations, repos = self.write(queue.heads)
        self.assertEqual((sorted(locations), repos), (["/srv/a", "/srv/b"], [REPO]))
