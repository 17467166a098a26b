"""Submodules in whose place an update puts files: they give way, and nothing of a person's goes with them.

For a file git removes all that is in a submodule, and does not look; among the
files of a folder it would leave a repository standing. So what a person has in
it is looked at first. Then it is put aside, into the git folder of the
checkout, and is back in its place where git has refused the update. Its own
git folder, in `.git/modules`, stays.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from shutil import rmtree

from attrs import define, field
from msgspec.structs import replace

from integralgit.background import InThread
from integralgit.location.changes import SUBMODULE, changes, edited_since
from integralgit.location.folders import is_submodule_of
from integralgit.location.git import Git
from integralgit.location.plan import Refused, named, shortened
from integralgit.location.rescue import above, is_here, rescue, with_identity
from integralgit.location.submodules import OwnWork, has_own_commits, is_repository

ASIDE = "integralgit-put-aside"
#: Up to that size an index is read at once, as refs are, in bytes: that of some 600 files.
SMALL = 64 * 1024
_ENTRY = int(SUBMODULE, 8).to_bytes(4, "big")


def repositories(root: str, wanted: Iterable[str]) -> list[str]:
    """The repositories below `root` that stand where files are wanted, around them, or below.

    Of one in another, the outer; none behind links. Meant for a thread.
    """
    found: dict[str, None] = {}
    #: The outermost repository at a path or above it, if there is one.
    known: dict[str, str | None] = {"": None}

    def outermost(path: str) -> str | None:
        if path not in known:
            is_one = os.path.lexists(os.path.join(root, path, ".git"))
            known[path] = outermost(os.path.dirname(path)) or (path if is_one else None)
        return known[path]

    for path in wanted:
        if one := outermost(path):
            found[one] = None
            continue
        for parent, folders, files in os.walk(os.path.join(root, path)):
            if ".git" in (*folders, *files):
                found[os.path.relpath(parent, root)] = None
                folders.clear()
    return [path for path in found if is_here(root, path)]


def _names_submodule(index: str) -> bool:
    """Whether an index may have the entry of a submodule, by its mode (gitformat-index(5)).

    Other bytes there may look like that.
    """
    with open(index, "rb", buffering=0) as file:
        return _ENTRY in file.readall()


def _untracked(root: str, tracked: Collection[str], below: Iterable[str]) -> set[str]:
    """The files below `root` that are not tracked, but for those of repositories below; for a thread.

    Raises `OSError` where something cannot be looked at.
    """
    others = {os.path.join(root, one) for one in below}
    found: set[str] = set()

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(root, onerror=fail):
        paths = {name: os.path.join(parent, name) for name in (*folders, *files)}
        folders[:] = [
            name
            for name in folders
            if paths[name] not in others and not os.path.islink(paths[name])
        ]
        found.update(os.path.relpath(paths[name], root) for name in paths if name not in folders)
    return found.difference(tracked, below, [".git"])


async def _commits(git: Git, ref: str) -> list[str]:
    """The commit of a ref, if there is one."""
    return (await git.try_("rev-parse", "--verify", "--quiet", ref)).out.decode().split()


@define
class Replaced:
    """The submodules that have to give way, of the checkout at whose root `git` runs.

    `folder` is its git folder; `say` writes to the deploy's log.
    """

    git: Git
    folder: Path
    say: Callable[[str], None]
    host: str
    in_thread: InThread
    paths: list[str] = field(factory=list, init=False)
    #: Whether a file comes where git has known a submodule: it does not look at what is in the folder.
    is_a_file: bool = field(default=False, init=False)

    async def settle(self, *, has_come: bool) -> None:
        """Bring back what a kill has left aside, unless what it gave way to has come meanwhile.

        Nothing of a person's is in it.
        """
        if not os.path.isdir(self.folder / ASIDE):
            return
        if has_come:
            await self.in_thread(self._forget)
            return
        for path in await self.in_thread(self._put_back):
            self.say(f"brought back the submodule {path}, put aside by a deploy that was cut off")

    async def find(self, head: str, to: str) -> None:
        """Find those that stand in the way from one commit to another."""
        if not await self._may_have_any():
            return
        root = self.git.folder or ""
        found = await changes(self.git, head, to)
        leaving = {one.path for one in found if one.ends_submodule}
        becoming = {one.path for one in found if one.after == SUBMODULE != one.before}
        wanted = [
            one.path for one in found if one.kind == "A" or (one.kind == "T" and one.ends_submodule)
        ]
        files = {one.path for one in found if one.kind in "AT" and one.after != SUBMODULE}
        self.is_a_file = any(path in files for one in leaving for path in (one, *above(one)))
        standing: list[str] = await self.in_thread(repositories, root, wanted)
        # What stands at the very place of a submodule may become that.
        self.paths = [
            path
            for path in standing
            if path not in becoming and (path in leaving or is_submodule_of(root, path))
        ]

    async def _may_have_any(self) -> bool:
        """Whether the checkout may have submodules, also such as nothing tells where they are from."""
        index, modules = f"{self.folder}/index", f"{self.folder}/modules"
        if os.path.exists(f"{self.git.folder}/.gitmodules") or os.path.exists(modules):
            return True
        try:
            if os.path.getsize(index) <= SMALL:
                # A thread takes longer than that, at every push.
                return _names_submodule(index)
            may: bool = await self.in_thread(_names_submodule, index)
        except FileNotFoundError:
            return False
        return may

    async def make_way(self, rescue_ref: str | None) -> None:
        """Keep what a person has in them under `rescue_ref` of each; without one, refuse with the list.

        Raises `Refused` too where a git folder is inside of one, for it would go as well.
        """
        works = [work for path in self.paths for work in await self._works(self.git, path)]
        bound = [work.path for work in works if self._holds_git_folder(work.path)]
        if bound and rescue_ref is not None:
            raise Refused(
                f"nothing was changed, for files would take the place of submodules with their git"
                f" folder in them, which cannot be kept: {named(bound)}; move that out of the way"
                f" there (git submodule absorbgitdirs)"
            )
        if works and rescue_ref is None:
            told = [f"{work.path}/{file}" for work in works for file in work.files]
            told += [f"commit {commit} in {work.path}" for work in works for commit in work.commits]
            told += [f"{path}/.git" for path in bound]
            self.say(
                f"Files would take the place of submodules, and of what is only there:\n"
                f"{shortened(told)}"
            )
            raise Refused(
                f"nothing was changed, for files would take the place of submodules with something"
                f" of yours in them: {named([work.path for work in works])}"
            )
        for work in works:
            assert rescue_ref is not None
            self.say(f"In the submodule {work.path}, which gives way to files:")
            inside = await with_identity(self.git.inside(work.path), self.host)
            await rescue(
                inside, work.head, work.commits, work.files, rescue_ref, self.say, self.in_thread
            )
            folder = await inside.run("rev-parse", "--absolute-git-dir")
            self.say(
                f"Its git folder stays: git --git-dir={folder} --work-tree=. show {rescue_ref}:FILE"
            )

    def _holds_git_folder(self, path: str) -> bool:
        return os.path.isdir(os.path.join(self.git.folder or "", path, ".git"))

    async def _works(self, around: Git, path: str) -> list[OwnWork]:
        """What a person has in a submodule, and in its own; `around` runs where it is recorded."""
        inside = around.inside(path)
        root = inside.folder or ""
        head, commits = await _commits(inside, "HEAD"), await _commits(inside, "refs/stash")
        tracked: set[str] = set()
        below: list[str] = []
        edited: list[str] = []
        if head:
            for entry in (await inside.run("ls-tree", "-r", "-z", *head)).split("\0")[:-1]:
                how, _, name = entry.partition("\t")
                if not how.startswith(SUBMODULE):
                    tracked.add(name)
                elif is_repository(inside.inside(name)) and is_here(root, name):
                    below.append(name)
            folder = Path(os.fsdecode(await inside.run("rev-parse", "--absolute-git-dir")))
            edited = await edited_since(inside, folder, *head)
            if await has_own_commits(around, path, *head):
                commits = [*head, *commits]
        try:
            untracked: set[str] = await self.in_thread(_untracked, root, tracked, below)
        except OSError as error:
            raise Refused(
                f"nothing was changed, for {path} gives way to files, and not all in it can be"
                f" read: {error.strerror} ({error.filename})"
            ) from None
        files = sorted({*edited, *untracked})
        found = []
        if files or commits or os.path.isdir(os.path.join(root, ".git")):
            found.append(OwnWork(path, next(iter(head), None), files, commits))
        for name in below:
            found += [
                replace(one, path=f"{path}/{one.path}") for one in await self._works(inside, name)
            ]
        return found

    @asynccontextmanager
    async def aside(self, is_under_way: Callable[[], bool]) -> AsyncIterator[None]:
        """Put them aside, and back where what is done meanwhile fails before it changes files."""
        if not self.paths:
            yield
            return
        await self.in_thread(self._put_aside)
        try:
            yield
        except Exception:
            if not is_under_way():
                await self.in_thread(self._put_back)
            raise
        await self.in_thread(self._forget)

    def _put_aside(self) -> None:
        aside = self.folder / ASIDE
        self._forget()
        try:
            for path in self.paths:
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                os.rename(os.path.join(self.git.folder or "", path), aside / path)
        except OSError as error:
            self._put_back()
            raise Refused(
                f"nothing was changed, for a submodule that gives way to files cannot be moved:"
                f" {error.strerror} ({error.filename})"
            ) from None

    def _put_back(self) -> list[str]:
        """Bring what was put aside to where it was, unless something is there; what that was."""
        root, aside, back = self.git.folder or "", self.folder / ASIDE, []
        for path in repositories(str(aside), [""]):
            place = os.path.join(root, path)
            with suppress(OSError):
                if is_here(root, path):
                    os.makedirs(os.path.dirname(place), exist_ok=True)
                    os.rename(aside / path, place)
                    back.append(path)
        self._forget()
        return back

    def _forget(self) -> None:
        rmtree(self.folder / ASIDE, ignore_errors=True)
