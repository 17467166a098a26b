"""What events give others to be told: of which commit, in which state, and when it is news."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Delivery, Push
from integralgit.journal import deploys, outbox, queue, repositories
from integralgit.journal.events import State, Trigger
from integralgit.journal.store import Work
from integralgit.names import Repository
from integralgit.receivers import Forge, Notify
from integralgit.report.recorder import Recorder
from integralgit.report.statuses import Shipment, Status
from integralgit.report.words import Message
from integralgit.testing import MemoryStore
from tests.archive import queued, stored

SITE = "github.com/acme/site"
A, B = "a" * 40, "b" * 40
FORGE = Forge("github.com", "github", "t", "https://api.github.com")
TEAM = Notify("team", "slack", url="https://hooks.example.com")
ALL = Notify(
    "all", "slack", ("failed", "recovered", "succeeded", "hook_silent"), url="https://x.example"
)
ENDS = {
    State.FAILED: "the script failed with exit code 1",
    State.TIMED_OUT: "the script ran longer than its timeout",
    State.CANCELLED: "the script was cancelled",
    State.INTERRUPTED: "the machine went down while the script ran",
}


class Recording(SynchronousTestCase):
    forges: tuple[Forge, ...] = (FORGE,)
    notifies: tuple[Notify, ...] = ()

    def setUp(self) -> None:
        self.now = 1000.0
        recorder = Recorder(
            self.forges,
            self.notifies,
            ("web1",),
            lambda deploy: f"https://ig.example/deploys/{deploy.id}",
            lambda repo: f"https://ig.example/{repo}",
            lambda: self.now,
        )
        self.memory = MemoryStore(recorder)

    def write(self, work: Work[Any]) -> Any:
        self.now += 1
        return self.successResultOf(self.memory.store.write(work))

    def queue(self, wanted: str | None = A, **more: Any) -> int:
        """Queue a deploy; its number."""
        number: int = self.write(
            lambda tx: queued(tx, self.now, repo=SITE, wanted=wanted, **more).id
        )
        return number

    def begin(self, number: int, commit: str | None = None) -> None:
        """Let a deploy run, and find out its commit."""
        self.write(lambda tx: deploys.begin(tx, deploys.known(tx, number), self.now))
        if commit is not None:
            self.write(lambda tx: deploys.note(tx, number, commit=commit))

    def end(self, number: int, state: State = State.SUCCEEDED) -> None:
        """End a deploy."""
        reason = ENDS.get(state)
        self.write(lambda tx: deploys.end(tx, number, state, self.now, reason=reason))

    def run_deploy(self, state: State = State.SUCCEEDED, commit: str = A, **more: Any) -> int:
        """A deploy from its queueing to its end; its number."""
        number = self.queue(commit, **more)
        self.begin(number, commit)
        self.end(number, state)
        return number

    def wanted(self, kind: str) -> list[Any]:
        """What is to be told of that kind, in the order of the queues."""
        types: dict[str, Any] = {"status": Status, "deployment": Shipment, "message": Message}
        items = self.write(lambda tx: outbox.waiting(tx, 99))
        return [
            msgspec.json.decode(item.wanted, type=types[kind])
            for item in items
            if item.subject.startswith(kind)
        ]

    def statuses(self) -> dict[str, tuple[State, str]]:
        """The states and descriptions to be told, by the first letter of their commits."""
        return {one.commit[0]: (one.state, one.description) for one in self.wanted("status")}


class Statuses(Recording):
    def test_a_life(self) -> None:
        """One status for a commit and host, which says how it stands now, and where to look."""
        number = self.queue()
        self.assertEqual(self.statuses(), {"a": (State.QUEUED, "Deploy 1 to web1 waits")})
        self.begin(number)
        self.assertEqual(self.statuses(), {"a": (State.RUNNING, "Deploy 1 to web1 runs")})
        self.end(number)
        (one,) = self.wanted("status")
        self.assertEqual((one.name, one.commit, one.context), ("acme/site", A, "integralgit/web1"))
        self.assertEqual((one.state, one.url), (State.SUCCEEDED, "https://ig.example/deploys/1"))
        self.assertEqual(one.description, "Deployed to web1 in 2 s")

    def test_ends(self) -> None:
        """What did not succeed says why."""
        for state, reason in ENDS.items():
            number = self.run_deploy(state)
            text = f"Deploy {number} to web1 {state.value.replace('_', ' ')}: {reason}"
            self.assertEqual(self.statuses()["a"], (state, text))

    def test_another_commit(self) -> None:
        """The status is of the commit really deployed, and the one that was announced has an end."""
        number = self.queue(A)
        self.begin(number, B)
        self.assertEqual(
            self.statuses(),
            {
                "a": (State.SUPERSEDED, "Deploy 1 went on to bbbbbbbbbbbb, which is newer"),
                "b": (State.RUNNING, "Deploy 1 to web1 runs"),
            },
        )

    def test_another_host(self) -> None:
        """The status is of the host that has the location by now, and the one before has an end."""
        number = self.queue(A)
        self.begin(number)
        self.write(lambda tx: deploys.note(tx, number, host="web2", commit=A))
        self.end(number)
        told = {one.context: (one.state, one.description) for one in self.wanted("status")}
        went_on = "Deploy 1 went on to web2, which has its location now"
        self.assertEqual(
            told,
            {
                "integralgit/web1": (State.SUPERSEDED, went_on),
                "integralgit/web2": (State.SUCCEEDED, "Deployed to web2 in 2 s"),
            },
        )

    def test_superseded(self) -> None:
        """A commit whose deploy was superseded says by what; one that nobody was told of, nothing."""
        self.queue(A)
        self.queue(B)
        states = self.statuses()
        self.assertEqual(states["a"][0], State.SUPERSEDED)
        self.assertIn("deploy 2 waits for the same and is newer", states["a"][1])
        self.assertEqual(states["b"][0], State.QUEUED)

    def test_the_same_commit_again(self) -> None:
        """Of several deploys of one commit, the newest that came to anything speaks."""
        self.run_deploy()
        second = self.queue(A)
        self.assertEqual(self.statuses()["a"], (State.QUEUED, "Deploy 2 to web1 waits"))
        self.queue(B)
        self.assertEqual(self.statuses()["a"], (State.SUCCEEDED, "Deployed to web1 in 2 s"))
        self.assertEqual(second, 2)

    def test_cancelled_while_it_waited(self) -> None:
        """A deploy that never began does not hide what an earlier one of its commit did."""
        self.run_deploy(State.FAILED)
        number = self.queue(A)
        self.end(number, State.CANCELLED)
        self.assertEqual(self.statuses()["a"][0], State.FAILED)

    def test_no_place_yet(self) -> None:
        """While nobody knows which host it is for, nothing is told; then it is."""
        number = self.queue(host=None, location=None)
        self.assertEqual(self.statuses(), {})
        self.write(lambda tx: queue.place(tx, number, "web1", "/srv/site", "main", self.now))
        self.assertEqual(self.statuses()["a"][0], State.QUEUED)

    def test_no_place_ever(self) -> None:
        """That the config could not be read is told under this host's own name."""
        number = self.queue(host=None, location=None)
        self.end(number, State.FAILED)
        self.assertEqual(self.statuses()["a"][0], State.FAILED)

    def test_skipped(self) -> None:
        """A deploy that was skipped before anybody was told of it leaves no trace."""
        number = self.queue(host=None, location=None)
        self.end(number, State.SKIPPED)
        self.assertEqual(self.statuses(), {})

    def test_the_config(self) -> None:
        """A commit of the config's own branch says that it is fine, or what its first error is."""
        self.write(lambda tx: repositories.hear_of(tx, SITE, "github", 0.0))
        self.write(lambda tx: repositories.set_config(tx, SITE, A, "{}", None, 0.0))
        error = "host web1, layer base, key timeout: timeout must be a number"
        self.write(lambda tx: repositories.set_config(tx, SITE, B, "{}", error, 0.0))
        self.assertEqual(
            self.statuses(),
            {"a": (State.SUCCEEDED, "The config is fine"), "b": (State.FAILED, error)},
        )
        self.assertEqual(self.wanted("status")[0].url, f"https://ig.example/{SITE}")
        self.write(lambda tx: repositories.set_config(tx, SITE, None, None, None, 0.0))

    def test_others(self) -> None:
        """Repositories that no forge covers are told to nobody."""
        self.write(
            lambda tx: queued(tx, 1.0, repo="gitlab.com/acme/site", location="/srv/other", wanted=A)
        )
        self.assertEqual(self.statuses(), {})


