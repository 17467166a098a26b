"""Whether what was deployed is healthy: asked until it is, or for too long; and going back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from attrs import define, field
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from integralgit.deploy.outcome import Outcome
from integralgit.deploy.run import Run, Waits
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal import freezes, history, queue, scripts
from integralgit.journal.events import Check, Deploy, State, Trigger
from integralgit.journal.store import Transaction, Work
from integralgit.names import public_url

T = TypeVar("T")

#: Seconds between two questions, at first and after the first ten; and for one answer, at most.
OFTEN, SELDOM, ANSWER = 1.0, 5.0, 10.0


class Probed(msgspec.Struct, frozen=True):
    """What a question was answered, in words, and whether that is good."""

    is_good: bool
    said: str


#: Asks a URL, and waits no longer than so many seconds.
Probe = Callable[[str, float], Awaitable[Probed]]


class Unhealthy(Exception):
    """It did not become healthy in time; the text says what was asked, and answered last."""


class GivenUp(Exception):
    """Somebody has cancelled the deploy meanwhile."""


def check_of(deployment: Deployment) -> Check | None:
    """What is to be asked after a deploy by that config."""
    if deployment.health is None:
        return None
    return Check(deployment.health, deployment.health_timeout, deployment.rollback)


@define
class Patience:
    """Asks a check's URL until it answers well, or until its deadline; at least once.

    `run` says whether its deploy was cancelled, and has the log for the answers.
    """

    _reactor: Any
    _probe: Probe
    _now: Callable[[], float]
    _run: Run
    _waits: Waits
    _check: Check
    _waiting: Deferred[Any] | None = field(default=None, init=False)

    async def until_healthy(self) -> None:
        """Return when it is healthy; raises `Unhealthy`, `GivenUp` or `Stopping` where it is not."""
        assert self._check.deadline is not None
        self._go_on()
        where, asked = public_url(self._check.url), 0
        deadline = self._reactor.seconds() + self._check.deadline - self._now()
        while True:
            remaining = deadline - self._reactor.seconds()
            probed = await self._ask(min(max(1.0, remaining), ANSWER))
            asked += 1
            self._run.say(f"GET {where}: {probed.said}")
            if probed.is_good:
                return
            pause = OFTEN if asked < 10 else SELDOM
            if self._reactor.seconds() + pause > deadline:
                raise Unhealthy(
                    f"{where} was not healthy within {self._check.timeout:g} seconds: {probed.said}"
                )
            await self._wait(deferLater(self._reactor, pause, lambda: None))

    async def _ask(self, seconds: float) -> Probed:
        async def ask() -> Probed:
            return await self._probe(self._check.url, seconds)

        return await self._wait(Deferred.fromCoroutine(ask()))

    async def _wait(self, event: Deferred[T]) -> T:
        self._waiting = event
        try:
            return await self._waits.until(event)
        finally:
            self._waiting = None
            # Whatever the wait came to: a question that is cut short has an answer of its own.
            self._go_on()

    def _go_on(self) -> None:
        if self._run.cancelled:
            raise GivenUp

    def cut_short(self) -> None:
        """End the wait, if there is one, for the deploy was cancelled."""
        if self._waiting is not None:
            self._waiting.cancel()


@define
class Health:
    """The health steps that run, by the numbers of their deploys; `probe` asks a URL."""

    _reactor: Any
    _probe: Probe
    _now: Callable[[], float]
    _waits: Waits
    _record: Callable[[Work[Any]], Awaitable[Any]]
    _running: dict[int, Patience] = field(factory=dict, init=False)

    async def after(self, run: Run, check: Check | None, outcome: Outcome) -> Outcome:
        """The outcome after the health step, if there is one: an unhealthy deploy has failed."""
        if check is None:
            return outcome
        number = run.deploy.id
        if check.deadline is None:
            check = replace(check, deadline=self._now() + check.timeout)
            await self._record(lambda tx: scripts.add_check(tx, number, check))
        patience = Patience(self._reactor, self._probe, self._now, run, self._waits, check)
        self._running[number] = patience
        try:
            async with run.step("health"):
                await patience.until_healthy()
        except Unhealthy as unhealthy:
            run.say(f"Failed: {unhealthy}")
            reason, back = str(unhealthy), check.rollback
            return Outcome(State.FAILED, reason, outcome.exit_code, roll_back=back)
        except GivenUp:
            run.say("Cancelled.")
            reason = "cancelled while its health was awaited"
            return Outcome(State.CANCELLED, reason, outcome.exit_code)
        finally:
            del self._running[number]
        return outcome

    def cancel(self, deploy: int) -> bool:
        """End the health step of a deploy whose run is cancelled; False where none runs."""
        patience = self._running.get(deploy)
        if patience is None:
            return False
        patience.cut_short()
        return True


def go_back(tx: Transaction, deploy: Deploy, now: float) -> str:
    """Queue the last good commit where a deploy was not healthy; what comes of it, in words."""
    if deploy.trigger is Trigger.ROLLBACK:
        return "a roll-back is not rolled back"
    newer = queue.waiting_for_the_same(tx, deploy)
    if newer is not None and freezes.freeze_of(tx, deploy.repo, now) is None:
        return f"deploy {newer} waits for the same and is newer, so nothing is rolled back"
    good = history.last_good(tx, deploy)
    if good is None or good.commit is None:
        return "there is no earlier good commit to go back to"
    entry = queue.Entry(
        deploy.repo,
        deploy.branch,
        deploy.host,
        deploy.location,
        Trigger.ROLLBACK,
        wanted=good.commit,
        commits=good.commits,
        rolls_back=deploy.id,
    )
    number = queue.enqueue(tx, entry, now)
    return f"deploy {number} rolls back to {good.commit[:12]}"
