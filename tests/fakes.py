"""Stand-ins for what only the operating system or a browser has: processes and connections."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject


@define(eq=False)
class FakeProcess:
    """A process that does what the test says, and remembers how it was started.

    `stdin` is what it found on its standard input; None where that is a pipe.
    """

    protocol: ProcessProtocol
    argv: list[str]
    env: Mapping[str, str]
    descriptors: dict[int, int | str]
    stdin: bytes | None
    pid: int | None
    closed: list[int] = field(factory=list, init=False)
    #: What was written to it.
    told: bytes = field(default=b"", init=False)
    _reason: Failure | None = field(default=None, init=False)
    _ended: bool = field(default=False, init=False)

    def says(self, data: bytes) -> None:
        """Print to standard output."""
        self.protocol.childDataReceived(1, data)

    def complains(self, data: bytes) -> None:
        """Print to standard error."""
        self.protocol.childDataReceived(2, data)

    def exits(self, code: int = 0, signal: int | None = None) -> None:
        """The process itself ends; its output may still be held open by a grandchild."""
        ended: Exception = (
            ProcessTerminated(code, signal, code) if code or signal else ProcessDone(0)
        )
        self._reason = Failure(ended)
        self.pid = None
        self.protocol.processExited(self._reason)

    def ends(self, code: int = 0, signal: int | None = None) -> None:
        """The process ends, and nobody holds its output open."""
        self.exits(code, signal)
        self._all_closed()

    def _all_closed(self) -> None:
        if self._reason is not None and not self._ended:
            self._ended = True
            self.protocol.processEnded(self._reason)

    def closeChildFD(self, descriptor: int) -> None:
        self.closed.append(descriptor)
        if {1, 2} <= set(self.closed):
            self._all_closed()

    def closeStdin(self) -> None:
        self.closeChildFD(0)

    def writeToChild(self, childFD: int, data: bytes) -> None:
        if childFD != 0 or 0 in self.closed or self.stdin is not None:
            raise AssertionError("only an open pipe can be written to")
        self.told += data


class FakeProcesses(Clock):
    """A reactor whose time the test moves on, and whose processes the test plays."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[FakeProcess] = []
        #: What starting the next process raises.
        self.refuses: OSError | None = None

    def spawn(
        self,
        protocol: ProcessProtocol,
        argv: Sequence[str],
        environment: Mapping[str, str],
        descriptors: Mapping[int, int | str],
    ) -> FakeProcess:
        """Start a fake process, which lives until the test ends it."""
        if self.refuses is not None:
            raise self.refuses
        stdin = descriptors[0]
        process = FakeProcess(
            protocol,
            list(argv),
            environment,
            dict(descriptors),
            os.read(stdin, 100) if isinstance(stdin, int) else None,
            pid=4000 + len(self.spawned),
        )
        self.spawned.append(process)
        transport: Any = process
        protocol.makeConnection(transport)
        return process


@define(eq=False)
class FakeRequest:
    """The side of a request that a stream writes to, as strict as Twisted's own."""

    method = b"GET"
    written: list[bytes] = field(factory=list, init=False)
    #: Whether the transport is full after each write, until the test lets it go on.
    narrow: bool = False
    finished: bool = field(default=False, init=False)
    #: Whether our side has cut the connection.
    is_cut: bool = field(default=False, init=False)
    producer: Any = field(default=None, init=False)
    _gone: bool = field(default=False, init=False)
    _finishes: list[Deferred[None]] = field(factory=list, init=False)

    @property
    def body(self) -> bytes:
        """Everything that was written."""
        return b"".join(self.written)

    def write(self, data: bytes) -> None:
        if self.finished:
            raise RuntimeError("written to after finish")
        if not self._gone:
            self.written.append(data)
            if self.narrow and self.producer is not None:
                self.producer.pauseProducing()

    def registerProducer(self, producer: object, streaming: bool) -> None:
        if self.producer is not None or not streaming:
            raise RuntimeError("one push producer is expected")
        verifyObject(IPushProducer, producer)
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def notifyFinish(self) -> Deferred[None]:
        finish: Deferred[None] = Deferred()
        self._finishes.append(finish)
        return finish

    def finish(self) -> None:
        if self._gone or self.finished:
            raise RuntimeError("finished twice, or after the other side hung up")
        if self.producer is not None:
            raise RuntimeError("finished with a producer")
        self.finished = True
        finishes, self._finishes = self._finishes, []
        for finish in finishes:
            finish.callback(None)

    @property
    def channel(self) -> FakeRequest:
        """The connection; as little of it as is used."""
        return self

    def hang_up(self) -> None:
        """Our side closes the connection."""
        self.is_cut = True
        self.hangs_up()

    responded: int = field(default=200, init=False)

    def setResponseCode(self, code: int) -> None:
        self.responded = code

    def setHeader(self, name: str, value: str) -> None:
        pass

    def hangs_up(self) -> None:
        """The other side closes the connection."""
        self._gone = True
        if self.producer is not None:
            self.producer.stopProducing()
        finishes, self._finishes = self._finishes, []
        for finish in finishes:
            finish.errback(Failure(ConnectionDone()))
