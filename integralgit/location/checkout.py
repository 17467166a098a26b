"""What we ask of git in a location: is it ours to use, and what is new.

Everything here either reads or adds; what changes the user's files is in `update`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from shutil import rmtree

import msgspec
from attrs import define, field

from integralgit.hooks.delivery import Commit, shown
from integralgit.location.folders import Verified, git_folder_of, look_of
from integralgit.location.git import Git, GitError, redact
from integralgit.location.plan import Refused
from integralgit.location.refs import Head, exclude, head_in, look, refs_in
from integralgit.location.source import Source
from integralgit.location.status import Status, status_of
from integralgit.names import CONFIG_BRANCH, is_commit

#: Where a repository is made in an empty location.
_NEW = ".integralgit-new"
#: Where its objects are brought anew.
_REFILL = "integralgit-refill"
_MISSING_REF = "couldn't find remote ref"
#: What git-fetch(1) says of a ref that would not move forward.
_REWRITTEN = "(non-fast-forward)"
#: What it says of a ref that somebody else has moved meanwhile; the others, from git 2.51 on.
_OVERTAKEN = ("cannot lock ref", "local refs could not be updated", "fetching ref ")
_IN_PROGRESS = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}


class Tips(msgspec.Struct, frozen=True):
    """What a fetch brought: the branch, where it was before, and the config branch if there is one.

    With `rollback`, `branch` is an earlier commit to go back to. `forward`
    says that git has found nothing rewritten.
    """

    branch: str
    branch_before: str | None
    config: str | None
    rollback: bool = False
    forward: bool = False


@define
class Checkout:
    """The repository at one location; `git` runs in it, and holds its lock where it changes files."""

    git: Git
    location: str
    remote: str
    source: Source
    _verified: Verified = field(factory=Verified)

    def is_verified(self) -> bool:
        """Whether the location is as it was when it was found to be in order."""
        return self._verified.remembers(self.location, self._look())

    def _look(self) -> tuple[object, ...] | None:
        seen = look_of(self.location)
        return (*seen, self.remote, self.source) if seen is not None else None

    async def prepare(self, branch: str) -> None:
        """Make sure that the location is a repository of its own with the right remote.

        An empty folder becomes one. Raises `Refused` for anything else that
        is not one already.
        """
        seen = self._look()
        if self._verified.remembers(self.location, seen):
            return
        entries = os.listdir(self.location)
        if _NEW in entries:
            # A kill came between its beginning and its end.
            rmtree(os.path.join(self.location, _NEW))
            entries.remove(_NEW)
        if entries:
            await self._verify(".git" in entries)
        else:
            await self._init(branch)
        url = (await self.git.try_("config", "--get-all", f"remote.{self.remote}.url")).out
        known = url.decode("utf-8", "replace").split("\n")[0]
        if not known:
            await self.git.run("remote", "add", "--", self.remote, self.source.url)
        elif not self.source.is_served_by(known):
            raise Refused(
                f"the remote {self.remote} of the checkout at {self.location}, {redact(known)},"
                f" is another repository than {self.source.repo}, which is at {self.source.url};"
                " change its URL, the location, or the `url` of the [[trust]]"
            )
        else:
            self._verified.remember(self.location, seen)

    async def _init(self, branch: str) -> None:
        tips = await look(self.git, self.source.url, f"refs/heads/{branch}")
        kind = "sha256" if any(len(tip) == 64 for tip in tips.values()) else "sha1"
        # Made aside, and put in its place at once: a kill leaves none that is half made.
        options = (f"--object-format={kind}", f"--initial-branch={branch}")
        await self.git.run("init", "--quiet", *options, "--", _NEW)
        new = os.path.join(self.location, _NEW)
        os.rename(os.path.join(new, ".git"), os.path.join(self.location, ".git"))
        os.rmdir(new)

    async def _verify(self, has_git: bool) -> None:
        ended = await self.git.try_("rev-parse", "--show-toplevel")
        if ended.code and has_git:
            if b"dubious ownership" in ended.err:
                raise Refused(
                    f"the location {self.location} belongs to another user, and git does not trust"
                    f" it; give it to this server's user (chown -R), or add it to git's"
                    f" safe.directory"
                )
            raise GitError("rev-parse", ended)
        top = os.fsdecode(ended.out).removesuffix("\n")
        if top and os.path.realpath(top) != os.path.realpath(self.location):
            raise Refused(
                f"the location {self.location} lies inside another repository, {top};"
                f" choose another location"
            )
        if not has_git:
            # Where git finds one all the same, it is bare, and may be what another checkout brought.
            raise Refused(
                f"the location {self.location} is neither empty nor a git repository;"
                f" move its files away or choose another location"
            )

    async def refs(self, *names: str) -> dict[str, str]:
        """The commits of those of the full ref names that exist."""
        found = refs_in(Path(self.location, ".git"), names)
        if found is not None:
            return found
        listed = await self.git.run("for-each-ref", "--format=%(objectname) %(refname)", *names)
        pairs = (line.split(" ", 1) for line in listed.splitlines())
        return {ref: commit for commit, ref in pairs if ref in names}

    async def branches_instead_of(self, branch: str) -> list[str]:
        """The local branches beside which there cannot be that one."""
        listed = await self.git.run("for-each-ref", "--format=%(refname)", "refs/heads/")
        names = [ref.removeprefix("refs/heads/") for ref in listed.splitlines()]
        return [name for name in names if exclude(name, branch)]

    async def fetch(self, branch: str) -> Tips:
        """Bring the branch and the config branch from the remote, in one fetch.

        Raises `GitError`, and `Refused` where the remote has no such branch.
        """
        mine = {name: self.tracking(name) for name in (branch, CONFIG_BRANCH)}
        before = (await self.refs(mine[branch])).get(mine[branch])
        try:
            forward = await self._fetch(mine)
        except GitError as error:
            if _MISSING_REF not in error.said:
                raise
            there = await look(self.git, self.remote, *(f"refs/heads/{name}" for name in mine))
            if f"refs/heads/{branch}" not in there:
                raise Refused(f"there is no branch {branch} in {self.source.repo}") from None
            mine.pop(CONFIG_BRANCH)
            forward = await self._fetch(mine)
        found = await self.refs(*mine.values())
        config = found.get(mine[CONFIG_BRANCH]) if CONFIG_BRANCH in mine else None
        return Tips(found[mine[branch]], before, config, forward=forward)

    async def refill(self) -> None:
        """Bring all objects of the remote once more, whatever there seems to be of them already.

        For a repository that has lost some: a fetch asks for none that a ref
        leads to. They come as a clone's, whose packs become ours.
        """
        folder = await self.git_folder()
        aside = folder / _REFILL
        rmtree(aside, ignore_errors=True)
        try:
            await self.git.run(
                *("clone", "--quiet", "--bare", "--no-local", "--template="),
                *("--end-of-options", self.source.url, str(aside)),
            )
            # A pack counts from when its index is there.
            packs = sorted(
                (aside / "objects" / "pack").iterdir(), key=lambda one: one.suffix == ".idx"
            )
            for pack in packs:
                os.replace(pack, folder / "objects" / "pack" / pack.name)
        finally:
            rmtree(aside, ignore_errors=True)

    def tracking(self, branch: str) -> str:
        """The remote-tracking ref of a branch."""
        return f"refs/remotes/{self.remote}/{branch}"

    async def _fetch(self, refs: dict[str, str]) -> bool:
        """Fetch those branches to those refs; whether all of them only moved forward.

        git looks at that anyway, and refuses the others at the first try.
        """
        forced, again = "", False
        while True:
            try:
                await self._fetch_to(refs, forced)
            except GitError as error:
                if _REWRITTEN in error.said and not forced:
                    forced = "+"
                elif any(one in error.said for one in _OVERTAKEN) and not again:
                    # Or one beside which these cannot be stands there.
                    again = True
                    await self._make_way(refs.values())
                else:
                    raise
            else:
                return not forced

    async def _make_way(self, refs: Iterable[str]) -> None:
        """Forget branches of the remote beside which these cannot be: it has them no more."""
        listed = await self.git.run("for-each-ref", "--format=%(refname)", self.tracking(""))
        for ref in listed.splitlines():
            if any(exclude(ref, one) for one in refs):
                await self.git.run("update-ref", "--no-deref", "-d", ref)

    async def _fetch_to(self, refs: dict[str, str], forced: str) -> None:
        await self.git.run(
            "fetch",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
            "--end-of-options",
            self.remote,
            *(f"{forced}refs/heads/{name}:{ref}" for name, ref in refs.items()),
            output=False,
        )

    def earlier_tips(self, folder: Path, branch: str) -> list[str]:
        """Where the remote branch has been, as far as the checkout remembers.

        From the reflog itself: git-reflog(1) shows only what a ref was changed
        to, and a clone's first value is only the old side of its first change.
        """
        try:
            log = folder / "logs" / self.tracking(branch)
            lines = log.read_text("utf-8", "replace").splitlines()[-50:]
        except OSError:
            return []
        commits = [commit for line in lines for commit in line.split(" ", 2)[:2]]
        return [commit for commit in commits if is_commit(commit) and commit.strip("0")]

    async def has_commit(self, commit: str) -> bool:
        """Whether the commit is here."""
        named = f"{commit}^{{commit}}"
        return not (await self.git.try_("rev-parse", "--verify", "--quiet", named)).code

    async def status(self) -> Status:
        """HEAD, its branch and the tracked files that differ from it."""
        return await status_of(self.git)

    async def head(self) -> Head:
        """Where the checkout is."""
        found = head_in(Path(self.location, ".git"))
        if found is not None:
            return found
        status = await self.status()
        return Head(status.head, status.branch)

    async def git_folder(self) -> Path:
        """The git folder of the checkout, which may lie elsewhere."""
        folder = git_folder_of(self.location)
        if folder.is_dir():
            return folder
        return Path(os.fsdecode(await self.git.run("rev-parse", "--absolute-git-dir")))

    def in_progress(self, folder: Path) -> str | None:
        """What the user has begun and not ended here, by the git folder: a merge, a rebase …, or None."""
        for name, what in _IN_PROGRESS.items():
            if os.path.exists(f"{folder}/{name}"):
                return what
        return None

    async def commits(self, since: str | None, until: str, limit: int = 50) -> tuple[Commit, ...]:
        """The newest commits of `since..until`, newest first; without `since` only the last one."""
        which = [f"{since}..{until}", f"--max-count={limit}"] if since else [until, "--max-count=1"]
        listed = await self.git.try_(
            "log", "-z", "--no-show-signature", "--format=%H%x1f%an%x1f%s", *which, "--"
        )
        lines = listed.out.decode("utf-8", "replace").split("\0")
        parts = (line.split("\x1f", 2) for line in lines if line)
        return tuple(shown(part[0], part[2], part[1]) for part in parts if len(part) == 3)
