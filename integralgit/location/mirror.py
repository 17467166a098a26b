"""A small bare repository of our own, for reading a config before there is a checkout."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from urllib.parse import quote

from attrs import define

from integralgit.background import InThread
from integralgit.location.config import read_config
from integralgit.location.git import Git, GitError
from integralgit.location.refs import look
from integralgit.location.room import hindrance
from integralgit.location.source import Source
from integralgit.names import CONFIG_BRANCH

_REF = f"refs/heads/{CONFIG_BRANCH}"


#: How long the name of a mirror may be, in bytes; file systems take 255.
_LONGEST = 200


def _file_name(repo: str) -> str:
    """A repository's identity as the name of a file, which tells long ones apart by their digest."""
    name = quote(repo, safe="")
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}-{sha256(repo.encode()).hexdigest()[:16]}"


class Outdated(Exception):
    """The config branch has been moved to another commit, `tip`, since it was asked where it is."""

    def __init__(self, tip: str) -> None:
        super().__init__(f"{CONFIG_BRANCH} is at {tip} by now")
        self.tip = tip


@define
class Mirrors:
    """The folder of these repositories; each holds the config branch and nothing else."""

    _folder: Path
    _git: Git
    _in_thread: InThread

    async def tip(self, source: Source) -> str | None:
        """The commit of the config branch at the remote, or None; raises `GitError`."""
        return (await self.tips(source, [CONFIG_BRANCH])).get(CONFIG_BRANCH)

    async def tips(self, source: Source, branches: Iterable[str]) -> dict[str, str]:
        """The commits of those of the branches that the remote has; raises `GitError`."""
        git = self._git.within(str(self._folder)).allowing(source.protocols)
        refs = {f"refs/heads/{branch}": branch for branch in branches}
        found = await look(git, source.url, *refs)
        return {refs[ref]: commit for ref, commit in found.items()}

    async def config(self, source: Source, commit: str) -> str:
        """The text of the config in that commit, which is the tip of the config branch.

        Raises `Outdated` where it no longer is; `ConfigError` and `GitError`,
        and `OSError` where the mirror cannot be written.
        """
        folder = self._folder / f"{_file_name(str(source.repo))}.git"
        try:
            return await self._read(folder, source, commit)
        except GitError:
            # A kill may have left locks; the mirror is small and ours, so it is made anew.
            await self._in_thread(rmtree, folder, True)
            try:
                return await self._read(folder, source, commit)
            except GitError as error:
                problem = hindrance(str(self._folder), error.said)
                if problem is not None:
                    raise OSError(errno.ENOSPC, problem, str(self._folder)) from None
                raise

    async def _read(self, folder: Path, source: Source, commit: str) -> str:
        git = self._git.within(str(folder)).allowing(source.protocols)
        git = git.with_environment(GIT_DIR=str(folder))
        if not (folder / "config").exists():
            os.makedirs(folder, mode=0o700, exist_ok=True)
            kind = "sha256" if len(commit) == 64 else "sha1"
            await git.run("init", "--quiet", "--bare", f"--object-format={kind}")
        await git.run(
            "fetch",
            "--depth=1",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--quiet",
            "--end-of-options",
            source.url,
            f"+{_REF}:{_REF}",
        )
        tip = await git.run("rev-parse", _REF)
        if tip != commit:
            raise Outdated(tip)
        return await read_config(git, commit)
