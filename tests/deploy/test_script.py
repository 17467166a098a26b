"""Tests of a deploy's script: its surroundings, how it is run, and how it is ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy import script as module
from integralgit.deploy.script import (
    Script,
    ScriptEnd,
    interpreter_of,
    script_environment,
    still_runs,
)
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal.events import Deploy, RunningScript, State, Trigger
from integralgit.location.plan import Refused
from integralgit.location.room import NoRoom
from integralgit.processes.child import GRACE
from integralgit.processes.groups import boot_id, signal_group, start_ticks
from tests.fakes import FakeProcess, FakeProcesses

#: Prints its arguments and its environment as JSON, and ends with 7.
TELL = "import json, os, sys\nprint(json.dumps([sys.argv, dict(os.environ)]))\nsys.exit(7)\n"
TERM, KILL = signal.SIGTERM, signal.SIGKILL
COMMIT = "2" * 40
URL = "https://deploy.example.com/github.com/acme/site/deploys/7"
DEPLOY = Deploy(
    id=7,
    repo="github.com/acme/site",
    branch="queued-branch",
    host="web1",
    location="/srv/site",
    trigger=Trigger.PUSH,
    push=1,
    wanted=COMMIT,
    state=State.RUNNING,
    reason=None,
    commit=COMMIT,
    previous_commit=None,
    head=None,
    config_commit=None,
    exit_code=None,
    created=1.0,
    started=2.0,
    finished=None,
    superseded_by=None,
    commits=(),
    log_size=None,
)


class Environment(SynchronousTestCase):
    def make(
        self,
        server: dict[str, str],
        env: dict[str, str] | None = None,
    ) -> dict[str, str]:
        """The environment of a script."""
        deployment = Deployment("web1", "/srv/site", "main", env=env or {})
        return script_environment(server, deployment, DEPLOY, COMMIT, URL)

    def test_ours(self) -> None:
        """A script is told what is deployed, where, why, and where that can be read (threat 62)."""
        expected = {
            "PATH": "/bin",
            "CI": "true",
            "INTEGRALGIT": "1",
            "INTEGRALGIT_REPO": "github.com/acme/site",
            "INTEGRALGIT_BRANCH": "main",
            "INTEGRALGIT_COMMIT": COMMIT,
            "INTEGRALGIT_HOST": "web1",
            "INTEGRALGIT_LOCATION": "/srv/site",
            "INTEGRALGIT_DEPLOY": "7",
            "INTEGRALGIT_TRIGGER": "push",
            "INTEGRALGIT_URL": URL,
        }
        self.assertEqual(self.make({"PATH": "/bin"}), expected)

    def test_the_allow_list(self) -> None:
        """Only what is on the list comes from the server's environment (threat 60)."""
        allowed = {
            "PATH": "/opt/bin",
            "HOME": "/home/deploy",
            "USER": "deploy",
            "LOGNAME": "deploy",
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "LC_ALL": "C",
            "LC_CTYPE": "C",
            "TMPDIR": "/var/tmp",
            "TZ": "UTC",
        }
        forbidden = {
            "SECRET": "x",
            "CREDENTIALS_DIRECTORY": "/run/credentials",
            "INTEGRALGIT_SECRET": "x",
            "SSH_AUTH_SOCK": "/run/agent",
            "LD_PRELOAD": "/evil.so",
            "PYTHONPATH": "/elsewhere",
            "NOTIFY_SOCKET": "/run/notify",
            "LISTEN_FDS": "1",
        }
        made = self.make({**allowed, **forbidden})
        rest = {name: value for name, value in made.items() if not name.startswith("INTEGRALGIT")}
        self.assertEqual(rest, {**allowed, "CI": "true"})
        self.assertNotIn("INTEGRALGIT_SECRET", made)

    def test_a_path_there_is_always(self) -> None:
        """A script has a PATH even if the server has none."""
        self.assertEqual(self.make({})["PATH"], os.defpath)

    def test_the_config_wins_over_the_server(self) -> None:
        """The config's variables come besides, and win over the server's."""
        made = self.make({"PATH": "/bin", "LANG": "C"}, {"PATH": "/opt/bin", "COLOUR": "blue"})
        self.assertEqual((made["PATH"], made["LANG"], made["COLOUR"]), ("/opt/bin", "C", "blue"))

    def test_ours_win_over_the_config(self) -> None:
        """No config can tell a script something else than what is deployed."""
        env = {"INTEGRALGIT_COMMIT": "other", "INTEGRALGIT_REPO": "other", "CI": "false"}
        made = self.make({}, env)
        self.assertEqual(
            (made["INTEGRALGIT_COMMIT"], made["INTEGRALGIT_REPO"], made["CI"]),
            (COMMIT, "github.com/acme/site", "true"),
        )


