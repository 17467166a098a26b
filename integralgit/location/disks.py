"""A deploy has come to its end when what git has written is on the disk.

git waits for the disk neither with the objects that it unpacks nor with refs and
files (git-config(1), `core.fsync`); after a power failure in the next half
minute they would be there and empty, and no git could work with the repository
any more. So the file system is asked to write everything down while the script
runs, once for all deploys that wait for it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from integralgit.background import Background, InThread

log = Logger()

#: Seconds that a deploy waits for a disk; one that has much else to write is not waited for longer.
PATIENCE = 10.0


def sync(folder: str) -> None:
    """Wait until all of the folder's file system is on the disk (syncfs(2)); raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), folder)
    finally:
        os.close(descriptor)


def in_own_thread(reactor: Any) -> InThread:
    """Calls a function in a thread that nobody waits for at the end of the server."""

    def run(work: Callable[..., object], *arguments: object) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()

        def call() -> None:
            try:
                done = work(*arguments)
            except Exception:
                reactor.callFromThread(result.errback, Failure())
            else:
                reactor.callFromThread(result.callback, done)

        Thread(target=call, name="disk", daemon=True).start()
        return result

    return run


@define
class Disks:
    """The file systems that are waited for; each by one thread at a time."""

    _reactor: Any
    _in_thread: InThread
    _background: Background = field(factory=Background, init=False)
    #: Who waits for the next look at a device; there is an entry for each that is being waited for.
    _waiting: dict[int, list[Deferred[None]]] = field(factory=dict, init=False)

    async def settle(self, *folders: str) -> None:
        """What was written there until now is on the disk; but for `PATIENCE`, and a broken one."""
        devices = {}
        for folder in folders:
            with suppress(OSError):
                devices[os.stat(folder).st_dev] = folder
        for device, folder in devices.items():
            await self._settle(device, folder)

    def _settle(self, device: int, folder: str) -> Deferred[None]:
        def late(_: object, seconds: float) -> None:
            log.warn("{folder} is not on the disk after {s} s", folder=folder, s=seconds)

        settled: Deferred[None] = Deferred()
        settled.addTimeout(PATIENCE, self._reactor, late)
        is_busy = device in self._waiting
        self._waiting.setdefault(device, []).append(settled)
        if not is_busy:
            self._background.spawn(self._work(device, folder))
        return settled

    async def _work(self, device: int, folder: str) -> None:
        while waiting := self._waiting[device]:
            self._waiting[device] = []
            try:
                await self._in_thread(sync, folder)
            except Exception as error:
                log.warn("{folder} is not on the disk: {error}", folder=folder, error=error)
            for one in waiting:
                one.callback(None)
        del self._waiting[device]
