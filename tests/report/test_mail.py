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
from integralgit.report.answers import Answer, Hopeless, NoAnswer, Partly, Told
from integralgit.report.mail import Mail, Progress, compose, smtp
from tests.report.fakes import FakeLine, item
from tests.report.test_notify import MESSAGE

OPS = Notify("ops", "mail", to=("ann@example.com", "bob@example.com"), sender="ig@web1.example")


class Relayed(Exception):
    """What the SMTP client raises for a refusal."""

    def __init__(self, code: int, resp: bytes, addresses: Any = None) -> None:
        super().__init__()
        self.code, self.resp, self.addresses = code, resp, addresses


def answered(**answers: tuple[int, bytes]) -> list[tuple[bytes, int, bytes]]:
    """The relay's answers to the addresses with these names, as the SMTP client lists them."""
    return [(f"{name}@example.com".encode(), *said) for name, said in answers.items()]


def taken(
    to: tuple[str, ...] = ("ann", "bob"), **refused: tuple[int, bytes]
) -> Deferred[tuple[int, Any]]:
    """What the SMTP client gives for a mail that the relay took, but refused to some."""
    addresses = answered(**{name: refused.get(name, (250, b"ok")) for name in to})
    return succeed((len(to) - len(refused), addresses))


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

    def tell(self, result: Deferred[Any], given_back: str | None = None) -> Told:
        """What becomes of a message where handing it over has that result."""
        self.given: list[Any] = []
        self.line = FakeLine()

        def send(*given: Any) -> Deferred[Any]:
            self.given.append(given)
            return result

        receiver = Mail(OPS, send)
        wanted = item(wanted=msgspec.json.encode(MESSAGE).decode(), given_back=given_back)
        told: Told = self.successResultOf(
            Deferred.fromCoroutine(receiver.tell(wanted, self.line.line()))
        )
        return told

    def test_answers(self) -> None:
        """What was taken is told; 4xx and silence are tried again, 5xx is final."""
        self.assertEqual(self.tell(taken()), Answer(200))
        self.assertEqual(self.given[0][:3], (("localhost", 25), OPS.sender, OPS.to))
        both = "ann@example.com, bob@example.com"
        self.assertEqual(
            self.tell(fail(Relayed(451, b"later"))),
            NoAnswer(f"the relay refused for now {both}: 451 later", False),
        )
        self.assertEqual(
            self.tell(fail(Relayed(550, b"no such user"))),
            Hopeless(f"the relay refused {both}: 550 no such user"),
        )
        self.assertIsInstance(self.tell(fail(Relayed(-1, b"refused"))), NoAnswer)
        self.assertIsInstance(self.tell(fail(OSError())), NoAnswer)
        self.assertEqual(self.line.given_back, [])

    def test_refused_for_good(self) -> None:
        """Who alone was refused is named, with the relay's own words; nobody is tried again."""
        self.assertEqual(
            self.tell(taken(bob=(550, b"no such user"))),
            Hopeless("the relay refused bob@example.com: 550 no such user; the others have it"),
        )

    def test_all_refused(self) -> None:
        """Where the relay took none, each has an answer of its own, and the last does not decide."""
        refused = answered(ann=(450, b"later"), bob=(550, b"no such user"))
        self.assertEqual(
            self.tell(fail(Relayed(550, b"No recipients accepted", refused))),
            NoAnswer(
                "the relay refused for now ann@example.com: 450 later;"
                " the relay refused bob@example.com: 550 no such user",
                heard=False,
            ),
        )

    def test_refused_for_now(self) -> None:
        """Who was refused for now is tried again alone; who has the mail never gets it twice."""
        told = self.tell(taken(bob=(450, b"greylisted")))
        text = "the relay refused for now bob@example.com: 450 greylisted; the others have it"
        self.assertEqual(told, Partly(text))
        (past,) = self.line.given_back
        again = self.tell(taken(("bob",), bob=(450, b"greylisted")), past)
        self.assertEqual((again, self.line.given_back), (told, []))
        self.assertEqual(self.given[0][2], ("bob@example.com",))
        self.assertIsInstance(self.tell(fail(OSError()), past), NoAnswer)
        self.assertEqual(self.tell(taken(("bob",)), past), Answer(200))

    def test_refused_for_good_and_for_now(self) -> None:
        """A refusal for good is still told when the others have it at last."""
        self.tell(taken(ann=(550, b"no such user"), bob=(452, b"full")))
        (past,) = self.line.given_back
        self.assertEqual(
            self.tell(taken(("bob",)), past),
            Hopeless("the relay refused ann@example.com: 550 no such user; the others have it"),
        )

    def test_refused_at_the_end(self) -> None:
        """A relay that takes the addresses, but not the mail, refuses it to those it took."""
        addresses = answered(ann=(250, b"ok"), bob=(550, b"no such user"))
        self.assertEqual(
            self.tell(fail(Relayed(451, b"disk full", addresses))),
            NoAnswer(
                "the relay refused for now ann@example.com: 451 disk full;"
                " the relay refused bob@example.com: 550 no such user",
                heard=False,
            ),
        )

    def test_nobody_left(self) -> None:
        """Who is not in the settings any more is owed nothing."""
        past = msgspec.json.encode(Progress(OPS.to)).decode()
        self.assertEqual((self.tell(taken(), past), self.given), (Answer(200), []))


