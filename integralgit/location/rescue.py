"""Keeping what an update is about to overwrite, under a ref of its own."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePath
from shutil import rmtree

import msgspec

from integralgit.background import InThread
from integralgit.location.folders import is_folder
from integralgit.location.git import Git
from integralgit.location.plan import Refused, named, shortened

#: How many paths are told to git in one command line, each of at most 4 kB (execve(2)).
AT_ONCE = 200


async def with_identity(git: Git, host: str) -> Git:
    """Git with an identity for commits: its own, or ours on that host for what it has not."""
    ours = {"name": "IntegralGit", "email": f"integralgit@{host}"}
    for key, value in ours.items():
        if (await git.try_("config", f"user.{key}")).code:
            names = (f"GIT_{who}_{key.upper()}" for who in ("AUTHOR", "COMMITTER"))
            git = git.with_environment(**dict.fromkeys(names, value))
    return git


async def staged(git: Git, head: str) -> str:
    """A commit of what is staged, for files that were edited once more after that."""
    tree = await git.run("write-tree")
    return await git.run("commit-tree", tree, "-p", head, "-m", "What was staged")


def files_in(folder: str) -> Iterator[str]:
    """Everything below a folder that is not a folder itself; links are not followed."""
    for parent, folders, files in os.walk(folder):
        paths = [os.path.join(parent, name) for name in (*folders, *files)]
        yield from (path for path in paths if not is_folder(path))


class OnDisk(msgspec.Struct, frozen=True):
    """What stands at some paths: the files by git's mode for each, the texts of links, and the rest.

    `others` are paths in repositories of their own, and what is neither file nor link.
    """

    files: dict[str, str]
    links: dict[str, bytes]
    others: list[str]


def find(root: str, paths: Sequence[str]) -> OnDisk:
    """What stands at these paths below `root`, and in folders there; meant for a thread.

    A repository of its own stays a whole, which cannot be kept; what is behind
    a link is kept with that.
    """
    found = OnDisk({}, {}, [])
    for path in _expanded(root, paths):
        full = os.path.join(root, path)
        try:
            mode = os.lstat(full).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if any(os.path.lexists(os.path.join(root, one, ".git")) for one in above(path)):
            found.others.append(path)
        elif stat.S_ISLNK(mode):
            found.links[path] = os.readlink(os.fsencode(full))
        elif stat.S_ISREG(mode):
            found.files[path] = "100755" if mode & stat.S_IXUSR else "100644"
        else:
            found.others.append(path)
    return found


def above(path: str) -> list[str]:
    """The folders of a path, but for the root."""
    return [str(one) for one in PurePath(path).parents][:-1]


def is_here(root: str, path: str) -> bool:
    """Whether a path is no link, and behind none."""
    return not (os.path.islink(os.path.join(root, path)) or is_behind_link(root, path))


def is_behind_link(root: str, path: str) -> bool:
    """Whether one of the folders of a path is a link."""
    return any(os.path.islink(os.path.join(root, one)) for one in above(path))


def _expanded(root: str, paths: Sequence[str]) -> Iterator[str]:
    """The paths, and for a folder the files in that, unless it is a repository of its own."""
    for path in paths:
        full = os.path.join(root, path)
        if not is_folder(full):
            if not is_behind_link(root, path):
                yield path
        elif os.path.lexists(os.path.join(full, ".git")):
            yield path
        else:
            yield from (os.path.relpath(one, root) for one in files_in(full))


async def ids_of(git: Git, paths: Iterable[str], *options: str) -> list[str]:
    """The ids of files as they are, byte for byte; git's filters might leave something out."""
    ids: list[str] = []
    for some in _batches(paths):
        ids += (await git.run("hash-object", *options, "--no-filters", "--", *some)).split("\n")
    return ids


async def _stored(git: Git, paths: Iterable[str]) -> list[str]:
    return await ids_of(git, paths, "-w")


def _batches(items: Iterable[str]) -> Iterator[list[str]]:
    """As many at a time as one command line holds."""
    rest = iter(items)
    while some := list(islice(rest, AT_ONCE)):
        yield some


async def rescue(
    git: Git,
    head: str | None,
    commits: Sequence[str],
    paths: Sequence[str],
    ref: str,
    say: Callable[[str], None],
    in_thread: InThread,
) -> None:
    """Keep commits, and files as they stand there now, under a ref; and say how to get them back.

    `git` runs at the root of the checkout and has an identity. What the ref
    held before is kept too: a deploy that is run again rescues again. Raises
    `Refused` where something cannot be kept.
    """
    found: OnDisk = await in_thread(find, git.folder or "", paths)
    if found.others:
        raise Refused(
            f"what is in the way belongs to another repository, or is neither a file nor a link,"
            f" and cannot be kept: {named(found.others)}; move it away"
        )
    if not (found.files or found.links or commits):
        return
    folder = Path(os.fsdecode(await git.run("rev-parse", "--absolute-git-dir")))
    index, texts = folder / "integralgit-rescue.index", folder / "integralgit-rescue.links"
    aside = git.with_environment(GIT_INDEX_FILE=str(index))
    try:
        before = (await git.try_("rev-parse", "--verify", "--quiet", ref)).out.decode().strip()
        await aside.run("read-tree", before or head or "--empty")
        entries = zip(
            found.files, found.files.values(), await _stored(git, found.files), strict=True
        )
        links = await _stored(git, await in_thread(_written, texts, found.links))
        told = [f"{mode},{blob},{path}" for path, mode, blob in entries]
        told += [f"120000,{blob},{path}" for path, blob in zip(found.links, links, strict=True)]
        for some in _batches(told):
            info = (part for one in some for part in ("--cacheinfo", one))
            await aside.run("update-index", "--add", "--replace", *info)
        tree = await aside.run("write-tree")
        parents = dict.fromkeys([*filter(None, [head, before]), *commits])
        commit = await git.run(
            "commit-tree",
            tree,
            *(part for parent in parents for part in ("-p", parent)),
            "-m",
            "What this deploy would have overwritten",
        )
        await git.run("update-ref", ref, commit)
    finally:
        index.unlink(missing_ok=True)
        rmtree(texts, ignore_errors=True)
    kept = [*found.files, *found.links, *(f"commit {commit}" for commit in commits)]
    say(
        f"Kept under {ref}, before it would be overwritten:\n"
        + shortened(kept)
        + f"\nTo get a file back: git cat-file blob {ref}:FILE > FILE"
    )


def _written(folder: Path, links: Mapping[str, bytes]) -> list[str]:
    """Files with the texts of links, in their order; git stores no link but of an index."""
    folder.mkdir(exist_ok=True)
    files = [folder / str(number) for number, _ in enumerate(links)]
    for file, text in zip(files, links.values(), strict=True):
        file.write_bytes(text)
    return [str(file) for file in files]


def remove(root: str, paths: Sequence[str]) -> None:
    """Remove files that were rescued, where they stand in the way; nothing that is behind a link."""
    for path in paths:
        full = Path(root, path)
        if not is_behind_link(root, path) and not is_folder(full):
            with suppress(FileNotFoundError, NotADirectoryError):
                full.unlink()
