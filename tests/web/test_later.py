"""What is beside Klein: the health of the archive, and pages that are loaded when they are asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from integralgit.background import Background
from integralgit.testing import MemoryStore
from integralgit.web.health import HealthResource
from integralgit.web.later import Later
from integralgit.web.site import BoundedSite


class Page(Resource):
    """A page that says its path."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        return b"this is " + request.path


def connect(resource: Resource) -> tuple[IProtocol, StringTransport]:
    """A connection to a site of that resource."""
    transport = StringTransport()
    protocol = BoundedSite(resource, 1000, Clock()).buildProtocol(transport.getPeer())
    assert protocol is not None
    protocol.makeConnection(transport)
    return protocol, transport


def ask(resource: Resource, path: str = "/", method: str = "GET") -> StringTransport:
    """Ask for a page; where the answer comes to."""
    protocol, transport = connect(resource)
    protocol.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return transport


@define
class Thread:
    """A thread that does nothing until it is let."""

    waiting: list[tuple[Deferred[Any], Callable[[], object]]] = field(factory=list)

    def __call__(self, work: Callable[[], object]) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self.waiting.append((result, work))
        return result

    def go_on(self) -> None:
        """Do what waits."""
        while self.waiting:
            result, work = self.waiting.pop(0)
            try:
                result.callback(work())
            except Exception:
                result.errback(Failure())


class LaterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.thread, self.loaded, self.made = Thread(), 0, 0
        self.later = Later(self.load, self.make, self.thread, Background())

    def load(self) -> None:
        self.loaded += 1

    def make(self) -> Resource:
        self.made += 1
        return Page()

    def test_the_first_ones(self) -> None:
        """They wait until the pages are loaded, which are made once; later ones do not wait."""
        first, second = ask(self.later, "/a"), ask(self.later, "/b", "HEAD")
        self.assertEqual((first.value(), self.made), (b"", 0))
        self.thread.go_on()
        self.assertTrue(first.value().endswith(b"this is /a"), first.value())
        self.assertIn(b"Content-Length: 10\r\n", second.value())
        self.assertTrue(second.value().endswith(b"\r\n\r\n"), second.value())
        self.assertTrue(ask(self.later, "/c").value().endswith(b"this is /c"))
        self.assertEqual((self.made, self.thread.waiting), (1, []))

    def test_one_that_is_gone(self) -> None:
        """Who does not wait is not answered; the pages are there for the next one."""
        protocol, transport = connect(self.later)
        protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        protocol.connectionLost(Failure(ConnectionDone()))
        self.thread.go_on()
        self.assertEqual((transport.value(), self.made), (b"", 1))
        self.assertIn(b"this is /", ask(self.later).value())

    def test_they_cannot_be_loaded(self) -> None:
        """The answer says where to look, and the next request tries it again."""
        whole, self.later._load = self.later._load, lambda: 1 / 0
        broken = ask(self.later)
        self.thread.go_on()
        self.assertIn(b" 500 ", broken.value())
        self.assertIn(b"the server's log says why", broken.value())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.later._load = whole
        mended = ask(self.later)
        self.thread.go_on()
        self.assertIn(b"this is /", mended.value())


class HealthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.health = HealthResource(MemoryStore().store, Background())

    def test_all_is_well(self) -> None:
        """The archive answers."""
        answer = ask(self.health).value()
        self.assertIn(b" 200 ", answer)
        self.assertTrue(answer.endswith(b'{"status":"ok"}\n'), answer)
        self.assertTrue(ask(self.health, method="HEAD").value().endswith(b"\r\n\r\n"))

    def test_the_archive_does_not_answer(self) -> None:
        """That is 503, for a load balancer, and the reason is in the log."""
        broken: Any = self
        self.assertIn(b" 503 ", ask(HealthResource(broken, Background())).value())
        self.assertEqual(len(self.flushLoggedErrors(sqlite3.OperationalError)), 1)

    def read(self, work: object) -> Deferred[None]:
        """What a store does whose disk is gone."""
        return fail(sqlite3.OperationalError(f"no disk for {work}"))

    def test_other_methods(self) -> None:
        """It only tells."""
        answer = ask(self.health, method="DELETE").value()
        self.assertIn(b" 405 ", answer)
        self.assertIn(b"Allow: GET, HEAD\r\n", answer)
