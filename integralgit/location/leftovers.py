"""What a git of ours has left behind when it was cut off, and how that is told from others'.

While we work in a checkout, and until what git has written is on the disk, a
note stands in its git folder. Where a deploy finds one, the work before it was
cut off. A kill leaves locks, which would refuse every git for ever; a power
failure leaves objects and refs with nothing in them, with which no git works.
Such a file is removed if it was made since that work began, is ours, and no
git of ours lives that works there: the caller holds the location's lock, which
a git that a server has started holds too, unless it asks a remote; those, and a
person's, are looked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import msgspec

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
    """Whether earlier work there was cut off, or is not on the disk yet."""
    return os.path.exists(f"{folder}/{NOTE}")


class Left(msgspec.Struct, frozen=True):
    """What cut-off work has left in a git folder: what is removed, and which objects are lost.

    By names in the folder. A lost object's empty file stays until there is
    another in its place.
    """

    removed: list[str]
    lost_objects: list[str]


def clear(folder: Path, location: str, branch: str) -> Left | None:
    """Remove locks and empty files that work that was cut off has left.

    An empty HEAD is put on the branch. None where a git is at work there, so
    that it cannot be told whose they are. Looks at the disk and at the
    processes; meant for a thread.
    """
    try:
        since = (folder / NOTE).stat().st_mtime_ns
    except OSError:
        return Left([], [])
    if since > time.time_ns():
        # The clock was set back meanwhile: what is there may be of any time.
        since = 0
    found = []
    for one in chain(_locks(folder), _empty(folder)):
        with suppress(FileNotFoundError):
            made = one.lstat()
            if made.st_mtime_ns >= since and made.st_uid == os.geteuid():
                found.append(one)
    if found and git_works_in(location, str(folder)):
        return None
    left = Left([], [])
    for one in found:
        name = str(one.relative_to(folder))
        if name.startswith("objects/"):
            left.lost_objects.append(name)
            continue
        if name == "HEAD":
            one.write_text(f"ref: refs/heads/{branch}\n")
        else:
            one.unlink(missing_ok=True)
        left.removed.append(name)
    return left


def _locks(folder: Path) -> Iterator[Path]:
    """The locks in a git folder; no ref may be called like one (git-check-ref-format(1))."""
    for parent, folders, files in os.walk(folder):
        if parent == str(folder) and "objects" in folders:
            folders.remove("objects")
        yield from (Path(parent, name) for name in files if name.endswith(".lock"))


def _empty(folder: Path) -> Iterator[Path]:
    """Objects, refs, HEAD and index with nothing in them: no git can have meant them so."""
    objects = (folder / "objects").glob("[0-9a-f][0-9a-f]/*")
    refs = (Path(parent, name) for parent, _, names in os.walk(folder / "refs") for name in names)
    for path in chain([folder / "HEAD", folder / "index"], objects, refs):
        with suppress(FileNotFoundError):
            if path.suffix != ".lock" and not path.lstat().st_size:
                yield path


def git_works_in(*folders: str) -> bool:
    """Whether a git of this user is at work in one of the folders (proc(5), `comm` and `cwd`)."""
    places = [os.path.realpath(folder) for folder in folders]
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError):
            process = Path("/proc", entry)
            if process.stat().st_uid != os.geteuid():
                continue
            if not (process / "comm").read_bytes().startswith(b"git"):
                continue
            at = os.readlink(process / "cwd")
            if any(at == place or at.startswith(f"{place}/") for place in places):
                return True
    return False
