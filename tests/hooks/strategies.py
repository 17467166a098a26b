"""Deliveries that somebody with the secret broke, and what must hold for each of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve
from hypothesis import strategies as st

from integralgit.deploy.decide import decide, reason_of
from integralgit.hooks.delivery import Delivery, Incoming, Rejected
from integralgit.hooks.receive import receive
from integralgit.names import is_commit, parse_repository
from tests.hooks.senders import (
    KEYS,
    NEW,
    OLD,
    SECRET,
    SENDERS,
    ZERO,
    Sender,
    azure_push,
    azure_update,
    bitbucket_push,
    bitbucket_ref,
    bitbucket_server_change,
    bitbucket_server_push,
    sourcehut_push,
    sourcehut_ref,
    with_headers,
)

Path = tuple[str | int, ...]

#: Pushes of several changes, for the git hosts that have such.
SEVERAL = {
    "bitbucket": bitbucket_push(
        {"old": bitbucket_ref("main", NEW), "new": None},
        {"old": None, "new": bitbucket_ref("v1", NEW, "tag")},
    ),
    "bitbucket server": bitbucket_server_push(
        bitbucket_server_change("refs/heads/main"),
        bitbucket_server_change("refs/tags/v1", before=ZERO),
    ),
    "azure": azure_push(azure_update("refs/heads/main"), azure_update("refs/tags/v1", OLD, ZERO)),
    "sourcehut": sourcehut_push(
        sourcehut_ref("refs/heads/main"), sourcehut_ref("refs/tags/v1", None, NEW)
    ),
}

#: Every header that decides something at the door.
HEADERS = (
    "content-type",
    "content-encoding",
    "authorization",
    "idempotency-key",
    "x-event-key",
    "x-request-id",
    "x-request-uuid",
    "x-forgejo-event",
    "x-forgejo-signature",
    "x-gitea-event",
    "x-gitea-delivery",
    "x-gitea-signature",
    "x-gogs-event",
    "x-gogs-signature",
    "x-github-event",
    "x-github-delivery",
    "x-gitlab-event",
    "x-gitlab-event-uuid",
    "x-gitlab-token",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-payload-nonce",
    "x-payload-signature",
    "x-webhook-delivery",
    "x-webhook-event",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
)

_TEXTS = st.one_of(
    st.text(st.characters(), max_size=20),
    st.sampled_from(
        [
            "",
            "/",
            "..",
            ZERO,
            NEW.upper(),
            "branch",
            "push",
            "tag_push",
            "git.push",
            "DELETE",
            "refs/heads/-x",
            "refs/tags/main",
            "acme/../site",
            "https://",
            "https://[",
            "//[",
            "//℀/",
            "https://user:password@github.com",
            "https://github.com:99999999/acme/site",
            "https://dev.azure.com/_git/_git/",
            "https://.visualstudio.com/_git/site",
            "\0",
            "\ud800",
        ]
    ),
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=3)
    ),
    max_leaves=5,
)
_HEADER_VALUES = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=30),
    st.sampled_from(
        [
            "push",
            "repo:push",
            "repo:refs_changed",
            "diagnostics:ping",
            "repo:post-update",
            "Push Hook",
            "application/json",
            "application/x-www-form-urlencoded",
            "Basic ",
            "Basic Og==",
            "sha256=",
            "v1,",
        ]
    ),
)

headers: st.SearchStrategy[Mapping[str, Sequence[str]]] = st.dictionaries(
    st.sampled_from(HEADERS), st.lists(_HEADER_VALUES, max_size=2), max_size=6
)


def paths(value: Any, here: Path = ()) -> Iterator[Path]:
    """Where the values of a JSON document are, the document itself first."""
    yield here
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths(inner, (*here, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from paths(inner, (*here, number))


def at(document: Any, path: Path) -> Any:
    """The value at that place."""
    for step in path:
        document = document[step]
    return document


@st.composite
def broken_documents(draw: st.DrawFn, document: dict[str, Any]) -> Any:
    """The document with one to three of its values replaced or deleted."""
    broken: Any = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = [path for path in paths(broken) if path]
        if not places:
            break
        place = draw(st.sampled_from(places))
        holder = at(broken, place[:-1])
        if draw(st.booleans()):
            del holder[place[-1]]
        else:
            holder[place[-1]] = draw(_VALUES)
    return broken


@st.composite
def broken_bytes(draw: st.DrawFn, body: bytes) -> bytes:
    """The bytes with a few of them flipped, deleted, or said twice."""
    broken = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(broken) - 1)) if broken else 0
        end = start + draw(st.integers(1, 20))
        what = draw(st.sampled_from(["flip", "delete", "double"]))
        if what == "flip" and broken:
            broken[start] ^= draw(st.integers(1, 255))
        elif what == "delete":
            del broken[start:end]
        else:
            broken[start:start] = broken[start:end]
    return bytes(broken)


@st.composite
def broken_in_structure(draw: st.DrawFn, name: str) -> Incoming:
    """A signed delivery of that sender, with other values in it."""
    sender = SENDERS[name]
    usual = st.sampled_from([sender.document(), SEVERAL.get(name, sender.document())])
    document = draw(usual.flatmap(broken_documents))
    return sender.send(json.dumps(document).encode())


@st.composite
def broken_in_bytes(draw: st.DrawFn, name: str) -> Incoming:
    """A signed delivery of that sender, with other bytes in it."""
    sender = SENDERS[name]
    return sender.sign(draw(broken_bytes(sender.usual().body)), SECRET)


@st.composite
def broken_in_headers(draw: st.DrawFn, name: str) -> Incoming:
    """The usual delivery of that sender, unsigned, with other headers."""
    sender: Sender = SENDERS[name]
    unsigned = with_headers(sender.usual(), {sender.proof: ["sha256=00"]})
    return with_headers(unsigned, draw(headers))


@st.composite
def broken_deliveries(draw: st.DrawFn) -> Incoming:
    """Any sender's delivery, broken in any of these ways or in several."""
    name = draw(st.sampled_from(sorted(SENDERS)))
    ways = st.sampled_from([broken_in_structure, broken_in_bytes, broken_in_headers])
    incoming = draw(draw(ways)(name))
    if draw(st.integers(0, 9)) == 0:
        incoming = with_headers(incoming, draw(headers))
    if draw(st.integers(0, 9)) == 0:
        incoming = evolve(incoming, body=draw(st.binary(max_size=200)))
    return incoming