class Interpreters(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder)

    def write(self, name: str, text: str, mode: int = 0o644) -> str:
        """Make a script; its path."""
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_text(text)
        os.chmod(path, mode)
        return path

    def interpreter(self, script: str) -> tuple[str, ...]:
        """What runs that script."""
        return interpreter_of(self.folder, script)

    def test_an_executable(self) -> None:
        """An executable file runs as it is, whatever is in it."""
        self.write("deploy.sh", "#!/bin/sh\n", 0o755)
        self.assertEqual(self.interpreter("deploy.sh"), ())

    def test_shebangs(self) -> None:
        """A file without the x bit runs through its shebang, as the kernel would do it."""
        cases = [
            ("#!/bin/sh\n", ("/bin/sh",)),
            ("#!/bin/sh", ("/bin/sh",)),
            ("#! /bin/sh -e\necho\n", ("/bin/sh", "-e")),
            ("#!\t/bin/sh\t-e \n", ("/bin/sh", "-e")),
            ("#!/usr/bin/env python3\n", ("/usr/bin/env", "python3")),
            ("#!/usr/bin/env -S python3 -u\n", ("/usr/bin/env", "-S python3 -u")),
            ("#!/bin/sh\r\n", ("/bin/sh",)),
        ]
        for text, interpreter in cases:
            self.write("script", text)
            self.assertEqual(self.interpreter("script"), interpreter, text)

    def test_without_a_shebang(self) -> None:
        """A file without the x bit and without a shebang runs through sh."""
        for text in ("echo hello\n", "", "# a comment\n#!/bin/bash\n", "#!\n", " #!/bin/bash\n"):
            self.write("script", text)
            self.assertEqual(self.interpreter("script"), ("sh",), text)

    def refusal(self, script: str) -> str:
        """Why that script is not run."""
        with self.assertRaises(Refused) as raised:
            self.interpreter(script)
        return str(raised.exception)

    def test_an_interpreter_that_is_missing(self) -> None:
        """A script that asks for what is no program here says so, with the x bit or without (threat 55)."""
        os.mkdir(os.path.join(self.folder, "bin"))
        self.write("no-program", "x")
        for shebang, asked in (
            ("#!/nowhere/sh\n", "/nowhere/sh"),
            ("#! /nowhere/sh -e\n", "/nowhere/sh"),
            ("#!./bin\n", "./bin"),
            ("#!./no-program\n", "./no-program"),
        ):
            for mode in (0o644, 0o755):
                self.write("script", shebang, mode)
                self.assertEqual(
                    self.refusal("script"),
                    f"the script script could not be started: its first line asks for {asked},"
                    f" which is no program here",
                )

    def test_lines_of_windows(self) -> None:
        """An executable script whose shebang ends with CRLF says what is to be done (threat 55)."""
        for shebang in ("#!/bin/sh\r\n", "#!/usr/bin/env python3\r\n", "#!/nowhere/sh\r\n"):
            self.write("script", shebang, 0o755)
            self.assertEqual(
                self.refusal("script"),
                "the script script could not be started: its lines end with CRLF, as on Windows;"
                " commit it with LF",
            )

    def test_a_nul(self) -> None:
        """A first line with a NUL, which no argument can hold, is refused as well (threat 55)."""
        for mode in (0o644, 0o755):
            self.write("script", "#!/bin/sh\0x\n", mode)
            self.assertIn("its first line holds a NUL byte", self.refusal("script"))

    def test_what_may_be_run_but_not_read(self) -> None:
        """A program that one may only execute runs; a script that one may not read is refused."""
        vars(module)["open"] = self.unreadable
        self.addCleanup(vars(module).pop, "open")
        self.write("script", "#!/bin/sh\n", 0o711)
        self.assertEqual(self.interpreter("script"), ())
        self.write("script", "#!/bin/sh\n", 0o600)
        self.assertEqual(self.refusal("script"), "the script script cannot be read: Not allowed")

    def unreadable(self, *arguments: object) -> None:
        """Stands for `open`, where the file is another user's."""
        raise PermissionError(13, "Not allowed")

    def test_paths(self) -> None:
        """A path is relative to the checkout, or absolute."""
        self.write("ci/deploy.sh", "", 0o755)
        absolute = self.write("elsewhere", "#!/bin/sh\n")
        self.assertEqual(self.interpreter("ci/deploy.sh"), ())
        self.assertEqual(self.interpreter("./ci/deploy.sh"), ())
        self.assertEqual(interpreter_of("/nowhere", absolute), ("/bin/sh",))

    def test_a_link(self) -> None:
        """A link in the checkout is followed: a script there could start what it leads to as well (threats 49 and 55)."""
        elsewhere = os.path.abspath(self.mktemp())
        Path(elsewhere).write_text("#!/bin/sh\n")
        Path(elsewhere).chmod(0o700)
        os.symlink(elsewhere, os.path.join(self.folder, "deploy.sh"))
        self.assertEqual(self.interpreter("deploy.sh"), ())

    def test_what_is_not_there(self) -> None:
        """A script that is missing, or a folder, is refused by its name (threat 55)."""
        os.mkdir(os.path.join(self.folder, "folder"))
        os.symlink("nowhere", os.path.join(self.folder, "link"))
        for name in ("missing", "folder", "link", "folder/missing"):
            with self.assertRaises(Refused) as raised:
                self.interpreter(name)
            self.assertEqual(
                str(raised.exception), f"the script {name} is not a file in the checkout"
            )


