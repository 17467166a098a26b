"""What an update has to do to a checkout, from what is there and what is wanted.  Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec


class Refused(Exception):
    """The deploy cannot go on without harm, or is not allowed; the text is the reason.

    `ways_out` are sentences that say how to go on, for the deploy's log.
    """

    def __init__(self, reason: str, ways_out: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.ways_out = ways_out


class Situation(msgspec.Struct, frozen=True):
    """What a checkout looks like once the newest commits are fetched.

    `head` is None before the first commit, `on_branch` with a detached HEAD,
    and `local` where the branch to deploy does not exist here yet. `ahead`
    counts the commits that `local` has and `target` has not, `behind` the
    other way round, and `own` those of the first that neither the old remote
    branch had nor this server deployed. `loose` counts the commits of a
    detached HEAD that are on no branch and no tag.
    """

    head: str | None
    on_branch: str | None
    local: str | None
    target: str
    ahead: int = 0
    behind: int = 0
    own: int = 0
    in_progress: str | None = None
    rollback: bool = False
    loose: int = 0


class Stay(msgspec.Struct, frozen=True):
    """Nothing to do: the checkout has the wanted commit."""


class Move(msgspec.Struct, frozen=True):
    """Bring HEAD, on the branch to deploy, to that commit; refuse if files are in the way."""

    to: str


class Merge(msgspec.Struct, frozen=True):
    """Merge the target into the local branch as `git pull` would, then move to the merge."""

    local: str
    target: str


class Overwrite(msgspec.Struct, frozen=True):
    """Save what the target does not have, then make the checkout equal to the target."""

    to: str


Step = Stay | Move | Merge | Overwrite


def plan(found: Situation, branch: str, update: str) -> Step:
    """The one step that the update mode asks for; raises `Refused` where it forbids any."""
    if update == "follow":
        return Overwrite(found.target)
    if found.in_progress:
        raise Refused(
            f"a {found.in_progress} is in progress in the checkout; end or abort it there"
        )
    if found.loose:
        raise Refused(
            f"HEAD is detached in the checkout, with {_commits(found.loose)} that no branch has;"
            f" make a branch of them there (git branch NAME)"
        )
    if found.head == found.target and found.on_branch == branch:
        return Stay()
    if found.local is None or found.ahead == 0:
        return Move(found.target)
    if found.rollback and found.own:
        raise Refused(
            f"the local branch {branch} has {_commits(found.own)} of its own on top of what is"
            f" to be rolled back; nothing was changed"
        )
    if found.rollback:
        return Move(found.target)
    if update == "ff-only":
        raise Refused(
            f"not a fast-forward: the local branch {branch} has {_commits(found.ahead)}"
            f" that the remote branch has not, and update is ff-only"
        )
    if found.own == 0:
        return Move(found.target)
    if found.behind == 0:
        return Stay() if found.on_branch == branch else Move(found.local)
    return Merge(found.local, found.target)


_FOLLOW = 'To have such things saved and put aside always: "update": "follow" in the config.'


def out_of_the_way(location: str, edited: Sequence[str], others: Sequence[str]) -> list[str]:
    """How to go on where an update would overwrite edited and other files of a checkout."""
    there, found = shlex.quote(location), []
    if edited:
        files = _as_arguments(edited)
        found.append(f"To discard the edits: git -C {there} checkout HEAD -- {files}")
        found.append(f"To keep them: git -C {there} commit -- {files}")
    if others:
        found.append(f"What git does not track: move it out of {there}, or delete it.")
    return [*found, _FOLLOW, "Then deploy again."]


def out_of_a_conflict(location: str, target: str) -> list[str]:
    """How to go on where local commits of a checkout conflict with the commit to deploy."""
    there = shlex.quote(location)
    return [
        f"To keep the local commits, mend and commit what this leaves: git -C {there} merge {target[:12]}",
        f"To discard them: git -C {there} reset --keep {target[:12]}",
        _FOLLOW,
        "Then deploy again.",
    ]


def _as_arguments(paths: Sequence[str], limit: int = 5) -> str:
    """Files as a shell takes them; a word for them where they are many, or no text."""
    if len(paths) > limit or any(readable(path) != path for path in paths):
        return "FILES"
    return " ".join(map(shlex.quote, paths))


def _commits(count: int) -> str:
    return "1 commit" if count == 1 else f"{count} commits"


def readable(path: str) -> str:
    """A file's name for a person, on one line: what is not printable, or no text at all, escaped."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def named(paths: Sequence[str], limit: int = 5) -> str:
    """The first of some files, in a sentence."""
    return ", ".join(map(readable, paths[:limit])) + (" …" if len(paths) > limit else "")


def shortened(paths: Sequence[str], limit: int = 50) -> str:
    """A list of files for a person, one a line, cut at the limit."""
    lines = [f"  {readable(path)}" for path in paths[:limit]]
    if len(paths) > limit:
        lines.append(f"  and {len(paths) - limit} more")
    return "\n".join(lines)
