"""Senders of every kind: what each tells of a push, how that travels, and how it is signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus, unquote_to_bytes

from attrs import evolve, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from integralgit.hooks.delivery import Delivery, Incoming, Rejected
from integralgit.hooks.receive import Key, receive
from integralgit.settings import Trust

Document = dict[str, Any]

SECRET = b"a secret of the tests"
OTHER = b"the secret of another repository"
OLD, NEW, ZERO = "01" * 20, "ab" * 20, "0" * 40
NOW = 1_700_000_000.0
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def key(*repos: str, secret: bytes = SECRET, allow_sha1: bool = False) -> Key:
    """A secret that is trusted for these repositories."""
    return Key(secret, Trust(("a.secret",), repos, allow_sha1=allow_sha1))


def encoded(document: object) -> bytes:
    """The document as the bytes of its JSON."""
    return json.dumps(document).encode()


def hub(body: bytes, secret: bytes = SECRET) -> str:
    """The value of a hub signature header for that body."""
    return "sha256=" + hmac.digest(secret, body, hashlib.sha256).hex()


def basic(secret: bytes = SECRET, user: bytes = b"bitbucket") -> str:
    """The value of an `Authorization` header with that password."""
    return "Basic " + base64.b64encode(user + b":" + secret).decode()


def standard(body: bytes, secret: bytes = SECRET, sent_id: str = "msg_1") -> dict[str, list[str]]:
    """The headers of Standard Webhooks for that body."""
    signed = f"{sent_id}.{NOW:.0f}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": [sent_id],
        "webhook-timestamp": [f"{NOW:.0f}"],
        "webhook-signature": [f"v1,{signature}"],
    }


def with_headers(incoming: Incoming, headers: Mapping[str, Sequence[str] | None]) -> Incoming:
    """The same request with other headers; None takes one away."""
    merged = {**incoming.headers, **headers}
    return evolve(incoming, headers={k: v for k, v in merged.items() if v is not None})


def github_push(**changes: Any) -> Document:
    """What GitHub tells of a push, with changes."""
    return {
        "ref": "refs/heads/main",
        "before": OLD,
        "after": NEW,
        "created": False,
        "deleted": False,
        "forced": False,
        "repository": {
            "id": 35129377,
            "name": "site",
            "full_name": "acme/site",
            "private": True,
            "html_url": "https://github.com/acme/site",
            "clone_url": "https://evil.example/acme/site.git",
            "default_branch": "main",
        },
        "pusher": {"name": "ann", "email": "ann@example.com"},
        "head_commit": {"id": NEW},
        "commits": [
            {
                "id": NEW,
                "message": "Say hello\n\nLoudly.",
                "author": {"name": "Ann", "email": "ann@example.com"},
                "added": [],
                "modified": ["index.html"],
            }
        ],
        **changes,
    }


def github(
    body: bytes, secret: bytes = SECRET, *, event: str = "push", content_type: str = JSON
) -> Incoming:
    """A signed request of GitHub."""
    headers = {
        "content-type": [content_type],
        "user-agent": ["GitHub-Hookshot/0123abc"],
        "x-github-event": [event],
        "x-github-delivery": ["7d2c4e10-0000-11ee-8000-0123456789ab"],
        "x-hub-signature-256": [hub(body, secret)],
    }
    return Incoming(headers, body, NOW)


def form(document: bytes) -> bytes:
    """The JSON as the one field of a form."""
    return b"payload=" + quote_plus(document).encode()


def github_form(body: bytes, secret: bytes = SECRET) -> Incoming:
    """A signed request of GitHub whose hook sends a form."""
    return github(body, secret, content_type=FORM)


def bitbucket_ref(name: str, commit: str | None, kind: str = "branch") -> Document:
    """One end of a change at Bitbucket."""
    return {"type": kind, "name": name, "target": {"hash": commit} if commit else None}


def bitbucket_push(*changes: Document, **others: Any) -> Document:
    """What Bitbucket Cloud tells of a push; of one commit on `main` where no changes are given."""
    moved = {
        "old": bitbucket_ref("main", OLD),
        "new": bitbucket_ref("main", NEW),
        "created": False,
        "closed": False,
        "forced": False,
        "truncated": False,
        "commits": [
            {"hash": NEW, "message": "Say hello\n", "author": {"raw": "Ann <ann@example.com>"}}
        ],
    }
    return {
        "actor": {"display_name": "Ann", "nickname": "ann", "type": "user"},
        "repository": {
            "full_name": "acme/site",
            "name": "site",
            "links": {"html": {"href": "https://evil.example/acme/site"}},
        },
        "push": {"changes": list(changes) or [moved]},
        **others,
    }


def bitbucket(body: bytes, secret: bytes = SECRET, *, event: str = "repo:push") -> Incoming:
    """A signed request of Bitbucket Cloud."""
    headers = {
        "content-type": [JSON],
        "x-event-key": [event],
        "x-hook-uuid": ["0b5f2f9e-0000-11ee-8000-0123456789ab"],
        "x-request-uuid": ["9c1a7a52-0000-11ee-8000-0123456789ab"],
        "x-attempt-number": ["1"],
        "x-hub-signature": [hub(body, secret)],
    }
    return Incoming(headers, body, NOW)


def bitbucket_post_push(**changes: Any) -> Document:
    """What the POST service of Bitbucket told of a push, with changes."""
    return {
        "canon_url": "",
        "repository": {"absolute_url": "/acme/site/", "name": "site", "scm": "git"},
        "commits": [
            {"raw_node": OLD, "branch": "main", "message": "First", "author": "ann"},
            {"raw_node": NEW, "branch": "main", "message": "Second", "author": "ann"},
        ],
        "user": "ann",
        "truncated": False,
        **changes,
    }


def bitbucket_post(body: bytes, secret: bytes = SECRET) -> Incoming:
    """A request of Bitbucket's POST service, with basic authentication."""
    headers = {"content-type": [FORM], "authorization": [basic(secret)]}
    return Incoming(headers, body, NOW)