class Relay(SynchronousTestCase):
    def exchange(self, *answers: bytes, text: str = "a\r\n.b") -> Deferred[Any]:
        """What Twisted's client makes of a relay that greets it, and then answers so."""
        reactor = MemoryReactorClock()
        mail = compose(evolve(MESSAGE, text=text), OPS)
        sent = smtp(reactor)(("mail.example.com", 2525), OPS.sender, OPS.to, mail)
        self.host, self.port, factory, *_ = reactor.tcpClients[0]
        protocol: Any = factory.buildProtocol(None)
        protocol.callLater = reactor.callLater
        self.transport: Any = StringTransport()
        protocol.makeConnection(self.transport)
        for answer in (b"220 hello", b"250 hello", b"250 ok", *answers):
            protocol.dataReceived(answer + b"\r\n")
            if answer.startswith(b"354"):
                while self.transport.producer is not None:
                    self.transport.producer.resumeProducing()
        return sent

    def test_an_exchange(self) -> None:
        """Twisted's client hands the mail to the relay that the settings name, in lines as SMTP has them."""
        sent = self.exchange(b"250 ok", b"250 ok", b"354 go", b"250 taken")
        self.assertEqual((self.host, self.port), ("mail.example.com", 2525))
        said = self.transport.value()
        self.assertIn(b"RCPT TO:<ann@example.com>\r\nRCPT TO:<bob@example.com>\r\nDATA", said)
        given = said.partition(b"DATA\r\n")[2].partition(b"\r\n.\r\n")[0]
        self.assertIn(b"\r\n\r\na\r\n..b\r\n", given)
        # RFC 5321, section 2.3.8: no CR and no LF but in the pairs that end the lines.
        for half in (b"\r", b"\n"):
            self.assertNotIn(half, given.replace(b"\r\n", b""))
        self.assertEqual(self.successResultOf(sent)[0], 2)

    def test_a_long_mail(self) -> None:
        """It ends where it ends, and at no dot before, wherever that stands."""
        for shift in range(3):
            self.exchange(b"250 ok", b"250 ok", b"354 go", text="x" * shift + "\n." * 10_000)
            lines = self.transport.value().split(b"\r\n")
            self.assertEqual((lines.count(b".."), lines.count(b".")), (10_000, 1))

    def test_refusals(self) -> None:
        """Its results have the forms that the tests above give to refusals."""
        sent = self.exchange(b"250 ok", b"450 later", b"354 go", b"250 taken")
        self.assertEqual(
            self.successResultOf(sent), self.successResultOf(taken(bob=(450, b"later")))
        )
        for answers, code, resp in (
            ((b"450 later", b"550 no"), 550, b"No recipients accepted"),
            ((b"250 ok", b"550 no", b"354 go", b"451 full"), 451, b"full"),
        ):
            error: Any = self.failureResultOf(self.exchange(*answers)).value
            self.assertEqual((error.code, error.resp), (code, resp))
            both = {"ann": answers[0], "bob": answers[1]}
            wanted = answered(**{name: (int(said[:3]), said[4:]) for name, said in both.items()})
            self.assertEqual(error.addresses, wanted)
