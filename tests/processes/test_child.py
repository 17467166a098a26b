"""Tests of one child process: how it is started, what is kept of it, and how it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from integralgit.processes.child import (
    DRAIN,
    GRACE,
    KEEP,
    MORE,
    MOST_TOLD,
    Children,
    Exit,
    exit_code,
)
from integralgit.processes.groups import group_is_alive, members, signal_group
from tests.fakes import FakeProcess, FakeProcesses

TERM, KILL = signal.SIGTERM, signal.SIGKILL
ENVIRONMENT = {"PATH": "/bin", "LC_ALL": "C"}


class Running(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeProcesses()
        self.children = Children(self.reactor, self.reactor.spawn)
        self.signals: list[tuple[float, int, int]] = []
        self.heard: list[bytes] = []
        #: The groups that outlive their leader.
        self.groups: set[int] = set()
        self.patch(os, "killpg", self.killpg)

    def killpg(self, group: int, number: int) -> None:
        """Remember a signal to a group that there is, with the time at which it was sent."""
        if group not in {*self.groups, *(one.pid for one in self.reactor.spawned)}:
            raise ProcessLookupError
        self.signals.append((self.reactor.seconds(), group, number))

    def run_child(
        self,
        timeout: float = 60.0,
        environment: Mapping[str, str] = ENVIRONMENT,
        descriptors: Mapping[int, int] | None = None,
        owner: object = "the server",
    ) -> tuple[Deferred[Exit], FakeProcess]:
        """Start a child; what it comes to, and the process."""
        ended = Deferred.fromCoroutine(
            self.children.run(
                ["git", "fetch", "--", "origin"],
                environment,
                timeout=timeout,
                descriptors=descriptors,
                tell=self.heard.append,
                interrupted_by=owner,
            )
        )
        return ended, self.reactor.spawned[-1]

    def test_how_it_is_started(self) -> None:
        """A child is started with its arguments as they are."""
        _, process = self.run_child()
        self.assertEqual(process.argv, ["git", "fetch", "--", "origin"])

    def test_the_environment(self) -> None:
        """A child gets exactly the environment that it is given, an empty one too (threat 60)."""
        _, process = self.run_child()
        self.assertEqual(process.env, ENVIRONMENT)
        _, process = self.run_child(environment={})
        self.assertEqual(process.env, {})

    def test_descriptors(self) -> None:
        """A child reads nothing from its stdin, writes to us, and gets what is handed on (threat 66)."""
        _, process = self.run_child(descriptors={9: 77})
        self.assertEqual(process.stdin, b"")
        stdin = process.descriptors.pop(0)
        self.assertEqual(process.descriptors, {1: "r", 2: "r", 9: 77})
        assert isinstance(stdin, int)
        with self.assertRaises(OSError):
            os.fstat(stdin)

    def test_an_end(self) -> None:
        """What a child printed is collected, and standard error is told as it comes."""
        ended, process = self.run_child()
        process.says(b"one ")
        process.complains(b"warning: ")
        process.says(b"two")
        self.assertEqual(self.heard, [b"warning: "])
        process.complains(b"odd")
        self.assertNoResult(ended)
        process.ends()
        self.assertEqual(self.successResultOf(ended), Exit(0, b"one two", b"warning: odd"))
        self.assertEqual(self.heard, [b"warning: ", b"odd"])
        self.assertEqual((self.signals, self.reactor.getDelayedCalls()), ([], []))

    def test_exit_codes(self) -> None:
        """An exit code is given as it is, and a signal as its negative number."""
        for code, number, expected in ((0, None, 0), (3, None, 3), (128, None, 128), (0, 9, -9)):
            ended, process = self.run_child()
            process.ends(code, number)
            self.assertEqual(self.successResultOf(ended).code, expected)

    def test_much_output(self) -> None:
        """Of a child that prints without end only the beginning is kept, and it says so."""
        ended, process = self.run_child()
        block = b"x" * (KEEP // 4)
        for _ in range(10):
            process.says(block)
        process.ends()
        end = self.successResultOf(ended)
        self.assertEqual((len(end.out), end.cut), (KEEP, True))

    def test_much_on_standard_error(self) -> None:
        """Of what a child says without end only the beginning is told, in whole lines (threat 52)."""
        ended, process = self.run_child()
        line = b"remote: and more\n"
        for _ in range(20):
            process.complains(line * (MOST_TOLD // 10 // len(line) - 1))
        told = b"".join(self.heard)
        self.assertTrue(told.endswith(line + MORE))
        self.assertTrue(MOST_TOLD - len(line) < len(told) <= MOST_TOLD + len(MORE))
        process.ends()
        self.assertEqual(self.successResultOf(ended).cut, False)

    def test_it_cannot_be_started(self) -> None:
        """A program that cannot be started is an error at once, and nothing stays behind."""
        self.reactor.refuses = FileNotFoundError(2, "No such file")
        ended = Deferred.fromCoroutine(self.children.run(["git"], {}, timeout=60.0))
        self.failureResultOf(ended, FileNotFoundError)
        self.children.stop()
        self.assertEqual((self.signals, self.reactor.getDelayedCalls()), ([], []))

    def test_too_long(self) -> None:
        """After its timeout a child is asked to end, and made to after the time of grace (threat 42)."""
        ended, process = self.run_child(timeout=60.0)
        pid = process.pid
        assert pid is not None
        self.reactor.advance(59.9)
        self.assertEqual(self.signals, [])
        self.reactor.advance(0.1)
        self.assertEqual(self.signals, [(60.0, pid, TERM)])
        self.reactor.advance(GRACE - 0.1)
        self.assertEqual(self.signals[1:], [])
        self.reactor.advance(0.1)
        self.assertEqual(self.signals[1:], [(60.0 + GRACE, pid, KILL)])
        self.assertNoResult(ended)
        process.complains(b"terminated")
        process.ends(signal=9)
        self.assertEqual(self.successResultOf(ended), Exit(-9, b"", b"terminated", timed_out=True))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_it_ends_when_it_is_asked(self) -> None:
        """A child that is gone after it was asked is not sent a signal again."""
        ended, process = self.run_child(timeout=60.0)
        self.reactor.advance(60.0)
        process.ends(signal=15)
        self.assertTrue(self.successResultOf(ended).timed_out)
        self.reactor.advance(2 * GRACE)
        self.assertEqual([number for _, _, number in self.signals], [TERM])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_its_group_lives_on_after_it_was_asked(self) -> None:
        """Where the child ends when it is asked but its group lives on, that is made to end."""
        ended, process = self.run_child(timeout=60.0)
        pid = process.pid
        assert pid is not None
        self.reactor.advance(60.0)
        self.groups.add(pid)
        process.ends(signal=15)
        self.assertTrue(self.successResultOf(ended).timed_out)
        self.reactor.advance(GRACE - 0.1)
        self.assertEqual(self.signals, [(60.0, pid, TERM)])
        self.reactor.advance(0.1)
        self.assertEqual(self.signals[1:], [(60.0 + GRACE, pid, KILL)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_its_group_lives_on_and_holds_the_output(self) -> None:
        """A group that lives on and holds the output delays the end by `DRAIN`, and is ended too."""
        ended, process = self.run_child(timeout=60.0)
        pid = process.pid
        assert pid is not None
        self.reactor.advance(60.0)
        self.groups.add(pid)
        process.exits(signal=15)
        self.reactor.advance(DRAIN)
        self.assertTrue(self.successResultOf(ended).timed_out)
        self.reactor.advance(GRACE - DRAIN)
        self.assertEqual(self.signals[1:], [(60.0 + GRACE, pid, KILL)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_it_is_asked_once(self) -> None:
        """A child that is asked again has no more time than it had."""
        _, process = self.run_child(timeout=60.0)
        pid = process.pid
        self.reactor.advance(60.0)
        self.reactor.advance(GRACE - 0.1)
        self.children.stop()
        self.reactor.advance(0.1)
        self.assertEqual(self.signals, [(60.0, pid, TERM), (60.0 + GRACE, pid, KILL)])

    def test_it_ends_in_time(self) -> None:
        """A child that ended before its timeout is never sent a signal: its pid may be another's."""
        ended, process = self.run_child(timeout=60.0)
        self.reactor.advance(59.0)
        process.ends()
        self.reactor.advance(1000.0)
        self.assertFalse(self.successResultOf(ended).timed_out)
        self.assertEqual(self.signals, [])

    def test_a_grandchild_that_holds_the_output(self) -> None:
        """A process that a child leaves behind holds up the end for no longer than `DRAIN` (threat 63)."""
        ended, process = self.run_child()
        process.exits()
        process.says(b"late")
        self.reactor.advance(DRAIN - 0.1)
        self.assertEqual(process.closed, [])
        self.assertNoResult(ended)
        self.reactor.advance(0.1)
        self.assertEqual(process.closed, [1, 2])
        self.assertEqual(self.successResultOf(ended), Exit(0, b"late", b""))
        self.assertEqual((self.signals, self.reactor.getDelayedCalls()), ([], []))

    def test_stop_all(self) -> None:
        """At the end of the server all children are asked to end, and whoever waits hears of it."""
        first, one = self.run_child()
        second, two = self.run_child()
        third, three = self.run_child()
        three.ends()
        pids = [one.pid, two.pid]
        self.children.stop()
        self.assertEqual(sorted(pid for _, pid, _ in self.signals), pids)
        self.assertEqual({number for _, _, number in self.signals}, {TERM})
        one.ends(signal=15)
        self.assertEqual(self.successResultOf(first), Exit(-15, b"", b""))
        self.assertNoResult(second)
        self.reactor.advance(GRACE)
        self.assertEqual(self.signals[2:], [(GRACE, pids[1], KILL)])
        two.ends(signal=9)
        self.assertEqual(self.successResultOf(second).code, -9)
        self.assertEqual(self.successResultOf(third).code, 0)

    def test_stop_those_of_one_owner(self) -> None:
        """Only the children of that owner are asked to end, and none that may not be interrupted."""
        self.run_child(owner=7)
        self.run_child(owner=8)
        self.run_child(owner=None)
        self.children.stop(8)
        self.assertEqual([pid for _, pid, _ in self.signals], [4001])
        self.children.stop()
        self.assertEqual([pid for _, pid, _ in self.signals], [4001, 4000])

    def test_stop_all_while_the_output_is_held(self) -> None:
        """A child that has ended already is not sent a signal."""
        ended, process = self.run_child()
        process.exits()
        self.children.stop()
        self.reactor.advance(DRAIN)
        self.assertEqual(self.successResultOf(ended).code, 0)
        self.assertEqual(self.signals, [])


