"""Bringing a checkout to a commit without destroying anything of the user's.

git refuses to overwrite edited and untracked files, and ignored ones where it is
told to; it looks before it changes anything. What is in the way is worked out
here, for people to read; beforehand, where git's word is not enough.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred

from integralgit.background import InThread
from integralgit.location.changes import Change, assumed_unchanged, changes
from integralgit.location.checkout import Checkout, Tips
from integralgit.location.folders import is_folder
from integralgit.location.git import GitError, complains, could_not_remove
from integralgit.location.plan import (
    Merge,
    Move,
    Overwrite,
    Refused,
    Situation,
    Stay,
    named,
    out_of_a_conflict,
    out_of_the_way,
    plan,
    readable,
    shortened,
)
from integralgit.location.refs import Head
from integralgit.location.replaced import Replaced
from integralgit.location.rescue import remove, rescue, staged, with_identity
from integralgit.location.room import hindrance
from integralgit.location.status import Status
from integralgit.location.submodules import Submodules
from integralgit.location.unfinished import Completed, Keep, Unfinished
from integralgit.location.way import in_the_way, occupied, untouched
from integralgit.processes.child import Exit

_QUIT = {"rebase": "rebase", "cherry-pick": "cherry-pick", "revert": "revert"}


def _was_refused(error: GitError) -> bool:
    """Whether git has looked at the files, and left all as they are; it ends with this line then."""
    return "Aborting" in error.said.splitlines()


class _HalfDone(GitError):
    """git could not write all of the files, and has moved HEAD and the branch all the same."""


class Updated(msgspec.Struct, frozen=True):
    """Where HEAD stood before an update (None before the first commit), and where after."""

    previous: str | None
    head: str


#: Told what an update comes to, once git has begun with it, and may still refuse it.
Changing = Callable[[Updated], None]


@define
class Update:
    """One update of a checkout on the host `identity`; `say` writes a line to the deploy's log.

    `changing` is for what may be done while git changes the files. `earlier`
    is what the same has come to before, when it was cut off.
    """

    checkout: Checkout
    say: Callable[[str], None]
    in_thread: InThread
    identity: str
    with_submodules: bool = False
    changing: Changing = lambda updated: None
    earlier: Updated | None = None
    #: What git has changed here, should the update fail all the same.
    changed: Updated | None = field(default=None, init=False)
    #: Where HEAD was before all that.
    _previous: str | None = field(default=None, init=False)
    _unfinished: Unfinished = field(init=False)
    #: Where files are kept that are neither as before nor as wanted, where git was cut off.
    _cut_ref: str = field(init=False)
    _is_git_careful: bool = field(default=True, init=False)

    async def run(
        self, branch: str, mode: str, tips: Tips, deployed: Sequence[str], rescue_ref: str
    ) -> Updated:
        """Bring the checkout to the fetched commit in the way of `mode`.

        `deployed` are remote commits that were deployed here before, and
        `rescue_ref` is where `follow` keeps what it overwrites. Raises
        `Refused` and changes nothing where the mode forbids it.
        """
        folder = await self.checkout.git_folder()
        self._unfinished = Unfinished(folder, self.checkout.git, self.say)
        self._cut_ref = f"{rescue_ref}-cut"
        git = self.checkout.git
        replaced = Replaced(git, folder, self.say, self.identity, self.in_thread)
        completed = await self._complete(self._keep_cut, tips)
        await replaced.settle(has_come=completed is not None)
        head = await self.checkout.head()
        # No script was told of what was cut off, or none may have ended well: this one is.
        if self.earlier is not None:
            self._previous = self.earlier.previous
        else:
            self._previous = completed.before if completed else head.commit
        if completed and head.commit:
            self.changed = Updated(self._previous, head.commit)
        found = await self._find(branch, head, tips, deployed, folder)
        step = plan(found, branch, mode)
        if found.local is None:
            await self._see_that_the_branch_can_be(branch)
        if head.branch != branch:
            await self._see_that_nobody_else_is_on(branch, folder)
        if isinstance(step, Merge):
            step = Move(await self._merge(branch, step.local, step.target))
        to = found.local or found.target if isinstance(step, Stay) else step.to
        kept_under = rescue_ref if isinstance(step, Overwrite) else None
        if head.commit not in (None, to):
            await replaced.find(head.commit, to)
            await replaced.make_way(kept_under)
            self._is_git_careful = not replaced.is_a_file
        submodules = await self._submodules(to)
        if submodules is not None:
            await submodules.make_way(to, rescue_ref=kept_under)
        async with replaced.aside(self._unfinished.is_under_way):
            await self._take(step, head, found, branch, rescue_ref)
        if submodules is not None:
            await submodules.update()
        if head.commit is None:
            self._tell_what_is_missing()
        return Updated(self._previous, to)

    async def _complete(self, keep: Keep, tips: Tips) -> Completed | None:
        """Complete what was cut off; where that cannot be, go back to where it came from.

        The newest commit may well be one that can be checked out.
        """
        try:
            return await self._unfinished.complete(self.in_thread, keep)
        except (GitError, OSError) as error:
            was_ended = isinstance(error, GitError) and error.was_ended
            if was_ended or self._unfinished.leads_to(tips.branch):
                raise
            self.say(f"It cannot be completed ({error}), and is taken back first.")
            if not await self._unfinished.take_back(self.in_thread, keep):
                raise
            return None

    async def _see_that_the_branch_can_be(self, branch: str) -> None:
        others = await self.checkout.branches_instead_of(branch)
        if others:
            raise Refused(
                f"nothing was changed, for git can have no branch {branch} in the checkout beside"
                f" {named(others)}; rename or delete that there (git branch -m {others[0]} NAME)"
            )

    async def _see_that_nobody_else_is_on(self, branch: str, folder: Path) -> None:
        """Not every git looks at that, and a branch that is moved there would look like edits."""
        if folder.parent.name != "worktrees" and not (folder / "worktrees").is_dir():
            return
        listed = await self.checkout.git.run("worktree", "list", "--porcelain", "-z")
        for tree in listed.split("\0\0"):
            place, *lines = tree.split("\0")
            is_there = not any(line.startswith("prunable") for line in lines)
            if is_there and f"branch refs/heads/{branch}" in lines:
                raise Refused(
                    f"nothing was changed, for {branch} is checked out at"
                    f" {readable(place.removeprefix('worktree '))}, another worktree of the same"
                    f" repository; switch that to another branch"
                )

    async def _submodules(self, commit: str) -> Submodules | None:
        """The submodules, where the config asks for them and the commit has some."""
        git = self.checkout.git
        if self.with_submodules and await git.run("ls-tree", commit, "--", ".gitmodules"):
            return Submodules(git, self.say, self.identity, self.in_thread)
        return None

    def _tell_what_is_missing(self) -> None:
        """At the first checkout, say what it does not bring, for nobody would see why."""
        if not self.with_submodules and Path(self.checkout.location, ".gitmodules").is_file():
            self.say("Its submodules stay empty, for the config does not set `submodules`.")
        try:
            attributes = Path(self.checkout.location, ".gitattributes").read_bytes()
        except OSError:
            return
        if b"filter=lfs" in attributes:
            self.say("Its files in Git LFS stay pointers; let the script run `git lfs pull`.")

    async def _keep(
        self, head: str | None, commits: Sequence[str], files: Sequence[str], ref: str
    ) -> None:
        """Keep commits and files under a ref of their own, and say how to get them back."""
        git = await with_identity(self.checkout.git, self.identity)
        await rescue(git, head, commits, files, ref, self.say, self.in_thread)

    async def _keep_cut(self, files: Sequence[str]) -> None:
        status, commits = await self.checkout.status(), list[str]()
        if status.staged and status.head:
            git = await with_identity(self.checkout.git, self.identity)
            commits.append(await staged(git, status.head))
        await self._keep(status.head, commits, files, self._cut_ref)

    async def _take(
        self,
        step: Stay | Move | Overwrite,
        head: Head,
        found: Situation,
        branch: str,
        rescue_ref: str,
    ) -> None:
        """Take the planned step."""
        match step:
            case Stay():
                self.say(f"nothing to update: {branch} has {found.target[:12]}")
                self.changing(Updated(self._previous, found.local or found.target))
            case Move(to):
                await self._move(head, found, branch, to)
            case Overwrite(to):
                await self._overwrite(found, branch, to, rescue_ref)

    async def _find(
        self, branch: str, head: Head, tips: Tips, deployed: Sequence[str], folder: Path
    ) -> Situation:
        git, target = self.checkout.git, tips.branch
        name = f"refs/heads/{branch}"
        local = (await self.checkout.refs(name)).get(name)
        ahead = behind = own = 0
        was_followed = tips.forward and local == tips.branch_before
        if local is not None and local != target and not was_followed:
            counted = await git.run(
                "rev-list", "--left-right", "--count", f"{local}...{target}", "--"
            )
            ahead, behind = map(int, counted.split())
        if ahead:
            earlier = self.checkout.earlier_tips(folder, branch)
            known = [target, *filter(None, [tips.branch_before]), *deployed, *earlier]
            count = await git.run(
                "rev-list", "--ignore-missing", "--count", f"{local}", "--not", *known, "--"
            )
            own = int(count)
        loose = 0
        if head.branch is None and head.commit is not None:
            everywhere = [target, "--branches", "--remotes", "--tags"]
            counted = await git.run("rev-list", "--count", head.commit, "--not", *everywhere, "--")
            loose = int(counted)
        in_progress = self.checkout.in_progress(folder)
        return Situation(
            head.commit,
            head.branch,
            local,
            target,
            ahead,
            behind,
            own,
            in_progress,
            tips.rollback,
            loose,
        )

    async def _move(self, head: Head, found: Situation, branch: str, to: str) -> None:
        """Move where nothing is in the way.

        git looks at that itself, and is believed but where it would overwrite
        what stands outside of a sparse checkout, or in the place or the folder
        of a submodule; what is in the way is worked out once it has refused. A
        removed file is brought back, as by every pull.
        """
        is_careful = self._is_git_careful and not self.with_submodules and not self._is_sparse()
        if head.commit is None or not is_careful:
            await self._see_that_nothing_is_in_the_way(await self.checkout.status(), to)
        try:
            await self._change(found, branch, to, keep=True)
        except GitError as error:
            if not _was_refused(error):
                raise
            status = await self.checkout.status()
            anew = await untouched(self.checkout.git, status, to, self.in_thread)
            if not anew:
                await self._see_that_nothing_is_in_the_way(status, to)
                hidden = await self._hidden(status, to)
                if not hidden:
                    raise
                raise self._would_overwrite(hidden, []) from None
            await self._change_anew(anew, found, branch, to)
        if found.local is None:
            await self._follow_remote(branch)

    async def _change_anew(self, paths: list[str], found: Situation, branch: str, to: str) -> None:
        """Let git change files that it holds for edited: it brings anew what is not there."""
        await self.in_thread(remove, self.checkout.location, paths)
        try:
            await self._change(found, branch, to, keep=True)
        except Exception:
            literal = self.checkout.git.with_environment(GIT_LITERAL_PATHSPECS="1")
            await literal.try_("checkout", "--force", found.head or "HEAD", "--", *paths)
            raise

    def _is_sparse(self) -> bool:
        """Whether git leaves tracked files out of the checkout (git-sparse-checkout(1))."""
        return (self._unfinished.folder / "info" / "sparse-checkout").exists()

    async def _see_that_nothing_is_in_the_way(self, status: Status, to: str) -> None:
        edited, others = await in_the_way(self.checkout.git, status, to, self.in_thread)
        if edited or others:
            raise self._would_overwrite(edited, others)

    def _would_overwrite(self, edited: list[str], others: list[str]) -> Refused:
        """Tell the log what is in the way; the refusal for it."""
        parts = []
        if edited:
            parts.append(f"edited here:\n{shortened(edited)}")
        if others:
            parts.append(f"not tracked by git here:\n{shortened(others)}")
        self.say("The update would overwrite files.\n" + "\n".join(parts))
        names = named(edited + others)
        ways_out = out_of_the_way(self.checkout.location, edited, others)
        return Refused(
            f"nothing was changed, for the update would overwrite files: {names}", ways_out
        )

    async def _hidden(self, status: Status, to: str) -> list[str]:
        """Files in the way that git does not call edited, for somebody has told it not to look.

        By git-update-index(1), `--assume-unchanged` and `--skip-worktree`;
        git does not overwrite them either, so this is asked when it has refused.
        """
        git = self.checkout.git
        tagged = (await git.run("ls-files", "-v", "-z")).split("\0")
        flagged = {entry[2:] for entry in tagged if entry[:1].islower() or entry[:1] == "S"}
        if not flagged or status.head is None:
            return []
        changed = await git.run(
            "diff-tree", "-r", "-z", "--name-only", "--no-renames", status.head, to, "--"
        )
        there = flagged & set(changed.split("\0"))
        return sorted(
            path for path in there if os.path.lexists(os.path.join(self.checkout.location, path))
        )

    async def _change(self, found: Situation, branch: str, to: str, *, keep: bool) -> None:
        """Let git change the files; where it cannot, they are put back, or completed by the next deploy.

        With `keep` it refuses, before it changes anything, where that would
        overwrite a file of the user's, an ignored one too.
        """
        before = found.head
        local, on_branch = found.local, found.on_branch
        self._unfinished.begin(branch, before, to, local=local, on_branch=on_branch)
        option = "--no-overwrite-ignore" if keep else "--force"
        checking_out = Deferred.fromCoroutine(self._check_out(branch, to, option))
        self.changing(Updated(self._previous, to))
        try:
            ended = await checking_out
        except OSError:
            # git could not be started.
            self._unfinished.void()
            raise
        try:
            await self._see_that_it_is_complete(ended, before, to)
        except GitError as error:
            # Once the files are back, there may be room again.
            no_room = hindrance(self.checkout.location, error.said)
            if _was_refused(error) or not (
                isinstance(error, _HalfDone) or await self._may_have_begun(before, to)
            ):
                self._unfinished.void()
            elif error.was_ended or not await self._is_taken_back(
                before,
                to,
                # For lack of room git has written files halfway, and none of them can be kept.
                self._keep_cut if no_room is None else None,
                was_forced=not keep,
            ):
                self._leave_half_done(to)
            if no_room is not None:
                raise Refused(f"{error}; {no_room}") from None
            raise
        except OSError:
            # What git has left could not be looked at.
            self._leave_half_done(to)
            raise
        self._unfinished.end()
        self.changed = Updated(self._previous, to)

    def _leave_half_done(self, to: str) -> None:
        self.changed = Updated(self._previous, to)
        self.say("The update was left half done; the next deploy completes it.")

    async def _may_have_begun(self, before: str | None, to: str) -> bool:
        try:
            return await self._unfinished.has_changed(before, to, self.in_thread)
        except (GitError, OSError):
            # It was made to end, perhaps, and the first error is the one to be told.
            return True

    async def _is_taken_back(
        self, before: str | None, to: str, keep: Keep | None, *, was_forced: bool
    ) -> bool:
        """Whether the files could be put back; the first error is the one to be told.

        A person's that git has taken along stay as they are, unless it was
        forced: then all of them are kept already.
        """
        carried: frozenset[str] = frozenset()
        try:
            if not was_forced:
                carried = await self._unfinished.carried(before, to, self.in_thread)
            is_back = await self._unfinished.take_back(self.in_thread, keep, carried)
        except (GitError, Refused, OSError):
            return False
        if is_back:
            self.say("The files that had changed by then were put back.")
        return is_back

    async def _check_out(self, branch: str, to: str, *options: str) -> Exit:
        """Put HEAD on the branch, and the branch on the commit; raises `OSError` before git has begun."""
        return await self.checkout.git.try_(
            "checkout", "--quiet", *options, "--no-track", "-B", branch, to, "--", output=False
        )

    async def _see_that_it_is_complete(self, ended: Exit, before: str | None, to: str) -> None:
        """Raise `GitError` where git has failed, or files are missing; `OSError` where that cannot be told."""
        if ended.code:
            raise GitError("checkout", ended)
        if complains(ended) and await self._is_incomplete(ended, before, to):
            raise _HalfDone("checkout", ended)

    async def _is_incomplete(self, ended: Exit, before: str | None, to: str) -> bool:
        edited = (await self.checkout.status()).edited

        def is_left(one: Change) -> bool:
            # A folder that a person has put there is no file that was to go.
            place = os.path.join(self.checkout.location, one.path)
            return could_not_remove(ended, one.path) and not is_folder(place)

        found = await changes(self.checkout.git, before, to)
        return any(is_left(one) if one.kind == "D" else one.path in edited for one in found)

    async def _follow_remote(self, branch: str) -> None:
        """Let the local branch follow the remote one, for people who work in the checkout."""
        await self.checkout.git.try_(
            "branch", "--quiet", f"--set-upstream-to={self.checkout.tracking(branch)}", branch
        )

    async def _merge(self, branch: str, local: str, target: str) -> str:
        """A commit that merges the target into the local branch, made beside the checkout."""
        git = await with_identity(self.checkout.git, self.identity)
        merged = await git.try_(
            "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", local, target
        )
        tree, *conflicts = merged.out.decode("utf-8", "surrogateescape").split("\0")
        if merged.code == 1:
            files = list(dict.fromkeys(filter(None, conflicts)))
            self.say(f"These files conflict:\n{shortened(files)}")
            raise Refused(
                f"nothing was changed, for local commits conflict with the new ones in:"
                f" {named(files)}",
                out_of_a_conflict(self.checkout.location, target),
            )
        if merged.code:
            raise Refused("the local commits could not be merged with the new ones; see the log")
        self.say(f"merging {target[:12]} into local commits of {branch}")
        message = f"Merge remote branch '{branch}' of {self.checkout.source.repo}"
        return await git.run("commit-tree", tree, "-p", local, "-p", target, "-m", message)

    async def _overwrite(self, found: Situation, branch: str, to: str, rescue_ref: str) -> None:
        status = await self.checkout.status()
        edited, others = await in_the_way(self.checkout.git, status, to, self.in_thread)
        git, folder = self.checkout.git, self._unfinished.folder
        assumed = await assumed_unchanged(git, folder, status.head) if status.head else set()
        # What stands in the place of a folder is none of the files that are missing there.
        instead = await self.in_thread(
            occupied, self.checkout.location, (), frozenset(), status.edited
        )
        files = sorted({*status.edited, *edited, *others, *assumed, *instead})
        commits = [found.local] if found.own and found.local else []
        if found.loose and status.head:
            commits.append(status.head)
        if status.staged and status.head:
            commits.append(await staged(await with_identity(git, self.identity), status.head))
        if files or commits:
            await self._keep(status.head, commits, files, rescue_ref)
        if found.in_progress in _QUIT:
            await git.try_(_QUIT[found.in_progress], "--quit")
        await self.in_thread(remove, self.checkout.location, others)
        try:
            await self._change(found, branch, to, keep=False)
        except GitError:
            hidden = await self._hidden(status, to)
            # What was left half done has its note, and is completed by the next deploy.
            if not hidden or self._unfinished.is_under_way():
                raise
            await self._keep(status.head, [], hidden, rescue_ref)
            for flag in ("--no-assume-unchanged", "--no-skip-worktree"):
                await git.run("update-index", flag, "--", *hidden)
            await self._change(found, branch, to, keep=False)
        if found.in_progress == "bisect":
            await git.try_("bisect", "reset", "HEAD")
        if found.local is None:
            await self._follow_remote(branch)
