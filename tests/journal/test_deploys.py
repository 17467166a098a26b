"""Tests of a deploy's life as the archive keeps it."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from integralgit.hooks.delivery import Commit
from integralgit.journal import deploys, scripts, steps
from integralgit.journal.events import (
    DeployChanged,
    RunningScript,
    State,
    Step,
    StepChanged,
    StepState,
)
from integralgit.journal.store import Transaction
from tests.archive import ONE, REPO, THREE, TWO, ArchiveTestCase, MemoryTestCase, queued


class Life(ArchiveTestCase):
    def test_the_exact_events_of_a_life(self) -> None:
        """Watchers hear of everything that changed, in the order in which it did."""
        older = self.enqueue()
        number = self.enqueue()
        self.begin(number)

        def fetch(tx: Transaction) -> None:
            steps.begin(tx, number, "fetch", 201.0, 0)
            deploys.note(tx, number, commit=TWO, config_commit=THREE)
            steps.end(tx, number, "fetch", StepState.SUCCEEDED, 202.0, "")

        self.write(fetch)
        self.write(lambda tx: steps.begin(tx, number, "script", 203.0, 50))
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

    def test_the_settings_of_a_deploy(self) -> None:
        """They stay until they are noted anew; of a deploy that noted none, none are known."""
        number = self.enqueue()

        def settings() -> dict[str, str]:
            return self.write(lambda tx: deploys.settings(tx, number))

        self.assertEqual(settings(), {})
        self.write(lambda tx: deploys.note(tx, number, settings={"env": "1f"}))
        self.write(lambda tx: deploys.note(tx, number, head=ONE))
        self.assertEqual(settings(), {"env": "1f"})

    def steps(self, deploy: int) -> list[Step]:
        """The steps of a deploy."""
        return self.write(lambda tx: steps.of_deploy(tx, deploy))

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
        self.assertIsNone(self.write(lambda tx: scripts.of_deploy(tx, number)))
        script = RunningScript(number, 4321, 987654321, "boot", 1234.5, None)
        self.write(lambda tx: scripts.add(tx, script))
        self.assertEqual(self.write(lambda tx: scripts.of_deploy(tx, number)), script)
        self.write(lambda tx: scripts.note_ending(tx, number, "timeout"))
        ended = self.write(lambda tx: scripts.of_deploy(tx, number))
        self.assertEqual(ended, RunningScript(number, 4321, 987654321, "boot", 1234.5, "timeout"))
        assert ended is not None
        self.write(lambda tx: scripts.begin(tx, number, 1300.0))
        self.assertEqual(
            self.write(lambda tx: scripts.of_deploy(tx, number)), replace(ended, deadline=1300.0)
        )
        self.end(number, State.TIMED_OUT)
        self.assertIsNone(self.write(lambda tx: scripts.of_deploy(tx, number)))

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
            self.write(partial(scripts.add, script=replace(script, deploy=number)))
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
        self.write(lambda tx: scripts.add(tx, RunningScript(number, 1, 2, "boot", 3.0)))
        self.place(number, "/srv/site")
        self.assertIsNone(self.write(lambda tx: scripts.of_deploy(tx, number)))

    def test_completing_an_update(self) -> None:
        """What the server could not record between a script's start and its own end is made up for, once."""
        number = self.enqueue()
        self.begin(number)
        self.step(number, "update", 5.0, 10)
        script = RunningScript(number, 1, 2, "boot", 3.0, previous=ONE, head=TWO)
        for _ in range(2):
            self.write(lambda tx: scripts.complete_update(tx, script, 9.0, 20))
            deploy = self.get(number)
            self.assertEqual((deploy.previous_commit, deploy.head), (ONE, TWO))
            update, begun = self.steps(number)
            self.assertEqual((update.state, update.finished), (StepState.SUCCEEDED, 9.0))
            self.assertEqual((begun.name, begun.state), ("script", StepState.RUNNING))
            self.assertEqual((begun.started, begun.log_start), (9.0, 20))


class Forgetting(MemoryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(deploys, "KEPT", 3)

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