class Signals(SynchronousTestCase):
    def test_to_a_group(self) -> None:
        """A signal goes to the whole group; where nobody is left, that is told and is no error (threat 64)."""
        sent: list[tuple[int, int]] = []
        self.patch(os, "killpg", lambda group, number: sent.append((group, number)))
        self.assertTrue(signal_group(5, TERM))
        self.assertEqual(sent, [(5, TERM)])

        def nobody(group: int, number: int) -> None:
            raise ProcessLookupError

        self.patch(os, "killpg", nobody)
        self.assertFalse(signal_group(5, TERM))

    def test_a_group_that_has_ended(self) -> None:
        """A group is gone when all of it has ended, whether or not its parents have asked how."""
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        self.addCleanup(child.wait)
        self.assertTrue(group_is_alive(child.pid))
        self.assertEqual(list(members(child.pid)), [child.pid])
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.assertTrue(os.path.exists(f"/proc/{child.pid}"))
        self.assertFalse(group_is_alive(child.pid))


class ExitCodes(SynchronousTestCase):
    def test_reasons(self) -> None:
        """Twisted's reasons become the codes that `subprocess` would give."""
        cases = [
            (ProcessDone(0), 0),
            (ProcessTerminated(7, None, 7 << 8), 7),
            (ProcessTerminated(None, 15, 15), -15),
        ]
        for reason, expected in cases:
            self.assertEqual(exit_code(Failure(reason)), expected)