def bitbucket_server_change(ref: str, before: str = OLD, after: str = NEW) -> Document:
    """One change as Bitbucket Data Center tells of it."""
    kind = "ADD" if before == ZERO else "DELETE" if after == ZERO else "UPDATE"
    tag = ref.startswith("refs/tags/")
    return {
        "ref": {"id": ref, "displayId": ref.split("/", 2)[-1], "type": "TAG" if tag else "BRANCH"},
        "refId": ref,
        "fromHash": before,
        "toHash": after,
        "type": kind,
    }


def bitbucket_server_push(*changes: Document, **others: Any) -> Document:
    """What Bitbucket Data Center tells of a push; to `main` where no changes are given."""
    return {
        "eventKey": "repo:refs_changed",
        "actor": {"name": "ann", "displayName": "Ann"},
        "repository": {
            "slug": "site",
            "name": "The Site",
            "project": {"key": "ACME", "name": "Acme"},
            "links": {
                "clone": [
                    {"href": "ssh://git@git.example.com:7999/acme/site.git", "name": "ssh"},
                    {"href": "https://git.example.com/scm/acme/site.git", "name": "http"},
                ],
                "self": [{"href": "https://git.example.com/projects/ACME/repos/site/browse"}],
            },
        },
        "changes": list(changes) or [bitbucket_server_change("refs/heads/main")],
        **others,
    }


def bitbucket_server(
    body: bytes, secret: bytes = SECRET, *, event: str = "repo:refs_changed"
) -> Incoming:
    """A signed request of Bitbucket Data Center."""
    headers = {
        "content-type": ["application/json; charset=utf-8"],
        "x-event-key": [event],
        "x-request-id": ["5c0ffee0-0000-11ee-8000-0123456789ab"],
        "x-hub-signature": [hub(body, secret)],
    }
    return Incoming(headers, body, NOW)


def bitbucket_server_basic(body: bytes, secret: bytes = SECRET) -> Incoming:
    """The same with a password in place of the signature."""
    changes = {"x-hub-signature": None, "authorization": [basic(secret)]}
    return with_headers(bitbucket_server(body), changes)


