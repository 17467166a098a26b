"""Bitbucket Cloud, and the form-encoded POST service that it had before webhooks.

Webhooks: <https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push>;
one delivery may hold several changes. The POST service has no signature: its
hook URL carries basic authentication, and the password is the secret.
"""

from __future__ import annotations

import msgspec

from integralgit.hooks.body import decode, is_form, payload
from integralgit.hooks.delivery import (
    Delivery,
    Incoming,
    Provider,
    Push,
    are_all,
    commit_id,
    delivery_id,
    deploys_nothing,
    named,
    newest_first,
    path_of,
    shown,
)
from integralgit.hooks.signatures import basic_password, hub_sha256
from integralgit.names import Repository, is_commit

HOST = "bitbucket.org"


def _repository(full_name: str) -> Repository:
    return named(HOST, full_name)


class _Repository(msgspec.Struct):
    full_name: str


class _Target(msgspec.Struct):
    hash: str


class _Ref(msgspec.Struct):
    type: str
    name: str
    target: _Target | None = None


class _Author(msgspec.Struct):
    raw: str = ""

    @property
    def name(self) -> str:
        """The name without the address that follows it."""
        return self.raw.partition(" <")[0]


class _Commit(msgspec.Struct):
    hash: str
    message: str = ""
    author: _Author | None = None


class _Change(msgspec.Struct):
    new: _Ref | None = None
    old: _Ref | None = None
    commits: list[_Commit] | None = None
    truncated: bool = True


class _Changes(msgspec.Struct):
    changes: list[_Change]


class _Actor(msgspec.Struct):
    display_name: str | None = None
    nickname: str | None = None


class _Event(msgspec.Struct):
    repository: _Repository | None = None


class _PushEvent(msgspec.Struct):
    repository: _Repository
    push: _Changes
    actor: _Actor | None = None


def _push(change: _Change, pusher: str) -> Push | None:
    """One change as a push, or None for one that has neither an old nor a new ref."""
    ref = change.new or change.old
    if ref is None:
        return None
    after = commit_id(change.new.target.hash) if change.new and change.new.target else None
    commits = tuple(
        shown(c.hash, c.message, c.author.name if c.author else "")
        for c in change.commits or ()
        if is_commit(c.hash)
    )
    folder = {"branch": "refs/heads/", "named_branch": "refs/heads/"}.get(ref.type, "refs/tags/")
    return Push(
        ref=folder + ref.name,
        before=commit_id(change.old.target.hash) if change.old and change.old.target else None,
        after=after,
        deleted=change.new is None,
        pusher=pusher,
        commits=tuple(newest_first(commits, after)),
        whole=are_all(commits, after, None if change.truncated else len(commits)),
    )


def _claims(incoming: Incoming) -> bool:
    return incoming.has("x-event-key")


def _proves(incoming: Incoming, secret: bytes) -> bool:
    return hub_sha256(incoming.header("x-hub-signature"), incoming.body, secret)


def _parse(incoming: Incoming) -> Delivery:
    event, sent_id = incoming.header("x-event-key"), delivery_id(incoming, "x-request-uuid")
    if event != "repo:push":
        told = decode(incoming.body, _Event).repository
        repo = _repository(told.full_name) if told else None
        return deploys_nothing("bitbucket", event, sent_id, repo)
    told_push = decode(incoming.body, _PushEvent)
    repo, actor = _repository(told_push.repository.full_name), told_push.actor or _Actor()
    pusher = actor.display_name or actor.nickname or ""
    pushes = (_push(change, pusher) for change in told_push.push.changes)
    return Delivery(
        "bitbucket",
        event,
        sent_id,
        repo,
        tuple(filter(None, pushes)),
        "the delivery changes no ref",
    )


BITBUCKET = Provider("bitbucket", _claims, _proves, _parse)


class _OldRepository(msgspec.Struct):
    absolute_url: str
    scm: str = "git"


class _OldCommit(msgspec.Struct):
    raw_node: str
    branch: str | None = None
    message: str = ""
    author: str = ""


class _OldPush(msgspec.Struct):
    repository: _OldRepository
    commits: list[_OldCommit] | None = None
    user: str | None = None


def _old_claims(incoming: Incoming) -> bool:
    return is_form(incoming) and not any("event" in name for name in incoming.headers)


def _old_proves(incoming: Incoming, secret: bytes) -> bool:
    return basic_password(incoming, secret)


def _old_parse(incoming: Incoming) -> Delivery:
    """One push for each branch that a commit names; its newest commit is the last listed."""
    told = decode(payload(incoming), _OldPush)
    repo = _repository(path_of(told.repository.absolute_url))
    if told.repository.scm != "git":
        return Delivery("bitbucket-post", "push", repo=repo, note="the repository is not git")
    branches: dict[str, list[_OldCommit]] = {}
    for commit in told.commits or ():
        if commit.branch:
            branches.setdefault(commit.branch, []).append(commit)
    pushes = tuple(
        Push(
            ref=f"refs/heads/{branch}",
            after=commit_id(commits[-1].raw_node),
            pusher=told.user or "",
            commits=tuple(
                shown(c.raw_node, c.message, c.author)
                for c in reversed(commits)
                if is_commit(c.raw_node)
            ),
        )
        for branch, commits in branches.items()
    )
    return Delivery(
        "bitbucket-post", "push", repo=repo, pushes=pushes, note="no commit names its branch"
    )


BITBUCKET_POST = Provider("bitbucket-post", _old_claims, _old_proves, _old_parse)