class Deployments(Recording):
    forges = (Forge("github.com", "github", "t", "https://api.github.com", deployments=True),)

    def test_a_life(self) -> None:
        """A deployment begins when its commit is known, and ends with the deploy."""
        number = self.queue(A)
        self.begin(number)
        self.assertEqual(self.wanted("deployment"), [])
        self.write(lambda tx: deploys.note(tx, number, commit=B))
        self.end(number)
        (one,) = self.wanted("deployment")
        self.assertEqual((one.commit, one.environment, one.state), (B, "web1", State.SUCCEEDED))

    def test_a_restart_that_finds_another_commit(self) -> None:
        """The deployment of the commit that it had found before ends, too."""
        number = self.queue(A)
        self.begin(number, A)
        self.write(lambda tx: queue.place(tx, number, "web1", "/srv/site", "main", self.now))
        self.begin(number, B)
        found = {one.commit: one.state for one in self.wanted("deployment")}
        self.assertEqual(found, {A: State.SUPERSEDED, B: State.RUNNING})


class Together(Recording):
    forges = Deployments.forges
    notifies = (ALL,)

    def test_everybody(self) -> None:
        """One deploy is told as status, deployment and message, also when it is touched again."""
        number = self.queue(A)
        self.begin(number, B)
        self.end(number, State.FAILED)
        self.write(lambda tx: deploys.note(tx, number, head=B))
        self.assertEqual(self.statuses()["b"][0], State.FAILED)
        self.assertEqual(len(self.wanted("deployment")), 1)
        self.assertEqual([one.event for one in self.wanted("message")], ["failed"])
        self.assertEqual(self.flushLoggedErrors(), [])