def gitlab_push(**changes: Any) -> Document:
    """What GitLab tells of a push, with changes."""
    return {
        "object_kind": "push",
        "event_name": "push",
        "before": OLD,
        "after": NEW,
        "ref": "refs/heads/main",
        "checkout_sha": NEW,
        "user_name": "Ann",
        "user_username": "ann",
        "project": {
            "id": 15,
            "name": "The Site",
            "path_with_namespace": "acme/site",
            "web_url": "https://gitlab.com/acme/site",
            "git_http_url": "https://evil.example/acme/site.git",
        },
        "commits": [
            {"id": NEW, "message": "Say hello\n", "author": {"name": "Ann", "email": "a@x.example"}}
        ],
        "total_commits_count": 1,
        **changes,
    }


def gitlab(body: bytes, secret: bytes = SECRET, *, event: str = "Push Hook") -> Incoming:
    """A request of GitLab with its token in clear."""
    headers = {
        "content-type": [JSON],
        "user-agent": ["GitLab/17.5.1"],
        "x-gitlab-event": [event],
        "x-gitlab-event-uuid": ["13792a34-0000-11ee-8000-0123456789ab"],
        "idempotency-key": ["f5e57fe0-0000-11ee-8000-0123456789ab"],
        "x-gitlab-token": [secret.decode("latin-1")],
    }
    return Incoming(headers, body, NOW)


def gitlab_standard(body: bytes, secret: bytes = SECRET) -> Incoming:
    """A request of GitLab with the signing headers of Standard Webhooks and no token."""
    incoming = gitlab(body)
    signed = standard(body, secret, incoming.header("idempotency-key"))
    return with_headers(incoming, {"x-gitlab-token": None, **signed})


def gitea_push(**changes: Any) -> Document:
    """What Gitea, Forgejo and Gogs tell of a push, with changes."""
    return {
        "ref": "refs/heads/main",
        "before": OLD,
        "after": NEW,
        "compare_url": f"https://git.example.com/acme/site/compare/{OLD}...{NEW}",
        "commits": [{"id": NEW, "message": "Say hello\n", "author": {"name": "Ann"}}],
        "repository": {
            "id": 3,
            "name": "site",
            "full_name": "acme/site",
            "html_url": "https://git.example.com/acme/site",
            "clone_url": "https://evil.example/acme/site.git",
        },
        "pusher": {"login": "ann", "username": "ann"},
        **changes,
    }


def _like_gitea(
    names: Sequence[str], body: bytes, document: bytes, secret: bytes, event: str
) -> Incoming:
    """A request with the headers of these hosts and of GitHub, signed over the JSON."""
    digest = hmac.digest(secret, document, hashlib.sha256).hex()
    headers = {"content-type": [JSON], "x-github-event": [event], "x-github-delivery": ["of-all"]}
    for name in names:
        headers[f"x-{name}-event"] = [event]
        headers[f"x-{name}-delivery"] = [f"of-{name}"]
        headers[f"x-{name}-signature"] = [digest]
    if "gitea" in names:
        headers["x-hub-signature-256"] = [f"sha256={digest}"]
        headers["x-hub-signature"] = ["sha1=" + hmac.digest(secret, document, "sha1").hex()]
    return Incoming(headers, body, NOW)


def forgejo(body: bytes, secret: bytes = SECRET, *, event: str = "push") -> Incoming:
    """A signed request of Forgejo, which has the headers of four git hosts."""
    return _like_gitea(("forgejo", "gitea", "gogs"), body, body, secret, event)


def gitea(body: bytes, secret: bytes = SECRET, *, event: str = "push") -> Incoming:
    """A signed request of Gitea, which has the headers of three git hosts."""
    return _like_gitea(("gitea", "gogs"), body, body, secret, event)


def gitea_form(body: bytes, secret: bytes = SECRET) -> Incoming:
    """The same as a form, signed over the JSON in it."""
    document = unquote_to_bytes(body.removeprefix(b"payload=").replace(b"+", b" "))
    incoming = _like_gitea(("gitea", "gogs"), body, document, secret, "push")
    return with_headers(incoming, {"content-type": [FORM]})


