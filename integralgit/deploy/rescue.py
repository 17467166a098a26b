"""Keeping what an update is about to overwrite, under a ref of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath

from integralgit.deploy.git import Git
from integralgit.deploy.plan import Refused, named, shortened


async def with_identity(git: Git, host: str) -> Git:
    """Git with an identity for commits: its own, or ours on that host where it has none."""
    if not (await git.try_("config", "user.email")).code:
        return git
    name, email = "IntegralGit", f"integralgit@{host}"
    return git.with_environment(
        GIT_AUTHOR_NAME=name,
        GIT_AUTHOR_EMAIL=email,
        GIT_COMMITTER_NAME=name,
        GIT_COMMITTER_EMAIL=email,
    )


def files_in(folder: str) -> Iterator[str]:
    """Everything below a folder that is not a folder itself; links are not followed."""
    for parent, folders, files in os.walk(folder):
        paths = [os.path.join(parent, name) for name in (*folders, *files)]
        yield from (path for path in paths if os.path.islink(path) or not os.path.isdir(path))


def expanded(root: str, files: Sequence[str]) -> list[str]:
    """The files, and for a folder in the place of one the files in that; meant for a thread.

    A repository of its own stays a whole, which cannot be kept; what is behind
    a link is kept with that.
    """
    found = []
    for path in files:
        full = os.path.join(root, path)
        if os.path.islink(full) or not os.path.isdir(full):
            above = [os.path.join(root, part) for part in map(str, PurePath(path).parents)][:-1]
            found += [] if any(map(os.path.islink, above)) else [path]
        elif os.path.lexists(os.path.join(full, ".git")):
            found.append(path)
        else:
            found += (os.path.relpath(one, root) for one in files_in(full))
    return found


async def rescue(
    git: Git,
    head: str | None,
    commits: Sequence[str],
    files: Sequence[str],
    ref: str,
    say: Callable[[str], None],
) -> None:
    """Keep commits, and files as they stand there now, under a ref; and say how to get them back.

    `git` runs at the root of the checkout and has an identity. What the ref
    held before is kept too: a deploy that is run again rescues again.
    """
    folder = os.fsdecode(await git.run("rev-parse", "--absolute-git-dir"))
    index = os.path.join(folder, "integralgit-rescue.index")
    listed = os.path.join(folder, "integralgit-rescue.files")
    aside = git.with_environment(GIT_INDEX_FILE=index)
    try:
        before = (await git.try_("rev-parse", "--verify", "--quiet", ref)).out.decode().strip()
        await aside.run("read-tree", before or head or "--empty")
        there = [path for path in files if os.path.lexists(os.path.join(git.folder or "", path))]
        if there:
            with open(listed, "wb") as file:
                file.write(b"\0".join(map(os.fsencode, there)))
            await aside.with_environment(GIT_LITERAL_PATHSPECS="1").run(
                "add",
                "--all",
                "--force",
                "--sparse",
                f"--pathspec-from-file={listed}",
                "--pathspec-file-nul",
            )
            kept = set((await aside.run("ls-files", "-z")).split("\0"))
            missing = [path for path in there if path not in kept]
            if missing:
                raise Refused(
                    f"nothing was changed, for what is in the way belongs to another repository"
                    f" and cannot be kept: {named(missing)}"
                )
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
        for name in (index, listed):
            if os.path.exists(name):
                os.unlink(name)
    say(
        f"Kept under {ref}, before it would be overwritten:\n"
        + shortened([*files, *(f"commit {commit}" for commit in commits)])
        + f"\nTo get a file back: git checkout {ref} -- FILE"
    )
