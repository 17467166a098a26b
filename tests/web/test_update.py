"""Tests of the webhook's endpoint, from the bytes of a request to those of the answer."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.inbox import Receipt, take_in
from integralgit.hooks.delivery import Delivery
from integralgit.hooks.receive import Key
from integralgit.journal import deploys, repositories
from integralgit.names import Repository
from integralgit.settings import Trust
from integralgit.testing import MemoryStore
from integralgit.web.addresses import Addresses
from integralgit.web.site import LINGER, BoundedSite
from integralgit.web.update import LARGE, Door, UpdateResource
from tests.archive import stored

SECRET, OTHER_SECRET = b"a secret of acme", b"a secret of others"
URL = "https://deploy.example.com"
MAX_BODY = 600_000
AFTER = "2" * 40
CONFIG = json.dumps({"configs": {"web1": {"location": "/srv/site", "branch": "main"}}})


def push(repo: str = "acme/site", ref: object = "refs/heads/main", **more: object) -> bytes:
    """The body of GitHub's push event, with the fields that count."""
    repository = {"full_name": repo, "html_url": f"https://github.com/{repo}"}
    return json.dumps({"repository": repository, "ref": ref, "after": AFTER, **more}).encode()


def signature(body: bytes, secret: bytes = SECRET) -> str:
    """The signature that GitHub would send."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def headers(body: bytes, sent_id: str = "id-1", event: str = "push") -> dict[str, str]:
    """The headers that GitHub would send."""
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": sent_id,
        "X-Hub-Signature-256": signature(body),
    }


@define
class Answer:
    """An answer as its reader takes it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


def parse_answer(data: bytes) -> Answer:
    """The one answer among the bytes that a server sent."""
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("ascii").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    found = {name.lower(): value for name, value in pairs}
    if found.get("transfer-encoding") == "chunked":
        whole = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            whole += rest[: int(size, 16)]
            body = rest[int(size, 16) + 2 :]
        body = whole
    return Answer(int(status.split(" ")[1]), found, body)


@define
class MemoryInbox:
    """An inbox over an archive in memory, where `web1` is this host."""

    memory: MemoryStore
    received: list[Delivery] = field(factory=list)
    fault: Exception | None = None
    #: Where it is set, the answer waits for it, as for a disk.
    disk: Deferred[None] | None = None

    async def receive(self, delivery: Delivery) -> Receipt:
        self.received.append(delivery)
        if self.disk is not None:
            await self.disk
        if self.fault is not None:
            raise self.fault
        return await self.memory.store.gather(
            lambda tx, sent: take_in(tx, sent, ("web1",), 1000.0), delivery
        )


