"""Messages by mail, handed to a relay that knows how to deliver them."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from io import BytesIO
from typing import Any, ClassVar

import msgspec
from attrs import define
from twisted.internet.defer import Deferred

from integralgit.journal.events import Item
from integralgit.receivers import Notify
from integralgit.report.answers import Answer, Hopeless, NoAnswer, Told
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
            BytesIO(mail),
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


@define
class Mail:
    """The receiver of messages by mail."""

    in_order: ClassVar[bool] = True
    spacing: ClassVar[float] = 0.0
    secrets: ClassVar[tuple[str, ...]] = ()

    _notify: Notify
    _send: Send

    @property
    def name(self) -> str:
        """Its queue."""
        return notify_queue(self._notify.name)

    async def tell(self, item: Item, line: Line) -> Told:
        """Hand a message to the relay."""
        message = msgspec.json.decode(item.wanted, type=Message)
        notify = self._notify
        await line.pace()
        try:
            await self._send(notify.relay, notify.sender, notify.to, compose(message, notify))
        except Exception as error:
            return _why(error)
        return Answer(200)


def _why(error: Exception) -> Told:
    """What a failure of the SMTP client means: 5xx is final (RFC 5321, section 4.2.1)."""
    code = getattr(error, "code", None)
    if not isinstance(code, int) or code < 400:
        return NoAnswer(f"the relay could not be reached: {type(error).__name__}", heard=True)
    said = getattr(error, "resp", b"")
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    reason = f"the relay answered {code}: {shorten(words, 200)}"
    return Hopeless(reason) if code >= 500 else NoAnswer(reason, heard=False)
