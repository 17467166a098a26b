"""Looks at configs that pushes wait for: what one that failed means for whom."""

from __future__ import annotations

from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import Clock

from integralgit.deploy.fresh import AT_ONCE, FreshLooks
from integralgit.hooks.delivery import Delivery, Push
from integralgit.journal import repositories
from integralgit.journal.events import Decision, RepositoryRecord, State
from integralgit.location.git import GitError
from integralgit.names import Repository, parse_repository
from integralgit.processes.child import Exit
from tests.archive import REPO, ArchiveTestCase, stored


@define
class FakeLooks:
    """Looks that come to what the test says."""

    begun: list[Deferred[RepositoryRecord]] = field(factory=list, init=False)

    async def look(self, repo: Repository) -> RepositoryRecord:
        look: Deferred[RepositoryRecord] = Deferred()
        self.begun.append(look)
        return await look


class Fresh(ArchiveTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock, self.looks = Clock(), FakeLooks()
        self.write(lambda tx: repositories.hear_of(tx, REPO, "github", 0.0))
        self.fresh = FreshLooks(
            self.clock,
            self.memory.store,
            cast(Any, self.looks),
            ("web1",),
            self.clock.seconds,
            lambda location: None,
            Deferred.fromCoroutine,
            DeferredSemaphore(1),
        )
        self.fresh.begin()
        self.addCleanup(self.fresh.stop)

    def push(self, branch: str) -> int:
        """A push that waits for the config; the number of its deploy."""
        number = self.enqueue(None, branch=branch)
        self.fresh.want(REPO)
        return number

    def fails(self) -> None:
        """The look that runs fails."""
        error = GitError("ls-remote", Exit(128, b"", b"no route to host"))
        self.looks.begun[-1].errback(error)
        self.clock.advance(0)

    def succeeds(self) -> None:
        """The look that runs finds that there is no config."""
        known = self.write(lambda tx: repositories.known(tx, REPO))
        self.looks.begun[-1].callback(known)
        self.clock.advance(0)

    def test_a_push_that_came_during_a_look(self) -> None:
        """A look that failed fails what waited as it began; what came since has one of its own."""
        first = self.push("main")
        second = self.push("dev")
        self.fails()
        self.assertEqual(self.states(), {first: State.FAILED, second: State.QUEUED})
        self.assertEqual(len(self.looks.begun), 2)
        self.fails()
        self.assertEqual(self.states(), {first: State.FAILED, second: State.FAILED})
        self.clock.advance(1000.0)
        self.assertEqual(len(self.looks.begun), 2)

    def test_a_look_at_its_pace(self) -> None:
        """That look does not wait for the one after a while that other pushes depend on."""
        ignored = (Push("refs/heads/other"), Decision("ignored", look=True))
        for _ in range(AT_ONCE - 1):
            self.fresh.want(REPO)
            self.succeeds()
        sent = Delivery("github", "push", "", parse_repository(REPO))
        self.write(lambda tx: stored(tx, sent, ignored))
        self.push("main")
        self.push("dev")
        self.fails()
        self.assertEqual(len(self.looks.begun), AT_ONCE)
        self.clock.advance(2.0)
        self.assertEqual(len(self.looks.begun), AT_ONCE + 1)
