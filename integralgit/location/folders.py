"""The folders of a location: its own, its git folder, and whether they are still those that were in order."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from attrs import define, field

from integralgit.location.plan import Refused
from integralgit.location.room import is_out_of_files


def open_location(location: str) -> int:
    """A descriptor of the location's folder, which is made if need be; for its lock.

    Raises `Refused` with the reason where that cannot be, and `OSError` where
    too many files are open.
    """
    try:
        os.makedirs(location, exist_ok=True)
        return os.open(location, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileExistsError, NotADirectoryError) as error:
        what = "a link to nothing" if os.path.islink(error.filename) else "a file"
        raise Refused(
            f"the location {location} is not a folder: {error.filename} is {what}"
        ) from None
    except OSError as error:
        if is_out_of_files(error):
            raise
        raise Refused(
            f"the location {location} cannot be used: {os.strerror(error.errno or 0)}"
        ) from None


def git_folder_of(location: str) -> Path:
    """The git folder of a location, which may lie elsewhere (gitrepository-layout(5), `.git`).

    Where it cannot be told, the one that would be in the location.
    """
    inside = Path(location, ".git")
    with suppress(OSError):
        if inside.is_file():
            said = inside.read_text("utf-8", "surrogateescape")
            return Path(location, said.removeprefix("gitdir:").strip())
    return inside


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder stands there itself, and no link to one."""
    return os.path.isdir(path) and not os.path.islink(path)


def is_submodule_of(location: str, path: str) -> bool:
    """Whether what stands at a path is or was a submodule of the location, by where its git folder lies."""
    place = os.path.join(location, path)
    modules = os.path.realpath(git_folder_of(location) / "modules")
    is_inside = os.path.realpath(git_folder_of(place)).startswith(modules + os.sep)
    return is_inside and not os.path.islink(place)


def text_of(path: str) -> str:
    """What stands in a small file; at every push several are read, in a third of `pathlib`'s time."""
    with open(path, "rb", buffering=0) as file:
        return file.read().decode()


@define
class Verified:
    """The locations that were found to be in order, each with what that was found by.

    Asking git takes two processes more than a push needs, and its
    answers hang on what is compared here: whose folders these are, and the
    repository's own settings. Where those name another file, git is asked.
    """

    _known: dict[str, tuple[object, ...]] = field(factory=dict)

    def remembers(self, location: str, seen: tuple[object, ...] | None) -> bool:
        """Whether the location was in order when it looked like that."""
        return seen is not None and self._known.get(location) == seen

    def remember(self, location: str, seen: tuple[object, ...] | None) -> None:
        """The location is in order as it looks now."""
        self._known.pop(location, None)
        if seen is not None:
            self._known[location] = seen


def look_of(location: str) -> tuple[object, ...] | None:
    """What tells whether a location is still the same repository with the same settings."""
    try:
        here, folder = os.stat(location), os.lstat(os.path.join(location, ".git"))
        settings = text_of(f"{location}/.git/config")
    except (OSError, UnicodeDecodeError):
        return None
    lower = settings.lower()
    if not stat.S_ISDIR(folder.st_mode) or "include" in lower or "worktreeconfig" in lower:
        return None
    owners = (here.st_uid, folder.st_uid)
    return (here.st_dev, here.st_ino, folder.st_dev, folder.st_ino, *owners, settings)