class Messages(Recording):
    forges = ()
    notifies = (TEAM, ALL)

    def told(self) -> list[tuple[str, str]]:
        """Who is told of which event."""
        items = self.write(lambda tx: outbox.waiting(tx, 99))
        return [
            (item.receiver.removeprefix("notify "), json["event"])
            for item in items
            for json in [msgspec.json.decode(item.wanted)]
        ]

    def test_news(self) -> None:
        """Failures are told once, recoveries always, successes to whom wants them."""
        for state, news in (
            (State.SUCCEEDED, [("all", "succeeded")]),
            (State.FAILED, [("team", "failed"), ("all", "failed")]),
            (State.FAILED, []),
            (State.TIMED_OUT, []),
            (State.CANCELLED, []),
            (State.INTERRUPTED, []),
            (State.SUCCEEDED, [("team", "recovered"), ("all", "recovered")]),
            (State.SUCCEEDED, [("all", "succeeded")]),
            (State.FAILED, [("team", "failed"), ("all", "failed")]),
        ):
            before = self.told()
            self.run_deploy(state)
            self.assertEqual(self.told()[len(before) :], news, state)

    def test_a_roll_back_that_fails(self) -> None:
        """It is always told, whoever has asked for it."""
        self.run_deploy(State.FAILED)
        before = self.told()
        self.run_deploy(State.FAILED, trigger=Trigger.ROLLBACK)
        self.assertEqual(self.told()[len(before) :], [("team", "failed"), ("all", "failed")])

    def test_what_is_told(self) -> None:
        """A message has its own id for ever, the words of the page, and the facts of the API."""
        number = self.run_deploy(State.FAILED)
        first, second = self.wanted("message")
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(first.title, f"Deploy 1 of {SITE} main on web1 failed")
        self.assertEqual(first.text, ENDS[State.FAILED])
        self.assertEqual(first.url, "https://ig.example/deploys/1")
        self.assertEqual((first.facts["id"], first.facts["state"]), (number, "failed"))
        self.write(lambda tx: deploys.note(tx, number, commit=A))
        self.assertEqual(self.wanted("message"), [first, second])

    def test_a_failure_without_a_place(self) -> None:
        """A push whose config cannot be read fails; the next success is a recovery."""
        number = self.queue(host=None, location=None)
        self.end(number, State.FAILED)
        self.run_deploy()
        self.assertIn(("team", "recovered"), self.told())

    def test_silence(self) -> None:
        """That a push was found by looking is told once, and again after a delivery came."""
        self.queue(A, trigger=Trigger.POLL)
        self.queue(B, trigger=Trigger.POLL)
        self.assertEqual(self.told(), [("all", "hook_silent")])
        (message,) = self.wanted("message")
        self.assertEqual(message.title, f"The webhook of {SITE} may be broken")
        sent = Delivery("github", "push", "1", Repository("github.com", "acme/site"), (Push("x"),))
        self.write(lambda tx: stored(tx, sent, outcome="accepted", at=self.now))
        self.queue(A, trigger=Trigger.POLL)
        self.assertEqual(self.told(), [("all", "hook_silent")] * 2)

    def test_repositories(self) -> None:
        """Nobody is told of a repository that is none of theirs."""
        self.assertFalse(Notify("x", "slack", repos=("github.com/others/*",)).covers(SITE))
