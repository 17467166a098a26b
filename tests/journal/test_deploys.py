"""Tests of the queue and of a deploy's life as the archive keeps it."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks import delivery as sent
from integralgit.hooks.delivery import Commit
from integralgit.journal import deliveries, deploys
from integralgit.journal.deliveries import Change, Decided
from integralgit.journal.events import (
    Deploy,
    DeployChanged,
    RunningScript,
    State,
    Step,
    StepChanged,
    StepState,
    Trigger,
)
from integralgit.journal.store import Transaction, Work
from integralgit.names import Repository
from integralgit.testing import MemoryStore
from tests.archive import queued

T = TypeVar("T")

REPO, OTHER = "github.com/acme/site", "github.com/acme/other"
ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40


class Archive(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = MemoryStore()
        self.events = self.memory.events

    def write(self, work: Work[T]) -> T:
        """The result of work that writes."""
        return self.successResultOf(self.memory.store.write(work))

    def enqueue(
        self,
        location: str | None = "/srv/site",
        *,
        repo: str = REPO,
        branch: str = "main",
        now: float = 100.0,
        push: int | None = None,
    ) -> int:
        """Queue a deploy; its number."""
        return self.write(
            lambda tx: (
                queued(
                    tx,
                    now,
                    repo=repo,
                    branch=branch,
                    host="web1" if location else None,
                    location=location,
                    push=push,
                    wanted=ONE,
                ).id
            )
        )

    def begin(self, deploy: int, now: float = 200.0) -> None:
        """Let a deploy run."""
        self.write(lambda tx: deploys.begin(tx, deploys.known(tx, deploy), now))

    def end(
        self,
        deploy: int,
        state: State = State.SUCCEEDED,
        now: float = 300.0,
        reason: str | None = None,
    ) -> None:
        """Let a deploy end."""
        self.write(lambda tx: deploys.end(tx, deploy, state, now, reason=reason))

    def place(self, deploy: int, location: str, now: float = 150.0) -> None:
        """Give a deploy its location."""
        self.write(lambda tx: deploys.place(tx, deploy, "web1", location, "main", now))

    def step(self, deploy: int, name: str, at: float, log_start: int) -> None:
        """Let a step begin."""
        self.write(lambda tx: deploys.begin_step(tx, deploy, name, at, log_start))

    def step_ends(self, deploy: int, name: str, at: float, detail: str) -> None:
        """Let a step succeed."""
        self.write(lambda tx: deploys.end_step(tx, deploy, name, StepState.SUCCEEDED, at, detail))

    def get(self, deploy: int) -> Deploy:
        """What the archive has of a deploy."""
        return self.write(lambda tx: deploys.known(tx, deploy))

    def states(self) -> dict[int, State]:
        """The state of every deploy."""
        found = self.write(lambda tx: deploys.newest(tx, None, 100))
        return {one.id: one.state for one in reversed(found)}


class Queue(Archive):
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
            waiting = self.write(lambda tx: deploys.waiting_at(tx, "/srv/site"))
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
        self.write(lambda tx: deploys.waiting_at(tx, "/srv/site"))
        self.write(deploys.unfinished)
        self.write(deploys.queue_heads)
        self.write(lambda tx: deploys.unplaced(tx, REPO))
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
        waiting = self.write(lambda tx: deploys.waiting_at(tx, "/srv/b"))
        self.assertEqual(waiting, self.get(numbers[1]))
        self.assertIsNone(self.write(lambda tx: deploys.waiting_at(tx, "/srv/c")))

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
        unplaced = self.write(lambda tx: deploys.unplaced(tx, REPO))
        self.assertEqual([one.id for one in unplaced], [dev, newest])

    def test_placing(self) -> None:
        """A deploy that gets its location supersedes what is older there."""
        older = self.enqueue("/srv/site")
        number = self.enqueue(None)
        self.place(number, "/srv/site")
        self.assertEqual(self.states(), {older: State.SUPERSEDED, number: State.QUEUED})
        placed = self.get(number)
        self.assertEqual((placed.host, placed.location), ("web1", "/srv/site"))
        self.assertEqual(self.write(lambda tx: deploys.unplaced(tx, REPO)), [])

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
                deploys.enqueue_interrupted(tx, number, 200.0)
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
            is_queued = self.write(lambda tx: deploys.enqueue_interrupted(tx, number, 200.0))
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
            self.write(partial(deploys.enqueue_interrupted, number=number, now=200.0))
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
        found = self.write(deploys.unfinished)
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
        locations, repos = self.write(deploys.queue_heads)
        self.assertEqual((sorted(locations), repos), (["/srv/a", "/srv/b"], [REPO]))


class Life(Archive):
    def test_the_exact_events_of_a_life(self) -> None:
        """Watchers hear of everything that changed, in the order in which it did."""
        older = self.enqueue()
        number = self.enqueue()
        self.begin(number)

        def fetch(tx: Transaction) -> None:
            deploys.begin_step(tx, number, "fetch", 201.0, 0)
            deploys.note(tx, number, commit=TWO, config_commit=THREE)
            deploys.end_step(tx, number, "fetch", StepState.SUCCEEDED, 202.0, "")

        self.write(fetch)
        self.write(lambda tx: deploys.begin_step(tx, number, "script", 203.0, 50))
        self.end(number, State.FAILED)
        self.assertEqual(
            self.events,
            [
                DeployChanged(older, REPO, State.QUEUED),
                DeployChanged(older, REPO, State.SUPERSEDED),
                DeployChanged(number, REPO, State.QUEUED),
                DeployChanged(number, REPO, State.RUNNING),
                StepChanged(number, "fetch", StepState.RUNNING),
                DeployChanged(number, REPO, State.RUNNING),
                StepChanged(number, "fetch", StepState.SUCCEEDED),
                StepChanged(number, "script", StepState.RUNNING),
                DeployChanged(number, REPO, State.FAILED),
            ],
        )

    def test_placing_is_told(self) -> None:
        """Watchers hear that a deploy got its location, after what it superseded."""
        older, number = self.enqueue("/srv/site"), self.enqueue(None)
        self.events.clear()
        self.place(number, "/srv/site")
        self.assertEqual(
            self.events,
            [
                DeployChanged(older, REPO, State.SUPERSEDED),
                DeployChanged(number, REPO, State.QUEUED),
            ],
        )

    def test_placing_behind_a_newer_one_is_told_once(self) -> None:
        """Watchers hear once, and nothing else, of a deploy that is superseded as it is placed."""
        number = self.enqueue(None)
        self.enqueue("/srv/site")
        self.events.clear()
        self.place(number, "/srv/site")
        self.assertEqual(self.events, [DeployChanged(number, REPO, State.SUPERSEDED)])

    def test_begin_and_end(self) -> None:
        """A deploy that ends has its times, its exit code, its reason and the size of its log."""
        number = self.enqueue(now=100.0)
        self.begin(number, 200.0)
        self.assertEqual(self.get(number).started, 200.0)
        self.write(
            lambda tx: deploys.end(
                tx, number, State.FAILED, 300.0, reason="it broke", exit_code=3, log_size=77
            )
        )
        found = self.get(number)
        self.assertEqual((found.created, found.started, found.finished), (100.0, 200.0, 300.0))
        self.assertEqual((found.state, found.reason), (State.FAILED, "it broke"))
        self.assertEqual((found.exit_code, found.log_size), (3, 77))

    def test_notes(self) -> None:
        """What is noted stays until it is noted anew."""
        number = self.enqueue()
        commits = (Commit(TWO, "Second", "Ann"),)
        self.write(
            lambda tx: deploys.note(
                tx, number, commit=TWO, previous_commit=ONE, head=TWO, commits=commits
            )
        )
        self.write(lambda tx: deploys.note(tx, number, head=THREE, config_commit=ONE))
        found = self.get(number)
        self.assertEqual((found.commit, found.previous_commit), (TWO, ONE))
        self.assertEqual((found.head, found.config_commit), (THREE, ONE))
        self.assertEqual(found.commits, commits)
        self.write(lambda tx: deploys.note(tx, number, commits=()))
        self.assertEqual(self.get(number).commits, ())

    def steps(self, deploy: int) -> list[Step]:
        """The steps of a deploy."""
        return self.write(lambda tx: deploys.steps(tx, deploy))

    def test_steps(self) -> None:
        """Steps are kept in their order, each with its times, its result and its place in the log."""
        number = self.enqueue()
        self.begin(number)
        for at, name in enumerate(("update", "fetch", "again"), 1):
            self.step(number, name, at, at * 10)
            self.step_ends(number, name, at + 0.5, f"detail of {name}")
        ok = StepState.SUCCEEDED
        self.assertEqual(
            self.steps(number),
            [
                Step("update", ok, 1.0, 1.5, "detail of update", 10),
                Step("fetch", ok, 2.0, 2.5, "detail of fetch", 20),
                Step("again", ok, 3.0, 3.5, "detail of again", 30),
            ],
        )
        self.assertEqual(self.steps(number + 1), [])

    def test_a_name_that_is_no_text(self) -> None:
        """A reason with such a name ends the deploy as any; the bytes are written out."""
        number = self.enqueue()
        self.begin(number)
        self.step(number, "fetch", 1.0, 0)
        self.step_ends(number, "fetch", 2.0, "caf\udce9")
        self.end(number, State.FAILED, reason="#!/opt/caf\udce9/sh")
        self.assertEqual(self.get(number).reason, "#!/opt/caf\\xe9/sh")
        self.assertEqual([one.detail for one in self.steps(number)], ["caf\\xe9"])

    def test_a_running_step_ends_with_its_deploy(self) -> None:
        """A step that still ran ends with its deploy, as that does; ended ones stay as they were."""
        for state, expected in (
            (State.SUCCEEDED, StepState.SUCCEEDED),
            (State.TIMED_OUT, StepState.FAILED),
            (State.INTERRUPTED, StepState.FAILED),
        ):
            number = self.enqueue()
            self.begin(number)
            self.step(number, "fetch", 1.0, 0)
            self.step_ends(number, "fetch", 2.0, "fine")
            self.step(number, "script", 3.0, 9)
            self.end(number, state, 4.0, "why")
            self.assertEqual(
                self.steps(number),
                [
                    Step("fetch", StepState.SUCCEEDED, 1.0, 2.0, "fine", 0),
                    Step("script", expected, 3.0, 4.0, "why", 9),
                ],
            )

    def test_steps_of_a_deploy_that_goes_back_to_the_queue(self) -> None:
        """A deploy that goes back to the queue loses its steps at once, and no other does."""
        number, other = self.enqueue("/srv/a"), self.enqueue("/srv/b")
        for one in (number, other):
            self.begin(one)
            self.step(one, "fetch", 1.0, 0)
        self.place(number, "/srv/c")
        self.assertEqual(self.steps(number), [])
        self.assertEqual([step.name for step in self.steps(other)], ["fetch"])

    def test_steps_of_a_deploy_that_is_superseded_on_its_way_back(self) -> None:
        """A deploy that goes back behind a newer one is superseded and keeps no step that runs."""
        number = self.enqueue("/srv/a")
        self.begin(number)
        self.step(number, "fetch", 1.0, 0)
        newer = self.enqueue("/srv/a")
        self.place(number, "/srv/a")
        self.assertEqual(self.states(), {number: State.SUPERSEDED, newer: State.QUEUED})
        self.assertEqual(self.steps(number), [])

    def test_beginning_again(self) -> None:
        """A deploy that begins again has no steps of the first time, nor do others lose theirs."""
        number, other = self.enqueue("/srv/a"), self.enqueue("/srv/b")
        for one in (number, other):
            self.begin(one)
            self.step(one, "fetch", 1.0, 0)
        self.place(number, "/srv/a")
        self.begin(number)
        self.assertEqual(self.steps(number), [])
        self.assertEqual([step.name for step in self.steps(other)], ["fetch"])

    def test_the_script_of_a_deploy(self) -> None:
        """A script is known from its start to its deploy's end, with why it is being ended."""
        number = self.enqueue()
        self.begin(number)
        self.assertIsNone(self.write(lambda tx: deploys.script_of(tx, number)))
        script = RunningScript(number, 4321, 987654321, "boot", 1234.5, None)
        self.write(lambda tx: deploys.add_script(tx, script))
        self.assertEqual(self.write(lambda tx: deploys.script_of(tx, number)), script)
        self.write(lambda tx: deploys.end_script(tx, number, "timeout"))
        ended = self.write(lambda tx: deploys.script_of(tx, number))
        self.assertEqual(ended, RunningScript(number, 4321, 987654321, "boot", 1234.5, "timeout"))
        assert ended is not None
        self.write(lambda tx: deploys.begin_script(tx, number, 1300.0))
        self.assertEqual(
            self.write(lambda tx: deploys.script_of(tx, number)), replace(ended, deadline=1300.0)
        )
        self.end(number, State.TIMED_OUT)
        self.assertIsNone(self.write(lambda tx: deploys.script_of(tx, number)))

    def test_one_that_was_cut_off_is_superseded(self) -> None:
        """The newer one goes on from where the first of those began that no script was told of."""
        first = self.enqueue()
        self.begin(first)
        self.write(partial(deploys.note, deploy=first, previous_commit=ONE, head=TWO))
        second = self.enqueue()
        self.assertIsNone(self.get(second).previous_commit)
        self.place(first, "/srv/site")
        self.assertEqual(self.get(first).superseded_by, second)
        for newest in (second, self.enqueue()):
            found = self.get(newest)
            self.assertEqual((found.previous_commit, found.head), (ONE, TWO))

    def test_where_head_was_before_it_was_cut_off(self) -> None:
        """A deploy that is queued again at its location keeps that, and its script's record of it."""
        script = RunningScript(0, 1, 2, "boot", 3.0, previous=None, head=TWO)
        for noted, found in ((False, (None, TWO)), (True, (ONE, THREE))):
            number = self.enqueue()
            self.begin(number)
            if noted:
                self.write(partial(deploys.note, deploy=number, previous_commit=ONE, head=THREE))
            self.write(partial(deploys.add_script, script=replace(script, deploy=number)))
            self.place(number, "/srv/site")
            again = self.get(number)
            self.assertEqual((again.previous_commit, again.head), found)
            self.place(number, "/srv/other")
            again = self.get(number)
            self.assertEqual((again.previous_commit, again.head), (None, None))

    def test_a_script_that_has_not_begun(self) -> None:
        """A deploy that is queued again has no script any more."""
        number = self.enqueue()
        self.begin(number)
        self.write(lambda tx: deploys.add_script(tx, RunningScript(number, 1, 2, "boot", 3.0)))
        self.place(number, "/srv/site")
        self.assertIsNone(self.write(lambda tx: deploys.script_of(tx, number)))

    def test_completing_an_update(self) -> None:
        """What the server could not record between a script's start and its own end is made up for, once."""
        number = self.enqueue()
        self.begin(number)
        self.step(number, "update", 5.0, 10)
        script = RunningScript(number, 1, 2, "boot", 3.0, previous=ONE, head=TWO)
        for _ in range(2):
            self.write(lambda tx: deploys.complete_update(tx, script, 9.0, 20))
            deploy = self.get(number)
            self.assertEqual((deploy.previous_commit, deploy.head), (ONE, TWO))
            update, begun = self.steps(number)
            self.assertEqual((update.state, update.finished), (StepState.SUCCEEDED, 9.0))
            self.assertEqual((begun.name, begun.state), ("script", StepState.RUNNING))
            self.assertEqual((begun.started, begun.log_start), (9.0, 20))


