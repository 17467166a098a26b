"""The plain signed push, for every other git host and for a `post-receive` hook.

A JSON body, signed by Standard Webhooks headers or `X-Hub-Signature-256`:

    {"repository": {"host": "git.example.com", "full_name": "acme/site"},
     "ref": "refs/heads/main", "before": "<id>", "after": "<id>", "pusher": "ann"}
"""

from __future__ import annotations

import msgspec

from integralgit.hooks.body import ToldCommit, decode, kept
from integralgit.hooks.delivery import (
    Delivery,
    Incoming,
    Provider,
    Push,
    commit_id,
    delivery_id,
    named,
)
from integralgit.hooks.signatures import hub_sha256, standard_webhooks


class _Repository(msgspec.Struct):
    host: str
    full_name: str


class _Push(msgspec.Struct):
    repository: _Repository
    ref: str
    after: str
    before: str | None = None
    pusher: str | None = None
    commits: list[ToldCommit] | None = None


def _claims(_: Incoming) -> bool:
    return True


def _proves(incoming: Incoming, secret: bytes) -> bool:
    if incoming.has("webhook-signature"):
        return standard_webhooks(incoming, secret)
    return hub_sha256(incoming.header("x-hub-signature-256"), incoming.body, secret)


def _parse(incoming: Incoming) -> Delivery:
    told = decode(incoming.body, _Push)
    repo = named(told.repository.host, told.repository.full_name)
    after = commit_id(told.after)
    push = Push(
        ref=told.ref,
        before=commit_id(told.before),
        after=after,
        deleted=after is None,
        pusher=told.pusher or "",
        commits=kept(told.commits or [], after),
    )
    return Delivery("generic", "push", delivery_id(incoming, "webhook-id"), repo, (push,))


GENERIC = Provider("generic", _claims, _proves, _parse)
