"""Locks that a git of ours has left behind when it was killed, and how they are told from others'.

While we work in a checkout, a note stands in its git folder. Where a deploy
finds one, the work before it was cut off, and its locks would refuse every git
for ever. A lock is removed if it was made since that work began, is ours, and
no git of ours lives that works there: the caller holds the location's lock,
which every git that a server starts holds too, and a person's is looked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NOTE = "integralgit-at-work"


def begin(folder: Path) -> None:
    """From now on git may leave locks in that git folder, if there is one; an older note stays."""
    # Where no note can be made, git can make no locks either.
    with suppress(OSError):
        os.close(os.open(f"{folder}/{NOTE}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def end(folder: Path) -> None:
    """The work is done, and no git was cut off."""
    with suppress(OSError):
        os.unlink(f"{folder}/{NOTE}")


def may_be_in(folder: Path) -> bool:
    """Whether earlier work there was cut off."""
    return os.path.exists(f"{folder}/{NOTE}")


def clear(folder: Path, location: str) -> list[str]:
    """Remove what work that was cut off has left locked; the locks, by their names in the folder.

    Looks at the disk and at the processes; meant for a thread.
    """
    try:
        since = (folder / NOTE).stat().st_mtime_ns
    except OSError:
        return []
    found = []
    for lock in _locks(folder):
        with suppress(FileNotFoundError):
            made = lock.lstat()
            if made.st_mtime_ns >= since and made.st_uid == os.geteuid():
                found.append(lock)
    if not found or _git_works_in(os.path.realpath(location), os.path.realpath(folder)):
        return []
    for lock in found:
        lock.unlink(missing_ok=True)
    return [str(lock.relative_to(folder)) for lock in found]


def _locks(folder: Path) -> Iterator[Path]:
    """The locks in a git folder; no ref may be called like one (git-check-ref-format(1))."""
    for parent, folders, files in os.walk(folder):
        if parent == str(folder) and "objects" in folders:
            folders.remove("objects")
        yield from (Path(parent, name) for name in files if name.endswith(".lock"))


def _git_works_in(*places: str) -> bool:
    """Whether a git of this user is at work in one of the folders (proc(5), `comm` and `cwd`)."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError):
            process = Path("/proc", entry)
            if process.stat().st_uid != os.geteuid():
                continue
            if not (process / "comm").read_text().startswith("git"):
                continue
            at = os.readlink(process / "cwd")
            if any(at == place or at.startswith(f"{place}/") for place in places):
                return True
    return False
