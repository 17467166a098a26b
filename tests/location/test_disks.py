"""Tests of the wait for what git has written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from integralgit.location import disks
from integralgit.location.disks import PATIENCE, Disks


class DiskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.synced: list[tuple[str, Deferred[None]]] = []
        self.disks = Disks(self.clock, self.in_thread)
        self.folders = [Path(self.mktemp()).absolute() for _ in range(3)]
        for folder in self.folders:
            folder.mkdir()

    def in_thread(self, work: Callable[[str], None], folder: str) -> Deferred[None]:
        """A thread that waits for the disk until the test says otherwise."""
        self.assertIs(work, disks.sync)
        result: Deferred[None] = Deferred()
        self.synced.append((folder, result))
        return result

    def settle(self, folder: Path) -> Deferred[None]:
        """Wait for what was written there."""
        return Deferred.fromCoroutine(self.disks.settle(str(folder)))

    def test_it_is_waited_for(self) -> None:
        """Until the disk has it, and no longer; the time is not waited for then."""
        settling = self.settle(self.folders[0])
        self.assertNoResult(settling)
        self.synced[0][1].callback(None)
        self.successResultOf(settling)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_at_once(self) -> None:
        """What is written while the disk is waited for shares the next wait, and never two threads."""
        first, second, third = map(self.settle, self.folders)
        self.assertEqual(len(self.synced), 1)
        self.synced[0][1].callback(None)
        self.successResultOf(first)
        self.assertNoResult(second)
        self.assertEqual(len(self.synced), 2)
        self.synced[1][1].callback(None)
        self.successResultOf(second)
        self.successResultOf(third)
        self.assertEqual(len(self.synced), 2)
        again = self.settle(self.folders[0])
        self.assertEqual(len(self.synced), 3)
        self.synced[2][1].callback(None)
        self.successResultOf(again)

    def test_a_slow_disk(self) -> None:
        """It is not waited for for ever, which the log says; the thread still comes to its end."""
        settling = self.settle(self.folders[0])
        self.clock.advance(PATIENCE - 1)
        self.assertNoResult(settling)
        with capturedLogs() as logged:
            self.clock.advance(1)
        self.successResultOf(settling)
        self.assertEqual([event["folder"] for event in logged], [str(self.folders[0])])
        self.synced[0][1].callback(None)
        self.assertEqual(self.disks._waiting, {})

    def test_a_broken_disk(self) -> None:
        """That is told in the log, and the next one asks again."""
        for _ in range(2):
            settling = self.settle(self.folders[0])
            with capturedLogs() as logged:
                self.synced.pop()[1].errback(OSError(errno.EIO, os.strerror(errno.EIO)))
            self.successResultOf(settling)
            self.assertEqual([event["folder"] for event in logged], [str(self.folders[0])])

    def test_a_location_that_is_gone(self) -> None:
        """There is nothing to wait for."""
        self.successResultOf(self.settle(Path(self.mktemp())))
        self.assertEqual(self.synced, [])

    def test_the_disk_itself(self) -> None:
        """The real call works here, and says what was wrong where it does not."""
        disks.sync(str(self.folders[0]))
        with self.assertRaises(FileNotFoundError):
            disks.sync(str(self.folders[0] / "gone"))
