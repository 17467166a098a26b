"""Rows of the archive that many tests begin with."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Delivery, Push
from integralgit.journal import deliveries, deploys, queue, steps
from integralgit.journal.deliveries import Decided
from integralgit.journal.events import Decision, Deploy, State, StepState, Trigger
from integralgit.journal.queue import Entry
from integralgit.journal.store import Transaction, Work
from integralgit.testing import MemoryStore

T = TypeVar("T")

REPO, OTHER = "github.com/acme/site", "github.com/acme/other"
ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40


def stored(
    tx: Transaction,
    delivery: Delivery,
    *pushes: tuple[Push, Decision],
    outcome: str = "ignored",
    reason: str = "",
    at: float = 0.0,
) -> int:
    """Store a delivery with what was decided about it; its number."""
    whole = replace(delivery, pushes=tuple(push for push, _ in pushes))
    decisions = [decision for _, decision in pushes]
    (kept,) = deliveries.add(tx, [Decided(whole, outcome, reason, decisions)], at)
    return kept.number


def queued(tx: Transaction, now: float = 0.0, **changes: Any) -> Deploy:
    """A push to the branch main of github.com/acme/site that waits for web1, with changes."""
    usual: dict[str, Any] = {
        "repo": "github.com/acme/site",
        "branch": "main",
        "host": "web1",
        "location": "/srv/site",
        "trigger": Trigger.PUSH,
    }
    return deploys.known(tx, queue.enqueue(tx, Entry(**{**usual, **changes}), now))


class MemoryTestCase(SynchronousTestCase):
    """A store in memory, and what its watchers have heard."""

    def setUp(self) -> None:
        self.memory = MemoryStore()
        self.events = self.memory.events

    def write(self, work: Work[T]) -> T:
        """The result of work that writes."""
        return self.successResultOf(self.memory.store.write(work))


class ArchiveTestCase(MemoryTestCase):
    """Short words for what is done with deploys."""

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
        self.write(lambda tx: queue.place(tx, deploy, "web1", location, "main", now))

    def step(self, deploy: int, name: str, at: float, log_start: int) -> None:
        """Let a step begin."""
        self.write(lambda tx: steps.begin(tx, deploy, name, at, log_start))

    def step_ends(self, deploy: int, name: str, at: float, detail: str) -> None:
        """Let a step succeed."""
        self.write(lambda tx: steps.end(tx, deploy, name, StepState.SUCCEEDED, at, detail))

    def get(self, deploy: int) -> Deploy:
        """What the archive has of a deploy."""
        return self.write(lambda tx: deploys.known(tx, deploy))

    def states(self) -> dict[int, State]:
        """The state of every deploy."""
        found = self.write(lambda tx: deploys.newest(tx, None, 100))
        return {one.id: one.state for one in reversed(found)}
