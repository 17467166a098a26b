"""Requests of ours to real servers that send more than anybody wants."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from integralgit.report.answers import Answer, NoAnswer
from integralgit.report.http import ALL, MOST, Http, client

reactor: Any = the_reactor


@implementer(IPullProducer)
class Flood(Protocol):
    """Answers anything with `begin`, and then with `more` for ever."""

    begin, more = b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 8000 + b"\r\n"

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(self.begin)
        transport.registerProducer(self, streaming=False)

    def resumeProducing(self) -> None:
        transport: Any = self.transport
        transport.write(self.more)

    def stopProducing(self) -> None:
        """There is no end to it."""


class Floods(TestCase):
    timeout = 30

    def setUp(self) -> None:
        folder = Path(f"{self.id()}-{time.monotonic_ns()}").absolute()
        folder.mkdir(parents=True)
        self.key, self.certificate = str(folder / "key"), str(folder / "certificate")
        self.http = Http(reactor, client(reactor))

    def listen(self) -> str:
        """Serve floods; the URL of the server."""
        factory: Any = Factory.forProtocol(Flood)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://localhost:{port.getHost().port}/"

    def listen_with_tls(self) -> str:
        """The same with TLS, and a certificate of its own."""
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", self.key, "-out", self.certificate),
            ],
            check=True,
            capture_output=True,
        )
        factory: Any = Factory.forProtocol(Flood)
        context = DefaultOpenSSLContextFactory(self.key, self.certificate)
        port = reactor.listenSSL(0, factory, context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"https://localhost:{port.getHost().port}/"

    def trust(self) -> None:
        """Let the system know that certificate."""
        os.environ["SSL_CERT_FILE"] = self.certificate
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE")

    async def test_headers_without_end(self) -> None:
        """The connection is cut, in the clear and in TLS, and one sentence says why (threat 84)."""
        urls = [self.listen(), self.listen_with_tls()]
        self.trust()
        for url in urls:
            told = await self.http.ask("GET", url, {}, allow_http=True)
            self.assertEqual(
                told, NoAnswer(f"the headers of the answer exceed {ALL // 1024} KB", heard=True)
            )

    async def test_a_body_without_end(self) -> None:
        """What fits is the answer, and the connection is cut (threat 84)."""
        self.patch(Flood, "begin", b"HTTP/1.1 200 OK\r\n\r\n")
        urls = [self.listen(), self.listen_with_tls()]
        self.trust()
        for url in urls:
            told = await self.http.ask("GET", url, {}, allow_http=True)
            assert isinstance(told, Answer)
            self.assertEqual((told.status, len(told.body)), (200, MOST))

    async def test_certificates(self) -> None:
        """One that the system does not know, or that is another host's, is not trusted."""
        url = self.listen_with_tls()
        distrusted = NoAnswer("the connection is not to be trusted: TLS failed", heard=False)
        self.assertEqual(await self.http.ask("GET", url, {}), distrusted)
        self.trust()
        url = url.replace("localhost", "127.0.0.1")
        self.assertEqual(await self.http.ask("GET", url, {}), distrusted)
