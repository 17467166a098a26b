"""Messages: their forms, and the signature of those for programs."""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Incoming
from integralgit.hooks.signatures import standard_webhooks
from integralgit.receivers import Notify
from integralgit.report.notify import Doorbell, Webhook, payload, signed, slack
from integralgit.report.outbox import without
from integralgit.report.words import Message
from tests.report.fakes import FakeHttp, FakeLine, answer, item

SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = Message(
    "msg_1",
    "failed",
    1_700_000_000.0,
    "Deploy 7 of github.com/acme/site <main> failed",
    "the script failed & ended with 1",
    "https://ig.example/deploys/7",
    {"id": 7, "repo": "github.com/acme/site"},
)


class Questions(SynchronousTestCase):
    def test_what_may_be_wrong(self) -> None:
        """Where a receiver refuses, a person is asked for what the settings have for it."""
        for form, asked in (
            ("json", "are its URL and its secret_file right?"),
            ("slack", "is its URL right?"),
        ):
            bell = Doorbell(Notify("n", form), "https://h/x")
            self.assertEqual(Webhook(bell, FakeHttp([]), lambda: 0.0).question, asked)


class Forms(SynchronousTestCase):
    def test_slack(self) -> None:
        """One text with a link to the deploy; what has a meaning to Slack is escaped."""
        self.assertEqual(
            msgspec.json.decode(slack(MESSAGE)),
            {
                "text": "✗ <https://ig.example/deploys/7|Deploy 7 of github.com/acme/site"
                " &lt;main&gt; failed>\nthe script failed &amp; ended with 1"
            },
        )

    def test_payload(self) -> None:
        """What a program gets is the event, its time, and the facts with their words."""
        self.assertEqual(
            msgspec.json.decode(payload(MESSAGE)),
            {
                "type": "deploy.failed",
                "timestamp": "2023-11-14T22:13:20.000Z",
                "data": {**MESSAGE.facts, "title": MESSAGE.title, "text": MESSAGE.text},
            },
        )

    def test_signature(self) -> None:
        """The signature is that of Standard Webhooks, which our own door would take."""
        headers = signed(MESSAGE, b"{}", SECRET, 1_700_000_000.5)
        self.assertEqual(headers["webhook-id"], "msg_1")
        self.assertEqual(headers["webhook-timestamp"], "1700000000")
        incoming = Incoming(
            {name: [text] for name, text in headers.items()}, b"{}", 1_700_000_000.0
        )
        self.assertTrue(standard_webhooks(incoming, SECRET))
        self.assertFalse(standard_webhooks(incoming, b"another"))

    def test_the_vector(self) -> None:
        """The specification's own example comes out as it stands there.

        <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
        """
        message = Message("msg_p5jXN8AQM9LWM0D4loKWxJek", "", 0.0, "", "", "", {})
        headers = signed(message, b'{"test": 2432232314}', SECRET, 1614265330)
        self.assertEqual(
            headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        )


class Sending(SynchronousTestCase):
    def tell(self, notify: Notify, secret: bytes = b"") -> FakeHttp:
        http = FakeHttp([answer()])
        bell = Doorbell(notify, "https://hooks.example.com/canary?x=1", secret)
        self.receiver = Webhook(bell, http, lambda: 5.0)
        wanted = item(wanted=msgspec.json.encode(MESSAGE).decode(), subject="message msg_1")
        line = FakeLine()
        told = Deferred.fromCoroutine(self.receiver.tell(wanted, line.line()))
        self.assertEqual(self.successResultOf(told), answer())
        self.assertEqual(line.paced, 1)
        return http

    def test_forms(self) -> None:
        """Slack gets its text without a signature, a program its JSON with one."""
        (asked,) = self.tell(Notify("a", "slack")).asked
        self.assertEqual(list(asked.body), ["text"])
        self.assertEqual(list(asked.headers), ["Content-Type"])
        (asked,) = self.tell(Notify("a", "json"), SECRET).asked
        self.assertEqual(asked.body["type"], "deploy.failed")
        self.assertEqual(asked.headers["webhook-id"], "msg_1")

    def test_secrets(self) -> None:
        """URL, path and secret are never repeated, and not shown when the value is printed."""
        self.tell(Notify("a", "json"), SECRET)
        self.assertIn("/canary?x=1", self.receiver.secrets)
        self.assertIn(SECRET.decode(), self.receiver.secrets)
        for secret in ("canary", "MfKQ"):
            self.assertNotIn(secret, repr(self.receiver._bell))

    def test_a_token_of_the_url(self) -> None:
        """A receiver that repeats a part of its own URL does not bring it into the archive (threat 86)."""
        url = "https://hooks.example.com/services/T0/canary%2Fseven?key=canary+%C3%BC%20eight&v=2"
        receiver = Webhook(Doorbell(Notify("a", "slack"), url), FakeHttp([]), lambda: 5.0)
        for token in ("canary%2Fseven", "canary/seven", "canary+%C3%BC%20eight", "canary ü eight"):
            said = without(f"unknown token {token} of T0", receiver.secrets)
            self.assertEqual(said, "unknown token … of T0")
