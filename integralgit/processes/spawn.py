"""A child process that leads a session, and so a process group, of its own.

Twisted's `spawnProcess` has no way to ask for a session, and `setsid` in front
of each program is one program more to load, which takes as long as all the rest
of a start. posix_spawn(3) can ask. So this is a transport of our own for
Twisted's `ProcessProtocol`: it is made of that, of pipes, and of a pidfd, which
tells of the end of any process (pidfd_open(2)).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import count
from typing import Any

from attrs import define, field
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

#: How a child is started: who hears of it, the program and its arguments, its whole environment,
#: and for each of its descriptors one of ours, `r` for a pipe that we read or `w` for one that we
#: write. Gives its transport; raises `OSError`.
Spawn = Callable[[ProcessProtocol, Sequence[str], Mapping[str, str], Mapping[int, int | str]], Any]
#: How much is read at once, in bytes: what a pipe holds (pipe(7)).
CHUNK = 64 * 1024


@implementer(IReadDescriptor)
@define(eq=False)
class _Reader:
    """Calls back when there is something to read, until it is closed."""

    _reactor: Any
    _descriptor: int
    _ready: Callable[[], object]
    _lost: Callable[[], object]

    def __attrs_post_init__(self) -> None:
        self._reactor.addReader(self)

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "child"

    def doRead(self) -> None:
        self._ready()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002 - Twisted's signature
        self._lost()

    def close(self) -> None:
        """Read no more."""
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1


class Watch:
    """Calls back once when a process has ended, whoever started it.

    Raises `ProcessLookupError` where there is no such process.
    """

    def __init__(self, reactor: Any, pid: int, ended: Callable[[], object]) -> None:
        # Where the reactor stops first, nobody hears of the end.
        self._reader = _Reader(reactor, os.pidfd_open(pid), self._ready, lambda: None)
        self._ended = ended

    def _ready(self) -> None:
        self.close()
        self._ended()

    def close(self) -> None:
        """Watch no more."""
        self._reader.close()


@define(eq=False)
class Leader:
    """A child that runs, as its protocol's transport; `pid` is None once it has ended."""

    _reactor: Any
    _protocol: ProcessProtocol
    pid: int | None
    _input: int | None
    _outputs: dict[int, _Reader] = field(factory=dict, init=False)
    _reason: Failure | None = field(default=None, init=False)

    def listen(self, outputs: Mapping[int, int]) -> None:
        """Hear of what comes out of these pipes, by the child's descriptors, and of the end."""
        assert self.pid is not None
        Watch(self._reactor, self.pid, self._exited)
        for number, pipe in outputs.items():
            read, lost = partial(self._read, number, pipe), partial(self.closeChildFD, number)
            self._outputs[number] = _Reader(self._reactor, pipe, read, lost)

    def _read(self, number: int, pipe: int) -> None:
        data = os.read(pipe, CHUNK)
        if data:
            self._protocol.childDataReceived(number, data)
        else:
            self.closeChildFD(number)

    def writeToChild(self, number: int, data: bytes) -> None:
        """Write to its standard input, at most as much as a pipe holds; one that has ended hears nothing."""
        assert number == 0
        if self._input is not None:
            with suppress(BrokenPipeError):
                os.write(self._input, data)

    def closeStdin(self) -> None:
        """Let it find the end of its standard input."""
        if self._input is not None:
            os.close(self._input)
            self._input = None

    def closeChildFD(self, number: int) -> None:
        """Read no more of what it writes there."""
        output = self._outputs.pop(number, None)
        if output is not None:
            output.close()
            self._protocol.childConnectionLost(number)
            self._end()

    def _exited(self) -> None:
        assert self.pid is not None
        _, status = os.waitpid(self.pid, 0)
        code, self.pid = os.waitstatus_to_exitcode(status), None
        number = -code if code < 0 else None
        self._reason = Failure(
            ProcessTerminated(max(code, 0), number, status) if code else ProcessDone(status)
        )
        self.closeStdin()
        self._protocol.processExited(self._reason)
        self._end()

    def _end(self) -> None:
        if self._reason is not None and not self._outputs:
            reason, self._reason = self._reason, None
            self._protocol.processEnded(reason)


@cache
def _ignored() -> tuple[signal.Signals, ...]:
    """The signals that we ignore, as Python does SIGPIPE, and a child is not to."""
    every = (one for one in signal.valid_signals() if isinstance(one, signal.Signals))
    return tuple(one for one in every if signal.getsignal(one) == signal.SIG_IGN)


def _moves(ours: Mapping[int, int]) -> list[tuple[int, ...]]:
    """What gives a child our descriptors under its own numbers (posix_spawn_file_actions_adddup2(3)).

    By way of numbers that are none of these, for one's number may be another's.
    They are low ones, for there is a limit (getrlimit(2)), and may be anybody's:
    the child has descriptors of its own.
    """
    free = (number for number in count(3) if number not in {*ours, *ours.values()})
    between = dict(zip(ours, free, strict=False))
    return [
        *((os.POSIX_SPAWN_DUP2, ours[number], between[number]) for number in ours),
        *((os.POSIX_SPAWN_DUP2, between[number], number) for number in ours),
        *((os.POSIX_SPAWN_CLOSE, one) for one in between.values()),
    ]


def spawner(reactor: Any) -> Spawn:
    """Starts children; the reactor tells of what they print and of their ends.

    A child gets none of our descriptors but those that it is given: Python
    opens all others so that they are closed (PEP 446), and those that we were
    given at our own start are made so by `keep_descriptors`.
    """

    def spawn(
        protocol: ProcessProtocol,
        argv: Sequence[str],
        environment: Mapping[str, str],
        descriptors: Mapping[int, int | str],
    ) -> Leader:
        outputs: dict[int, int] = {}
        own_input: int | None = None
        ours: dict[int, int] = {}
        kept: list[int] = []
        theirs: list[int] = []
        pid = None
        try:
            for number, what in descriptors.items():
                if isinstance(what, int):
                    ours[number] = what
                    continue
                read, write = os.pipe()
                if what == "r":
                    outputs[number], ours[number] = read, write
                else:
                    own_input, ours[number] = write, read
                kept.append(read if what == "r" else write)
                theirs.append(ours[number])
            pid = os.posix_spawnp(
                argv[0],
                list(argv),
                environment,
                file_actions=_moves(ours),
                setsid=True,
                setsigdef=_ignored(),
            )
            leader = Leader(reactor, protocol, pid, own_input)
            leader.listen(outputs)
        except BaseException:
            for pipe in kept:
                os.close(pipe)
            if pid is not None:
                # There was no descriptor left to hear of its end by.
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            raise
        finally:
            for pipe in theirs:
                os.close(pipe)
        transport: Any = leader
        protocol.makeConnection(transport)
        return leader

    return spawn


def keep_descriptors() -> None:
    """Let no child have the descriptors that we were started with, but the first three."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with suppress(OSError):
                os.set_inheritable(int(name), False)
