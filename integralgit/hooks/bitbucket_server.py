"""Bitbucket Data Center and Server.

One delivery may hold several changes. Proved by `X-Hub-Signature`, or by
basic authentication where the hook has that instead. Its connection test,
`diagnostics:ping`, comes without any proof.
<https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html>
"""

from __future__ import annotations

import msgspec

from integralgit.hooks.body import decode
from integralgit.hooks.delivery import (
    Delivery,
    Incoming,
    Provider,
    Push,
    Rejected,
    commit_id,
    delivery_id,
    deploys_nothing,
    host_of,
    named,
)
from integralgit.hooks.signatures import basic_password, hub_sha256
from integralgit.names import Repository

_PING = "diagnostics:ping"


class _Project(msgspec.Struct):
    key: str


class _Link(msgspec.Struct):
    href: str
    name: str | None = None


class _Links(msgspec.Struct):
    clone: list[_Link] | None = None
    self: list[_Link] | None = None


class _Repository(msgspec.Struct):
    slug: str
    project: _Project
    links: _Links | None = None


class _Ref(msgspec.Struct):
    id: str


class _Change(msgspec.Struct):
    ref: _Ref
    from_hash: str = msgspec.field(name="fromHash")
    to_hash: str = msgspec.field(name="toHash")
    type: str


class _Actor(msgspec.Struct):
    name: str | None = None
    display_name: str | None = msgspec.field(name="displayName", default=None)


class _Event(msgspec.Struct):
    repository: _Repository | None = None


class _RefsChanged(msgspec.Struct):
    repository: _Repository
    changes: list[_Change]
    actor: _Actor | None = None


def _repository(told: _Repository | None) -> Repository | None:
    """`<host>/<PROJECT>/<slug>`, or None where no link tells the host, as with old versions."""
    links = (told and told.links) or _Links()
    hosts = [
        host_of(link.href)
        for link in [*(links.self or ()), *(links.clone or ())]
        if link.href.startswith(("https://", "http://"))
    ]
    if told is None or not hosts:
        return None
    return named(hosts[0], f"{told.project.key}/{told.slug}")


def _claims(incoming: Incoming) -> bool:
    event = incoming.header("x-event-key")
    if incoming.has("x-request-uuid") or incoming.has("x-hook-uuid"):
        return False  # Bitbucket Cloud, behind a proxy that numbers its requests
    return incoming.has("x-event-key") and (
        incoming.has("x-request-id") or event.startswith("repo:refs_changed") or event == _PING
    )


def _proves(incoming: Incoming, secret: bytes) -> bool:
    if incoming.header("x-event-key") == _PING and not incoming.has("x-hub-signature"):
        raise Rejected(200, "a connection test; nothing is deployed for that")
    if incoming.has("x-hub-signature"):
        return hub_sha256(incoming.header("x-hub-signature"), incoming.body, secret)
    return basic_password(incoming, secret)


def _parse(incoming: Incoming) -> Delivery:
    event, sent_id = incoming.header("x-event-key"), delivery_id(incoming, "x-request-id")
    if event != "repo:refs_changed":
        repo = _repository(decode(incoming.body, _Event).repository)
        return deploys_nothing("bitbucket-server", event, sent_id, repo)
    told = decode(incoming.body, _RefsChanged)
    repo = _repository(told.repository)
    if repo is None:
        note = "the delivery does not tell the host of its repository"
        return Delivery("bitbucket-server", event, sent_id, note=note)
    actor = told.actor or _Actor()
    pushes = tuple(
        Push(
            ref=change.ref.id,
            before=commit_id(change.from_hash),
            after=commit_id(change.to_hash),
            deleted=change.type == "DELETE" or commit_id(change.to_hash) is None,
            pusher=actor.display_name or actor.name or "",
        )
        for change in told.changes
    )
    return Delivery("bitbucket-server", event, sent_id, repo, pushes, "the delivery changes no ref")


BITBUCKET_SERVER = Provider("bitbucket-server", _claims, _proves, _parse)
