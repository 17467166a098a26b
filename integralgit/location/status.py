"""What differs in a checkout: HEAD, its branch and the edited files, as git tells them."""

from __future__ import annotations

import msgspec

from integralgit.location.git import Git
from integralgit.names import is_commit


class Status(msgspec.Struct, frozen=True):
    """HEAD's commit (None before the first), its branch (None when detached), and edited files.

    `staged` are those that were edited once more after they were staged.
    """

    head: str | None
    branch: str | None
    edited: frozenset[str]
    staged: frozenset[str] = frozenset()


async def status_of(git: Git) -> Status:
    """HEAD of the checkout that git runs in, its branch and the tracked files that differ from it."""
    listed = await git.run(
        "status",
        "--porcelain=v2",
        "--branch",
        "-z",
        "--untracked-files=no",
        "--ignore-submodules=all",
        "--no-renames",
    )
    head, branch = None, None
    edited: set[str] = set()
    staged: set[str] = set()
    conflict = False
    for entry in listed.split("\0"):
        if entry.startswith("# branch.oid "):
            head = entry.removeprefix("# branch.oid ")
        elif entry.startswith("# branch.head "):
            branch = entry.removeprefix("# branch.head ")
        elif entry.startswith("1 "):
            fields = entry.split(" ", 8)
            edited.add(fields[8])
            if "." not in fields[1]:
                staged.add(fields[8])
        elif entry.startswith("u "):
            edited.add(entry.split(" ", 10)[10])
            conflict = True
    return Status(
        head if head and is_commit(head) else None,
        None if branch == "(detached)" else branch,
        frozenset(edited),
        # Of an index with conflicts no tree can be made.
        frozenset() if conflict else frozenset(staged),
    )
