"""Messages by mail: what they look like, and what the relay's answers mean."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default
from typing import Any

import msgspec
from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from integralgit.receivers import Notify
from integralgit.report.answers import Answer, Hopeless, NoAnswer, Told
from integralgit.report.mail import Mail, compose, smtp
from tests.report.fakes import FakeLine, item
from tests.report.test_notify import MESSAGE

OPS = Notify("ops", "mail", to=("ann@example.com", "bob@example.com"), sender="ig@web1.example")


class Relayed(Exception):
    """What the SMTP client raises for a refusal."""

    def __init__(self, code: int, resp: bytes) -> None:
        super().__init__()
        self.code, self.resp = code, resp


class Mails(SynchronousTestCase):
    def test_a_mail(self) -> None:
        """It says what happened and where to look, under an id of its own."""
        mail = message_from_bytes(compose(MESSAGE, OPS), policy=default)
        self.assertEqual(mail["To"], "ann@example.com, bob@example.com")
        self.assertEqual(mail["Subject"], MESSAGE.title)
        self.assertEqual(mail["Message-ID"], "<msg_1@web1.example>")
        self.assertEqual(mail["Auto-Submitted"], "auto-generated")
        payload: Any = mail.get_payload(decode=True)
        text = payload.decode()
        self.assertIn(MESSAGE.text, text)
        self.assertIn(MESSAGE.url, text)

    def test_no_header_is_added(self) -> None:
        """A name with line breaks or of another script does no harm to the headers."""
        odd = evolve(MESSAGE, title="a\r\nBcc: eve@example.com\nÄ", text=".\r\n.\n")
        mail = message_from_bytes(compose(odd, OPS), policy=default)
        self.assertIsNone(mail["Bcc"])
        self.assertEqual(mail["Subject"], "a Bcc: eve@example.com Ä")

    def tell(self, result: Deferred[Any]) -> Told:
        """What becomes of a message where handing it over has that result."""
        self.given: list[Any] = []

        def send(*given: Any) -> Deferred[Any]:
            self.given.append(given)
            return result

        receiver = Mail(OPS, send)
        wanted = item(wanted=msgspec.json.encode(MESSAGE).decode())
        told: Told = self.successResultOf(
            Deferred.fromCoroutine(receiver.tell(wanted, FakeLine().line()))
        )
        return told

    def test_answers(self) -> None:
        """What was taken is told; 4xx and silence are tried again, 5xx is final."""
        self.assertEqual(self.tell(succeed((1, []))), Answer(200))
        self.assertEqual(self.given[0][:3], (("localhost", 25), OPS.sender, OPS.to))
        self.assertEqual(
            self.tell(fail(Relayed(451, b"later"))),
            NoAnswer("the relay answered 451: later", False),
        )
        self.assertEqual(
            self.tell(fail(Relayed(550, b"no such user"))),
            Hopeless("the relay answered 550: no such user"),
        )
        self.assertIsInstance(self.tell(fail(Relayed(-1, b"refused"))), NoAnswer)
        self.assertIsInstance(self.tell(fail(OSError())), NoAnswer)


class Relay(SynchronousTestCase):
    def test_an_exchange(self) -> None:
        """Twisted's client hands the mail to the relay that the settings name, in lines as SMTP has them."""
        reactor = MemoryReactorClock()
        mail = compose(evolve(MESSAGE, text="a\r\n.b"), OPS)
        sent = smtp(reactor)(("mail.example.com", 2525), OPS.sender, OPS.to, mail)
        host, port, factory, *_ = reactor.tcpClients[0]
        self.assertEqual((host, port), ("mail.example.com", 2525))
        protocol: Any = factory.buildProtocol(None)
        protocol.callLater = reactor.callLater
        transport: Any = StringTransport()
        protocol.makeConnection(transport)
        for answer in (b"220 hello", b"250 hello", b"250 ok", b"250 ok", b"250 ok", b"354 go"):
            protocol.dataReceived(answer + b"\r\n")
        transport.producer.resumeProducing()
        protocol.dataReceived(b"250 taken\r\n")
        said = transport.value()
        self.assertIn(b"RCPT TO:<ann@example.com>\r\nRCPT TO:<bob@example.com>\r\nDATA", said)
        given = said.partition(b"DATA\r\n")[2].partition(b"\r\n.\r\n")[0]
        self.assertIn(b"\r\n\r\na\r\n..b\r\n", given)
        # RFC 5321, section 2.3.8: no CR and no LF but in the pairs that end the lines.
        for half in (b"\r", b"\n"):
            self.assertNotIn(half, given.replace(b"\r\n", b""))
        self.assertEqual(self.successResultOf(sent)[0], 2)
