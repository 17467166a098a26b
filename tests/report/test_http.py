"""The one way out: bounded, without redirects, and silent about what it was given."""

from __future__ import annotations

import gzip
from typing import Any

from attrs import define, field
from OpenSSL import SSL
from treq.testing import RequestTraversalAgent, _SynchronousProducer
from twisted.internet import error as errors
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from integralgit.report.answers import Answer, NoAnswer, Told
from integralgit.report.http import MOST, Http, TooLong, client, no_answer, over


class Elsewhere(Resource):
    """A server that remembers its requests, and answers by their path."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Request] = []
        self.bodies: list[bytes] = []

    def render(self, request: Request) -> Any:
        self.asked.append(request)
        self.bodies.append(request.content.read() if request.content else b"")
        if request.path == b"/redirect":
            request.setResponseCode(307)
            request.setHeader("Location", "https://elsewhere.example/")
            return b"there"
        if request.path == b"/long":
            return b"x" * (3 * MOST)
        if request.path == b"/packed":
            request.setHeader("Content-Encoding", "gzip")
            return gzip.compress(b"x" * 10_000_000)
        if request.path == b"/never":
            return NOT_DONE_YET
        if request.path == b"/drips":
            request.write(b"x")
            return NOT_DONE_YET
        request.setHeader("X-Test", "yes")
        request.addCookie("session", "canary")
        return b'{"a": 1}'


class Asking(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.server = Elsewhere()
        self.agent = RequestTraversalAgent(self.server)
        client = over(self.agent, data_to_body_producer=_SynchronousProducer)
        self.http = Http(self.clock, client)

    def asking(self, url: str, **more: Any) -> Deferred[Told]:
        headers = {"Authorization": "Bearer canary"}
        asked: Deferred[Told] = Deferred.fromCoroutine(
            self.http.ask("POST", url, headers, b"{}", **more)
        )
        self.agent.flush()
        return asked

    def ask(self, url: str, **more: Any) -> Told:
        asked = self.asking(url, **more)
        for _ in range(5):
            self.agent.flush()
        return self.successResultOf(asked)

    def test_an_answer(self) -> None:
        """Status, headers and body of the answer; the request has a name to it."""
        told = self.ask("https://a.example/good")
        assert isinstance(told, Answer)
        self.assertEqual((told.status, told.headers["x-test"], told.json()), (200, "yes", {"a": 1}))
        (request,) = self.server.asked
        self.assertRegex(str(request.getHeader("user-agent")), "^IntegralGit/")
        self.assertEqual(request.getHeader("authorization"), "Bearer canary")
        self.assertEqual(self.server.bodies, [b"{}"])

    def test_only_https(self) -> None:
        """Nothing is asked in the clear, unless that is allowed (threat 84)."""
        for url in ("http://a.example/good", "ftp://a.example/", "file:///etc/passwd"):
            self.assertIsInstance(self.ask(url), NoAnswer)
        self.assertIsInstance(self.ask("file:///etc/passwd", allow_http=True), NoAnswer)
        self.assertEqual(self.server.asked, [])
        self.assertIsInstance(self.ask("http://a.example/good", allow_http=True), Answer)

    def test_a_redirect(self) -> None:
        """A redirect is an answer like others, and is not followed (threat 85)."""
        told = self.ask("https://a.example/redirect")
        assert isinstance(told, Answer)
        self.assertEqual((told.status, len(self.server.asked)), (307, 1))

    def test_a_long_answer(self) -> None:
        """Of a body no more than the bound is taken, which is what the asker says (threat 84)."""
        for more, taken in (({}, MOST), ({"most": 2 * MOST}, 2 * MOST), ({"most": 9}, 9)):
            told = self.ask("https://a.example/long", **more)
            assert isinstance(told, Answer)
            self.assertEqual(len(told.body), taken)

    def test_a_packed_answer(self) -> None:
        """A body is asked for as it is, and never unpacked into a larger one."""
        told = self.ask("https://a.example/packed")
        assert isinstance(told, Answer)
        self.assertLess(len(told.body), 20_000)
        (request,) = self.server.asked
        self.assertEqual(request.getHeader("accept-encoding"), "identity")

    def test_cookies(self) -> None:
        """No cookie is kept: it would go to another service of the same host."""
        for port in (443, 8443):
            self.ask(f"https://a.example:{port}/good")
        self.assertEqual([one.getHeader("cookie") for one in self.server.asked], [None, None])

    def test_late(self) -> None:
        """An answer that does not come, or does not end, is not waited for (threat 84)."""
        for path in ("never", "drips"):
            asked = self.asking(f"https://a.example/{path}", timeout=5.0)
            self.clock.advance(4.9)
            self.assertNoResult(asked)
            self.clock.advance(0.2)
            self.assertEqual(
                self.successResultOf(asked), NoAnswer("there was no answer within 5 seconds", True)
            )


@define
class Failing:
    """A client whose requests fail with that."""

    error: Exception
    asked: list[str] = field(factory=list)

    def request(self, method: str, url: str, **more: Any) -> Deferred[Any]:
        self.asked.append(url)
        failed: Deferred[Any] = Deferred()
        failed.errback(Failure(self.error))
        return failed


class Noise(SynchronousTestCase):
    def test_factories(self) -> None:
        """The log does not tell of the factories behind each request."""
        reactor: Any = MemoryReactorClock()
        with capturedLogs() as logged:
            client(reactor).request("GET", "http://127.0.0.1:1/", reactor=reactor)
            ((_, _, factory, *_),) = reactor.tcpClients
            factory.doStart()
            factory.doStop()
        told = [formatEvent(event) for event in logged]
        self.assertEqual([line for line in told if "factory" in line], [])


class NoAnswers(SynchronousTestCase):
    def test_reasons(self) -> None:
        """Why there is none, and whether the request may have been received; nothing of the URL."""
        for error, said, heard in (
            (DNSLookupError("canary"), "the name of the host is not known", False),
            (ConnectError("canary"), "there is no connection", False),
            (errors.ConnectionRefusedError("canary"), "no connection: connection refused", False),
            (errors.NoRouteError("canary"), "no connection: no route to the host", False),
            (errors.TimeoutError("canary"), "no connection: it took too long", False),
            (ResponseNeverReceived([Failure(OSError("canary"))]), "the connection was cut", True),
            (ResponseNeverReceived([Failure(SSL.Error([]))]), "TLS failed", False),
            (
                ResponseFailed([Failure(TooLong())]),
                "the headers of the answer exceed 1088 KB",
                True,
            ),
            (ValueError("canary"), "the request failed: ValueError", True),
        ):
            told = no_answer(error)
            self.assertIn(said, told.reason)
            self.assertEqual(told.heard, heard)
            self.assertNotIn("canary", told.reason)
            asked = Http(Clock(), Failing(error)).ask("GET", "https://a.example/canary", {})
            self.assertEqual(self.successResultOf(Deferred.fromCoroutine(asked)), told)
