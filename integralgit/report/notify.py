"""Messages to people and programs: Slack and what understands it, Standard Webhooks, mail."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import unquote, unquote_plus, urlsplit

import msgspec
from attrs import define, field, frozen

from integralgit.hooks.signatures import standard_webhooks_key
from integralgit.journal.events import Item
from integralgit.quantities import timestamp
from integralgit.receivers import Notify
from integralgit.report.answers import Told
from integralgit.report.outbox import Line
from integralgit.report.recorder import notify_queue
from integralgit.report.words import FAILED, HOOK_SILENT, Message

#: What a message begins with in a chat, by its event.
_SIGNS = {FAILED: "✗", HOOK_SILENT: "?"}
#: From how many characters on a piece of a URL may be a secret, and is not just a word.
LEAST_SECRET = 8


def slack(message: Message) -> bytes:
    """The body for an incoming webhook of Slack, Mattermost, Rocket.Chat, Zulip or Discord.

    <https://api.slack.com/messaging/webhooks>; `&`, `<` and `>` are escaped as
    <https://api.slack.com/reference/surfaces/formatting#escaping> says.
    """
    sign = _SIGNS.get(message.event, "✓")
    link = f"<{message.url}|{_escaped(message.title)}>"
    return msgspec.json.encode({"text": f"{sign} {link}\n{_escaped(message.text)}"})


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def payload(message: Message) -> bytes:
    """The body for a program (Standard Webhooks 1.0.0): `type`, `timestamp`, `data`."""
    kind = "hook.silent" if message.event == HOOK_SILENT else f"deploy.{message.event}"
    return msgspec.json.encode(
        {
            "type": kind,
            "timestamp": timestamp(message.at),
            "data": {**message.facts, "title": message.title, "text": message.text},
        }
    )


def signed(message: Message, body: bytes, secret: bytes, at: float) -> dict[str, str]:
    """The headers that go with a body: id, time of this try, and signature over both and the body.

    <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
    """
    content = f"{message.id}.{int(at)}.".encode() + body
    digest = hmac.digest(standard_webhooks_key(secret), content, hashlib.sha256)
    return {
        "webhook-id": message.id,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": f"v1,{b64encode(digest).decode()}",
    }


@frozen
class Doorbell:
    """A `[[notify]]` of the web with what its files hold."""

    notify: Notify
    url: str = field(repr=False)
    secret: bytes = field(default=b"", repr=False)


def _tokens(path: str, query: str) -> set[str]:
    """Whatever may be a token by itself in a URL, as it stands there and as a receiver reads it."""
    segments = path.split("/")
    values = [one.partition("=")[2] or one for one in query.split("&")]
    read = [*map(unquote, segments), *map(unquote_plus, values)]
    return {one for one in (*segments, *values, *read) if len(one) >= LEAST_SECRET}


@define
class Webhook:
    """The receiver of messages at a URL; strictly in order, for `recovered` comes after `failed`."""

    in_order: ClassVar[bool] = True

    _bell: Doorbell
    _http: Any
    _now: Callable[[], float]

    @property
    def name(self) -> str:
        """Its queue."""
        return notify_queue(self._bell.notify.name)

    @property
    def spacing(self) -> float:
        """Slack takes a message a second (<https://api.slack.com/apis/rate-limits>)."""
        return 1.0 if self._bell.notify.form == "slack" else 0.0

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be repeated: the URL of a chat's webhook is all it takes to write there."""
        parts = urlsplit(self._bell.url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        texts = [self._bell.url, path, parts.path, self._bell.secret.decode("latin-1")]
        return (*(text for text in texts if len(text) > 1), *_tokens(parts.path, parts.query))

    @property
    def question(self) -> str:
        """What to look at where it refuses us: there is no token."""
        is_signed = self._bell.notify.form == "json"
        return "are its URL and its secret_file right?" if is_signed else "is its URL right?"

    async def tell(self, item: Item, line: Line) -> Told:
        """Send a message in the receiver's form."""
        message = msgspec.json.decode(item.wanted, type=Message)
        if self._bell.notify.form == "slack":
            body, headers = slack(message), {}
        else:
            body = payload(message)
            headers = signed(message, body, self._bell.secret, self._now())
        await line.pace()
        told: Told = await self._http.ask(
            "POST",
            self._bell.url,
            {"Content-Type": "application/json", **headers},
            body,
            allow_http=self._bell.notify.allow_http,
        )
        return told