def gogs(body: bytes, secret: bytes = SECRET, *, event: str = "push") -> Incoming:
    """A signed request of Gogs, which has GitHub's headers too, but not its signature."""
    return _like_gitea(("gogs",), body, body, secret, event)


def azure_update(ref: str, before: str = OLD, after: str = NEW) -> Document:
    """One change as Azure DevOps tells of it."""
    return {"name": ref, "oldObjectId": before, "newObjectId": after}


def azure_push(*updates: Document, **resource: Any) -> Document:
    """What Azure DevOps tells of a push; to `main` where no updates are given."""
    return {
        "subscriptionId": "00000000-0000-11ee-8000-0123456789ab",
        "notificationId": 2,
        "id": "a0a0a0a0-0000-11ee-8000-0123456789ab",
        "eventType": "git.push",
        "publisherId": "tfs",
        "resource": {
            "commits": [{"commitId": NEW, "comment": "Say hello", "author": {"name": "Ann"}}],
            "refUpdates": list(updates) or [azure_update("refs/heads/main")],
            "repository": {
                "id": "278d5cd2-0000-11ee-8000-0123456789ab",
                "name": "site",
                "project": {"name": "web"},
                "remoteUrl": "https://dev.azure.com/acme/web/_git/site",
            },
            "pushedBy": {"displayName": "Ann"},
            **resource,
        },
    }


def azure(body: bytes, secret: bytes = SECRET) -> Incoming:
    """A request of Azure DevOps, with basic authentication."""
    headers = {
        "content-type": ["application/json; charset=utf-8"],
        "authorization": [basic(secret, b"azure")],
    }
    return Incoming(headers, body, NOW)


def sourcehut_ref(name: str, before: str | None = OLD, after: str | None = NEW) -> Document:
    """One change as sourcehut tells of it."""
    old, new = (
        commit and {"id": commit, "message": "Say hello\n", "author": {"name": "Ann"}}
        for commit in (before, after)
    )
    return {"name": name, "annotated_tag": None, "old": old, "new": new}


def sourcehut_push(*refs: Document, **changes: Any) -> Document:
    """What sourcehut tells of a push; to `main` where no refs are given."""
    return {
        "push": "a6ad3bb1a0b1f2c3",
        "pusher": {"canonical_name": "~ann", "name": "ann"},
        "repository": {"name": "site", "owner": {"canonical_name": "~acme", "name": "acme"}},
        "refs": list(refs) or [sourcehut_ref("refs/heads/main")],
        **changes,
    }


def private_key(secret: bytes) -> Ed25519PrivateKey:
    """The key of the tests that comes of that secret."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(secret).digest())


def public_key(secret: bytes) -> bytes:
    """The public half of that key, as the file of a trust holds it."""
    raw = private_key(secret).public_key().public_bytes_raw()
    return b"whpk_" + base64.b64encode(raw)


def ed25519(body: bytes, secret: bytes = SECRET, nonce: str = "0011223344556677") -> str:
    """The value of sourcehut's signature header."""
    return base64.b64encode(private_key(secret).sign(body + nonce.encode())).decode()


def sourcehut(body: bytes, secret: bytes = SECRET, *, event: str = "repo:post-update") -> Incoming:
    """A signed request of sourcehut."""
    headers = {
        "content-type": [JSON],
        "x-webhook-event": [event],
        "x-webhook-delivery": ["50b1c3d0-0000-11ee-8000-0123456789ab"],
        "x-payload-nonce": ["0011223344556677"],
        "x-payload-signature": [ed25519(body, secret)],
    }
    return Incoming(headers, body, NOW)


def plain_push(**changes: Any) -> Document:
    """The plain push as the contract shows it, with changes."""
    return {
        "repository": {"host": "git.example.com", "full_name": "acme/site"},
        "ref": "refs/heads/main",
        "before": OLD,
        "after": NEW,
        "pusher": "ann",
        "commits": [{"id": NEW, "message": "Say hello", "author": {"name": "Ann"}}],
        **changes,
    }


