"""Disks that are full or read-only: which it is, and where, in words that help."""

from __future__ import annotations

import errno
import os

#: What may pass without anybody changing a repository or a setting.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
_WORDS = {
    os.strerror(errno.ENOSPC): "the disk is full",
    os.strerror(errno.EDQUOT): "the disk quota is used up",
    os.strerror(errno.EROFS): "the file system is read-only",
}
#: Less room than that, in bytes, is none.
_LEAST = 64 * 1024


class NoRoom(Exception):
    """The state folder cannot be written, or no more files be opened.

    A deploy waits until that has passed, for it is not to blame.
    """


def is_no_room(error: OSError) -> bool:
    """Whether the error is one that a full or failing disk causes, or too many open files."""
    return error.errno in _NO_ROOM


def is_out_of_files(error: OSError) -> bool:
    """Whether the server, or the machine, has as many files open as it may."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def hindrance(folder: str, said: str = "") -> str | None:
    """What keeps anybody from writing in a folder, by its file system, or None.

    `said` is what a program has said that failed there: what it had written
    may be gone again, and with it the lack of room.
    """
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    found = os.statvfs(folder)
    if found.f_flag & os.ST_RDONLY:
        return f"the file system is read-only at {folder}"
    left = found.f_bavail * found.f_frsize
    out_of_files = found.f_files and not found.f_favail
    full = "the disk is full" if left < _LEAST or out_of_files else None
    problem = next((words for text, words in _WORDS.items() if text in said), full)
    if problem is None:
        return None
    files = " and no files" if out_of_files else ""
    return f"{problem} at {folder}, where {left // 1024:,} kB{files} are left"
