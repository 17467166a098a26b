"""Tests of what a server goes on in spite of: SIGHUP, and logs that cannot be written."""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from integralgit import service
from integralgit.service import LOG_NAME, Hangups, log_observer


class Loop(Clock):
    """A clock, and what other threads and signals hand to it."""

    def callFromThread(self, call: Callable[..., object], *values: object) -> None:
        self.callLater(0, call, *values)


class HangupTests(SynchronousTestCase):
    def begin(self, *, terminal: bool) -> None:
        """Start the part of a server that minds SIGHUP, in a terminal or not."""
        self.patch(os, "isatty", lambda descriptor: terminal)
        self.reactor = Loop()
        self.part = Hangups(self.reactor)
        self.part.startService()
        self.addCleanup(self.part.stopService)

    def test_a_daemon(self) -> None:
        """It goes on, and logs what SIGHUP does not do; once it ends, all is as before."""
        before = signal.getsignal(signal.SIGHUP)
        self.begin(terminal=False)
        signal.raise_signal(signal.SIGHUP)
        with capturedLogs() as logged:
            self.reactor.advance(0)
        (said,) = map(formatEvent, logged)
        self.assertIn("settings are read at the start, so restart", said)
        self.part.stopService()
        self.assertEqual(signal.getsignal(signal.SIGHUP), before)

    def test_in_a_terminal(self) -> None:
        """The end of its terminal ends a server."""
        before = signal.getsignal(signal.SIGHUP)
        self.begin(terminal=True)
        self.assertEqual(signal.getsignal(signal.SIGHUP), before)


class Logging(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = Path(self.mktemp())
        self.state.mkdir()
        self.terminal = io.TextIOWrapper(io.BytesIO(), "utf-8")
        self.patch(sys, "__stdout__", self.terminal)

    def log(self, *lines: str) -> None:
        """Log these lines."""
        for line in lines:
            self.observe({"log_format": "{line}", "line": line, "log_time": 0.0})

    def assert_told(self, *lines: str) -> None:
        """Standard output got exactly these lines."""
        told: Any = self.terminal.buffer
        self.assertEqual(self.ends(told.getvalue()), list(lines))

    def ends(self, text: bytes) -> list[str]:
        """What lines of a log say."""
        return [line.partition("] ")[2] for line in text.decode().splitlines()]

    def in_file(self, name: str = LOG_NAME) -> list[str]:
        """What the lines of a log file say."""
        return self.ends((self.state / name).read_bytes())

    def test_a_rotation_that_fails(self) -> None:
        """Where no new file can be opened, the terminal is told on; and the file, once it can."""
        self.patch(service, "LOG_SIZE", 1)
        self.observe = log_observer(self.state)
        self.log("one")
        opened = builtins.open

        def too_many(path: Any, *arguments: Any) -> Any:
            if Path(path).name == LOG_NAME:
                raise OSError(errno.EMFILE, "Too many open files")
            return opened(path, *arguments)

        patched = self.patch(builtins, "open", too_many)
        self.log("two", "three")
        patched.restore()
        self.log("four")
        self.assert_told("one", "two", "three", "four")
        self.assertEqual((self.in_file(), self.in_file(f"{LOG_NAME}.1")), (["four"], ["one"]))

    def test_what_an_encoding_lacks(self) -> None:
        """A line that cannot be written as it is, is written with escapes."""
        self.terminal = io.TextIOWrapper(io.BytesIO(), "latin-1")
        self.patch(sys, "__stdout__", self.terminal)
        self.observe = log_observer(self.state)
        self.log("a\udcffb", "✓")
        self.assertEqual(self.in_file(), ["a\\udcffb", "✓"])
        self.assert_told("a\\udcffb", "\\u2713")

    def test_a_terminal_that_is_gone(self) -> None:
        """A standard output that was closed keeps no line from the file; nor does one that never was."""
        self.observe = log_observer(self.state)
        self.terminal.close()
        self.log("one")
        self.patch(sys, "__stdout__", None)
        self.observe = log_observer(self.state)
        self.log("two")
        self.assertEqual(self.in_file(), ["one", "two"])
