"""GitHub and GitHub Enterprise.

Events: <https://docs.github.com/webhooks/webhook-events-and-payloads#push>.
A push of a tag comes as the same event; a deletion says `deleted`.
"""

from __future__ import annotations

import msgspec

from integralgit.hooks.body import ToldCommit, decode, kept, payload
from integralgit.hooks.delivery import (
    Delivery,
    Incoming,
    Provider,
    Push,
    are_all,
    commit_id,
    delivery_id,
    deploys_nothing,
    host_of,
    named,
)
from integralgit.hooks.signatures import hub_sha1, hub_sha256
from integralgit.names import Repository

#: The most commits of a push that GitHub lists; those that imitate it say how many there are.
LISTED = 2048


class _Repository(msgspec.Struct):
    full_name: str
    html_url: str


class _Pusher(msgspec.Struct):
    name: str | None = None
    login: str | None = None
    username: str | None = None


class _Event(msgspec.Struct):
    repository: _Repository | None = None


class _PushEvent(msgspec.Struct):
    repository: _Repository
    ref: str
    after: str
    before: str | None = None
    deleted: bool = False
    commits: list[ToldCommit] | None = None
    total_commits: int | None = None
    pusher: _Pusher | None = None


def read_event(provider: str, event: str, sent_id: str, document: bytes) -> Delivery:
    """A delivery from GitHub's JSON, which other git hosts imitate.

    The host of the identity is that of the repository's page: `github.com`,
    or the name of the user's own server. Raises `Rejected`.
    """
    if event != "push":
        told = decode(document, _Event).repository
        return deploys_nothing(provider, event, sent_id, _repository(told) if told else None)
    push = decode(document, _PushEvent)
    repo, after = _repository(push.repository), commit_id(push.after)
    pusher, commits = push.pusher or _Pusher(), push.commits or []
    total = push.total_commits
    if provider == "github" and len(commits) < LISTED:
        total = len(commits)
    change = Push(
        ref=push.ref,
        before=commit_id(push.before),
        after=after,
        deleted=push.deleted or after is None,
        pusher=pusher.name or pusher.login or pusher.username or "",
        commits=kept(commits, after),
        whole=are_all(commits, after, total),
    )
    return Delivery(provider, event, sent_id, repo, (change,))


def _repository(told: _Repository) -> Repository:
    return named(host_of(told.html_url), told.full_name)


def _claims(incoming: Incoming) -> bool:
    return incoming.has("x-github-event")


def _proves(incoming: Incoming, secret: bytes) -> bool:
    return hub_sha256(incoming.header("x-hub-signature-256"), incoming.body, secret)


def _proves_by_sha1(incoming: Incoming, secret: bytes) -> bool:
    """The older signature, which counts only where the newer one is not sent."""
    if incoming.has("x-hub-signature-256"):
        return False
    return hub_sha1(incoming.header("x-hub-signature"), incoming.body, secret)


def _parse(incoming: Incoming) -> Delivery:
    sent_id = delivery_id(incoming, "x-github-delivery")
    return read_event("github", incoming.header("x-github-event"), sent_id, payload(incoming))


GITHUB = Provider("github", _claims, _proves, _parse, proves_by_sha1=_proves_by_sha1)
