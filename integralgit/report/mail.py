"""Messages by mail, handed to a relay that knows how to deliver them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from io import BytesIO
from typing import Any, ClassVar

import msgspec
from attrs import define
from twisted.internet.defer import Deferred

from integralgit.journal.events import Item
from integralgit.receivers import Notify
from integralgit.report.answers import Answer, Hopeless, NoAnswer, Partly, Told
from integralgit.report.http import in_words
from integralgit.report.outbox import Line
from integralgit.report.recorder import notify_queue
from integralgit.report.statuses import shorten
from integralgit.report.words import Message

#: Seconds for one answer of the relay, and for the whole exchange.
ANSWER, WHOLE = 30.0, 120.0

#: Hand bytes to a relay: its host and port, the sender, those who get it, the mail.
Send = Callable[[tuple[str, int], str, tuple[str, ...], bytes], Deferred[Any]]


def compose(message: Message, notify: Notify) -> bytes:
    """The mail (RFC 5322); its `Message-ID` is the message's own, so that a repeat can be known.

    Its lines end in LF alone: Twisted's SMTP client puts a CR before each.
    """
    # Late, for no start needs what reads the headers of every mail there is.
    from email.message import EmailMessage
    from email.policy import default

    mail = EmailMessage(policy=default)
    mail["From"] = notify.sender
    mail["To"] = ", ".join(notify.to)
    mail["Subject"] = shorten(message.title, 200)
    mail["Date"] = formatdate(message.at, localtime=False)
    mail["Message-ID"] = f"<{message.id}@{notify.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(
        f"{message.title}\n\n{message.text}\n\n{message.url}\n", cte="quoted-printable"
    )
    return mail.as_bytes()


def is_here(host: str) -> bool:
    """Whether a relay is this machine itself, whose certificate often is nobody's."""
    return host == "localhost" or host.startswith("127.")


class _Whole(BytesIO):
    """A mail that is read at once.

    Twisted's client doubles dots within what it reads, and so would miss one
    that begins both a line and a read: the mail would end there, and its rest
    be commands to the relay.
    """

    def read(self, _size: int | None = -1, /) -> bytes:
        return super().read()


def smtp(reactor: Any) -> Send:
    """Sending by Twisted's SMTP client, which is imported late, for it imports the reactor."""
    from twisted.mail.smtp import ESMTPSenderFactory

    def send(
        relay: tuple[str, int], sender: str, to: tuple[str, ...], mail: bytes
    ) -> Deferred[Any]:
        sent: Deferred[Any] = Deferred(lambda _: connector.disconnect())
        factory = ESMTPSenderFactory(
            None,
            None,
            sender,
            list(to),
            _Whole(mail),
            sent,
            retries=0,
            timeout=ANSWER,
            requireAuthentication=False,
            requireTransportSecurity=False,
            # STARTTLS, and a certificate that is checked, where the relay is another machine.
            hostname=None if is_here(relay[0]) else relay[0],
        )
        factory.noisy = False
        connector = reactor.connectTCP(*relay, factory, timeout=ANSWER)
        return sent.addTimeout(WHOLE, reactor)

    return send


class Progress(msgspec.Struct, frozen=True):
    """How far a mail has come: who has it, and who was refused for good, with the relay's words."""

    told: tuple[str, ...] = ()
    refused: dict[str, str] = {}


@define
class Mail:
    """The receiver of messages by mail."""

    in_order: ClassVar[bool] = True
    spacing: ClassVar[float] = 0.0
    secrets: ClassVar[tuple[str, ...]] = ()
    question: ClassVar[str] = "is its relay right?"

    _notify: Notify
    _send: Send

    @property
    def name(self) -> str:
        """Its queue."""
        return notify_queue(self._notify.name)

    async def tell(self, item: Item, line: Line) -> Told:
        """Hand a message to the relay, for those who neither have it nor were refused for good."""
        message = msgspec.json.decode(item.wanted, type=Message)
        past = msgspec.json.decode(item.given_back or "{}", type=Progress)
        to = tuple(one for one in self._notify.to if one not in {*past.told, *past.refused})
        await line.pace()
        try:
            answers = await self._hand_over(message, to) if to else {}
        except Exception as error:
            return NoAnswer(f"the relay could not be reached: {in_words(error)}", heard=True)
        # 4xx is for now, 5xx for good (RFC 5321, section 4.2.1).
        later = {one: _said(*answer) for one, answer in answers.items() if 300 <= answer[0] < 500}
        refused = {one: _said(*answer) for one, answer in answers.items() if answer[0] >= 500}
        told = tuple(one for one in to if one not in {*later, *refused})
        now = Progress(past.told + told, past.refused | refused)
        if later and len(later) < len(to):
            await line.give_back(msgspec.json.encode(now).decode())
        return _outcome(now, later)

    async def _hand_over(self, message: Message, to: tuple[str, ...]) -> dict[str, tuple[int, Any]]:
        """The relay's answer to each address: its own, or where that is good, the last one to all."""
        notify, code, words = self._notify, 250, b""
        try:
            _, addresses = await self._send(
                notify.relay, notify.sender, to, compose(message, notify)
            )
        except Exception as error:
            code, words = getattr(error, "code", None) or 0, getattr(error, "resp", b"")
            addresses = getattr(error, "addresses", None) or ()
            if code < 400:
                raise
        own = {name.decode(): (its, said) for name, its, said in addresses if its >= 300}
        return {one: own.get(one, (code, words)) for one in to}


def _said(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return f"{code} {shorten(text, 200)}"


def _outcome(now: Progress, later: Mapping[str, str]) -> Told:
    """What becomes of a mail that came so far, where those of `later` were refused for now."""
    reasons = []
    if later:
        reasons.append(f"the relay refused for now {_by_words(later.items())}")
    if now.refused:
        reasons.append(f"the relay refused {_by_words(now.refused.items())}")
    if now.told:
        reasons.append("the others have it")
    reason = "; ".join(reasons)
    if later:
        return Partly(reason) if now.told else NoAnswer(reason, heard=False)
    return Hopeless(reason) if now.refused else Answer(200)


def _by_words(answers: Iterable[tuple[str, str]]) -> str:
    """Addresses with what was said to them; those with the same words together."""
    addresses: dict[str, list[str]] = {}
    for address, said in answers:
        addresses.setdefault(said, []).append(address)
    return "; ".join(f"{', '.join(them)}: {said}" for said, them in addresses.items())
