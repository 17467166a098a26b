"""One child process whose output we read: started without fork, ended within bounds.

For git. A deploy's script writes to its log file itself; see `script`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from integralgit.background import cancel
from integralgit.processes.groups import signal_group
from integralgit.processes.spawn import Spawn

#: Seconds from TERM to KILL.
GRACE = 10.0
#: Seconds that a grandchild may hold the output open after the child has ended.
DRAIN = 2.0
#: The most that is kept of what a child prints, in bytes.
KEEP = 64_000_000
#: The most that is told of what a child says on standard error, in bytes, and what follows that.
MOST_TOLD = 1_000_000
MORE = b"\n\xe2\x80\xa6 and more, which is left out.\n"


class Exit(msgspec.Struct, frozen=True):
    """How a child ended, and what it printed; `code` is -n after signal n, as in `subprocess`.

    `cut` says that it printed more than is kept.
    """

    code: int
    out: bytes
    err: bytes
    timed_out: bool = False
    cut: bool = False


def exit_code(reason: Failure) -> int:
    """The exit code behind the reason that Twisted gives, negative for a signal."""
    if isinstance(reason.value, ProcessDone):
        return 0
    ended = cast(Any, reason.value)
    return -ended.signal if ended.signal else int(ended.exitCode or 0)


@define(eq=False)
class _Child(ProcessProtocol):
    reactor: Any
    timeout: float
    tell: Callable[[bytes], None]
    ended: Deferred[Exit] = field(factory=Deferred)
    out: list[bytes] = field(factory=list)
    err: list[bytes] = field(factory=list)
    kept: int = 0
    told: int = 0
    timed_out: bool = False
    stopping: bool = False
    timer: IDelayedCall | None = None
    drain: IDelayedCall | None = None
    transport: Any = field(init=False)

    def connectionMade(self) -> None:
        self.timer = self.reactor.callLater(self.timeout, self._too_long)

    def outReceived(self, data: bytes) -> None:
        self._keep(self.out, data)

    def errReceived(self, data: bytes) -> None:
        self._keep(self.err, data)
        before, self.told = self.told, self.told + len(data)
        if self.told <= MOST_TOLD:
            self.tell(data)
        elif before <= MOST_TOLD:
            # Not a part of a line: what is struck out of it could not be known by that.
            rest = data[: MOST_TOLD - before]
            self.tell(rest[: rest.rfind(b"\n") + 1] + MORE)

    def _keep(self, where: list[bytes], data: bytes) -> None:
        self.kept += len(data)
        if self.kept <= KEEP:
            where.append(data)

    def _too_long(self) -> None:
        self.timed_out = True
        self.stop()

    def stop(self) -> None:
        """Ask the child to end; it is made to after `GRACE` seconds."""
        pid = self.transport.pid
        if pid is not None and not self.stopping:
            self.stopping = True
            cancel(self.timer)
            self.timer = self.reactor.callLater(GRACE, self._kill, pid)
            signal_group(pid, signal.SIGTERM)

    def _kill(self, pid: int) -> None:
        """End what is left of the group; the child itself may be gone."""
        signal_group(pid, signal.SIGKILL)

    def processExited(self, reason: Failure) -> None:  # noqa: ARG002 - Twisted's signature
        if not self.stopping:
            cancel(self.timer)
        self.drain = self.reactor.callLater(DRAIN, self._close_output)

    def _close_output(self) -> None:
        for descriptor in (1, 2):
            self.transport.closeChildFD(descriptor)

    def processEnded(self, reason: Failure) -> None:
        cancel(self.drain)
        if not self.stopping:
            cancel(self.timer)
        out, err = b"".join(self.out), b"".join(self.err)
        self.ended.callback(Exit(exit_code(reason), out, err, self.timed_out, cut=self.kept > KEEP))


@define
class Children:
    """Runs child processes, started by `spawn`, and remembers those that may be interrupted."""

    _reactor: Any
    spawn: Spawn
    _interruptible: dict[_Child, object] = field(factory=dict, init=False)

    async def run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        timeout: float,
        descriptors: Mapping[int, int] | None = None,
        tell: Callable[[bytes], None] = lambda data: None,
        interrupted_by: object = None,
        output: bool = True,
    ) -> Exit:
        """Run a program to its end, in a process group of its own, with empty stdin.

        `descriptors` are handed on (child's number: ours), and `tell` hears
        standard error as it comes, up to `MOST_TOLD`; without `output` nobody reads what it
        prints. After `timeout` seconds the group is ended; so it is by `stop`,
        if `interrupted_by` says for whom. Raises `OSError` where the program
        cannot be started.
        """
        child = _Child(self._reactor, timeout, tell)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            pipes: dict[int, int | str] = {0: nothing, 1: "r" if output else nothing, 2: "r"}
            self.spawn(child, argv, environment, {**pipes, **(descriptors or {})})
        finally:
            os.close(nothing)
        if interrupted_by is not None:
            self._interruptible[child] = interrupted_by
        try:
            return await child.ended
        finally:
            self._interruptible.pop(child, None)

    def stop(self, owner: object = None) -> None:
        """Ask the children that may be interrupted, of one owner or all, to end.

        Whoever waits for one hears of it as usual.
        """
        for child, whose in list(self._interruptible.items()):
            if owner is None or whose == owner:
                child.stop()