class Endpoint(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = MemoryStore()
        self.inbox = MemoryInbox(self.memory)
        self.clock = Clock()
        self.in_thread: list[int] = []
        keys = [
            Key(SECRET, Trust(("acme",), ("github.com/acme/*",))),
            Key(OTHER_SECRET, Trust(("others",), ("github.com/others/*",))),
        ]
        door = Door(keys, self.inbox, Addresses(URL), lambda: 1000.0, self.run_in_thread)
        self.update = UpdateResource(door)
        self.site = BoundedSite(self.update, MAX_BODY, self.clock)

    def run_in_thread(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Do what a thread would do, and remember for how large a body."""
        self.in_thread.append(cast(IO[bytes], arguments[1]).seek(0, os.SEEK_END))
        return succeed(work(*arguments))

    def configure(self) -> None:
        """Let the config of acme/site be known."""
        repo = Repository("github.com", "acme/site")
        told = Delivery("github", "ping", "", repo)
        self.successResultOf(self.memory.store.write(lambda tx: stored(tx, told)))
        self.successResultOf(
            self.memory.store.write(
                lambda tx: repositories.set_config(tx, str(repo), "c" * 40, CONFIG, None, 0.0)
            )
        )

    def connect(self) -> tuple[IProtocol, StringTransport]:
        """A connection to the server."""
        transport = StringTransport()
        protocol = self.site.buildProtocol(transport.getPeer())
        assert protocol is not None
        protocol.makeConnection(transport)
        return protocol, transport

    def request_bytes(self, headers: Mapping[str, str], body: bytes, method: str = "POST") -> bytes:
        """A request with a length."""
        lines = [f"{method} /update HTTP/1.1", "Host: anything.example"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body

    def send(
        self, body: bytes, headers_: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Answer:
        """Send a request; its answer."""
        protocol, transport = self.connect()
        told = headers(body) if headers_ is None else headers_
        protocol.dataReceived(self.request_bytes(told, body, method))
        return parse_answer(transport.value())

    def send_chunks(self, body: bytes, size: int, sent_id: str = "id-1") -> Answer:
        """Send a request in chunks; its answer."""
        protocol, transport = self.connect()
        lines = ["POST /update HTTP/1.1", "Host: x", "Transfer-Encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in headers(body, sent_id).items()]
        protocol.dataReceived("\r\n".join([*lines, "", ""]).encode())
        for start in range(0, len(body), size):
            part = body[start : start + size]
            protocol.dataReceived(b"%x\r\n%s\r\n" % (len(part), part))
        protocol.dataReceived(b"0\r\n\r\n")
        return parse_answer(transport.value())

    def deploys(self) -> list[int]:
        """The numbers of all deploys."""
        found = self.successResultOf(
            self.memory.store.read(lambda tx: deploys.newest(tx, None, 100))
        )
        return [one.id for one in found]


class Accepted(Endpoint):
    def test_a_push_of_a_new_repository(self) -> None:
        """A push is answered 202 with its delivery and its deploy, whose place is not known yet."""
        answer = self.send(push())
        url = f"{URL}/github.com/acme/site/deploys/1"
        self.assertEqual(answer.status, 202)
        self.assertEqual(answer.headers["location"], url)
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(
            answer.json,
            {
                "outcome": "accepted",
                "delivery": "1",
                "deploys": [
                    {
                        "id": 1,
                        "repo": "github.com/acme/site",
                        "branch": "main",
                        "location": None,
                        "url": url,
                    }
                ],
            },
        )
        self.assertEqual(self.deploys(), [1])

    def test_a_push_to_a_known_location(self) -> None:
        """Where the config is known, the answer names the location."""
        self.configure()
        self.assertEqual(self.send(push()).json["deploys"][0]["location"], "/srv/site")

    def test_a_config_push(self) -> None:
        """A config push is accepted without a deploy, and leads to the repository's page."""
        answer = self.send(push(ref="refs/heads/integralgit"))
        self.assertEqual((answer.status, answer.json["outcome"]), (202, "accepted"))
        self.assertEqual(answer.json["deploys"], [])
        self.assertEqual(answer.headers["location"], f"{URL}/github.com/acme/site")

    def test_in_chunks(self) -> None:
        """A body that comes in chunks is signed and read as a whole."""
        for size in (1, 7, 1000):
            answer = self.send_chunks(push(), size, f"id-{size}")
            self.assertEqual(answer.status, 202, size)

    def test_byte_by_byte(self) -> None:
        """A request that comes in pieces is answered once, when it is there in full."""
        protocol, transport = self.connect()
        body = push()
        data = self.request_bytes(headers(body), body)
        for at in range(len(data) - 1):
            protocol.dataReceived(data[at : at + 1])
        self.assertEqual(transport.value(), b"")
        protocol.dataReceived(data[-1:])
        self.assertEqual(parse_answer(transport.value()).status, 202)
        self.assertEqual(len(self.inbox.received), 1)

    def test_large_bodies_are_read_in_a_thread(self) -> None:
        """A large body is proved and parsed in a thread, a small one is not."""
        self.send(push())
        self.assertEqual(self.in_thread, [])
        large = push(padding="x" * LARGE)
        self.assertEqual(self.send(large, headers(large, "id-2")).status, 202)
        self.assertEqual(self.in_thread, [len(large)])

    def test_the_answer_waits_for_the_disk(self) -> None:
        """Nothing is answered before the delivery is on disk, and draining waits for it too."""
        self.inbox.disk = Deferred()
        protocol, transport = self.connect()
        body = push()
        protocol.dataReceived(self.request_bytes(headers(body), body))
        drained = self.update.drain()
        self.assertEqual(transport.value(), b"")
        self.assertNoResult(drained)
        self.inbox.disk.callback(None)
        self.assertEqual(parse_answer(transport.value()).status, 202)
        self.successResultOf(drained)

    def test_the_sender_hangs_up(self) -> None:
        """A delivery whose sender hangs up before the answer is taken in all the same."""
        self.inbox.disk = Deferred()
        protocol, transport = self.connect()
        body = push()
        protocol.dataReceived(self.request_bytes(headers(body), body))
        protocol.connectionLost(Failure(ConnectionDone()))
        self.inbox.disk.callback(None)
        self.assertEqual((self.deploys(), transport.value()), ([1], b""))
        self.successResultOf(self.update.drain())

    def test_two_requests_of_one_connection(self) -> None:
        """A connection serves one delivery after the other."""
        protocol, transport = self.connect()
        for number in ("id-1", "id-2"):
            transport.clear()
            body = push()
            protocol.dataReceived(self.request_bytes(headers(body, number), body))
            self.assertEqual(parse_answer(transport.value()).status, 202)
        self.assertEqual(self.deploys(), [2, 1])


class Ignored(Endpoint):
    def test_another_branch(self) -> None:
        """A push that deploys nothing here is answered 200 with the reason."""
        self.configure()
        answer = self.send(push(ref="refs/heads/dev"))
        self.assertEqual(answer.status, 200)
        self.assertEqual(
            answer.json,
            {
                "outcome": "ignored",
                "reason": "branch dev is not deployed here (main is)",
                "deploys": [],
            },
        )
        self.assertNotIn("location", answer.headers)

    def test_a_ping(self) -> None:
        """An event that deploys nothing is answered 200 with the reason."""
        body = json.dumps({"zen": "Design for failure."}).encode()
        answer = self.send(body, headers(body, event="ping"))
        self.assertEqual((answer.status, answer.json["outcome"]), (200, "ignored"))
        self.assertIn("ping", answer.json["reason"])

    def test_a_duplicate(self) -> None:
        """A delivery that comes again is answered 200 with the first one's deploys (threat 8)."""
        first = self.send(push())
        answer = self.send(push())
        self.assertEqual((answer.status, answer.json["outcome"]), (200, "ignored"))
        self.assertEqual(answer.json["deploys"], first.json["deploys"])
        self.assertEqual(self.deploys(), [1])


class Refused(Endpoint):
    def refused(self, answer: Answer, status: int) -> None:
        """Check that a request was refused with a sentence, and changed nothing."""
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(list(answer.json), ["error"])
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(self.inbox.received, [])

    def test_unauthorized(self) -> None:
        """Whatever is wrong with a signature, the answer is 401 with one and the same body."""
        body = push()
        good = headers(body)
        unsigned = {k: v for k, v in good.items() if k != "X-Hub-Signature-256"}
        others = push("others/site")
        broken = b'{"repository": 5}'
        cases: list[tuple[bytes, dict[str, str]]] = [
            (body, unsigned),
            (body, {**good, "X-Hub-Signature-256": ""}),
            (body, {**good, "X-Hub-Signature-256": "sha256=" + "0" * 64}),
            (body, {**good, "X-Hub-Signature-256": signature(body, b"guess")}),
            (body, {**good, "X-Hub-Signature-256": signature(body).removeprefix("sha256=")}),
            (body, {**good, "X-Hub-Signature-256": signature(body + b" ")}),
            (body, {**good, "X-Hub-Signature-256": signature(body, OTHER_SECRET)}),
            (others, {**good, "X-Hub-Signature-256": signature(others)}),
            (broken, {**good, "X-Hub-Signature-256": signature(broken, b"guess")}),
            (body, {"Content-Type": "application/json"}),
        ]
        bodies = set()
        for sent, told in cases:
            answer = self.send(sent, told)
            self.refused(answer, 401)
            bodies.add(answer.body)
        self.assertEqual(len(bodies), 1, bodies)
        self.assertNotIn(signature(body).encode(), bodies.pop())

    def test_methods(self) -> None:
        """Any method but POST is answered 405, with the one that is meant."""
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            answer = self.send(b"", {}, method)
            self.refused(answer, 405)
            self.assertEqual(answer.headers["allow"], "POST")

    def test_content_types(self) -> None:
        """A body that is neither JSON nor a form, or compressed, is answered 415."""
        body = push()
        good = headers(body)
        for wrong in (
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/json-patch+json"},
            {"Content-Encoding": "gzip"},
        ):
            self.refused(self.send(body, {**good, **wrong}), 415)
        without = {k: v for k, v in good.items() if k != "Content-Type"}
        self.refused(self.send(body, without), 415)

    def test_authentic_nonsense(self) -> None:
        """An authentic body that cannot be read is answered 400."""
        for body in (b"", b"{", b"\xff\xfe", b"[]", push(ref=5), push(after="nonsense")):
            told = headers(body)
            self.refused(self.send(body, told), 400)

    def test_too_large_by_its_length(self) -> None:
        """A body that is announced as too large is answered 413 before it is sent."""
        protocol, transport = self.connect()
        told = {**headers(b""), "Content-Length": str(MAX_BODY + 1)}
        head = self.request_bytes({}, b"").replace(
            b"Content-Length: 0", "\r\n".join(f"{n}: {v}" for n, v in told.items()).encode()
        )
        protocol.dataReceived(head)
        self.refused(parse_answer(transport.value()), 413)

    def test_too_large_by_its_chunks(self) -> None:
        """A body whose chunks add up to too much is answered 413, once."""
        self.refused(self.send_chunks(b"x" * (MAX_BODY + 1), 100_000), 413)

    def test_the_largest_body(self) -> None:
        """A body of just the size that is allowed is taken, with a length or in chunks."""
        body = push(padding="")
        body = push(padding="x" * (MAX_BODY - len(body)))
        self.assertEqual(len(body), MAX_BODY)
        self.assertEqual(self.send(body).status, 202)
        self.assertEqual(self.send_chunks(body, 100_000).status, 200, "it is a duplicate")

    def test_what_comes_after_too_much(self) -> None:
        """After 413 the rest is taken for nothing, and soon the server hangs up."""
        protocol, transport = self.connect()
        body = b"x" * (MAX_BODY + 1)
        protocol.dataReceived(self.request_bytes(headers(body), body))
        answer = transport.value()
        protocol.dataReceived(self.request_bytes(headers(push()), push()))
        self.assertEqual(transport.value(), answer)
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1)
        self.assertEqual(parse_answer(answer).headers["connection"], "close")
        self.assertFalse(transport.disconnecting)
        self.clock.advance(LINGER)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.inbox.received, [])


