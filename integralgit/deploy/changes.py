"""What differs between two commits, as git tells it."""

from __future__ import annotations

import msgspec

from integralgit.deploy.git import Git

#: The mode of a submodule's entry (gitmodules(5)); what stands inside is not ours to touch.
SUBMODULE = "160000"
_NONE = "000000"


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
