"""Children as they are really started: their session, their descriptors, their ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from integralgit.processes.spawn import Leader, keep_descriptors, spawner

#: Prints what a process finds at its start.
LOOK = """
import json, os
links = {}
for name in os.listdir("/proc/self/fd"):
    try:
        links[name] = os.readlink("/proc/self/fd/" + name)
    except OSError:
        pass
status = open("/proc/self/status").read().splitlines()
print(json.dumps({
    "pid": os.getpid(), "group": os.getpgid(0), "session": os.getsid(0), "links": links,
    "environment": dict(os.environ),
    "ignored": [line for line in status if line.startswith("SigIgn")],
}))
"""


@define(eq=False)
class Heard(ProcessProtocol):
    """Keeps what it is told, in its order."""

    out: dict[int, bytes] = field(factory=dict)
    told: list[str] = field(factory=list)
    exited: Deferred[None] = field(factory=Deferred)
    #: That it has printed something.
    spoke: Deferred[None] = field(factory=Deferred)
    #: Why it has ended.
    ended: Deferred[Any] = field(factory=Deferred)
    transport: Any = None

    def connectionMade(self) -> None:
        self.told.append("made")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.out[childFD] = self.out.get(childFD, b"") + data
        if not self.spoke.called:
            self.spoke.callback(None)

    def childConnectionLost(self, childFD: int) -> None:
        self.told.append(f"lost {childFD}")

    def processExited(self, reason: Failure) -> None:
        self.told.append("exited")
        self.exited.callback(None)

    def processEnded(self, reason: Failure) -> None:
        self.told.append("ended")
        self.ended.callback(reason.value)


class Spawned(TestCase):
    def start(
        self,
        *argv: str,
        environment: Mapping[str, str] | None = None,
        descriptors: Mapping[int, int | str] | None = None,
    ) -> tuple[Heard, Leader]:
        """Start a program, with an empty input and pipes for its output unless these say more."""
        heard = Heard()
        nothing = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, nothing)
        usual: dict[int, int | str] = {0: nothing, 1: "r", 2: "r"}
        given = {**usual, **(descriptors or {})}
        environment = os.environ if environment is None else environment
        leader = spawner(reactor)(heard, argv, environment, given)
        return heard, leader

    async def test_what_it_finds(self) -> None:
        """It leads a session of its own, and has what it was given and nothing else of ours (threat 66)."""
        kept, given = os.open("/", os.O_RDONLY), os.open("/dev", os.O_RDONLY)
        for one in (kept, given):
            self.addCleanup(os.close, one)
        # As if we had been started with it.
        os.set_inheritable(kept, True)
        keep_descriptors()
        heard, leader = self.start(
            sys.executable, "-c", LOOK, environment={"A": "1"}, descriptors={9: given}
        )
        pid = leader.pid
        await heard.ended
        found = json.loads(heard.out[1])
        self.assertEqual((found["pid"], found["group"], found["session"]), (pid, pid, pid))
        links = found["links"]
        self.assertEqual(links.pop("9"), "/dev")
        self.assertEqual(links.pop("0"), "/dev/null")
        self.assertEqual({name for name in links if int(name) < 3}, {"1", "2"})
        # What is left is the folder that it reads.
        self.assertEqual(
            {links[name] for name in links if int(name) > 2} - {f"/proc/{pid}/fd"}, set()
        )
        self.assertLessEqual(
            found["environment"].items(), {"A": "1", "LC_CTYPE": "C.UTF-8"}.items()
        )
        # Of those below the ones that the C library keeps to itself (signal(7)), Python ignores two.
        python = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
        (ignored,) = found["ignored"]
        self.assertEqual(int(ignored.split()[1], 16) & (1 << 31) - 1, python)

    async def test_signals(self) -> None:
        """What we ignore, it does not: a pipe that is closed ends it."""
        heard, _ = self.start("sh", "-c", 'kill -PIPE "$$"; echo lives')
        reason = await heard.ended
        self.assertEqual((type(reason), reason.signal), (ProcessTerminated, signal.SIGPIPE))
        self.assertEqual(heard.out, {})

    async def test_descriptors_that_cross(self) -> None:
        """Each number leads where it was said, also where one's number is another's source."""
        wanted = {}
        for name in ("/", "/dev", "/proc", "/tmp"):
            descriptor = os.open(name, os.O_RDONLY)
            self.addCleanup(os.close, descriptor)
            wanted[descriptor] = name
        numbers = list(wanted)
        crossed = dict(zip(numbers, [*numbers[1:], numbers[0]], strict=True))
        heard, _ = self.start(sys.executable, "-c", LOOK, descriptors={**crossed})
        await heard.ended
        links = json.loads(heard.out[1])["links"]
        self.assertEqual(
            {number: links[str(number)] for number in crossed},
            {number: wanted[source] for number, source in crossed.items()},
        )

    async def test_the_highest_descriptor(self) -> None:
        """What it is given may have the highest number that the limit allows."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = min(limits[0], 1024)
        given = os.open("/dev", os.O_RDONLY)
        self.addCleanup(os.close, given)
        highest = fcntl.fcntl(given, fcntl.F_DUPFD_CLOEXEC, limit - 1)
        self.addCleanup(os.close, highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
        try:
            heard, _ = self.start(sys.executable, "-c", LOOK, descriptors={9: highest})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await heard.ended
        self.assertEqual(json.loads(heard.out[1])["links"]["9"], "/dev")

    async def test_ends(self) -> None:
        """Its end is told once, by its exit code or its signal, after all that it printed."""
        for script, expected in (
            ("echo out; echo err >&2", (ProcessDone, 0, None)),
            ("exit 3", (ProcessTerminated, 3, None)),
            ('kill -9 "$$"', (ProcessTerminated, 0, 9)),
        ):
            heard, leader = self.start("sh", "-c", script)
            reason = await heard.ended
            self.assertEqual((type(reason), reason.exitCode or 0, reason.signal), expected)
            self.assertEqual(sorted(heard.told), ["ended", "exited", "lost 1", "lost 2", "made"])
            self.assertEqual((heard.told[0], heard.told[-1]), ("made", "ended"))
            self.assertIsNone(leader.pid)
        self.assertEqual(heard.out, {})

    async def test_much_output(self) -> None:
        """Everything that it prints comes, however much."""
        heard, _ = self.start("head", "-c", "5000000", "/dev/zero")
        await heard.ended
        self.assertEqual(heard.out, {1: bytes(5_000_000)})

    async def test_its_input(self) -> None:
        """What is written to it, it reads; a child that is gone hears nothing, and that is no fault."""
        heard, leader = self.start("cat", descriptors={0: "w"})
        leader.writeToChild(0, b"one\n")
        leader.closeStdin()
        await heard.ended
        self.assertEqual(heard.out, {1: b"one\n"})
        heard, leader = self.start(
            "sh", "-c", "exec <&-; echo; read -r x <&1", descriptors={0: "w"}
        )
        os.killpg(leader.pid or 0, signal.SIGKILL)
        await heard.exited
        leader.writeToChild(0, b"two\n")
        leader.closeStdin()

    async def test_a_grandchild_that_holds_the_output(self) -> None:
        """It has exited, but not ended, until nobody can write any more or nobody wants to hear."""
        heard, leader = self.start("sh", "-c", "sleep 60 & echo $!")
        # In either order: what it printed may still be in the pipe when it has exited.
        await heard.spoke
        await heard.exited
        self.assertNoResult(heard.ended)
        for number in (1, 2):
            leader.closeChildFD(number)
        self.successResultOf(heard.ended)
        os.kill(int(heard.out[1]), signal.SIGKILL)

    def test_what_cannot_be_started(self) -> None:
        """A program that is not there is an error at once, and leaves nothing open."""
        before = len(os.listdir("/proc/self/fd"))
        with self.assertRaises(FileNotFoundError):
            self.start("/nowhere", descriptors={0: "w"})
        # The test's own one, which it closes at its end.
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 1)

    def test_nothing_left_to_hear_of_its_end_by(self) -> None:
        """Where there is no descriptor for that, the child is ended at once, and that is an error."""
        started = []

        def none_left(pid: int) -> int:
            started.append(pid)
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "pidfd_open", none_left)
        before = len(os.listdir("/proc/self/fd"))
        with self.assertRaises(OSError):
            self.start("sleep", "60", descriptors={0: "w"})
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 1)
        self.assertFalse(Path(f"/proc/{started[0]}").exists())
