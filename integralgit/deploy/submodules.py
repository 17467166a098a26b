"""Submodules, for a config that asks for them: brought to the commits that the checkout names.

What a person has done inside of one is looked at before anything changes: an
update that would move a submodule with work of its own is refused, or keeps
that work under a rescue ref of the submodule, as its mode says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec
from attrs import define
from msgspec.structs import replace

from integralgit.background import InThread
from integralgit.deploy.checkout import status_of
from integralgit.deploy.git import Git, GitError
from integralgit.deploy.plan import Refused, shortened
from integralgit.deploy.rescue import files_in, is_here, rescue, with_identity
from integralgit.deploy.unfinished import SUBMODULE

#: The first releases of each line of git that do not run code of a hostile submodule
#: (CVE-2025-48384; git's release notes 2.43.7 to 2.50.1).
_SAFE = {43: 7, 44: 4, 45: 4, 46: 4, 47: 3, 48: 2, 49: 1, 50: 1}


def is_safe(version: str) -> bool:
    """Whether git of that version, as `git version` prints it, is known to be safe with submodules."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    major, minor, patch = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    if major != 2 or minor > max(_SAFE):
        return major >= 2
    return minor in _SAFE and patch >= _SAFE[minor]


class Incomplete(Refused):
    """The checkout was updated, but not all of its submodules.

    git runs others for them, and says only that one has failed: it may have
    been made to end, and have left locks.
    """


class OwnWork(msgspec.Struct, frozen=True):
    """What a person has done in a submodule, and an update would take away: files as they are, and commits."""

    path: str
    head: str | None
    files: list[str]
    commits: list[str]


def is_repository(git: Git) -> bool:
    """Whether git would find a repository in its very folder, and not one around it."""
    return os.path.lexists(os.path.join(git.folder or "", ".git"))


async def has_own_commits(git: Git, path: str, head: str, *wanted: str) -> bool:
    """Whether a submodule's HEAD has commits that are neither on a branch or tag, nor wanted there.

    `git` runs around the submodule, in the repository that records it.
    """
    recorded = await git.try_("rev-parse", "--verify", "--quiet", f"HEAD:{path}")
    elsewhere = ["--branches", "--remotes", "--tags", *wanted, recorded.out.decode().strip()]
    own = await git.inside(path).run(
        "rev-list",
        "--ignore-missing",
        "--max-count=1",
        head,
        "--not",
        *filter(None, elsewhere),
        "--",
    )
    return bool(own)


def clear_folders(root: str, paths: Iterable[str]) -> None:
    """Remove the folders in those of submodules where there are no files, for git clones into none else.

    An earlier folder may have left them, by files that were removed or kept
    before. Meant for a thread.
    """
    for path in paths:
        full = os.path.join(root, path)
        if not is_here(root, path) or next(files_in(full), None) is not None:
            continue
        for parent, folders, _ in os.walk(full, topdown=False):
            for name in folders:
                with suppress(OSError):
                    os.rmdir(os.path.join(parent, name))


@define
class Submodules:
    """The submodules of a checkout, at whose root `git` runs; `say` writes to the deploy's log."""

    git: Git
    say: Callable[[str], None]
    host: str
    in_thread: InThread

    async def make_way(self, to: str, *, rescue_ref: str | None) -> None:
        """See to it that an update to that commit harms nothing inside the submodules.

        Work of a person's own there is kept under `rescue_ref` of its
        submodule; without one, raises `Refused` with the list.
        """
        works = await self._works(to)
        if works and rescue_ref is None:
            self.say(
                "The update would move submodules with commits or edits of their own:\n"
                + shortened([work.path for work in works])
            )
            names = ", ".join(work.path for work in works[:5])
            raise Refused(
                f"nothing was changed, for submodules have commits or edits of their own: {names}"
            )
        for work in works:
            assert rescue_ref is not None
            self.say(f"In the submodule {work.path}:")
            inside = await with_identity(self.git.inside(work.path), self.host)
            await rescue(
                inside, work.head, work.commits, work.files, rescue_ref, self.say, self.in_thread
            )
            await inside.run("reset", "--quiet", "--hard")

    async def _touched(self) -> list[str]:
        """The submodules that are at another commit than the checkout says, or have edits."""
        listed = await self.git.run(
            "status",
            "--porcelain=v2",
            "-z",
            "--untracked-files=no",
            "--ignore-submodules=untracked",
            "--no-renames",
        )
        entries = (entry.split(" ", 8) for entry in listed.split("\0"))
        return [entry[8] for entry in entries if entry[0] == "1" and entry[2].startswith("S")]

    async def _works(self, to: str | None) -> list[OwnWork]:
        """What a person has done in submodules, and theirs, that the way to that commit would move.

        None stands for a commit that is not here yet.
        """
        found = []
        for path in await self._touched():
            inside = self.git.inside(path)
            if not is_repository(inside):
                # Removed by somebody: git would find the repository around it there.
                continue
            wanted = await self._wanted(path, to)
            if wanted == "":
                continue
            if work := await self._work_in(path, wanted):
                found.append(work)
            is_here = wanted and not (await inside.try_("cat-file", "-e", wanted)).code
            below = Submodules(inside, self.say, self.host, self.in_thread)
            found += [
                replace(one, path=f"{path}/{one.path}")
                for one in await below._works(wanted if is_here else None)
            ]
        return found

    async def _wanted(self, path: str, to: str | None) -> str | None:
        """The commit of a submodule in that commit, empty where it has none; None where that is not known."""
        if to is None:
            return None
        form = "--format=%(objecttype) %(objectname)"
        kind, _, name = (await self.git.run("ls-tree", "-z", form, to, "--", path)).partition(" ")
        return name.rstrip("\0") if kind == "commit" else ""

    async def _work_in(self, path: str, wanted: str | None) -> OwnWork | None:
        """What a person has done in a submodule that is to be at that commit, if it is to move."""
        inside = self.git.inside(path)
        status = await status_of(inside)
        if status.head is None or wanted == status.head:
            return None
        has_commits = await has_own_commits(self.git, path, status.head, *filter(None, [wanted]))
        # Where it is to be is not known yet: it may well stay, and git overwrites no edits there.
        if has_commits or (status.edited and wanted is not None):
            commits = [status.head] if has_commits else []
            return OwnWork(path, status.head, sorted(status.edited), commits)
        return None

    async def update(self) -> None:
        """Clone and check out what HEAD names, submodules of submodules too; raises `Incomplete`.

        An address that `.gitmodules` changed is taken over.
        """
        version = await self.git.run("version")
        if not is_safe(version):
            self.say(
                f"Warning: {version} may run code of a hostile submodule (CVE-2025-48384),"
                f" unless your system has mended it; git 2.43.7, 2.50.1 and newer do not."
            )
        listed = await self.git.run("ls-files", "--stage", "-z")
        entries = (entry.partition("\t") for entry in listed.split("\0"))
        paths = [path for how, _, path in entries if how.startswith(SUBMODULE)]
        await self.in_thread(clear_folders, self.git.folder or "", paths)
        try:
            await self.git.run("submodule", "--quiet", "sync", "--recursive")
            await self.git.run(
                "submodule", "--quiet", "update", "--init", "--recursive", "--checkout"
            )
        except GitError as error:
            raise Incomplete(
                f"the checkout was updated, but not all of its submodules: {error}"
            ) from None
