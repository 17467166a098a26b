"""GitLab: hooks of projects and groups, and system hooks.

Proved by the token in clear in `X-Gitlab-Token`, or by the newer signing
headers of Standard Webhooks, which then alone count.
<https://docs.gitlab.com/user/project/integrations/webhook_events/#push-events>
"""

from __future__ import annotations

import msgspec

from integralgit.hooks.body import ToldCommit, decode, kept
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
from integralgit.hooks.signatures import same_bytes, standard_webhooks


class _Project(msgspec.Struct):
    path_with_namespace: str
    web_url: str


class _Event(msgspec.Struct):
    object_kind: str | None = None
    event_name: str | None = None
    project: _Project | None = None


class _PushEvent(msgspec.Struct):
    project: _Project
    ref: str
    before: str
    after: str
    user_name: str | None = None
    commits: list[ToldCommit] | None = None
    total_commits_count: int | None = None


def _claims(incoming: Incoming) -> bool:
    return incoming.has("x-gitlab-event")


def _proves(incoming: Incoming, secret: bytes) -> bool:
    if incoming.has("webhook-signature"):
        return standard_webhooks(incoming, secret)
    return same_bytes(incoming.header("x-gitlab-token"), secret)


def _parse(incoming: Incoming) -> Delivery:
    sent_id = delivery_id(incoming, "idempotency-key") or delivery_id(
        incoming, "x-gitlab-event-uuid"
    )
    about = decode(incoming.body, _Event)
    kind = about.object_kind or about.event_name or ""
    if kind not in ("push", "tag_push"):
        project = about.project
        repo = named(host_of(project.web_url), project.path_with_namespace) if project else None
        return deploys_nothing("gitlab", kind, sent_id, repo)
    told = decode(incoming.body, _PushEvent)
    repo = named(host_of(told.project.web_url), told.project.path_with_namespace)
    after, commits = commit_id(told.after), told.commits or []
    push = Push(
        ref=told.ref,
        before=commit_id(told.before),
        after=after,
        deleted=after is None,
        pusher=told.user_name or "",
        commits=kept(commits, after),
        whole=are_all(commits, after, told.total_commits_count),
    )
    return Delivery("gitlab", kind, sent_id, repo, (push,))


GITLAB = Provider("gitlab", _claims, _proves, _parse)
