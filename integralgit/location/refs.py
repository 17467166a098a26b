"""Branches and HEAD: those of a repository as its own files have them, and those of a remote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from integralgit.location.folders import text_of
from integralgit.location.git import Git
from integralgit.names import is_commit


class Head(msgspec.Struct, frozen=True):
    """Where a checkout is: HEAD's commit, None before the first, and its branch, None when detached."""

    commit: str | None
    branch: str | None


def exclude(ref: str, other: str) -> bool:
    """Whether no repository can have both refs: each is a file or a folder (git-check-ref-format(1))."""
    return ref.startswith(f"{other}/") or other.startswith(f"{ref}/")


def refs_in(folder: Path, names: Sequence[str]) -> dict[str, str] | None:
    """The commits of those of the full ref names that exist, as git's files have them.

    By gitrepository-layout(5). None where they are stored in another way, or
    are not plain: git is to be asked then.
    """
    root = str(folder)
    if not os.path.isdir(f"{root}/refs") or os.path.exists(f"{root}/reftable"):
        return None
    found, packed = {}, None
    for name in names:
        try:
            commit = text_of(f"{root}/{name}").strip()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if packed is None:
                packed = _packed_refs(folder)
            if name not in packed:
                continue
            commit = packed[name]
        except (OSError, UnicodeDecodeError):
            return None
        if not is_commit(commit):
            return None
        found[name] = commit
    return found


def head_in(folder: Path) -> Head | None:
    """Where the checkout is, as git's files have it; None where git is to be asked."""
    file = f"{folder}/HEAD"
    try:
        text = "" if os.path.islink(file) else text_of(file).strip()
    except (OSError, UnicodeDecodeError):
        return None
    if is_commit(text):
        return Head(text, None)
    ref = text.removeprefix("ref: ")
    branch = ref.removeprefix("refs/heads/")
    refs = refs_in(folder, [ref]) if text != ref != branch else None
    return Head(refs.get(ref), branch) if refs is not None else None


def _packed_refs(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / "packed-refs").read_text("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split(" ", 1) for line in lines if line[:1] not in ("#", "^"))
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


async def look(git: Git, remote: str, *refs: str) -> dict[str, str]:
    """The commits of those of the full ref names that the remote has; raises `GitError`."""
    listed = await git.run("ls-remote", "--end-of-options", remote, *refs)
    pairs = (line.split("\t", 1) for line in listed.splitlines())
    return {ref: commit for commit, ref in pairs if ref in refs}
