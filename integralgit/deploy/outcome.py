"""How a deploy can end, and what the config and a script's end mean for it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from integralgit.deploy.decide import why_not
from integralgit.deploy.script import KILLED, WRAPPER_KILLED, ScriptEnd
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal.events import Deploy, State, Trigger
from integralgit.journal.queue import MOST_INTERRUPTED
from integralgit.location.git import GitError
from integralgit.location.plan import Refused
from integralgit.location.room import hindrance
from integralgit.settings import Trust

#: What asks for the commit of a branch, and not for whatever is deployed at a location.
_OF_A_BRANCH = (Trigger.PUSH, Trigger.POLL, Trigger.ROLLBACK)
#: Why a script is ended by us.
TIMEOUT, TOO_MUCH, CANCEL = "timeout", "max_log", "cancel"
#: What a shell means by an exit code (sh(1), "Exit Status for Commands").
_MEANING = {
    126: ", which stands for a command that cannot be executed",
    127: ", which stands for a command that was not found",
}
#: What git says of objects and refs that hold nothing, or not what they should.
_DAMAGED = (" is empty", " is corrupt", "bad object ", "reference broken")


class Outcome(msgspec.Struct, frozen=True):
    """How a deploy ended: one of the end states, with a sentence where it did not succeed."""

    state: State
    reason: str | None = None
    exit_code: int | None = None
    #: Whether the last good commit is to be brought back.
    roll_back: bool = False


#: Why an interrupted deploy is not queued again.
NOT_AGAIN = (
    f"it is not queued again, for that was {MOST_INTERRUPTED} times in a row; if the script restarts"
    " this server, let what supervises it end the server only, and not the script (for systemd:"
    " KillMode=process)"
)
CANCELLED_EARLY = Outcome(State.CANCELLED, "cancelled before its script ran")
#: The same of one whose git was killed.
CANCELLED_MIDWAY = Outcome(
    State.CANCELLED,
    "cancelled while git changed the files; some are changed, and the next deploy completes that",
)


class Moved(Exception):
    """The fresh config names another location for this deploy, which goes on there."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(f"the config moved it to {deployment.location}")
        self.deployment = deployment


class Skipped(Exception):
    """The fresh config has nothing for this deploy; the text is the reason."""


class Cancelled(Exception):
    """Somebody has cancelled the deploy."""


class ScriptFailed(Exception):
    """The script did not end well; the text is the outcome's reason."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


def script_outcome(ended: ScriptEnd, timeout: float | None) -> Outcome:
    """What a script's end means for its deploy; it could run for `timeout` seconds, if that is known."""
    if ended.ending == TOO_MUCH:
        return Outcome(State.FAILED, "the script printed more than max_log allows", ended.code)
    if ended.ending == TIMEOUT:
        of = "" if timeout is None else f" of {timeout:g} s"
        reason = f"the script ran longer than its timeout{of} (`timeout` in the config)"
        return Outcome(State.TIMED_OUT, reason, ended.code)
    if ended.ending == WRAPPER_KILLED:
        reason = (
            "the script's wrapper was killed from outside (out of memory?), and with it the script"
        )
        return Outcome(State.FAILED, reason, ended.code)
    if ended.ending == KILLED:
        return Outcome(State.INTERRUPTED, "the script and its wrapper were killed")
    if ended.ending is not None:
        return Outcome(State.CANCELLED, "the script was cancelled", ended.code)
    if ended.code is None:
        return Outcome(State.INTERRUPTED, "the machine went down while the script ran")
    if ended.code:
        how = f"signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
        hint = _MEANING.get(ended.code, "")
        return Outcome(State.FAILED, f"the script failed with {how}{hint}", ended.code)
    return Outcome(State.SUCCEEDED, None, 0)


def why_failed(error: Exception, location: str) -> str:
    """One sentence about what kept a deploy from its end; of a full disk it says where."""
    said = str(error)
    if isinstance(error, OSError):
        said = f"{error.filename or location} cannot be used: {error.strerror}"
    if isinstance(error, GitError | OSError):
        told = error.said if isinstance(error, GitError) else said
        more = hindrance(location, told)
        if more is None and any(words in told for words in _DAMAGED):
            more = (
                "a power failure or a broken disk has damaged the repository; save what is yours"
                f" there, move {location} away, and deploy again"
            )
        if more is not None:
            return f"{said}; {more}"
    return said


def goal_of(deploy: Deploy, found: Sequence[Deployment]) -> Deployment | None:
    """Where a deploy goes by the config: its location, or its host's; best where its branch goes."""
    here = [one for one in found if one.location == deploy.location]
    moved = [one for one in found if one.host == deploy.host]
    goals = here + moved
    return next((one for one in goals if one.branch == deploy.branch), next(iter(goals), None))


def why_forbidden(one: Deployment, trusts: Sequence[Trust]) -> str | None:
    """Which rule of the server's settings a deployment breaks, as a sentence, or None."""
    broken = [trust.violation(one.location, one.branch, one.script, one.env) for trust in trusts]
    if not broken:
        return "no [[trust]] of the server's settings covers the repository"
    return None if None in broken else broken[0]


def choose(deploy: Deploy, found: Sequence[Deployment], trusts: Sequence[Trust]) -> Deployment:
    """What the config says about a deploy.

    Raises `Skipped` where it says nothing, `Moved` where it names another
    location, and `Refused` where the server's settings do not allow it.
    """
    one = goal_of(deploy, found)
    if one is None:
        elsewhere = any(one.branch == deploy.branch for one in found)
        reason = f"the config has nothing for {deploy.location} any more"
        raise Skipped(reason if elsewhere else why_not(deploy.branch, found))
    if one.branch != deploy.branch and deploy.trigger in _OF_A_BRANCH:
        raise Skipped(why_not(deploy.branch, [one]))
    if (forbidden := why_forbidden(one, trusts)) is not None:
        raise Refused(forbidden)
    if one.location != deploy.location and deploy.trigger is Trigger.ROLLBACK:
        raise Skipped(f"the config has nothing for {deploy.location} any more")
    if one.location != deploy.location:
        raise Moved(one)
    return one
