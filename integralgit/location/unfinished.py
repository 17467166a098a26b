"""An update that was cut off, by a kill or a power failure, is completed by the next one, or taken back.

Before git changes files, a note in the git folder says from which commit to
which. Nothing of the user's was in the way once git has begun, so what stands
half changed on that way is ours; files elsewhere are not touched. Where git had
not begun, or somebody has gone on working there since, the note is void, or
what is neither of the two commits' is kept under a rescue ref first.

Until what git has changed is on the disk, the note stands under another name:
where the machine has been started anew since, files may have lost what is in them.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from attrs import define

from integralgit.background import InThread
from integralgit.location.changes import Change, changes, edited_since
from integralgit.location.folders import git_folder_of, is_folder
from integralgit.location.git import Git, GitError
from integralgit.location.rescue import above, ids_of, is_behind_link, remove
from integralgit.location.way import occupied
from integralgit.names import is_branch, is_commit
from integralgit.processes.groups import boot_id

Keep = Callable[[Sequence[str]], Awaitable[None]]

#: While files are changed, and from then on until they are on the disk.
NOTE, DONE = "integralgit-update", "integralgit-updated"
NOTHING = "nothing"
#: What no branch is called.
DETACHED = "-"
_REMOVE = ["rm", "--force", "--quiet", "--ignore-unmatch", "--sparse"]


class Completed(msgspec.Struct, frozen=True):
    """An update that had been cut off, with the commit from which it came, if there was one."""

    before: str | None


def _have_changed(root: str, some: Iterable[Change], since: int) -> bool:
    """Whether one of the files below `root` was written or removed since then, in nanoseconds."""
    return any(
        _changed_at(os.path.join(root, one.path), was_there=one.kind != "A") >= since
        for one in some
    )


def _changed_at(path: str, *, was_there: bool) -> int:
    try:
        return os.lstat(path).st_ctime_ns
    except (FileNotFoundError, NotADirectoryError):
        # The folder tells when it went.
        return _changed_at(os.path.dirname(path), was_there=True) if was_there else 0
    except OSError:
        # git could not look at it either.
        return 0


def standing(root: str, paths: Iterable[str]) -> set[str]:
    """Those of the paths below `root` at which something stands; raises `OSError` where it cannot be told."""
    found = set()
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(os.path.join(root, path))
            found.add(path)
    return found


async def _let_go(paths: Sequence[str]) -> None:
    """Keep nothing."""


def _stand_since(root: str, some: Iterable[Change], since: int) -> set[str]:
    """The files below `root`, none of submodules, that were there before, by nanoseconds, and are as they were."""
    return {
        one.path
        for one in some
        if not (one.is_submodule or is_behind_link(root, one.path))
        and 0 < _changed_at(os.path.join(root, one.path), was_there=False) < since
    }


def _lines(path: str) -> list[str]:
    """The lines of a note; none where there is none."""
    try:
        return os.readlink(path).split("\n")
    except FileNotFoundError:
        return []
    except OSError:
        return Path(path).read_text("utf-8", "replace").rstrip("\n").split("\n")


def _is_of_this_boot(lines: list[str]) -> bool:
    """Whether the machine has not been started anew since a note with these lines was made."""
    return lines[3:4] == [boot_id()]


def settled(folder: Path) -> None:
    """What had ended in the checkout of that git folder since the machine was started is on the disk."""
    with suppress(OSError):
        if _is_of_this_boot(_lines(f"{folder}/{DONE}")):
            os.unlink(f"{folder}/{DONE}")


def cut_off_at(location: str) -> tuple[str | None, str] | None:
    """From where to where git was changing the files of a location when it was killed; None if it was not.

    The first is None for a checkout that had no commit.
    """
    with suppress(OSError):
        lines = _lines(f"{git_folder_of(location)}/{NOTE}")
        if len(lines) >= 3 and is_commit(lines[2]):
            return (lines[1] if is_commit(lines[1]) else None), lines[2]
    return None


@define
class Unfinished:
    """The note of one checkout; `folder` is its git folder.

    The note is a link that leads nowhere, and its text is the link's: a file
    system that keeps a journal, or writes copies, brings names and links back
    after a power failure in the order in which they were made. So nobody has to
    wait for the disk: where a change of git's has outlived it, the note has too.
    """

    folder: Path
    git: Git
    say: Callable[[str], None]

    def begin(
        self,
        branch: str,
        before: str | None,
        to: str,
        *,
        local: str | None = None,
        on_branch: str | None = None,
    ) -> None:
        """From now on files are changed, on the way from one commit, or from nothing, to another.

        `local` is where the branch is until then, and `on_branch` where HEAD
        is. Raises `OSError` where that cannot be noted.
        """
        lines = [branch, before or NOTHING, to, boot_id(), local or NOTHING, on_branch or DETACHED]
        text = "\n".join(lines)
        # What is there says nothing any more, and may be a file of an earlier version.
        self.void()
        try:
            os.symlink(text, self._path(NOTE))
        except OSError:
            # Some file systems know no links; they keep no journal either.
            Path(self._path(NOTE)).write_text(text)

    def is_under_way(self) -> bool:
        """Whether files have begun to change, and are not yet what they should be."""
        return os.path.lexists(self._path(NOTE))

    def leads_to(self, commit: str) -> bool:
        """Whether it is that commit to which an update that was cut off was to come."""
        return self._cut_off()[2:3] == [commit]

    def end(self) -> None:
        """The files are what they should be, but it may be that the disk does not have them yet."""
        with suppress(FileNotFoundError):
            os.replace(self._path(NOTE), self._path(DONE))

    def void(self) -> None:
        """There is nothing to complete."""
        for name in (NOTE, DONE):
            with suppress(FileNotFoundError):
                os.unlink(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def _cut_off(self) -> list[str]:
        """The lines of the note that counts: of an update that was under way, or is not on the disk."""
        done = _lines(self._path(DONE))
        return _lines(self._path(NOTE)) or ([] if _is_of_this_boot(done) else done)

    async def has_changed(self, before: str | None, to: str, in_thread: InThread) -> bool:
        """Whether git has changed a file on that way since `begin`; meant for when it has failed.

        By when the file system has seen changes, for what is in the files may
        be a person's.
        """
        root, since = self.git.folder or "", os.lstat(self._path(NOTE)).st_ctime_ns
        changed: bool = await in_thread(
            _have_changed, root, await changes(self.git, before, to), since
        )
        return changed

    async def _has_begun(self, before: str, to: str, in_thread: InThread) -> bool:
        """Whether git had changed anything when it was cut off, or may have.

        It writes files first, then the index, and HEAD at the end. A person may
        have staged something before, and git may refresh the index at any time.
        """
        if not (self.is_under_way() and _is_of_this_boot(_lines(self._path(NOTE)))):
            return True
        start = None if before == NOTHING else before
        if await self._commit_of("HEAD") != (start or ""):
            return True
        if await self.has_changed(start, to, in_thread):
            return True
        try:
            written = os.lstat(self._path("index")).st_ctime_ns
        except FileNotFoundError:
            return start is not None
        if written < os.lstat(self._path(NOTE)).st_ctime_ns:
            return False
        if start is None:
            return True
        staged = (await self.git.run("diff", "--cached", "--name-only", "-z", start)).split("\0")
        return any(one.path in staged for one in await changes(self.git, start, to))

    async def complete(self, in_thread: InThread, keep: Keep) -> Completed | None:
        """Complete an update that was cut off, if one was; the caller holds the location's lock.

        One that had changed nothing yet is left to whoever updates now, who may
        refuse it. `keep` is given the files that are neither as before nor as wanted.
        """
        completed = None
        lines = self._cut_off()
        if len(lines) >= 3 and is_branch(lines[0]) and is_commit(lines[2]):
            branch, before, to = lines[:3]
            # An earlier version has not noted where the branch was.
            local = lines[4] if len(lines) >= 6 else before
            if not await self._still_holds(branch, before, to, local):
                self.say("An update was cut off here, but the branch was moved since; let it be.")
                self.void()
                return None
            if not await self._are_here(to, *([] if before == NOTHING else [before])):
                self.say(
                    f"An update to {to[:12]} was cut off here, and the disk has lost that commit."
                )
                self.void()
                return None
            if not await self._has_begun(before, to, in_thread):
                self.say(f"An update to {to[:12]} was cut off before it had changed anything.")
                self.void()
                return None
            self.say(f"the update to {to[:12]} was cut off and is completed first")
            if before == NOTHING:
                coming = [one.path for one in await changes(self.git, None, to)]
                odd = await edited_since(self.git, self.folder, to)
                odd += await self._instead_of_folders(coming, frozenset(), in_thread)
                if odd:
                    await keep(odd)
                await self.git.run("checkout", "--force", to, "--", ":/")
            else:
                if not os.path.exists(self._path("index")):
                    await self.git.run("read-tree", to)
                await self._complete(before, to, in_thread, keep)
            await self.git.run("update-ref", f"refs/heads/{branch}", to)
            await self.git.run("symbolic-ref", "HEAD", f"refs/heads/{branch}")
            completed = Completed(None if before == NOTHING else before)
        if lines:
            self.void()
        return completed

    async def carried(self, before: str | None, to: str, in_thread: InThread) -> frozenset[str]:
        """A person's files on that way, with which git has had nothing to do since `begin`.

        What is staged as in the second commit already git takes along, with all
        edits on top of that.
        """
        root, since = self.git.folder or "", os.lstat(self._path(NOTE)).st_ctime_ns
        found = await changes(self.git, before, to)
        standing: set[str] = await in_thread(_stand_since, root, found, since)
        # It takes none along that it is to remove.
        standing.difference_update(one.path for one in found if one.kind == "D")
        if before is not None and standing:
            added = {one.path for one in found if one.kind == "A"}
            standing &= added | await self._differing(before)
        return frozenset(standing)

    async def take_back(
        self, in_thread: InThread, keep: Keep | None, carried: frozenset[str] = frozenset()
    ) -> bool:
        """Bring all but the files that were carried back to what it was before an update that cannot be completed.

        `keep` is given the files that are neither as before nor as wanted;
        without it, for lack of room, they are let go. False where an earlier
        version has not noted where the branch was. Raises `GitError`.
        """
        lines = self._cut_off()
        branch, before, to = lines[:3]
        is_there = await self.git.try_("rev-parse", "--verify", "--quiet", "HEAD")
        has_moved = is_there.out.decode().strip() == to
        if has_moved and len(lines) < 6:
            return False
        start = None if before == NOTHING else before
        found = await changes(self.git, start, to)
        added = [one.path for one in found if one.kind == "A" and one.path not in carried]
        if added and keep is not None:
            kept = await edited_since(self.git, self.folder, to)
            await keep([path for path in added if path in kept])
        # Before anything is written, for it may be that the disk is full of them.
        await in_thread(remove, self.git.folder or "", added)
        if start is None:
            await self.git.run("read-tree", "--empty")
        else:
            await self._complete(to, start, in_thread, keep or _let_go, carried)
        if has_moved:
            await self._put_refs_back(branch, start, *lines[4:6])
        self.void()
        return True

    async def _put_refs_back(
        self, branch: str, before: str | None, local: str, on_branch: str
    ) -> None:
        if on_branch != DETACHED:
            await self.git.run("symbolic-ref", "HEAD", f"refs/heads/{on_branch}")
        elif before is not None:
            await self.git.run("update-ref", "--no-deref", "HEAD", before)
        if local != NOTHING:
            await self.git.run("update-ref", f"refs/heads/{branch}", local)
        else:
            await self.git.run("update-ref", "-d", f"refs/heads/{branch}")

    async def _still_holds(self, branch: str, before: str, to: str, local: str) -> bool:
        """Whether branch and HEAD are where the update has left them: `local` was the branch."""
        on_branch, head = (
            await self._commit_of(f"refs/heads/{branch}"),
            await self._commit_of("HEAD"),
        )
        if on_branch not in ("", local, to):
            return False
        return head in ("", before, to) or before == NOTHING

    async def _commit_of(self, ref: str) -> str:
        """The commit of a ref; nothing where there is none."""
        found = await self.git.try_("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        return found.out.decode().strip()

    async def _are_here(self, *commits: str) -> bool:
        """Whether all of these commits are in the repository, with their files."""
        for commit in commits:
            if (await self.git.try_("ls-tree", "-r", "--name-only", commit)).code:
                return False
        return True

    async def _differing(self, commit: str) -> set[str]:
        """The files that differ from those of a commit."""
        listed = await self.git.run("diff", "--name-only", "-z", "--no-renames", commit, "--")
        return set(listed.split("\0"))

    def _is_there(self, path: str) -> bool:
        return os.path.lexists(os.path.join(self.git.folder or "", path))

    async def _instead_of_folders(
        self, coming: Sequence[str], leaving: frozenset[str], in_thread: InThread
    ) -> list[str]:
        """What stands where files are to have their folders: git removes it, where it is forced to."""
        found: list[str] = await in_thread(occupied, self.git.folder or "", (), leaving, coming)
        return found

    async def _complete(
        self,
        before: str,
        to: str,
        in_thread: InThread,
        keep: Keep,
        carried: frozenset[str] = frozenset(),
    ) -> None:
        """Make all files that differ between the commits those of the second, but for those carried."""
        found = [one for one in await changes(self.git, before, to) if one.path not in carried]
        on_disk: set[str] = await in_thread(
            standing, self.git.folder or "", [one.path for one in found]
        )
        changed, wanting = await self._differing(before), await self._differing(to)
        there = on_disk & wanting
        if there:
            # By what is in them, too, for the index does not say that of all files.
            changed.update(await edited_since(self.git, self.folder, before))
        files = [one for one in found if one.path in there and not one.is_submodule]
        as_wanted = await self._as_in(to, [one.path for one in files if one.kind != "D"])
        odd = [
            one.path
            for one in files
            if one.path not in as_wanted and (one.kind == "A" or one.path in changed)
        ]
        odd += [one.path for one in found if one.path in there and self._is_lost(one, changed)]
        coming = [one for one in found if one.kind != "D"]
        writing = [one for one in coming if one.path in wanting]
        as_before = [one.path for one in found if one.kind == "D" and one.path not in changed]
        odd += await self._instead_of_folders(
            [one.path for one in writing], frozenset(as_before), in_thread
        )
        if odd:
            await keep(odd)
        # In a folder's place nothing else is left once its files have come.
        folders = {folder for one in coming for folder in above(one.path)}
        gone = [one for one in found if one.kind == "D" and one.path not in folders]
        await self._each(["reset", "--quiet", to], [one for one in coming if one not in writing])
        await self._write(to, writing)
        going = {one.path for one in gone if one.path in wanting and self._is_to_go(one)}
        # git would not say of every file that it could not be removed.
        await in_thread(remove, self.git.folder or "", sorted(going))
        await self._each(_REMOVE, [one for one in gone if one.path in going])
        await self._each([*_REMOVE, "--cached"], [one for one in gone if one.path not in going])
        if (self.folder / "info" / "sparse-checkout").exists():
            # What was brought anew from outside of that goes again.
            await self.git.try_("sparse-checkout", "reapply")

    async def _write(self, to: str, some: list[Change]) -> None:
        """Bring files anew; those that are as they should be only if that is possible."""
        try:
            await self._each(["checkout", "--force", to], some)
        except GitError as error:
            unlike = set(await edited_since(self.git, self.folder, to))
            fine = [
                one
                for one in some
                if not one.is_submodule and one.path not in unlike and self._is_there(one.path)
            ]
            if error.was_ended or not fine:
                raise
            await self._each(["reset", "--quiet", to], fine)
            await self._each(["checkout", "--force", to], [one for one in some if one not in fine])

    async def _as_in(self, commit: str, paths: list[str]) -> set[str]:
        """Those of some paths at which a link, or a file byte for byte, stands that is in the commit."""
        root = self.git.folder or ""
        paths = [path for path in paths if not is_behind_link(root, path)]
        links = {path for path in paths if os.path.islink(os.path.join(root, path))}
        files = [p for p in paths if p not in links and os.path.isfile(os.path.join(root, p))]
        if links:
            links.difference_update(await edited_since(self.git, self.folder, commit))
        if not files:
            return links
        entries = (await self.git.run("ls-tree", "-r", "-z", commit)).split("\0")
        pairs = (entry.partition("\t") for entry in entries if entry)
        there = {path: how.split(" ")[2] for how, _, path in pairs}
        ids = await ids_of(self.git, files)
        same = {path for path, one in zip(files, ids, strict=True) if there.get(path) == one}
        return links | same

    def _is_lost(self, one: Change, changed: set[str]) -> bool:
        """Whether something of a person's would be lost where a submodule comes, or has been."""
        place = os.path.join(self.git.folder or "", one.path)
        if one.ends_submodule:
            return one.kind != "D" and (not is_folder(place) or bool(os.listdir(place)))
        return (
            one.is_submodule and not is_folder(place) and (one.kind == "A" or one.path in changed)
        )

    def _is_to_go(self, one: Change) -> bool:
        """Whether what is in the place of a tracked file may be that, which goes."""
        root = self.git.folder or ""
        place = os.path.join(root, one.path)
        return not (one.is_submodule or is_folder(place) or is_behind_link(root, one.path))

    async def _each(self, command: list[str], some: list[Change]) -> None:
        """Run a git command on the paths of those changes."""
        if not some:
            return
        paths = self.folder / f"{NOTE}.paths"
        try:
            paths.write_bytes(b"\0".join(os.fsencode(one.path) for one in some))
            await self.git.with_environment(GIT_LITERAL_PATHSPECS="1").run(
                *command, f"--pathspec-from-file={paths}", "--pathspec-file-nul"
            )
        finally:
            paths.unlink(missing_ok=True)
