"""The deploy script: started so that it outlives us, bounded, and picked up again after a restart.

A tiny wrapper is the leader of the script's process group. It holds the
location's lock, which the script does not get, and leaves the exit status in
a file. Script and wrapper write to the deploy's log file themselves. So
nothing of a running script depends on this process.

The wrapper is started while git still changes the files, and starts the script
only when it is told to, which is after its pid has been recorded: a script that
nobody knows of never runs. If we end before that, the wrapper finds its input
closed, and ends too; the file of the status says that it was not told to go.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from integralgit.background import cancel
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal.events import Deploy, RunningScript
from integralgit.location.plan import Refused
from integralgit.location.room import NoRoom, is_out_of_files
from integralgit.processes.child import GRACE, exit_code
from integralgit.processes.groups import boot_id, group_is_alive, members, signal_group, start_ticks
from integralgit.processes.spawn import Spawn, Watch

log = Logger()

#: `trap :` and not `trap ''`: an ignored signal would be inherited by the script.
#: The script's copy of the lock is closed, so that a daemon it leaves behind does not hold it.
#: The status is written over what stands in its file, so that a full disk does not lose it.
#: The names of its variables are ones that no config is likely to give to the script.
_WRAPPER = """
trap : TERM INT HUP
ig_status=$1 ig_folder=$2 ig_umask=$3; shift 3
IFS=' ' read -r ig_previous ig_interpreter ig_argument || exit 125
export INTEGRALGIT_PREVIOUS_COMMIT="${ig_previous#-}"
if [ "$ig_interpreter" ]; then set -- "$ig_interpreter" ${ig_argument:+"$ig_argument"} "$@"; fi
umask "$ig_umask"
if cd -- "$ig_folder"; then "$@" </dev/null 9>&-; ig_code=$?; else ig_code=126; fi
umask 077
printf '%3d\\n' "$ig_code" 1<>"$ig_status"
exit "$ig_code"
"""
#: What stands in the file of the status before there is one: until the script runs, and then.
_NOT_BEGUN, _NO_STATUS = b"  -\n", b"   \n"
_PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "TZ",
)
#: Seconds between looks at whether a group that was told to end is gone.
_LOOK = 0.1
#: Seconds until a status that could not be read is read again, and how often that is tried.
_READ_AGAIN, _TRIES = 1.0, 10
#: What `ScriptEnd.ending` says where the wrapper was killed by somebody else: alone, so that the
#: script has to be ended, or with all of the script of an earlier server.
WRAPPER_KILLED, KILLED = "wrapper killed", "killed"


class ScriptEnd(msgspec.Struct, frozen=True):
    """How a script ended; `ending` says why it was ended by us, if it was.

    `left_behind` says that processes of its group still run, on purpose or
    because they cannot be ended.
    """

    code: int | None
    ending: str | None = None
    left_behind: bool = False


def script_environment(
    server: Mapping[str, str],
    deployment: Deployment,
    deploy: Deploy,
    commit: str,
    url: str,
) -> dict[str, str]:
    """The script's environment: a few of the server's, the config's, and ours, later wins.

    The wrapper adds where the checkout was, which it is told when it may go.
    """
    passed_on = {name: server[name] for name in _PASSED_ON if name in server}
    ours = {
        "CI": "true",
        "INTEGRALGIT": "1",
        "INTEGRALGIT_REPO": deploy.repo,
        "INTEGRALGIT_BRANCH": deployment.branch,
        "INTEGRALGIT_COMMIT": commit,
        "INTEGRALGIT_HOST": deployment.host,
        "INTEGRALGIT_LOCATION": deployment.location,
        "INTEGRALGIT_DEPLOY": str(deploy.id),
        "INTEGRALGIT_TRIGGER": str(deploy.trigger),
        "INTEGRALGIT_URL": url,
    }
    return {"PATH": os.defpath, **passed_on, **deployment.env, **ours}


def interpreter_of(location: str, script: str) -> tuple[str, ...]:
    """What runs a script: nothing where it runs itself, else what its shebang names, or `sh`.

    Raises `Refused` where it is not there, or could not be started: the exit
    code of a shell that finds no interpreter tells nobody why.
    """
    path = os.path.join(location, script)
    if not os.path.isfile(path):
        where = "on this host" if os.path.isabs(script) else "in the checkout"
        raise Refused(f"the script {script} is not a file {where}")
    runs_itself = os.access(path, os.X_OK)
    try:
        with open(path, "rb") as file:
            first = file.readline(256)
    except OSError as error:
        if runs_itself:
            return ()
        if is_out_of_files(error):
            raise
        raise Refused(f"the script {script} cannot be read: {error.strerror}") from None
    line = first[2:].rstrip(b"\n").strip(b" \t") if first.startswith(b"#!") else b""
    fault = _fault(location, line, runs_itself)
    if fault:
        raise Refused(f"the script {script} could not be started: {fault}")
    return () if runs_itself else tuple(os.fsdecode(line.strip()).split(None, 1)) or ("sh",)


def _fault(location: str, line: bytes, runs_itself: bool) -> str | None:
    """What is wrong with a shebang, which is given without its `#!`; see execve(2)."""
    interpreter, _, argument = line.replace(b"\t", b" ").partition(b" ")
    if b"\0" in line:
        return "its first line holds a NUL byte"
    if (
        runs_itself
        and line.endswith(b"\r")
        and (not argument or os.path.basename(interpreter) == b"env")
    ):
        return "its lines end with CRLF, as on Windows; commit it with LF"
    program = os.path.join(os.fsencode(location), interpreter.rstrip(b"\r"))
    if b"/" in interpreter and not (os.path.isfile(program) and os.access(program, os.X_OK)):
        return f"its first line asks for {os.fsdecode(interpreter)}, which is no program here"
    return None


def still_runs(record: RunningScript) -> bool:
    """Whether processes of a script's group are there whose leader, the wrapper, is gone.

    As long as a group has members, its number is given to no other process or
    group. So what one member has in its environment says whose all of them are
    (proc(5), `stat` and `environ`); one of which that cannot be told is left alone.
    """
    if record.boot_id != boot_id() or start_ticks(record.pid) is not None:
        return False
    ours = f"INTEGRALGIT_DEPLOY={record.deploy}".encode()
    for member in members(record.pid):
        with suppress(OSError):
            if ours in Path(f"/proc/{member}/environ").read_bytes().split(b"\0"):
                return True
    return False


@define(eq=False)
class _Wrapper(ProcessProtocol):
    ended: Callable[[int | None], None]

    def processExited(self, reason: Failure) -> None:
        self.ended(exit_code(reason))


@define(eq=False)
class Script:
    """A script that runs, started by this server or by the one before it."""

    _reactor: Any
    _spawn: Spawn
    _status_file: Path
    pid: int = 0
    ended: Deferred[ScriptEnd] = field(factory=Deferred, init=False)
    ending: str | None = None
    _kill_timer: IDelayedCall | None = field(default=None, init=False)
    _look: IDelayedCall | None = field(default=None, init=False)
    _watch: Watch | None = field(default=None, init=False)
    _code: int | None = field(default=None, init=False)
    _process: Any = field(default=None, init=False)

    def start(
        self,
        path: str,
        environment: Mapping[str, str],
        *,
        location: str,
        umask: int,
        log: int,
        lock: int,
    ) -> None:
        """Start the wrapper of the script at that path, which waits for `go`.

        `log` and `lock` are descriptors that the caller may close afterwards.
        Raises `OSError` where not even the wrapper can be started, and
        `NoRoom` where its status could not be kept.
        """
        try:
            self._status_file.write_bytes(_NOT_BEGUN)
        except OSError as error:
            raise NoRoom(f"{self._status_file} cannot be written: {error.strerror}") from None
        arguments = [str(self._status_file), location, f"{umask:03o}", path]
        self._process = self._spawn(
            _Wrapper(self._exited),
            ["sh", "-c", _WRAPPER, "integralgit-script", *arguments],
            environment,
            {0: "w", 1: log, 2: log, 9: lock},
        )
        self.pid = self._process.pid

    def go(self, previous: str | None, interpreter: Sequence[str]) -> None:
        """Let the script run, now that the archive knows of it.

        `previous` is the commit that its checkout was at. Raises `NoRoom`
        where its status could not be kept.
        """
        try:
            file = os.open(self._status_file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, _NO_STATUS)
            finally:
                os.close(file)
        except OSError as error:
            raise NoRoom(f"{self._status_file} cannot be written: {error.strerror}") from None
        told = " ".join([previous or "-", *interpreter])
        self._process.writeToChild(0, os.fsencode(told) + b"\n")
        self._process.closeStdin()

    def never_mind(self) -> None:
        """Let the wrapper end without the script."""
        self._process.closeStdin()
        self._status_file.unlink(missing_ok=True)

    def has_begun(self, record: RunningScript) -> bool:
        """Whether the server before us has told it to go; where a crash took the word, it may have."""
        try:
            return self._status_file.read_bytes() != _NOT_BEGUN
        except FileNotFoundError:
            return record.boot_id != boot_id()
        except OSError:
            return True

    def adopt(self, record: RunningScript) -> bool:
        """Pick up a script that the server before us started; False where it no longer runs.

        One whose wrapper was killed is ended, and so is one that was to end.
        """
        self.pid, self.ending = record.pid, record.ending
        if record.boot_id == boot_id() and start_ticks(record.pid) == record.start_ticks:
            with suppress(ProcessLookupError):
                self._watch = Watch(self._reactor, record.pid, partial(self._exited, None))
                return True
        if (self.ending is None and self.status() is not None) or not still_runs(record):
            return False
        self.stop(self.ending or WRAPPER_KILLED)
        self._exited(None)
        return True

    def status(self) -> int | None:
        """The exit status that the wrapper left, or None where it left none; raises `OSError`."""
        try:
            return int(self._status_file.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def ended_at(self) -> float | None:
        """When the wrapper left the exit status, in seconds since the epoch; None where it did not."""
        return None if self.status() is None else self._status_file.stat().st_mtime

    def stop(self, why: str) -> None:
        """End the whole group: TERM now, KILL after `GRACE` seconds; `why` is `ScriptEnd.ending`."""
        if not self.ended.called and self._kill_timer is None:
            self.ending = why
            signal_group(self.pid, signal.SIGTERM)
            self._kill_timer = self._reactor.callLater(
                GRACE, signal_group, self.pid, signal.SIGKILL
            )

    def kill(self) -> None:
        """Do not wait any longer for a group that was told to end."""
        if self._kill_timer is not None and self._kill_timer.active():
            self._kill_timer.reset(0)

    def _exited(self, code: int | None, tries: int = _TRIES) -> None:
        """The wrapper has ended; where it was told to, or killed, its whole group has to end too."""
        self._watch = None
        try:
            status = self.status()
        except OSError as error:
            if tries:
                self._look = self._reactor.callLater(_READ_AGAIN, self._exited, code, tries - 1)
                return
            log.warn("an exit status cannot be read: {error}", error=error)
            status = None
        self._code = status if status is not None else code
        if self.ending is None and (self._code is None or self._code < 0):
            if group_is_alive(self.pid):
                self.stop(WRAPPER_KILLED)
            elif self._code is None:
                self.ending = KILLED
        if self.ending is None:
            self._finish()
        else:
            self._wait_for_group(int((GRACE + GRACE) / _LOOK))

    def _wait_for_group(self, looks: int) -> None:
        if looks and group_is_alive(self.pid):
            self._look = self._reactor.callLater(_LOOK, self._wait_for_group, looks - 1)
        else:
            self._finish()

    def _finish(self) -> None:
        self._cancel_timers()
        self.ended.callback(ScriptEnd(self._code, self.ending, group_is_alive(self.pid)))

    def _cancel_timers(self) -> None:
        cancel(self._kill_timer)
        cancel(self._look)

    def abandon(self) -> None:
        """Leave the script running and stop watching it, for the end of this server."""
        self._cancel_timers()
        if self._watch is not None:
            self._watch.close()
            self._watch = None