class History(Archive):
    def test_newest(self) -> None:
        """The history is read newest first, page by page, of one repository or of all."""
        a, b, c, d = (self.enqueue(f"/srv/{n}", repo=OTHER if n == 2 else REPO) for n in range(4))

        def numbers(repo: str | None, limit: int, before: int | None = None) -> list[int]:
            found = self.write(lambda tx: deploys.newest(tx, repo, limit, before))
            return [one.id for one in found]

        self.assertEqual(numbers(None, 10), [d, c, b, a])
        self.assertEqual(numbers(None, 2), [d, c])
        self.assertEqual(numbers(None, 2, c), [b, a])
        self.assertEqual(numbers(REPO, 10), [d, b, a])
        self.assertEqual(numbers(REPO, 1, d), [b])
        self.assertEqual(numbers("github.com/acme/none", 10), [])

    def test_a_clock_that_goes_back(self) -> None:
        """Order is that of the numbers, whatever the clock says of the times (threat 72)."""
        first, second, third = (
            self.enqueue(branch=name, now=now)
            for name, now in (("a", 9000.0), ("b", 100.0), ("c", 5000.0))
        )
        found = self.write(lambda tx: deploys.newest(tx, None, 10))
        self.assertEqual([one.id for one in found], [third, second, first])
        found = self.write(deploys.unfinished)
        self.assertEqual([one.id for one in found], [first, second, third])
        waiting = self.write(lambda tx: deploys.waiting_at(tx, "/srv/site"))
        assert waiting is not None
        self.assertEqual(waiting.id, first)
        newest = self.enqueue(branch="a", now=1.0)
        self.assertEqual(self.get(first).superseded_by, newest)

    def test_no_such_deploy(self) -> None:
        """A number that no deploy has gives nothing."""
        number = self.enqueue()
        self.assertIsNone(self.write(lambda tx: deploys.get(tx, number + 1)))

    def test_the_deploys_of_a_delivery(self) -> None:
        """The deploys of all pushes of a delivery belong to it, oldest first, and no others."""
        repo = Repository("github.com", "acme/site")

        def deliver(tx: Transaction) -> tuple[int, list[int]]:
            delivery = sent.Delivery("github", "push", "id", repo)
            changes = [
                Change(sent.Push(f"refs/heads/{name}"), "accepted", "") for name in ("main", "dev")
            ]
            (stored,) = deliveries.add(tx, [Decided(delivery, "accepted", "", changes)], 1.0)
            return stored.number, list(stored.pushes)

        first, (main, dev) = self.write(deliver)
        second, (again, _) = self.write(deliver)
        numbers = [self.enqueue(f"/srv/{push}", push=push) for push in (dev, again, main)]
        self.enqueue("/srv/manual")
        found = self.write(lambda tx: deploys.of_delivery(tx, first))
        self.assertEqual([one.id for one in found], [numbers[0], numbers[2]])
        found = self.write(lambda tx: deploys.of_delivery(tx, second))
        self.assertEqual([one.id for one in found], [numbers[1]])

    def note_commit(self, deploy: int, commit: str | None) -> None:
        """Note the remote commit of a deploy."""
        self.write(lambda tx: deploys.note(tx, deploy, commit=commit))

    def test_commits_deployed_at(self) -> None:
        """The remote commits deployed at a location are given newest first, each once."""
        for location, commit in (
            ("/srv/a", ONE),
            ("/srv/b", "f" * 40),
            ("/srv/a", TWO),
            ("/srv/a", None),
            ("/srv/a", TWO),
            ("/srv/a", THREE),
        ):
            number = self.enqueue(location)
            self.begin(number)
            self.note_commit(number, commit)
            self.end(number)
        found = self.write(lambda tx: deploys.commits_deployed_at(tx, "/srv/a"))
        self.assertEqual(found, [THREE, TWO, ONE])


