"""What stands in the way of a commit, worked out from the disk before anything is changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from integralgit.background import InThread
from integralgit.location.changes import changes
from integralgit.location.folders import is_submodule_of
from integralgit.location.git import Git
from integralgit.location.rescue import AT_ONCE, OnDisk, files_in, find, ids_of
from integralgit.location.status import Status


def occupied(
    root: str, wanted: Iterable[str], leaving: frozenset[str], staying: Iterable[str] = ()
) -> list[str]:
    """Which paths below `root` stand where new files are wanted, git aside.

    `leaving` are tracked files that the same update removes, and `staying`
    such that it changes, in whose folders' place something may stand. Looks at
    the disk; meant for a thread.
    """
    found: dict[str, None] = {}
    #: Whether something may stand below a parent path: not where the update makes the folder anew.
    folders: dict[str, bool] = {"": True}

    def has_content(path: str) -> bool:
        if path not in folders:
            folders[path] = False
            if has_content(os.path.dirname(path)):
                mode = _mode(os.path.join(root, path))
                folders[path] = mode is not None and stat.S_ISDIR(mode)
                if mode is not None and not stat.S_ISDIR(mode) and path not in leaving:
                    found[path] = None
        return folders[path]

    for path in staying:
        has_content(os.path.dirname(path))
    for path in wanted:
        if not has_content(os.path.dirname(path)):
            continue
        full = os.path.join(root, path)
        mode = _mode(full)
        if mode is not None and not stat.S_ISDIR(mode):
            found[path] = None
        elif mode is not None:
            inside = (os.path.relpath(one, root) for one in files_in(full))
            found.update(dict.fromkeys(one for one in inside if one not in leaving))
    return list(found)


def _mode(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


async def in_the_way(
    git: Git, status: Status, to: str, in_thread: InThread
) -> tuple[list[str], list[str]]:
    """Edited files that the way to a commit would change, and others where it makes new ones."""
    root, added, changed, leaving = git.folder or "", [], [], []
    is_first = status.head is None
    for one in await changes(git, status.head, to):
        if one.kind != "A":
            changed.append(one.path)
        elif is_first or not (one.is_submodule and is_submodule_of(root, one.path)):
            # What was a submodule there becomes one again.
            added.append(one.path)
        if one.kind == "D":
            leaving.append(one.path)
        elif one.ends_submodule:
            # In its folder there is nothing that git tracks here.
            added.append(one.path)
    edited = [path for path in changed if path in status.edited]
    gone = frozenset(leaving)
    staying = [path for path in changed if path not in gone]
    others = await in_thread(occupied, root, added, gone, staying)
    return edited, others


async def untouched(git: Git, status: Status, to: str, in_thread: InThread) -> list[str]:
    """The edited files that the way to a commit would change, if nobody has edited any of them.

    They are as HEAD has them, byte for byte, and git calls them edited for line
    ends that `.gitattributes` would have otherwise (gitattributes(5), `text`).
    None where something else is in the way, or they are many.
    """
    edited, others = await in_the_way(git, status, to, in_thread)
    if others or not 0 < len(edited) <= AT_ONCE:
        return []
    there: OnDisk = await in_thread(find, git.folder or "", edited)
    staged = (await git.run("diff", "--cached", "--name-only", "-z")).split("\0")
    if not all(path in there.files and path not in staged for path in edited):
        return []
    listed = (await git.run("ls-tree", "-r", "-z", status.head or "HEAD")).split("\0")[:-1]
    entries = (entry.partition("\t") for entry in listed)
    committed = {path: how.split(" ")[::2] for how, _, path in entries}
    ids = zip(edited, await ids_of(git, edited), strict=True)
    same = all(committed.get(path) == [there.files[path], one] for path, one in ids)
    return edited if same else []
