"""git as we run it: the same surroundings every time, and errors that people understand."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence

from attrs import define, evolve, field

from integralgit.processes.child import Children, Exit

#: What git may do on the network, unless the administrator's URL says otherwise.
PROTOCOLS = "https:ssh"

#: Options that keep the checkout's and the user's config from running code or asking questions.
#: A bare repository is only where we say so: a checkout may bring one, with a config of its own.
_OPTIONS = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.quotePath", "false"),
    ("core.askPass", "true"),
    ("core.editor", "true"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.prune", "false"),
    ("fetch.pruneTags", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("commit.gpgSign", "false"),
    ("advice.detachedHead", "false"),
    ("safe.bareRepository", "explicit"),
)
_ARGUMENTS = tuple(part for name, value in _OPTIONS for part in ("-c", f"{name}={value}"))

_SSH = "ssh -oBatchMode=yes -oConnectTimeout=15 -oServerAliveInterval=15 -oServerAliveCountMax=4"
_PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
#: Up to the last `@` before the path, for a password may hold one.
_CREDENTIALS = re.compile(r"(?<=//)[^/\s]+@")

#: A file that cannot be removed is no error to git.
_ERROR = re.compile(rb"^(error: |warning: unable to unlink )", re.MULTILINE)
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_LEVEL = re.compile(r"^(fatal|error|warning): ")
#: What git says when ssh has failed, which has said why before.
_SSH_FAILED = "fatal: Could not read from remote repository."
#: What is said, in part, where the key or the password is missing.
_NO_KEY = re.compile(r"Permission denied \(|Host key verification failed|could not read Username")


class GitError(Exception):
    """git failed; the text is what it said, in a line, without credentials.

    `was_ended` says that it was made to end, and may have left locks.
    """

    def __init__(self, command: str, ended: Exit) -> None:
        self.command = command
        self.code = ended.code
        self.was_ended = ended.timed_out or ended.code < 0
        self.said = redact(ended.err.decode("utf-8", "replace")).strip()
        if ended.timed_out:
            reason = "it took too long and was stopped"
        elif ended.cut:
            reason = "it printed more than could be kept"
        else:
            lines = [line.strip() for line in self.said.splitlines() if line.strip()]
            reason = _telling(lines) or f"exit code {ended.code}"
        super().__init__(f"git {command} failed: {reason}")


def _telling(lines: Sequence[str]) -> str:
    """What of the lines that git has printed tells why it failed, and what to do about a key."""
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))]
    told = (*telling, *lines, "")[0]
    if told == _SSH_FAILED:
        # The last words before: GitLab says its own between lines without any.
        before = [line.removeprefix("remote:").strip() for line in lines[: lines.index(told)]]
        told = ([line for line in before if re.search("[A-Za-z]", line)] or [told])[-1]
    hint = "; see 'Private repositories' in docs/debian.md" if _NO_KEY.search(told) else ""
    return _LEVEL.sub("", told).removesuffix(".") + hint


def complains(ended: Exit) -> bool:
    """Whether git has said that something could not be done; it may have ended well all the same.

    So does a checkout that is not forced to, where it could not write some of
    the files, and any that could not remove some.
    """
    return _ERROR.search(ended.err) is not None


def could_not_remove(ended: Exit, path: str) -> bool:
    """Whether git has said that of a file, in whose name it prints `?` for control characters."""
    name = _CONTROL.sub(b"?", os.fsencode(path))
    return b"unable to unlink '%s'" % name in ended.err


def redact(text: str) -> str:
    """The text without the credentials of URLs."""
    return _CREDENTIALS.sub("", text)


def git_environment(server: Mapping[str, str]) -> dict[str, str]:
    """The environment for git, from an allow-list of the server's own."""
    environment = {name: server[name] for name in _PASSED_ON if name in server}
    return environment | {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_SSH_COMMAND": _SSH,
        "GIT_ALLOW_PROTOCOL": PROTOCOLS,
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }


#: Who may interrupt a fetch that belongs to no deploy.
SERVER = "the server"
#: Commands that ask a remote, and write no files but git's own.
_REMOTE = ("fetch", "ls-remote", "clone")
#: Commands that may be ended: the next deploy does the rest.
_INTERRUPTIBLE = (*_REMOTE, "submodule")


@define
class _Lines:
    """Tells whole lines, without credentials, which may come in pieces."""

    tell: Callable[[bytes], object]
    rest: bytes = b""

    def add(self, data: bytes) -> None:
        lines, newline, self.rest = (self.rest + data).rpartition(b"\n")
        if newline:
            self._tell(lines + newline)

    def end(self) -> None:
        if self.rest:
            self._tell(self.rest + b"\n")
            self.rest = b""

    def _tell(self, data: bytes) -> None:
        text = redact(data.decode("utf-8", "surrogateescape"))
        self.tell(text.encode("utf-8", "surrogateescape"))


@define
class Git:
    """Runs git in one folder; a copy of it serves another folder or another remote.

    The descriptors are not for commands that only ask a remote: a credential helper
    that one starts may stay for a quarter of an hour (git-credential-cache(1)),
    and would hold the location's lock for so long.
    """

    _children: Children
    _environment: Mapping[str, str]
    timeout: float
    folder: str | None = None
    descriptors: Mapping[int, int] = field(factory=dict)
    tell: Callable[[bytes], object] = field(default=lambda data: None)
    #: For whom a fetch may be interrupted; see `Children.stop`.
    owner: object = SERVER

    def within(
        self,
        folder: str,
        *,
        descriptors: Mapping[int, int] | None = None,
        tell: Callable[[bytes], object] = lambda data: None,
        owner: object = SERVER,
    ) -> Git:
        """Git in that folder, handing on those descriptors and telling its errors there."""
        return evolve(self, folder=folder, descriptors=descriptors or {}, tell=tell, owner=owner)

    def inside(self, path: str) -> Git:
        """The same in a folder below."""
        return evolve(self, folder=os.path.join(self.folder or "", path))

    def with_environment(self, **more: str) -> Git:
        """Git with more variables."""
        return evolve(self, environment={**self._environment, **more})

    def allowing(self, protocols: str) -> Git:
        """Git that may use those protocols (git(1), `GIT_ALLOW_PROTOCOL`)."""
        return self.with_environment(GIT_ALLOW_PROTOCOL=protocols)

    async def try_(self, command: str, *arguments: str, output: bool = True) -> Exit:
        """Run a git command, whatever its exit code; what it prints where that is wanted."""
        where = ("-C", self.folder) if self.folder else ()
        lines = _Lines(self.tell)
        ended = await self._children.run(
            ["git", *where, *_ARGUMENTS, command, *arguments],
            self._environment,
            timeout=self.timeout,
            descriptors={} if command in _REMOTE else self.descriptors,
            tell=lines.add,
            interrupted_by=self.owner if command in _INTERRUPTIBLE else None,
            output=output,
        )
        lines.end()
        return ended

    async def run(self, command: str, *arguments: str, output: bool = True) -> str:
        """What a git command prints, without the last line break; raises `GitError`.

        Without `output` that is nothing, and a pipe less to wait for.
        """
        ended = await self.try_(command, *arguments, output=output)
        if ended.code or ended.cut:
            raise GitError(command, ended)
        return ended.out.decode("utf-8", "surrogateescape").removesuffix("\n")