class Faults(Endpoint):
    def test_the_archive_cannot_be_written(self) -> None:
        """A delivery that cannot be written is answered 503, to be sent again later."""
        self.memory.connection.execute("PRAGMA query_only=ON")
        answer = self.send(push())
        self.assertEqual(answer.status, 503)
        self.assertGreater(int(answer.headers["retry-after"]), 0)
        self.assertEqual(list(answer.json), ["error"])
        self.assertNotIn(b"readonly", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(sqlite3.OperationalError)), 1)

        self.memory.connection.execute("PRAGMA query_only=OFF")
        self.assertEqual(self.send(push()).status, 202)

    def test_the_disk_fails(self) -> None:
        """A disk that fails is answered in the same way."""
        self.inbox.fault = OSError(28, "No space left on device")
        answer = self.send(push())
        self.assertEqual(answer.status, 503)
        self.assertNotIn(b"space", answer.body)
        self.flushLoggedErrors(OSError)

    def test_a_fault_of_ours(self) -> None:
        """A fault is answered 500 with the number of an incident, which the log has, and no more."""
        numbers = set()
        for _ in range(2):
            self.inbox.fault = LookupError("the inside of the server")
            answer = self.send(push())
            self.assertEqual((answer.status, list(answer.json)), (500, ["error"]))
            self.assertRegex(
                answer.json["error"],
                r"^A fault of the server; its log has it as incident [0-9a-f]{12}\.$",
            )
            self.assertNotIn("location", answer.headers)
            numbers.add(answer.json["error"][-13:-1])
            (logged,) = self.flushLoggedErrors(LookupError)
            self.assertIn("inside", logged.getErrorMessage())
        self.assertEqual(len(numbers), 2)
        self.inbox.fault = None
        self.assertEqual(self.send(push()).status, 202)
