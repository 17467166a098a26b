"""Azure DevOps: service hooks of the kind "Code pushed", proved by basic authentication.

<https://learn.microsoft.com/azure/devops/service-hooks/events#git.push>
"""

from __future__ import annotations

import msgspec

from integralgit.hooks.body import decode, is_form
from integralgit.hooks.delivery import (
    Delivery,
    Incoming,
    Provider,
    Push,
    Rejected,
    commit_id,
    deploys_nothing,
    host_of,
    named,
    newest_first,
    path_of,
    shown,
)
from integralgit.hooks.signatures import basic_password
from integralgit.names import Repository, azure_name, is_commit


class _Repository(msgspec.Struct):
    name: str
    remote_url: str = msgspec.field(name="remoteUrl")


class _RefUpdate(msgspec.Struct):
    name: str
    old: str | None = msgspec.field(name="oldObjectId", default=None)
    new: str | None = msgspec.field(name="newObjectId", default=None)


class _Author(msgspec.Struct):
    name: str | None = None


class _Commit(msgspec.Struct):
    commit_id: str = msgspec.field(name="commitId")
    comment: str = ""
    author: _Author | None = None


class _Person(msgspec.Struct):
    display_name: str | None = msgspec.field(name="displayName", default=None)


class _Resource(msgspec.Struct):
    repository: _Repository | None = None
    updates: list[_RefUpdate] | None = msgspec.field(name="refUpdates", default=None)
    commits: list[_Commit] | None = None
    pushed_by: _Person | None = msgspec.field(name="pushedBy", default=None)


class _Kind(msgspec.Struct):
    kind: str = msgspec.field(name="eventType")
    id: str = ""


class _Event(msgspec.Struct):
    resource: _Resource


def _repository(told: _Repository) -> Repository:
    """`dev.azure.com/<organisation>/<project>/<repository>`, from the URL of the repository."""
    host, full_name = azure_name(host_of(told.remote_url), path_of(told.remote_url))
    return named(host, f"{full_name.rpartition('/')[0]}/{told.name}")


def _claims(incoming: Incoming) -> bool:
    basic = incoming.header("authorization").lower().startswith("basic ")
    signed = incoming.has("webhook-signature") or incoming.has("x-hub-signature-256")
    return basic and not signed and not is_form(incoming)


def _proves(incoming: Incoming, secret: bytes) -> bool:
    return basic_password(incoming, secret)


def _parse(incoming: Incoming) -> Delivery:
    about = decode(incoming.body, _Kind)
    if len(about.id) > 200:
        raise Rejected(400, "The id is longer than 200 characters.")
    if about.kind != "git.push":
        return deploys_nothing("azure", about.kind, about.id)
    told = decode(incoming.body, _Event).resource
    repo = _repository(told.repository) if told.repository else None
    if repo is None:
        return Delivery("azure", about.kind, about.id, note="the delivery names no repository")
    commits = tuple(
        shown(c.commit_id, c.comment, (c.author and c.author.name) or "")
        for c in told.commits or ()
        if is_commit(c.commit_id)
    )
    pushes = tuple(
        Push(
            ref=update.name,
            before=commit_id(update.old),
            after=after,
            deleted=after is None,
            pusher=(told.pushed_by and told.pushed_by.display_name) or "",
            commits=tuple(newest_first(commits, after)),
        )
        for update in told.updates or ()
        for after in (commit_id(update.new),)
    )
    return Delivery("azure", about.kind, about.id, repo, pushes, "the delivery changes no ref")


AZURE = Provider("azure", _claims, _proves, _parse)
