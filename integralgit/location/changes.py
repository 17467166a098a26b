"""What differs between two commits, and between one and the files, as git tells it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from integralgit.location.git import Git

#: The mode of a submodule's entry (gitmodules(5)); what stands inside is not ours to touch.
SUBMODULE = "160000"
_NONE = "000000"
_INDEX = "integralgit-edited.index"


class Change(msgspec.Struct, frozen=True):
    """One path that differs; `kind` is git-diff-tree(1)'s letter, `before` and `after` are its modes."""

    path: str
    kind: str
    before: str
    after: str

    @property
    def is_submodule(self) -> bool:
        """Whether there is a submodule in one of the two."""
        return SUBMODULE in (self.before, self.after)

    @property
    def ends_submodule(self) -> bool:
        """Whether there was one, and is none any more."""
        return self.before == SUBMODULE != self.after


async def changes(git: Git, before: str | None, to: str) -> list[Change]:
    """What is different in the second commit; all that is in it, where there is none before it."""
    if before is None:
        listed = (await git.run("ls-tree", "-r", "-z", to)).split("\0")
        entries = (entry.partition("\t") for entry in listed if entry)
        return [Change(path, "A", _NONE, how.split(" ")[0]) for how, _, path in entries]
    parts = (await git.run("diff-tree", "-r", "-z", "--no-renames", before, to, "--")).split("\0")
    found = []
    for how, path in zip(parts[::2], parts[1::2], strict=False):
        old, new, *_, kind = how.removeprefix(":").split(" ")
        found.append(Change(path, kind, old, new))
    return found


async def edited_since(git: Git, folder: Path, commit: str) -> list[str]:
    """The files that are there, and not as in a commit, whatever the index has to say of them.

    `git` runs at the root of the checkout, of which `folder` is the git folder.
    """
    aside, root = folder / _INDEX, git.folder or ""
    git = git.with_environment(GIT_INDEX_FILE=str(aside))
    try:
        await git.run("read-tree", commit)
        listed = await git.run("diff", "--name-only", "-z", "--no-renames", "--ignore-submodules")
    finally:
        aside.unlink(missing_ok=True)
    paths = listed.split("\0")[:-1]
    return [path for path in paths if os.path.lexists(os.path.join(root, path))]


async def assumed_unchanged(git: Git, folder: Path, head: str) -> set[str]:
    """Edited files that git has been told not to look at, and overwrites where it is forced to.

    Such as git-update-index(1) marks by `--assume-unchanged`.
    """
    tagged = (await git.run("ls-files", "-v", "-z")).split("\0")
    assumed = {entry[2:] for entry in tagged if entry[:1].islower()}
    return assumed and assumed.intersection(await edited_since(git, folder, head))