def _check_refusal(rejected: Rejected) -> None:
    """Assert that the refusal is one that the contract knows, and gives nothing away."""
    assert rejected.status in (200, 400, 401, 415), rejected.status
    assert 0 < len(rejected.error) < 400, rejected.error
    assert SECRET.decode() not in f"{rejected.error} {rejected.cause}", rejected.cause


def sound(incoming: Incoming) -> Delivery | Rejected:
    """What the door makes of a request: a whole `Delivery`, or `Rejected` with a sentence.

    Anything else is an error, here or where a push is decided.
    """
    try:
        delivery = receive(incoming, KEYS)
    except Rejected as rejected:
        _check_refusal(rejected)
        return rejected
    assert delivery.repo is None or parse_repository(str(delivery.repo)) == delivery.repo
    assert delivery.pushes or delivery.note
    assert delivery.repo is not None or not delivery.pushes
    for push in delivery.pushes:
        texts = [push.ref, push.pusher]
        texts += [text for one in push.commits for text in (one.id, one.message, one.author)]
        for text in texts:
            text.encode()
        for commit in (push.before, push.after, *(one.id for one in push.commits)):
            assert commit is None or is_commit(commit), commit
    outcome, reason = reason_of(delivery, [decide(push, None) for push in delivery.pushes])
    assert outcome == "accepted" or reason
    return delivery