def plain(body: bytes, secret: bytes = SECRET) -> Incoming:
    """A plain push with a hub signature."""
    headers = {"content-type": [JSON], "x-hub-signature-256": [hub(body, secret)]}
    return Incoming(headers, body, NOW)


def plain_standard(body: bytes, secret: bytes = SECRET) -> Incoming:
    """A plain push with the headers of Standard Webhooks."""
    return Incoming({"content-type": [JSON], **standard(body, secret)}, body, NOW)


def as_it_is(document: bytes) -> bytes:
    """JSON as the whole body."""
    return document


@frozen
class Sender:
    """One way to send a push: what it tells, how that travels, how it is signed, and in which header.

    `filed` makes of the sender's secret what the trust's file holds.
    """

    document: Callable[[], Document]
    wire: Callable[[bytes], bytes]
    sign: Callable[[bytes, bytes], Incoming]
    proof: str
    filed: Callable[[bytes], bytes] = as_it_is

    def send(self, document: bytes, secret: bytes = SECRET) -> Incoming:
        """The signed request with that JSON."""
        return self.sign(self.wire(document), secret)

    def usual(self, secret: bytes = SECRET) -> Incoming:
        """The signed request with the usual push."""
        return self.send(encoded(self.document()), secret)

    def key(self, *repos: str, secret: bytes = SECRET) -> Key:
        """What the sender's secret opens, trusted for these repositories."""
        return key(*repos, secret=self.filed(secret))


SENDERS = {
    "github": Sender(github_push, as_it_is, github, "x-hub-signature-256"),
    "github as a form": Sender(github_push, form, github_form, "x-hub-signature-256"),
    "bitbucket": Sender(bitbucket_push, as_it_is, bitbucket, "x-hub-signature"),
    "bitbucket post": Sender(bitbucket_post_push, form, bitbucket_post, "authorization"),
    "bitbucket server": Sender(
        bitbucket_server_push, as_it_is, bitbucket_server, "x-hub-signature"
    ),
    "bitbucket server, basic": Sender(
        bitbucket_server_push, as_it_is, bitbucket_server_basic, "authorization"
    ),
    "gitlab": Sender(gitlab_push, as_it_is, gitlab, "x-gitlab-token"),
    "gitlab, standard": Sender(gitlab_push, as_it_is, gitlab_standard, "webhook-signature"),
    "forgejo": Sender(gitea_push, as_it_is, forgejo, "x-forgejo-signature"),
    "gitea": Sender(gitea_push, as_it_is, gitea, "x-gitea-signature"),
    "gitea as a form": Sender(gitea_push, form, gitea_form, "x-gitea-signature"),
    "gogs": Sender(gitea_push, as_it_is, gogs, "x-gogs-signature"),
    "azure": Sender(azure_push, as_it_is, azure, "authorization"),
    "sourcehut": Sender(
        sourcehut_push, as_it_is, sourcehut, "x-payload-signature", filed=public_key
    ),
    "plain": Sender(plain_push, as_it_is, plain, "x-hub-signature-256"),
    "plain, standard": Sender(plain_push, as_it_is, plain_standard, "webhook-signature"),
}
#: The secret of every sender, trusted for everything.
KEYS = (key("**"), key("**", secret=public_key(SECRET)))
HUB_SENDERS = ("github", "github as a form", "bitbucket", "bitbucket server", "plain")
#: What proves the sender, but says nothing about the body.
PASSWORDS = ("authorization", "x-gitlab-token")


def refusal(incoming: Incoming, keys: Iterable[Key] = KEYS) -> Rejected:
    """How the request is refused."""
    try:
        delivery = receive(incoming, keys)
    except Rejected as rejected:
        return rejected
    raise AssertionError(f"it was let in: {delivery}")


def summary(delivery: Delivery) -> list[tuple[str, str | None, str | None, bool]]:
    """The changes of a delivery in short: ref, before, after, deleted."""
    return [(push.ref, push.before, push.after, push.deleted) for push in delivery.pushes]
