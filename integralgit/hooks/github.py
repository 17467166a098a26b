"""GitHub and GitHub Enterprise.

Events: <https://docs.github.com/webhooks/webhook-events-and-payloads#push>.
A push of a tag comes as the same event; a deletion says `deleted`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from integralgit.hooks.body import decode, payload
from integralgit.hooks.delivery import (
    Commit,
    Delivery,
    Incoming,
    Provider,
    Push,
    commit_id,
    delivery_id,
    named,
)
from integralgit.hooks.signatures import hub_sha256
from integralgit.names import Repository


class _Repository(msgspec.Struct):
    full_name: str
    html_url: str


class _Author(msgspec.Struct):
    name: str | None = None


class _Commit(msgspec.Struct):
    id: str
    message: str = ""
    author: _Author | None = None


class _Pusher(msgspec.Struct):
    name: str | None = None


class _Event(msgspec.Struct):
    repository: _Repository | None = None


class _PushEvent(msgspec.Struct):
    repository: _Repository
    ref: str
    after: str
    before: str | None = None
    deleted: bool = False
    commits: list[_Commit] | None = None
    pusher: _Pusher | None = None


def _repository(told: _Repository) -> Repository:
    """The identity; the host is that of the repository's page, `github.com` or an Enterprise one."""
    return named(urlsplit(told.html_url).netloc, told.full_name)


def _claims(incoming: Incoming) -> bool:
    return incoming.has("x-github-event")


def _proves(incoming: Incoming, secret: bytes) -> bool:
    return hub_sha256(incoming.header("x-hub-signature-256"), incoming.body, secret)


def _parse(incoming: Incoming) -> Delivery:
    event, sent_id = incoming.header("x-github-event"), delivery_id(incoming, "x-github-delivery")
    document = payload(incoming)
    if event != "push":
        told = decode(document, _Event).repository
        return Delivery(
            "github",
            event,
            sent_id,
            repo=_repository(told) if told else None,
            note=f"the event {event or 'without a name'} deploys nothing",
        )
    push = decode(document, _PushEvent)
    repo = _repository(push.repository)
    change = Push(
        repo=repo,
        ref=push.ref,
        before=commit_id(push.before),
        after=commit_id(push.after),
        deleted=push.deleted or not commit_id(push.after),
        pusher=(push.pusher and push.pusher.name) or "",
        commits=tuple(
            Commit(c.id, c.message, (c.author and c.author.name) or "") for c in push.commits or ()
        ),
    )
    return Delivery("github", event, sent_id, repo, (change,))


GITHUB = Provider("github", _claims, _proves, _parse)