class Forgetting(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = MemoryStore()
        self.patch(deploys, "KEPT", 3)

    def write(self, work: Work[T]) -> T:
        """The result of work on the archive."""
        result: T = self.successResultOf(self.memory.store.write(work))
        return result

    def add(self, state: State, location: str = "/srv/site", created: float = 0.0) -> int:
        """A deploy that has ended in that state."""

        def work(tx: Transaction) -> int:
            number = queued(tx, created, location=location).id
            deploys.note(tx, number, commit="ab" * 20)
            deploys.end(tx, number, state, created)
            return number

        return self.write(work)

    def forgotten(self, now: float = 0.0) -> list[int]:
        """The deploys that are forgotten now."""
        return self.write(lambda tx: deploys.prune(tx, "github.com/acme/site", now))

    def test_by_number(self) -> None:
        """Beyond the newest few, all go but the newest good one of each location."""
        good = self.add(State.SUCCEEDED)
        other = self.add(State.SUCCEEDED, "/srv/other")
        failed = [self.add(State.FAILED) for _ in range(5)]
        self.assertEqual(self.forgotten(), failed[:2])
        left = [one.id for one in self.write(lambda tx: deploys.newest(tx, None, 50))]
        self.assertEqual(left, [*reversed(failed[2:]), other, good])
        self.assertEqual(self.forgotten(), [])

    def test_by_age(self) -> None:
        """What is too old goes, however few there are; what waits stays."""
        old, good = self.add(State.FAILED), self.add(State.SUCCEEDED)
        new = self.add(State.FAILED, created=100.0)
        self.assertEqual(self.forgotten(deploys.KEPT_FOR + 50.0), [old])
        left = [one.id for one in self.write(lambda tx: deploys.newest(tx, None, 50))]
        self.assertEqual(left, [new, good])
