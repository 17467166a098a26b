"""What we ask of git in a location: is it ours to use, what is new, what does the config say.

Everything here either reads or adds; what changes the user's files is in `update`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

import msgspec
from attrs import define, field

from integralgit.deploy.git import Git, GitError, redact
from integralgit.deploy.plan import Refused
from integralgit.deploy.room import is_out_of_files
from integralgit.deploy.source import Source
from integralgit.hooks.delivery import Commit, shown
from integralgit.hostconfig.resolve import ConfigError
from integralgit.names import CONFIG_BRANCH, CONFIG_FILE, is_commit

#: The most that a config file may have, in bytes.
CONFIG_SIZE = 256 * 1024
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


class Head(msgspec.Struct, frozen=True):
    """Where a checkout is: HEAD's commit, None before the first, and its branch, None when detached."""

    commit: str | None
    branch: str | None


class Status(msgspec.Struct, frozen=True):
    """HEAD's commit (None before the first), its branch (None when detached), and edited files.

    `staged` are those that were edited once more after they were staged.
    """

    head: str | None
    branch: str | None
    edited: frozenset[str]
    staged: frozenset[str] = frozenset()


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


def open_location(location: str) -> int:
    """A descriptor of the location's folder, which is made if need be; for its lock.

    Raises `Refused` with the reason where that cannot be, and `OSError` where
    too many files are open.
    """
    try:
        os.makedirs(location, exist_ok=True)
        return os.open(location, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileExistsError, NotADirectoryError) as error:
        what = "a link to nothing" if os.path.islink(error.filename) else "a file"
        raise Refused(
            f"the location {location} is not a folder: {error.filename} is {what}"
        ) from None
    except OSError as error:
        if is_out_of_files(error):
            raise
        raise Refused(
            f"the location {location} cannot be used: {os.strerror(error.errno or 0)}"
        ) from None


def git_folder_of(location: str) -> Path:
    """The git folder of a location, which may lie elsewhere (gitrepository-layout(5), `.git`).

    Where it cannot be told, the one that would be in the location.
    """
    inside = Path(location, ".git")
    with suppress(OSError):
        if inside.is_file():
            said = inside.read_text("utf-8", "surrogateescape")
            return Path(location, said.removeprefix("gitdir:").strip())
    return inside


def is_submodule_of(location: str, path: str) -> bool:
    """Whether what stands at a path is or was a submodule of the location, by where its git folder lies."""
    place = os.path.join(location, path)
    modules = os.path.realpath(git_folder_of(location) / "modules")
    is_inside = os.path.realpath(git_folder_of(place)).startswith(modules + os.sep)
    return is_inside and not os.path.islink(place)


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
            commit = _text(f"{root}/{name}").strip()
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
        text = "" if os.path.islink(file) else _text(file).strip()
    except (OSError, UnicodeDecodeError):
        return None
    if is_commit(text):
        return Head(text, None)
    ref = text.removeprefix("ref: ")
    branch = ref.removeprefix("refs/heads/")
    refs = refs_in(folder, [ref]) if text != ref != branch else None
    return Head(refs.get(ref), branch) if refs is not None else None


def _text(path: str) -> str:
    """What stands in a small file; at every push several are read, in a third of `pathlib`'s time."""
    with open(path, "rb", buffering=0) as file:
        return file.read().decode()


def _packed_refs(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / "packed-refs").read_text("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split(" ", 1) for line in lines if line[:1] not in ("#", "^"))
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


@define
class Verified:
    """The locations that were found to be in order, each with what that was found by.

    Asking git takes two processes more than a push needs, and its
    answers hang on what is compared here: whose folders these are, and the
    repository's own settings. Where those name another file, git is asked.
    """

    _known: dict[str, tuple[object, ...]] = field(factory=dict)

    def remembers(self, location: str, seen: tuple[object, ...] | None) -> bool:
        """Whether the location was in order when it looked like that."""
        return seen is not None and self._known.get(location) == seen

    def remember(self, location: str, seen: tuple[object, ...] | None) -> None:
        """The location is in order as it looks now."""
        self._known.pop(location, None)
        if seen is not None:
            self._known[location] = seen


def look_of(location: str) -> tuple[object, ...] | None:
    """What tells whether a location is still the same repository with the same settings."""
    try:
        here, folder = os.stat(location), os.lstat(os.path.join(location, ".git"))
        settings = _text(f"{location}/.git/config")
    except (OSError, UnicodeDecodeError):
        return None
    lower = settings.lower()
    if not stat.S_ISDIR(folder.st_mode) or "include" in lower or "worktreeconfig" in lower:
        return None
    owners = (here.st_uid, folder.st_uid)
    return (here.st_dev, here.st_ino, folder.st_dev, folder.st_ino, *owners, settings)


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


async def look(git: Git, remote: str, *refs: str) -> dict[str, str]:
    """The commits of those of the full ref names that the remote has; raises `GitError`."""
    listed = await git.run("ls-remote", "--end-of-options", remote, *refs)
    pairs = (line.split("\t", 1) for line in listed.splitlines())
    return {ref: commit for commit, ref in pairs if ref in refs}


async def read_config(git: Git, commit: str) -> str:
    """The text of the file `config` in a commit; raises `ConfigError` for anything but a file.

    Mode, type and size are looked at before the content: what stands there
    may be a symbolic link.
    """
    listed = await git.run("ls-tree", "--long", "-z", commit, "--", CONFIG_FILE)
    if not listed:
        raise ConfigError(f"the branch {CONFIG_BRANCH} has no file `{CONFIG_FILE}`")
    mode, kind, blob, size = listed.split("\t", 1)[0].split()
    if mode not in ("100644", "100755") or kind != "blob":
        raise ConfigError(f"`{CONFIG_FILE}` on the branch {CONFIG_BRANCH} is not a plain file")
    if int(size) > CONFIG_SIZE:
        raise ConfigError(f"`{CONFIG_FILE}` is larger than {CONFIG_SIZE} bytes")
    try:
        return (await git.run("cat-file", "blob", blob)).encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError:
        raise ConfigError(f"`{CONFIG_FILE}` is not text in UTF-8") from None
