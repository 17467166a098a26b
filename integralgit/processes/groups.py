"""Processes and their groups, as the kernel tells of them: who they are, and signals to all of a group."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def boot_id() -> str:
    """The id of this boot of the machine (proc(5), `/proc/sys/kernel/random/boot_id`)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot, or None if none of that pid runs.

    proc(5), `/proc/<pid>/stat`, field 22; together with the pid it names a process.
    One that has ended may have a pid still, until its parent asks for its end.
    """
    try:
        with open(f"/proc/{pid:d}/stat", "rb", buffering=0) as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in b"ZX" else int(fields[19])


def signal_group(pid: int, number: signal.Signals) -> bool:
    """Send a signal to a process group; False where there is nobody left."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    return True


def group_is_alive(pid: int) -> bool:
    """Whether any process of the group still runs."""
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return any(members(pid))


def members(group: int) -> Iterator[int]:
    """The processes of a group that have not ended (proc(5), `stat`).

    Of one that has, something stays until its parent asks, which in a
    container may be never.
    """
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        with suppress(OSError):
            if os.getpgid(pid) == group:
                stat = Path(f"/proc/{pid}/stat").read_bytes()
                if stat.rpartition(b")")[2].split()[0] not in b"ZX":
                    yield pid