class Starting(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeProcesses()
        self.status = Path(self.mktemp()).absolute()
        self.script = Script(self.reactor, self.reactor.spawn, self.status)

    def start(self) -> FakeProcess:
        """Start the script."""
        self.script.start(
            "/srv/site/deploy.sh",
            {"PATH": "/bin"},
            location="/srv/site",
            umask=0o027,
            log=70,
            lock=71,
        )
        return self.reactor.spawned[-1]

    def test_how_it_is_started(self) -> None:
        """A wrapper with a group of its own is started, and told where, with what mask, and what."""
        process = self.start()
        self.assertEqual(process.argv[:2], ["sh", "-c"])
        self.assertEqual(
            process.argv[4:],
            [str(self.status), "/srv/site", "027", "/srv/site/deploy.sh"],
        )
        self.assertEqual(process.env, {"PATH": "/bin"})
        self.assertEqual((self.script.pid, process.pid), (4000, 4000))

    def test_descriptors(self) -> None:
        """Its output is the log file itself; the wrapper is told when to go on, and gets the lock."""
        process = self.start()
        self.assertEqual(process.descriptors, {0: "w", 1: 70, 2: 70, 9: 71})

    def test_go(self) -> None:
        """The script runs when it is told to, and then has begun for the next server too."""
        process = self.start()
        self.assertEqual((process.told, process.closed), (b"", []))
        self.script.go(COMMIT, ())
        self.assertEqual((process.told, process.closed), (f"{COMMIT}\n".encode(), [0]))
        process = self.start()
        self.script.go(None, ("/usr/bin/env", "-S python3 -u"))
        self.assertEqual(process.told, b"- /usr/bin/env -S python3 -u\n")
        self.assertIsNone(self.script.status())

    def test_never_mind(self) -> None:
        """A wrapper that is not needed finds its input closed, and nothing of it stays."""
        process = self.start()
        self.script.never_mind()
        self.assertEqual((process.told, process.closed), (b"", [0]))
        self.assertFalse(self.status.exists())

    def test_an_old_status(self) -> None:
        """The exit status that an earlier run left is not taken for this one's."""
        self.status.write_text("0\n")
        self.start()
        self.assertIsNone(self.script.status())

    def test_no_room_for_the_status(self) -> None:
        """Where the exit status could not be kept, nothing is started."""
        self.status.mkdir()
        with self.assertRaises(NoRoom) as raised:
            self.start()
        self.assertEqual(str(raised.exception), f"{self.status} cannot be written: Is a directory")
        self.assertEqual(self.reactor.spawned, [])
        self.status.rmdir()
        process = self.start()
        self.status.unlink()
        self.status.mkdir()
        with self.assertRaises(NoRoom):
            self.script.go(COMMIT, ())
        self.assertEqual(process.told, b"")

    def test_it_cannot_be_started(self) -> None:
        """Where not even the wrapper can be started, that is an error at once."""
        self.reactor.refuses = OSError(12, "Cannot allocate memory")
        with self.assertRaises(OSError):
            self.start()

    def test_status(self) -> None:
        """The status is a number in a file; anything else is none (threat 70)."""
        self.assertIsNone(self.script.status())
        for text, expected in (
            ("0\n", 0),
            ("143\n", 143),
            ("   \n", None),
            (" 0\n", 0),
            ("odd", None),
        ):
            self.status.write_text(text)
            self.assertEqual(self.script.status(), expected, text)


class Ending(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeProcesses()
        self.status = Path(self.mktemp()).absolute()
        self.signals: list[tuple[float, int]] = []
        self.alive = True
        self.patch(module, "signal_group", self.signalled)
        self.patch(module, "group_is_alive", lambda pid: self.alive)
        self.script = Script(self.reactor, self.reactor.spawn, self.status)
        self.script.start(
            "/srv/site/deploy.sh", {}, location="/srv/site", umask=0o022, log=70, lock=71
        )
        self.process = self.reactor.spawned[-1]
        self.pid = self.script.pid

    def signalled(self, pid: int, number: int) -> bool:
        """Remember a signal, with the time at which it was sent."""
        self.assertEqual(pid, self.pid)
        self.signals.append((self.reactor.seconds(), number))
        return True

    def wrapper_ends(self, status: int | None, code: int = 0, number: int | None = None) -> None:
        """The wrapper leaves that status and ends."""
        if status is not None:
            self.status.write_text(f"{status}\n")
        self.process.exits(code, number)

    def quiet(self) -> bool:
        """Whether nothing is left that could happen later."""
        return self.reactor.getDelayedCalls() == []

    def test_a_good_end(self) -> None:
        """A script that ends by itself ends with its own status, and nobody is sent a signal."""
        self.alive = False
        self.wrapper_ends(0)
        self.assertEqual(self.successResultOf(self.script.ended), ScriptEnd(0))
        self.assertEqual((self.signals, self.quiet()), ([], True))

    def test_a_bad_end(self) -> None:
        """The exit status that the wrapper left counts, and else the wrapper's own."""
        self.alive = False
        self.wrapper_ends(3, code=3)
        self.assertEqual(self.successResultOf(self.script.ended), ScriptEnd(3))

    def unreadable(self) -> None:
        """No status can be read from its file."""
        self.status.unlink()
        self.status.mkdir()

    def test_a_status_that_cannot_be_read_at_first(self) -> None:
        """It is read again a second later, and again if need be."""
        self.alive = False
        self.unreadable()
        self.wrapper_ends(None, number=9)
        self.reactor.advance(1.0)
        self.assertNoResult(self.script.ended)
        self.status.rmdir()
        self.status.write_text("  0\n")
        self.reactor.advance(1.0)
        self.assertEqual(self.successResultOf(self.script.ended), ScriptEnd(0))
        self.assertTrue(self.quiet())

    def test_a_status_that_can_never_be_read(self) -> None:
        """After some tries there is none, and the server's log says why."""
        self.alive = False
        self.unreadable()
        self.wrapper_ends(None, code=3)
        with capturedLogs() as events:
            self.reactor.pump([1.0] * 10)
        self.assertEqual(self.successResultOf(self.script.ended), ScriptEnd(3))
        (event,) = events
        self.assertIn("Is a directory", str(formatEvent(event)))
        self.assertTrue(self.quiet())

    def test_a_wrapper_that_was_killed(self) -> None:
        """Where the wrapper left no status, it is how the wrapper ended."""
        self.alive = False
        self.wrapper_ends(None, number=9)
        self.assertEqual(self.successResultOf(self.script.ended), ScriptEnd(-9))

    def test_a_wrapper_that_was_killed_alone(self) -> None:
        """What still runs of the script is ended, and its deploy ends when that is gone (threat 65)."""
        self.wrapper_ends(None, number=9)
        self.assertEqual(self.signals, [(0.0, TERM)])
        self.reactor.pump([0.125] * int(GRACE / 0.125))
        self.assertEqual(self.signals, [(0.0, TERM), (GRACE, KILL)])
        self.assertNoResult(self.script.ended)
        self.alive = False
        self.reactor.advance(0.125)
        self.assertEqual(
            self.successResultOf(self.script.ended), ScriptEnd(-9, module.WRAPPER_KILLED)
        )
        self.assertTrue(self.quiet())

    def test_a_wrapper_that_could_not_leave_its_status(self) -> None:
        """Its own exit code counts, and what the script has left behind is left alone."""
        self.wrapper_ends(None, code=3)
        self.assertEqual(self.successResultOf(self.script.ended), ScriptEnd(3, left_behind=True))
        self.assertEqual((self.signals, self.quiet()), ([], True))

    def test_a_background_process(self) -> None:
        """What a script leaves behind on purpose is left alone and mentioned."""
        self.wrapper_ends(0)
        self.assertEqual(self.successResultOf(self.script.ended), ScriptEnd(0, left_behind=True))
        self.assertEqual((self.signals, self.quiet()), ([], True))

    def test_stop(self) -> None:
        """A script that is stopped gets TERM, and its end waits until its group is gone."""
        self.reactor.advance(5.0)
        self.script.stop("timeout")
        self.assertEqual(self.signals, [(5.0, TERM)])
        self.wrapper_ends(143)
        self.reactor.advance(1.0)
        self.assertNoResult(self.script.ended)
        self.alive = False
        self.reactor.advance(1.0)
        self.assertEqual(self.successResultOf(self.script.ended), ScriptEnd(143, "timeout"))
        self.reactor.advance(2 * GRACE)
        self.assertEqual(self.signals, [(5.0, TERM)])
        self.assertTrue(self.quiet())

    def test_a_script_that_does_not_listen(self) -> None:
        """A group that is still there after the time of grace gets KILL (threat 65)."""
        self.script.stop("cancel")
        self.reactor.advance(GRACE - 0.1)
        self.assertEqual(self.signals, [(0.0, TERM)])
        self.reactor.advance(0.1)
        self.assertEqual(self.signals, [(0.0, TERM), (GRACE, KILL)])
        self.assertNoResult(self.script.ended)
        self.alive = False
        self.wrapper_ends(None, number=9)
        self.assertEqual(self.successResultOf(self.script.ended), ScriptEnd(-9, "cancel"))
        self.assertTrue(self.quiet())

    def test_a_child_that_does_not_listen(self) -> None:
        """A group whose leader has ended gets KILL too, if others of it are still there (threat 65)."""
        self.script.stop("timeout")
        self.wrapper_ends(143)
        self.reactor.pump([0.125] * int(GRACE / 0.125))
        self.assertEqual(self.signals, [(0.0, TERM), (GRACE, KILL)])
        self.assertNoResult(self.script.ended)
        self.alive = False
        self.reactor.advance(0.125)
        self.assertEqual(self.successResultOf(self.script.ended), ScriptEnd(143, "timeout"))
        self.assertTrue(self.quiet())

    def test_what_cannot_be_killed(self) -> None:
        """A group that not even KILL ends holds its deploy up for a bounded time, and is mentioned."""
        self.script.stop("timeout")
        self.wrapper_ends(143)
        self.reactor.pump([0.1] * int(GRACE * 20 + 2))
        self.assertEqual(
            self.successResultOf(self.script.ended), ScriptEnd(143, "timeout", left_behind=True)
        )
        self.assertTrue(self.quiet())

    def test_stopped_twice(self) -> None:
        """Stopping again changes neither the reason nor the time of grace."""
        self.script.stop("timeout")
        self.reactor.advance(GRACE / 2)
        self.script.stop("cancel")
        self.reactor.advance(GRACE / 2)
        self.assertEqual(self.signals, [(0.0, TERM), (GRACE, KILL)])
        self.assertEqual(self.script.ending, "timeout")

    def test_stopped_after_its_end(self) -> None:
        """A script that has ended is not stopped: its pid may be another's by now."""
        self.alive = False
        self.wrapper_ends(0)
        self.script.stop("timeout")
        self.assertEqual(self.successResultOf(self.script.ended), ScriptEnd(0))
        self.assertEqual((self.signals, self.quiet()), ([], True))

    def test_abandon(self) -> None:
        """A script that is abandoned at the end of the server gets no signal, then or later."""
        self.script.abandon()
        self.reactor.advance(1000.0)
        self.assertEqual(self.signals, [])
        self.assertNoResult(self.script.ended)

    def test_abandon_before_its_status_was_read(self) -> None:
        """Where its status could not be read yet, the next server does that."""
        self.unreadable()
        self.wrapper_ends(None)
        self.script.abandon()
        self.assertTrue(self.quiet())
        self.assertNoResult(self.script.ended)


class Wrapper(SynchronousTestCase):
    """The wrapper itself, with a real shell."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.status = self.folder / "status"
        self.status.write_text("   \n")

    def wrap(
        self, *command: str, told: str, folder: str = ".", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command under the wrapper, which is told that."""
        arguments = [str(self.status), str(self.folder / folder), "022", *command]
        return subprocess.run(
            ["sh", "-c", module._WRAPPER, "wrapper", *arguments],
            input=told,
            text=True,
            check=False,
            capture_output=True,
            env=env,
        )

    def run_it(self, *command: str, told: str = "-\n", folder: str = ".") -> int:
        """Run a command under the wrapper; the wrapper's exit code."""
        return self.wrap(*command, told=told, folder=folder).returncode

    def tells(self, told: str, **environment: str) -> tuple[list[str], dict[str, str]]:
        """The arguments and the environment of a script that runs itself, and ends with 7."""
        done = self.wrap(self.teller(), told=told, env={"PATH": os.defpath, **environment})
        self.assertEqual((done.returncode, self.status.read_text()), (7, "  7\n"))
        arguments, seen = json.loads(done.stdout)
        return arguments, seen

    def teller(self, name: str = "a script") -> str:
        """A program that prints its arguments and its environment as JSON; its path."""
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{TELL}")
        path.chmod(0o755)
        return str(path)

    def test_as_it_is(self) -> None:
        """A script that runs itself gets no argument, and hears where the checkout was."""
        arguments, seen = self.tells("abc123\n")
        self.assertEqual(arguments, [self.teller()])
        self.assertEqual(seen["INTEGRALGIT_PREVIOUS_COMMIT"], "abc123")

    def test_the_first_time(self) -> None:
        """Where the checkout was nowhere, the variable is there, and empty."""
        _, seen = self.tells("-\n")
        self.assertEqual(seen["INTEGRALGIT_PREVIOUS_COMMIT"], "")

    def test_through_an_interpreter(self) -> None:
        """What a shebang names runs it, with all that follows as one argument, as by the kernel."""
        tell = self.teller("tell")
        for more in ((), ("-x",), ("-S python3 -u \\n $HOME",)):
            arguments, _ = self.tells(" ".join(["-", tell, *more]) + "\n")
            self.assertEqual(arguments, [tell, *more, self.teller()])

    def test_the_variables_of_the_config(self) -> None:
        """The script has the environment that it was given, whatever names a shell might use."""
        names = ("status", "folder", "mask", "previous", "interpreter", "code", "go")
        given = dict.fromkeys(names, "x")
        _, seen = self.tells("abc123\n", **given)
        self.assertEqual({name: seen.get(name) for name in names}, given)

    def test_the_exit_status(self) -> None:
        """It ends as the script does, and leaves its status over what stood there."""
        for code in (0, 7, 143):
            self.assertEqual(self.run_it("sh", "-c", f"exit {code}"), code)
            self.assertEqual(self.status.read_text(), f"{code:3d}\n")

    def test_without_go(self) -> None:
        """A wrapper whose server is gone before the script was recorded runs nothing."""
        for told in ("", "go", "-"):
            done = self.wrap("touch", str(self.folder / "ran"), told=told)
            self.assertEqual((done.returncode, done.stdout), (125, ""))
        self.assertEqual(self.status.read_text(), "   \n")
        self.assertFalse((self.folder / "ran").exists())

    def test_stdin(self) -> None:
        """The script's standard input is empty."""
        self.assertEqual(self.run_it("sh", "-c", "read -r line", told="-\nmore\n"), 1)

    def test_a_folder_that_is_gone(self) -> None:
        """Without its folder the script does not run."""
        self.assertEqual(self.run_it("touch", "ran", folder="gone"), 126)
        self.assertEqual(self.status.read_text(), "126\n")


class PickingUp(SynchronousTestCase):
    def record(self, pid: int, ticks: int, boot: str) -> RunningScript:
        """A script that the server before us started."""
        return RunningScript(7, pid, ticks, boot, 1000.0, None)

    def adopt(self, record: RunningScript) -> bool:
        """Try to pick a script up, with a reactor that watches nothing."""
        reactor = FakeProcesses()
        return Script(reactor, reactor.spawn, Path(self.mktemp())).adopt(record)

    def test_another_boot(self) -> None:
        """After the machine went down nothing is picked up, whoever has the pid."""
        pid = os.getpid()
        ticks = start_ticks(pid)
        assert ticks is not None
        self.assertFalse(self.adopt(self.record(pid, ticks, "another-boot")))

    def test_another_process(self) -> None:
        """A process that has only the pid in common is not picked up (threat 69)."""
        pid = os.getpid()
        ticks = start_ticks(pid)
        assert ticks is not None
        self.assertFalse(self.adopt(self.record(pid, ticks + 1, boot_id())))

    def test_no_process(self) -> None:
        """A process that is gone has no start, and is not picked up."""
        pid = 2**22 + 1  # more than Linux ever gives
        self.assertIsNone(start_ticks(pid))
        self.assertFalse(self.adopt(self.record(pid, 1, boot_id())))

    def left(self, deploy: int) -> int:
        """What runs on of a deploy's script whose wrapper is gone; the number of its group."""
        leader = subprocess.Popen(
            ["sh", "-c", "sleep 600 >/dev/null 2>&1 &"],
            env={"PATH": os.defpath, "INTEGRALGIT_DEPLOY": str(deploy)},
            start_new_session=True,
        )
        leader.wait()
        self.addCleanup(signal_group, leader.pid, KILL)
        return leader.pid

    def test_what_the_wrapper_has_left(self) -> None:
        """A group without its leader is known by what its members have in their environment."""
        group = self.left(7)
        self.assertTrue(still_runs(self.record(group, 1, boot_id())))
        self.assertFalse(still_runs(self.record(group, 1, "another-boot")))
        signal_group(group, KILL)

    def test_what_somebody_else_has_left(self) -> None:
        """A group of which nobody can tell whose it is, or that has a leader, is not ours."""
        self.assertFalse(still_runs(self.record(self.left(8), 1, boot_id())))
        self.assertFalse(still_runs(self.record(os.getpgid(0), 1, boot_id())))

    def test_a_wrapper_that_was_killed(self) -> None:
        """Its script is not left to run beside the next one, but ended first."""
        record = self.record(self.left(7), 1, boot_id())
        reactor = FakeProcesses()
        script = Script(reactor, reactor.spawn, Path(self.mktemp()))
        sent: list[int] = []
        self.patch(module, "signal_group", lambda group, number: sent.append(number))
        self.assertTrue(script.adopt(record))
        self.assertEqual(sent, [TERM])
        self.assertNoResult(script.ended)
        self.patch(module, "group_is_alive", lambda group: False)
        reactor.advance(1.0)
        self.assertEqual(self.successResultOf(script.ended), ScriptEnd(None, module.WRAPPER_KILLED))
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_what_was_left_on_purpose(self) -> None:
        """Where the script has ended, what it has left behind is not ended, but where it was to be."""
        record = self.record(self.left(7), 1, boot_id())
        reactor, status = FakeProcesses(), Path(self.mktemp())
        status.write_text("  0\n")
        sent: list[int] = []
        self.patch(module, "signal_group", lambda group, number: sent.append(number))
        self.assertFalse(Script(reactor, reactor.spawn, status).adopt(record))
        self.assertEqual(sent, [])
        script = Script(reactor, reactor.spawn, status)
        self.assertTrue(script.adopt(replace(record, ending="timeout")))
        self.assertEqual((sent, script.ending), ([TERM], "timeout"))
        script.abandon()

    def test_a_wrapper_that_has_ended(self) -> None:
        """One that nobody has asked about since it was killed is not picked up."""
        wrapper = subprocess.Popen(["sleep", "600"], start_new_session=True)
        self.addCleanup(wrapper.wait)
        ticks = start_ticks(wrapper.pid)
        assert ticks is not None
        wrapper.kill()
        os.waitid(os.P_PID, wrapper.pid, os.WEXITED | os.WNOWAIT)
        self.assertFalse(self.adopt(self.record(wrapper.pid, ticks, boot_id())))
