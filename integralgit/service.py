"""The server as services of Twisted: what listens, what starts and stops in which order, the log."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.application.service import IService, Service
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import ILogObserver, Logger, formatEventAsClassicLogText
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile
from twisted.python.threadpool import ThreadPool

from integralgit.location.lock import lock_holder, try_lock
from integralgit.web.addresses import Addresses
from integralgit.web.site import BoundedSite

log = Logger()

LOG_NAME = "integralgit.log"
#: The size at which the log file is rotated, in bytes, and how many rotated files are kept.
LOG_SIZE, LOG_FILES = 10_000_000, 5
#: Seconds that answers in flight have at the end.
FINISH = 5.0
#: Seconds that a server that ends has to let go of the state folder, once another one starts.
LET_GO = 10.0


class CannotStart(SystemExit, Exception):
    """Ends twistd with one line.

    An `Exception` as well, for it is only of those that a daemon tells the
    process that has started it, which would wait for ever.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"integralgit: {reason}")


@define(eq=False, slots=False)
class Listener(Service):
    """Listens on the endpoints; at the end it stops that first, then lets answers finish."""

    _reactor: Any
    _endpoints: list[IStreamServerEndpoint]
    _site: BoundedSite
    _addresses: Addresses
    _listening: Callable[[], None]
    _drain: Callable[[], Deferred[Any]]
    ports: list[IListeningPort] = field(factory=list, init=False)

    def privilegedStartService(self) -> None:
        """Listen before the privileges go; a port that cannot be had stops the start."""
        for endpoint in self._endpoints:
            started: list[Any] = []
            endpoint.listen(self._site).addBoth(started.append)
            if not started or not hasattr(started[0], "getHost"):
                reason = started[0].getErrorMessage() if started else "no answer"
                raise CannotStart(f"cannot listen: {reason}")
            self.ports.append(started[0])
        if not self._addresses.base:
            self._addresses.base = local_url(self.ports)
        self._listening()

    def stopService(self) -> Deferred[None]:
        """Take no more connections, and wait for the answers that are on their way."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for port in self.ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped
        answered = self._drain()
        answered.addTimeout(FINISH, self._reactor, lambda late, timeout: None)
        await answered


def local_url(ports: list[IListeningPort]) -> str:
    """The URL of the first TCP port, for a server that was not told its own."""
    for port in ports:
        address: Any = port.getHost()
        if hasattr(address, "port"):
            everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - as told, not ours
            host = everywhere.get(address.host, address.host)
            if ":" in host and not host.startswith("["):
                host = f"[{host}]"
            return f"http://{host}:{address.port}"
    return "http://localhost"


@define(eq=False, slots=False)
class Hangups(Service):
    """Goes on at a SIGHUP, by which administrators tell daemons to read their settings again.

    In a terminal it means that the terminal is gone, and ends the server as ever.
    """

    _reactor: Any
    _before: Any = field(default=None, init=False)

    def startService(self) -> None:
        super().startService()
        if not any(map(os.isatty, (0, 1, 2))):
            self._before = signal.signal(signal.SIGHUP, self._heard)

    def stopService(self) -> None:
        super().stopService()
        if self._before is not None:
            signal.signal(signal.SIGHUP, self._before)

    def _heard(self, *_: object) -> None:
        """Say so, later: whatever was interrupted may hold the lock of the log."""
        self._reactor.callFromThread(
            log.info,
            "SIGHUP changes nothing: settings are read at the start, so restart the server",
        )


class Readers(ThreadPool):
    """Threads that start and end with the service."""

    def close(self) -> None:
        """End the threads."""
        self.stop()


@define(eq=False, slots=False)
class IntegralGit(Service):
    """The root: starts its parts in order, and stops them one at a time, last first.

    It holds the lock of the state folder meanwhile: two servers would both
    run what is queued there.
    """

    _state: Path
    parts: list[IService]
    _pools: list[ConnectionPool | Readers]
    _umask: int
    _observer: Any
    _saved_umask: int = field(default=0, init=False)
    _lock: int = field(default=-1, init=False)

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, and give it our log unless it was told of another."""
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self._take_state()
        for part in self.parts:
            part.privilegedStartService()

    def _take_state(self) -> None:
        """Lock the state folder; a server before us that is about to end is waited for.

        Nothing else is to be done meanwhile, for the reactor does not run yet.
        """
        self._lock = os.open(self._state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        end = time.monotonic() + LET_GO
        try:
            while not try_lock(self._lock):
                if time.monotonic() > end:
                    raise CannotStart(
                        f"the state folder {self._state} is in use by {lock_holder(self._lock)};"
                        " end that one first, or let this one have a `state` of its own"
                    )
                time.sleep(0.1)
        except OSError as error:
            reason = f"the state folder {self._state} cannot be locked: {error.strerror}"
            raise CannotStart(reason) from None

    def startService(self) -> None:
        super().startService()
        self._saved_umask = os.umask(self._umask)
        for pool in self._pools:
            pool.start()
        for part in self.parts:
            part.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for part in reversed(self.parts):
            stopped = part.stopService()
            if stopped is not None:
                await stopped
        for pool in self._pools:
            pool.close()
        os.umask(self._saved_umask)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class Log(LogFile):
    """A log file that a rotation which came to nothing has not ended."""

    def write(self, data: str) -> None:
        """Add text; opens the file anew where a rotation has closed it, and could not go on."""
        if self._file.closed:
            self._openFile()
        super().write(data)


def log_observer(state: Path) -> Any:
    """What writes `integralgit.log` into the state folder.

    In the foreground the same lines go to standard output, which a daemon
    does not have.
    """
    file: Any = Log(
        LOG_NAME, str(state), rotateLength=LOG_SIZE, maxRotatedFiles=LOG_FILES, defaultMode=0o600
    )
    terminal: Any = sys.__stdout__
    places = [(file, "utf-8")]
    if terminal is not None:
        places.append((terminal, terminal.encoding))

    def observe(event: dict[str, Any]) -> None:
        text = formatEventAsClassicLogText(event) or ""
        for place, encoding in places if text else ():
            # Where a disk is full, or a terminal gone, its lines are lost, and nothing else with them.
            with suppress(OSError, ValueError):
                place.write(text.encode(encoding, "backslashreplace").decode(encoding))
                place.flush()

    return observe
