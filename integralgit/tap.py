"""What twistd asks for: the command line, and the service that it describes.

The only module that imports the reactor, for twistd chooses it; `assembly` hands
it to whatever else needs it.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.python import usage

if TYPE_CHECKING:
    from integralgit.service import IntegralGit


class Options(usage.Options):
    """The command line; what is not given comes from the settings file, or has a default."""

    synopsis = "[options]"
    longdesc = "Deploys what is pushed to your git hosts. See the README for a start."
    optParameters: ClassVar = [
        ["config", "c", None, "Settings file (TOML)."],
        ["state", None, None, "Folder for the server's state [default: integralgit-state]."],
        ["url", None, None, "How people and git hosts reach this server."],
        ["workers", None, None, "Deploys at the same time [default: 4]."],
        ["git-timeout", None, None, 'Time for a fetch or clone, such as "10m" [default: 600].'],
        ["poll", None, None, "Time between looks at the remotes, 0 for never [default: 300]."],
        ["max-body", None, None, 'Size of a delivery at most [default: "25MB"].'],
        ["umask", None, None, 'umask of checkouts and scripts [default: "022"].'],
    ]
    optFlags: ClassVar = [
        ["public", None, "Let everybody read the pages, without the access token."],
        ["allow-root", None, "Run as root, and every deploy script with it."],
    ]
    _LISTS: ClassVar = {
        "listen": "Endpoint to listen on; may be given more than once"
        " [default: tcp:8080:interface=127.0.0.1].",
        "host-name": "A name of this host in the configs, instead of the machine's; may be"
        " given more than once.",
        "allowed-host": "A name under which the pages may be reached; may be given more than once.",
    }

    def __init__(self) -> None:
        super().__init__()
        self.lists: dict[str, list[str]] = {}

    def opt_listen(self, value: str) -> None:
        self.lists.setdefault("listen", []).append(value)

    def opt_host_name(self, value: str) -> None:
        self.lists.setdefault("host_names", []).append(value)

    def opt_allowed_host(self, value: str) -> None:
        self.lists.setdefault("allowed_hosts", []).append(value)

    opt_listen.__doc__ = _LISTS["listen"]
    opt_host_name.__doc__ = _LISTS["host-name"]
    opt_allowed_host.__doc__ = _LISTS["allowed-host"]

    def given(self) -> dict[str, object]:
        """What was given on the command line, by the names of the settings."""
        named = {name.replace("-", "_"): value for name, value in self.items() if name != "config"}
        flags = {name: True for name in ("public", "allow_root") if named.pop(name)}
        return {name: v for name, v in named.items() if v is not None} | flags | self.lists


def makeService(options: Options) -> IntegralGit:
    """The server, ready to start; ends the process with one line where a setting is wrong.

    What is loaded before and for it stays until the end: the garbage collector
    need not look through it again and again, which would be pauses of dozens of ms.
    """
    gc.freeze()
    from twisted.internet import reactor

    from integralgit.assembly import build
    from integralgit.processes.spawn import keep_descriptors

    keep_descriptors()
    go_by_steady_clock(reactor)
    service = build(reactor, options.given(), options["config"], is_logged=is_logged(options))
    gc.freeze()
    return service


def go_by_steady_clock(reactor: Any) -> None:
    """Let timers go by a clock that nobody can set; those of Twisted go by the time of day.

    Nothing may wait yet, for it waits by the other clock. See clock_gettime(2), `CLOCK_MONOTONIC`.
    """
    reactor.seconds = time.monotonic


def is_logged(options: Options) -> bool:
    """Whether twistd was told of a log itself."""
    outer: Any = options.parent or {}
    return any(outer.get(name) for name in ("logfile", "syslog", "logger"))
