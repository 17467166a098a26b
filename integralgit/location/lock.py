"""Locks on folders, which their holders' ends take away: of a location, and of the state folder."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path


def try_lock(descriptor: int) -> bool:
    """Take the lock of a folder for this descriptor and its heirs; False where another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def unlock(descriptor: int) -> None:
    """Let the lock of a folder go, whoever else has the descriptor (flock(2)): a helper that git has left."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def lock_holder(descriptor: int) -> str:
    """Who holds the lock of a folder, for a person (proc(5), `/proc/locks`)."""
    inode = os.fstat(descriptor).st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return f"process {fields[4]}"
    return "another process"
