"""Submodules, for a config that asks for them: brought to the commits that the checkout names.

What a person has done inside of one is looked at before anything changes: an
update that would move a submodule with work of its own is refused, or keeps
that work under a rescue ref of the submodule, as its mode says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec
from attrs import define
from msgspec.structs import replace

from integralgit.background import InThread
from integralgit.location.changes import SUBMODULE, assumed_unchanged
from integralgit.location.folders import git_folder_of
from integralgit.location.git import Git, GitError, complains
from integralgit.location.plan import Refused, named, shortened
from integralgit.location.rescue import files_in, is_here, remove, rescue, staged, with_identity
from integralgit.location.status import status_of
from integralgit.location.way import in_the_way

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
    """What a person has done in a submodule, and an update would take away: files as they are, and commits.

    `others` are files that git does not track, in the way of those of the update.
    """

    path: str
    head: str | None
    files: list[str]
    commits: list[str]
    others: list[str] = []


def is_repository(git: Git) -> bool:
    """Whether git would find a repository in its very folder, and not one around it.

    By gitrepository-layout(5): a folder with these three, or a file that says where it is.
    """
    place = os.path.join(git.folder or "", ".git")
    parts = (os.path.join(place, name) for name in ("HEAD", "objects", "refs"))
    return os.path.isfile(place) or all(map(os.path.lexists, parts))


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
            raise self._would_take_away(works)
        for work in works:
            assert rescue_ref is not None
            self.say(f"In the submodule {work.path}:")
            inside = await with_identity(self.git.inside(work.path), self.host)
            files, commits = [*work.files, *work.others], [*work.commits]
            if work.head and (await status_of(inside)).staged:
                commits.append(await staged(inside, work.head))
            await rescue(inside, work.head, commits, files, rescue_ref, self.say, self.in_thread)
        for work in works:
            inside = self.git.inside(work.path)
            if work.files:
                await inside.run("reset", "--quiet", "--hard")
            await self.in_thread(remove, inside.folder or "", work.others)

    def _would_take_away(self, works: Sequence[OwnWork]) -> Refused:
        """Tell the log what a person has in submodules; the refusal for it."""
        moved = [work.path for work in works if work.files or work.commits]
        others = [f"{work.path}/{file}" for work in works for file in work.others]
        reasons = []
        if moved:
            self.say(
                "The update would move submodules with commits or edits of their own:\n"
                + shortened(moved)
            )
            reasons.append(f"submodules have commits or edits of their own: {named(moved)}")
        if others:
            self.say(
                "The update would overwrite files in submodules, not tracked by git there:\n"
                + shortened(others)
            )
            reasons.append(f"the update would overwrite files in submodules: {named(others)}")
        return Refused("nothing was changed, for " + "; and ".join(reasons))

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

    async def _wanted(self, to: str | None) -> Mapping[str, str | None]:
        """The submodules of a commit, each with its own; of one that is not here, those that may move."""
        if to is None:
            return dict.fromkeys(await self._touched())
        listed = (await self.git.run("ls-tree", "-r", "-z", to)).split("\0")
        entries = (entry.partition("\t") for entry in listed if entry.startswith(SUBMODULE))
        return {path: how.split(" ")[2] for how, _, path in entries}

    async def _works(self, to: str | None) -> list[OwnWork]:
        """What a person has done in submodules, and theirs, that the way to that commit would move.

        None stands for a commit that cannot be had.
        """
        found = []
        for path, wanted in (await self._wanted(to)).items():
            inside = self.git.inside(path)
            if not is_repository(inside) or not is_here(self.git.folder or "", path):
                # Removed by somebody: git would find the repository around it there.
                continue
            is_there = wanted is not None and await self._has(inside, wanted)
            if work := await self._work_in(path, wanted, is_there=is_there):
                found.append(work)
            below = Submodules(inside, self.say, self.host, self.in_thread)
            found += [
                replace(one, path=f"{path}/{one.path}")
                for one in await below._works(wanted if is_there else None)
            ]
        return found

    async def _has(self, inside: Git, commit: str) -> bool:
        """Whether a submodule has a commit, which is fetched as `git submodule update` would.

        Where that fails, it may be that only the address has changed.
        """
        asked = ("--verify", "--quiet", f"{commit}^{{commit}}")
        for more in ((), ("origin", commit)):
            if not (await inside.try_("rev-parse", *asked)).code:
                return True
            try:
                await inside.run("fetch", "--quiet", *more)
            except GitError as error:
                if error.was_ended:
                    raise
        return not (await inside.try_("rev-parse", *asked)).code

    async def _work_in(self, path: str, wanted: str | None, *, is_there: bool) -> OwnWork | None:
        """What a person has done in a submodule that is to be at that commit, if it is to move.

        Without the commit, what is in its way cannot be told.
        """
        inside = self.git.inside(path)
        status = await status_of(inside)
        if status.head is None or wanted == status.head:
            return None
        has_commits = await has_own_commits(self.git, path, status.head, *filter(None, [wanted]))
        commits = [status.head] if has_commits else []
        # Where it is to be is not known yet: it may well stay, and git overwrites no edits there.
        edited = set(status.edited) if wanted is not None or has_commits else set()
        if edited:
            folder = git_folder_of(inside.folder or "")
            edited |= await assumed_unchanged(inside, folder, status.head)
        others: list[str] = []
        if wanted is not None and is_there:
            _, others = await in_the_way(inside, status, wanted, self.in_thread)
        if commits or edited or others:
            return OwnWork(path, status.head, sorted(edited), commits, others)
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
        before = {path: await self._head_of(path) for path in paths}
        try:
            await self.git.run("submodule", "--quiet", "sync", "--recursive")
            await self._check_out(before)
        except GitError as error:
            raise Incomplete(
                f"the checkout was updated, but not all of its submodules: {error}"
            ) from None

    async def _head_of(self, path: str) -> str | None:
        """The commit that a submodule is at; None where it is not cloned."""
        inside = self.git.inside(path)
        return (await status_of(inside)).head if is_repository(inside) else None

    async def _check_out(self, before: Mapping[str, str | None]) -> None:
        """Clone them and check them out, where they were at those commits.

        One whose files could not all be written is put back, or the next
        deploy would take it for done. Raises `GitError`.
        """
        ended = await self.git.try_(
            "submodule", "--quiet", "update", "--init", "--recursive", "--checkout"
        )
        if not ended.code and not complains(ended):
            return
        now = {path: await self._head_of(path) for path in await self._touched()}
        broken = [path for path, head in now.items() if head not in (None, before.get(path))]
        for path in broken:
            if commit := before.get(path):
                await self.git.inside(path).try_("reset", "--quiet", "--hard", commit)
            else:
                await self.git.try_("submodule", "--quiet", "deinit", "--force", "--", path)
        if ended.code or broken:
            raise GitError("submodule", ended)
