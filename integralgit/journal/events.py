"""The vocabulary of the archive: states, triggers, records, and what watchers are told.

Pure. A record is a row as a frozen value; an event is small and says only what
changed, for whoever watches reads the rest. All are msgspec's, which makes
their JSON, and of which a page may need thousands.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from integralgit.hooks.delivery import Commit


class State(StrEnum):
    """A deploy's life: queued, running, then one of the ends."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to a deploy in this state."""
        return self not in (State.QUEUED, State.RUNNING)

    @property
    def may_run_again(self) -> bool:
        """Whether the same delivery, sent again, deploys again after this end."""
        return self in (State.FAILED, State.TIMED_OUT, State.CANCELLED, State.INTERRUPTED)


class Trigger(StrEnum):
    """What made a deploy."""

    PUSH = "push"
    POLL = "poll"
    MANUAL = "manual"
    RETRY = "retry"
    ROLLBACK = "rollback"


class StepState(StrEnum):
    """A step's life."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Deploy(msgspec.Struct, frozen=True):
    """One deploy as the archive knows it; times are seconds since the epoch.

    `pusher` is who pushed, as the delivery says; empty where none made it.
    `is_to_end` says that somebody has cancelled it while it ran.
    """

    id: int
    repo: str
    branch: str
    host: str | None
    location: str | None
    trigger: Trigger
    push: int | None
    wanted: str | None
    state: State
    created: float
    reason: str | None = None
    commit: str | None = None
    previous_commit: str | None = None
    head: str | None = None
    config_commit: str | None = None
    exit_code: int | None = None
    started: float | None = None
    finished: float | None = None
    superseded_by: int | None = None
    commits: tuple[Commit, ...] = ()
    log_size: int | None = None
    pusher: str = ""
    rolls_back: int | None = None
    rolled_back_by: int | None = None
    is_to_end: bool = False


class Target(msgspec.Struct, frozen=True):
    """Where a push is to be deployed; host and location are None while the config is unknown."""

    branch: str
    host: str | None = None
    location: str | None = None


class Decision(msgspec.Struct, frozen=True):
    """What becomes of a push. `look` asks for a fresh look at the repository's config."""

    outcome: str
    reason: str = ""
    targets: tuple[Target, ...] = ()
    look: bool = False


class Step(msgspec.Struct, frozen=True):
    """One step of a deploy; `log_start` is where its output begins in the log, in bytes."""

    name: str
    state: StepState
    started: float
    finished: float | None
    detail: str
    log_start: int


class StoredPush(msgspec.Struct, frozen=True):
    """One change of a ref, with what was decided about it."""

    id: int
    delivery: int
    repo: str
    ref: str
    before: str | None
    after: str | None
    deleted: bool
    pusher: str
    commits: tuple[Commit, ...]
    whole: bool
    outcome: str
    reason: str


class StoredDelivery(msgspec.Struct, frozen=True):
    """A delivery with its decision and its pushes."""

    id: int
    received: float
    provider: str
    provider_id: str
    event: str
    repo: str | None
    outcome: str
    reason: str
    pushes: tuple[StoredPush, ...]


class RepositoryRecord(msgspec.Struct, frozen=True):
    """What is known of a repository's config: the newest one, and the last usable one."""

    repo: str
    config_commit: str | None
    config_text: str | None
    config_error: str | None
    good_commit: str | None
    good_text: str | None
    provider: str = ""


class Freeze(msgspec.Struct, frozen=True):
    """Why nothing of a repository is deployed, since when, and until when if that is set."""

    repo: str
    reason: str
    since: float
    until: float | None


class Refusal(msgspec.Struct, frozen=True):
    """A request that was refused, or `count` of them for one cause and from one place."""

    status: int
    cause: str
    source: str
    first: float
    last: float
    count: int = 1


class RunningScript(msgspec.Struct, frozen=True):
    """The process group of a script, and until when it may run.

    It is recorded while git still changes the files: `previous` and `head` say
    where HEAD was, and where it is once the script runs. `timeout` is how many
    seconds it may run; None where a server recorded it that did not tell.
    """

    deploy: int
    pid: int
    start_ticks: int
    boot_id: str
    deadline: float
    ending: str | None = None
    previous: str | None = None
    head: str | None = None
    timeout: float | None = None


class ItemState(StrEnum):
    """What became of something in the outbox."""

    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given_up"


class Item(msgspec.Struct, frozen=True):
    """Something in the outbox: what one receiver is to be told of one subject."""

    id: int
    receiver: str
    subject: str
    repo: str
    deploy: int | None
    wanted: str
    version: int
    created: float
    state: ItemState
    tries: int
    doubt: bool
    next_try: float
    problem: str | None
    given_back: str | None
    finished: float | None


class Pause(msgspec.Struct, frozen=True):
    """A receiver that is not to be asked before that time, and why; whether a person has to mend that."""

    receiver: str
    until: float
    problem: str
    to_mend: bool = False


class Check(msgspec.Struct, frozen=True):
    """What is asked after a deploy's script: a URL, for how many seconds, and whether to go back.

    `deadline` is when it must have answered, once it is asked.
    """

    url: str
    timeout: float
    rollback: bool
    deadline: float | None = None


class DeployChanged(msgspec.Struct, frozen=True):
    """The deploy has a new state, or something else of its row changed."""

    deploy: int
    repo: str
    state: State


class StepChanged(msgspec.Struct, frozen=True):
    """A step of the deploy began or ended."""

    deploy: int
    step: str
    state: StepState


class RepositoryChanged(msgspec.Struct, frozen=True):
    """A delivery came in for the repository, or its config was read."""

    repo: str


class ConfigRead(msgspec.Struct, frozen=True):
    """A config of the repository was read that is not the one known before."""

    repo: str


class OutboxChanged(msgspec.Struct, frozen=True):
    """Something waits for that receiver, or has a new state."""

    receiver: str


Event = DeployChanged | StepChanged | RepositoryChanged | ConfigRead | OutboxChanged
