"""Deliveries that somebody with the secret broke: a `Delivery` or `Rejected`, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Delivery, Incoming, Rejected
from integralgit.hooks.receive import receive
from integralgit.names import is_commit
from tests.hooks.test_receive import (
    KEYS,
    NEW,
    NOW,
    SECRET,
    SENDERS,
    ZERO,
    bitbucket_push,
    bitbucket_ref,
    encoded,
)

modest = settings(
    derandomize=True,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)

Path = tuple[str | int, ...]

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
            "refs/heads/-x",
            "refs/tags/main",
            "acme/../site",
            "https://",
            "https://[",
            "//[",
            "//℀/",
            "https://user:password@github.com",
            "https://github.com:99999999/acme/site",
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


class BrokenDeliveryTests(SynchronousTestCase):
    def check(self, incoming: Incoming) -> None:
        """Assert that it is let in as a whole delivery, or refused as one that cannot be read."""
        try:
            delivery = receive(incoming, KEYS)
        except Rejected as rejected:
            self.assertEqual(rejected.status, 400)
            return
        self.assertIsInstance(delivery, Delivery)
        for push in delivery.pushes:
            self.assertIsInstance(push.ref, str)
            for commit in (push.before, push.after):
                self.assertTrue(commit is None or is_commit(commit), commit)
            push.ref.encode()

    def check_document(self, data: st.DataObject, name: str) -> None:
        """Break the sender's usual push in its structure, sign it, and send it."""
        document = data.draw(broken_documents(SENDERS[name].document()))
        self.check(SENDERS[name].send(json.dumps(document).encode()))

    def check_bytes(self, data: st.DataObject, name: str) -> None:
        """Break the sender's usual body byte by byte, sign it, and send it."""
        sender = SENDERS[name]
        body = data.draw(broken_bytes(sender.usual().body))
        self.check(sender.sign(body, SECRET))

    @modest
    @given(st.data())
    def test_github(self, data: st.DataObject) -> None:
        """A push of GitHub with other values in it is read or answered 400."""
        self.check_document(data, "github")

    @modest
    @given(st.data())
    def test_github_bytes(self, data: st.DataObject) -> None:
        """A push of GitHub with other bytes in it is read or answered 400."""
        self.check_bytes(data, "github")

    @modest
    @given(st.data())
    def test_github_form_bytes(self, data: st.DataObject) -> None:
        """A form of GitHub with other bytes in it is read or answered 400."""
        self.check_bytes(data, "github as a form")

    @modest
    @given(st.data())
    def test_bitbucket(self, data: st.DataObject) -> None:
        """A push of Bitbucket with other values in it is read or answered 400."""
        self.check_document(data, "bitbucket")

    @modest
    @given(st.data())
    def test_bitbucket_with_several_changes(self, data: st.DataObject) -> None:
        """A push of Bitbucket with several changes, and other values in them, is the same."""
        several = bitbucket_push(
            {"old": bitbucket_ref("main", NEW), "new": None},
            {"old": None, "new": bitbucket_ref("v1", NEW, "tag")},
        )
        document = data.draw(broken_documents(several))
        self.check(SENDERS["bitbucket"].send(json.dumps(document).encode()))

    @modest
    @given(st.data())
    def test_bitbucket_bytes(self, data: st.DataObject) -> None:
        """A push of Bitbucket with other bytes in it is read or answered 400."""
        self.check_bytes(data, "bitbucket")

    @modest
    @given(st.data())
    def test_bitbucket_post(self, data: st.DataObject) -> None:
        """A form of Bitbucket with other values in it is read or answered 400."""
        self.check_document(data, "bitbucket post")

    @modest
    @given(st.data())
    def test_bitbucket_post_bytes(self, data: st.DataObject) -> None:
        """A form of Bitbucket with other bytes in it is read or answered 400."""
        self.check_bytes(data, "bitbucket post")

    @modest
    @given(st.data())
    def test_plain(self, data: st.DataObject) -> None:
        """A plain push with other values in it is read or answered 400."""
        self.check_document(data, "plain")

    @modest
    @given(st.data())
    def test_plain_bytes(self, data: st.DataObject) -> None:
        """A plain push signed by Standard Webhooks, with other bytes in it, is the same."""
        self.check_bytes(data, "plain, standard")

    @modest
    @given(st.binary(max_size=200), st.sampled_from(sorted(SENDERS)))
    def test_any_bytes(self, body: bytes, name: str) -> None:
        """Any bytes at all, signed, are read or answered 400."""
        self.check(SENDERS[name].sign(body, SECRET))


class BrokenHeaderTests(SynchronousTestCase):
    @modest
    @given(
        st.dictionaries(
            st.sampled_from(
                [
                    "content-type",
                    "content-encoding",
                    "authorization",
                    "x-event-key",
                    "x-request-uuid",
                    "x-github-event",
                    "x-github-delivery",
                    "x-hub-signature",
                    "x-hub-signature-256",
                    "webhook-id",
                    "webhook-timestamp",
                    "webhook-signature",
                ]
            ),
            st.lists(st.text(st.characters(max_codepoint=255), max_size=30), max_size=2),
        ),
        st.sampled_from(sorted(SENDERS)),
    )
    def test_any_headers(self, headers: dict[str, list[str]], name: str) -> None:
        """Headers as anybody may send them let nobody in who was not proved, and break nothing."""
        unsigned = {**SENDERS[name].usual().headers, SENDERS[name].proof: ["sha256=00"]}
        incoming = Incoming({**unsigned, **headers}, encoded(SENDERS[name].document()), NOW)
        rejected = self.assertRaises(Rejected, receive, incoming, KEYS)
        self.assertIn(rejected.status, (401, 415))
