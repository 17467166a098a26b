"""sourcehut's git.sr.ht, proved by an Ed25519 signature over the body and a nonce.

The key is the network's public key, so the file of the trust holds
`whpk_<base64>` and no secret. The older hooks belong to one repository and do
not name it; a delivery without a name can only be taken for the repository
that the trust names, if it names just one.
<https://man.sr.ht/api-conventions.md>, "Webhooks"
"""

from __future__ import annotations

import msgspec

from integralgit.hooks.body import decode
from integralgit.hooks.delivery import (
    Delivery,
    Incoming,
    Provider,
    Push,
    commit_id,
    delivery_id,
    deploys_nothing,
    named,
    shown,
)
from integralgit.hooks.signatures import ed25519

HOST = "git.sr.ht"


class _Owner(msgspec.Struct):
    canonical_name: str


class _Repository(msgspec.Struct):
    name: str
    owner: _Owner


class _Author(msgspec.Struct):
    name: str = ""


class _Target(msgspec.Struct):
    id: str
    message: str = ""
    author: _Author | None = None


class _Ref(msgspec.Struct):
    name: str
    old: _Target | None = None
    new: _Target | None = None


class _Event(msgspec.Struct):
    repository: _Repository | None = None
    refs: list[_Ref] | None = None
    pusher: _Owner | None = None


def _claims(incoming: Incoming) -> bool:
    return incoming.has("x-payload-signature")


def _proves(incoming: Incoming, public_key: bytes) -> bool:
    nonce = incoming.header("x-payload-nonce").encode("latin-1", "replace")
    return ed25519(incoming.header("x-payload-signature"), incoming.body + nonce, public_key)


def _push(ref: _Ref, pusher: str) -> Push:
    new = ref.new
    return Push(
        ref=ref.name,
        before=commit_id(ref.old.id) if ref.old else None,
        after=commit_id(new.id) if new else None,
        deleted=new is None,
        pusher=pusher,
        commits=(shown(new.id, new.message, new.author.name if new.author else ""),) if new else (),
    )


def _parse(incoming: Incoming) -> Delivery:
    event, sent_id = incoming.header("x-webhook-event"), delivery_id(incoming, "x-webhook-delivery")
    told = decode(incoming.body, _Event)
    repo = None
    if told.repository is not None:
        repo = named(HOST, f"{told.repository.owner.canonical_name}/{told.repository.name}")
    if event != "repo:post-update":
        return deploys_nothing("sourcehut", event, sent_id, repo)
    pusher = told.pusher.canonical_name if told.pusher else ""
    pushes = tuple(_push(ref, pusher) for ref in told.refs or ())
    return Delivery("sourcehut", event, sent_id, repo, pushes, "the delivery changes no ref")


SOURCEHUT = Provider("sourcehut", _claims, _proves, _parse, by_public_key=True)
