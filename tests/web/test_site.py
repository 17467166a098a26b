"""HTTP at the border: bodies, connections and time are bounded, whatever is sent."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
from io import StringIO

from attrs import define, field
from twisted.internet.defer import succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from integralgit.deploy.inbox import Receipt
from integralgit.hooks.delivery import Delivery
from integralgit.hooks.receive import Key
from integralgit.settings import Trust
from integralgit.web import site as site_module
from integralgit.web.access import Access, client_of
from integralgit.web.addresses import Addresses
from integralgit.web.site import DEADLINE, IN_FLIGHT, LINGER, ORDINARY, READING, BoundedSite, Root
from integralgit.web.update import Door, UpdateResource

MAX_BODY = 1000
SECRET = b"a secret of acme"


class Recorder(Resource):
    """A resource that remembers every request, and answers at once or when it is told to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bytes, bytes, dict[bytes, list[bytes]]]] = []
        self.waiting: list[Request] | None = None

    def render(self, request: Request) -> bytes | int:
        assert request.content is not None
        self.seen.append((request.path, request.content.read(), request.args or {}))
        if self.waiting is None:
            return b"read"
        self.waiting.append(request)
        return NOT_DONE_YET


@define
class Connection:
    """One connection of a client."""

    protocol: IProtocol
    transport: StringTransport

    def sends(self, data: bytes) -> bytes:
        """Send more; everything that was answered so far."""
        self.protocol.dataReceived(data)
        return self.answers

    @property
    def answers(self) -> bytes:
        """Everything that was answered so far."""
        answered: bytes = self.transport.value()
        return answered

    @property
    def status(self) -> int:
        """The status of the first answer; 0 where there is none."""
        return int(self.answers.split(b" ", 2)[1]) if self.answers else 0

    @property
    def is_over(self) -> bool:
        """Whether the server has hung up."""
        return self.transport.disconnecting or self.transport.disconnected

    def hangs_up(self) -> None:
        """The client closes the connection."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


def request(length: int | None, *headers: bytes, path: bytes = b"/update") -> bytes:
    """The head of a request with that length, or in chunks."""
    how = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    lines = [b"POST %s HTTP/1.1" % path, b"Host: x", how, *headers, b"", b""]
    return b"\r\n".join(lines)


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


END = b"0\r\n\r\n"


class Bounds(SynchronousTestCase):
    max_body = MAX_BODY

    def setUp(self) -> None:
        self.clock = Clock()
        self.resource = Recorder()
        self.refused: list[tuple[int, str]] = []
        self.site = BoundedSite(
            self.resource,
            self.max_body,
            self.clock,
            lambda client, status, cause: self.refused.append((status, client)),
        )

    def connect(self) -> Connection:
        """A new connection to the site."""
        transport = StringTransport()
        protocol = self.site.buildProtocol(transport.getPeer())
        assert protocol is not None
        protocol.makeConnection(transport)
        return Connection(protocol, transport)

    @property
    def bodies(self) -> list[bytes]:
        """The bodies that came through to the resource."""
        return [body for _, body, _ in self.resource.seen]


class SizeTests(Bounds):
    def test_by_length(self) -> None:
        """A body that is announced as too large is answered 413 before any of it is sent (threat 11)."""
        client = self.connect()
        client.sends(request(MAX_BODY + 1))
        self.assertEqual(client.status, 413)
        self.assertIn(b"\r\nConnection: close\r\n", client.answers)
        self.assertEqual(self.bodies, [])
        self.assertEqual(self.refused, [(413, "192.168.1.1")])

    def test_nobody_is_asked_for_a_body_that_is_too_large(self) -> None:
        """Who waits to be asked for a body (`Expect: 100-continue`) gets the refusal only."""
        client = self.connect()
        client.sends(request(MAX_BODY + 1, b"Expect: 100-continue"))
        self.assertEqual(client.status, 413)
        self.assertNotIn(b"100 Continue", client.answers)
        welcome = self.connect()
        welcome.sends(request(MAX_BODY, b"Expect: 100-continue"))
        self.assertIn(b"100 Continue", welcome.answers)

    def test_a_large_body_goes_to_a_file(self) -> None:
        """A body from a certain size on is in a file, and arrives whole."""
        self.patch(site_module, "SPOOLED", 100)
        sent = bytes(range(200))
        self.connect().sends(request(len(sent)) + sent[:90] + sent[90:])
        pieces = self.connect()
        for part in (request(len(sent)), sent[:99], sent[99:101], sent[101:]):
            pieces.sends(part)
        self.assertEqual(self.bodies, [sent, sent])

    def test_by_chunks(self) -> None:
        """A body in chunks is answered 413 at the first byte too many, once (threat 11)."""
        client = self.connect()
        client.sends(request(None) + chunk(b"x" * MAX_BODY))
        self.assertEqual(client.status, 0)
        client.sends(chunk(b"x"))
        self.assertEqual(client.status, 413)
        answer = client.answers
        for _ in range(10):
            client.sends(chunk(b"x" * MAX_BODY))
        client.sends(END)
        self.assertEqual(client.answers, answer)
        self.assertEqual((self.bodies, len(self.refused)), ([], 1))

    def test_what_just_fits(self) -> None:
        """A body of just the size that is allowed is read, with a length and in chunks."""
        body = b"x" * MAX_BODY
        self.assertIn(b"read", self.connect().sends(request(MAX_BODY) + body))
        self.assertIn(b"read", self.connect().sends(request(None) + chunk(body) + END))
        self.assertEqual(self.bodies, [body, body])

    def test_the_sender_has_a_moment_to_read(self) -> None:
        """The server hangs up a little after it has refused, and not at once."""
        client = self.connect()
        client.sends(request(MAX_BODY + 1))
        self.clock.advance(LINGER - 0.1)
        self.assertFalse(client.is_over)
        self.clock.advance(0.1)
        self.assertTrue(client.is_over)

    def test_a_form_is_not_parsed(self) -> None:
        """A form of escapes is handed on as the bytes that it is (threat 12)."""
        form = b"payload=" + b"%41" * 300
        kind = b"Content-Type: application/x-www-form-urlencoded"
        self.connect().sends(request(len(form), kind) + form)
        self.assertEqual(self.resource.seen, [(b"/update", form, {})])

    def test_a_multipart_body_is_not_parsed(self) -> None:
        """A body in parts is handed on as the bytes that it is."""
        part = b'--x\r\nContent-Disposition: form-data; name="payload"\r\n\r\n{}\r\n--x--\r\n'
        kind = b"Content-Type: multipart/form-data; boundary=x"
        self.connect().sends(request(len(part), kind) + part)
        self.assertEqual(self.resource.seen, [(b"/update", part, {})])


class BehindProxies(Bounds):
    """A site that believes the peer, and one that believes somebody else."""

    def ask(self, proxies: tuple[str, ...], *headers: bytes, length: int = 0) -> None:
        """Send a request by way of a proxy."""
        self.site.proxies = proxies
        self.connect().sends(request(length, *headers, path=b"/x"))

    def test_refusals(self) -> None:
        """Who is refused before anybody has read the request is told as the proxy says."""
        forwarded = b"X-Forwarded-For: 10.9.9.9, 203.0.113.7"
        self.ask(("192.168.1.1/32",), forwarded, length=MAX_BODY + 1)
        self.ask(("10.0.0.0/8",), forwarded, length=MAX_BODY + 1)
        self.assertEqual(self.refused, [(413, "203.0.113.7"), (413, "192.168.1.1")])

    def test_the_log(self) -> None:
        """A line of the log begins with what the proxy says, short and printable whatever that is."""
        for proxies, sent, wanted in (
            (("192.168.1.1/32",), b"203.0.113.7", "203.0.113.7"),
            (("10.0.0.0/8",), b"203.0.113.7", "192.168.1.1"),
            (("192.168.1.1/32",), b'\x1b\xff"\\', '\\x1b\\xff\\"\\\\'),
            (("192.168.1.1/32",), b'" - - ' * 100, '\\" - - ' * 7 + '\\" -'),
        ):
            self.site._logFile = lines = StringIO()
            self.ask(proxies, b"X-Forwarded-For: " + sent)
            sender, _, rest = lines.getvalue().partition('" - - [')
            self.assertEqual(sender, '"' + wanted)
            self.assertRegex(rest, r'^[^]]+] "POST /x HTTP/1.1" 200 4 "-" "-"\n$')


class MemoryTests(Bounds):
    max_body = IN_FLIGHT // 4

    def begun(self) -> Connection:
        """A connection in the middle of a body that is as large as one may be."""
        client = self.connect()
        client.sends(request(self.max_body))
        client.sends(b"x" * (self.max_body - 1))
        return client

    def test_too_much_at_the_same_time(self) -> None:
        """Bodies that are too much for the memory together are answered 503, to come later."""
        clients = [self.begun() for _ in range(4)]
        late = self.begun()
        self.assertEqual([client.status for client in (*clients, late)], [0, 0, 0, 0, 503])
        self.assertIn(b"\r\nRetry-After: 30\r\n", late.answers)
        for client in clients:
            self.assertIn(b"read", client.sends(b"x"))
        self.assertEqual(len(self.bodies), 4)

    def test_an_ordinary_delivery_has_room(self) -> None:
        """However many large bodies are there, one of usual size is let in (threat 15)."""
        for _ in range(5):
            self.begun()
        for _ in range(50):
            client = self.connect()
            client.sends(request(ORDINARY))
            self.assertIn(b"read", client.sends(b"x" * ORDINARY))
            self.assertEqual(client.status, 200)
        self.assertEqual(self.begun().status, 503)

    def test_what_gives_memory_back(self) -> None:
        """Answered, refused and broken off requests give their share back."""
        for _ in range(3):
            clients = [self.begun() for _ in range(4)]
            self.assertEqual(self.begun().status, 503)
            clients[0].sends(b"x")
            clients[1].hangs_up()
            self.clock.advance(DEADLINE)
            self.assertEqual([client.status for client in clients], [200, 0, 408, 408])
        self.assertEqual(self.begun().status, 0)

    def test_a_body_counts_until_its_answer(self) -> None:
        """A body that is being worked on is in memory, and counts."""
        self.resource.waiting = []
        for _ in range(4):
            self.begun().sends(b"x")
        self.assertEqual(self.begun().status, 503)
        for one in self.resource.waiting:
            one.finish()
        self.assertEqual(self.begun().status, 0)


class DeadlineTests(Bounds):
    def test_a_body_byte_by_byte(self) -> None:
        """A body that never ends is answered 408 after its time, however it drips (threat 15)."""
        client = self.connect()
        client.sends(request(MAX_BODY))
        for _ in range(int(DEADLINE) - 1):
            self.clock.advance(1)
            client.sends(b"x")
        self.assertEqual((client.status, client.is_over), (0, False))
        self.clock.advance(1)
        self.assertEqual(client.status, 408)
        answer = client.answers
        client.sends(b"x" * MAX_BODY)
        self.clock.advance(LINGER)
        self.assertEqual((client.answers, client.is_over), (answer, True))
        self.assertEqual((self.bodies, self.refused), ([], [(408, "192.168.1.1")]))

    def test_headers_that_never_end(self) -> None:
        """A connection whose headers never end is answered and cut off after its time (threat 15)."""
        client = self.connect()
        client.sends(b"POST /update HTTP/1.1\r\n")
        for number in range(int(DEADLINE) - 1):
            self.clock.advance(1)
            client.sends(b"X-%d: y\r\n" % number)
        self.assertEqual((client.status, client.is_over), (0, False))
        self.clock.advance(1)
        self.assertEqual(client.status, 408)
        answer = client.sends(b"\r\n")
        self.assertEqual(client.sends(request(0)), answer)
        self.clock.advance(LINGER)
        self.assertTrue(client.is_over)
        self.assertEqual(self.resource.seen, [])

    def test_one_refusal_is_enough(self) -> None:
        """Headers that end after they were answered 408 are not answered once more."""
        client = self.connect()
        client.sends(b"POST /update HTTP/1.1\r\n")
        self.clock.advance(DEADLINE)
        self.assertEqual(client.status, 408)
        before = client.answers
        client.sends(b"Host: x\r\nContent-Length: 99999\r\n\r\n")
        self.assertEqual(client.answers, before)
        self.assertEqual(len(self.refused), 1)

    def test_silence(self) -> None:
        """A connection that says nothing at all is cut off after its time."""
        client = self.connect()
        self.clock.advance(DEADLINE - 1)
        self.assertFalse(client.is_over)
        self.clock.advance(1)
        self.assertTrue(client.is_over)

    def test_each_has_its_own_time(self) -> None:
        """A connection's time begins with it, and with the end of its last request."""
        first = self.connect()
        self.clock.advance(20)
        second = self.connect()
        first.sends(request(0))
        self.clock.advance(20)
        self.assertEqual((first.is_over, second.is_over), (False, False))
        self.clock.advance(10)
        self.assertEqual((first.is_over, second.is_over), (True, True))

    def test_a_slow_reader(self) -> None:
        """What is left of an answer is not thrown away, but for who takes far too long."""
        client = self.connect()
        client.sends(request(0))
        self.clock.advance(DEADLINE)
        self.assertTrue(client.transport.disconnecting)
        for _ in range(int(READING / DEADLINE)):
            self.assertFalse(client.transport.disconnected)
            self.clock.advance(DEADLINE)
        self.assertTrue(client.transport.disconnected)

    def test_the_time_of_the_answer_does_not_count(self) -> None:
        """A request that is there in full may take its time to be answered."""
        self.resource.waiting = []
        client = self.connect()
        client.sends(request(2) + b"{}")
        self.clock.advance(DEADLINE * 1.5)
        self.assertEqual((client.status, client.is_over), (0, False))
        self.resource.waiting[0].finish()
        self.assertEqual(client.status, 200)

    def test_too_many_connections(self) -> None:
        """When too many owe a request, the one that does for the longest goes (threat 15)."""
        self.patch(site_module, "WAITING", 3)
        clients = []
        for _ in range(3):
            clients.append(self.connect())
            self.clock.advance(1)
        # This one has sent its request, and begins to owe another one only now.
        clients[0].sends(request(0))
        self.assertEqual([client.is_over for client in clients], [False] * 3)
        newest = self.connect()
        self.assertEqual([client.is_over for client in clients], [False, True, False])
        clients[1].hangs_up()
        self.assertIn(b"read", newest.sends(request(0)))

    def test_connections_that_are_gone_do_not_count(self) -> None:
        """A connection that ends makes room for another."""
        self.patch(site_module, "WAITING", 3)
        first, second = self.connect(), self.connect()
        for _ in range(10):
            self.connect().hangs_up()
        self.assertEqual((first.is_over, second.is_over), (False, False))

    def test_nothing_is_left(self) -> None:
        """When all connections have ended and their time is over, the clock has nothing to do."""
        clients = [self.connect() for _ in range(3)]
        clients[0].sends(request(0))
        clients[1].sends(request(10))
        for client in clients:
            client.hangs_up()
        refused = self.connect()
        refused.sends(request(MAX_BODY + 1))
        refused.hangs_up()
        self.clock.advance(DEADLINE)
        self.clock.advance(600)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SmugglingTests(Bounds):
    def refused_as_a_whole(self, data: bytes) -> None:
        """Check that a request is answered 400 and nothing in or behind it is read."""
        client = self.connect()
        client.sends(data + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(client.status, 400, data)
        self.assertEqual(client.answers.count(b"HTTP/1.1 "), 1, data)
        self.assertEqual(self.resource.seen, [], data)
        self.assertTrue(client.is_over)

    def test_two_lengths(self) -> None:
        """A body with a length and in chunks, or with two lengths, is answered 400 (threat 16)."""
        for lines in (
            (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
            (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
            (b"Content-Length: 5", b"Content-Length: 6"),
        ):
            head = [b"POST /update HTTP/1.1", b"Host: x", *lines, b"", b""]
            self.refused_as_a_whole(b"\r\n".join(head) + END)

    def test_lengths_that_are_none(self) -> None:
        """A length that is not plain digits is answered 400."""
        for length in (b"-1", b"+5", b"5x", b"0x5", b"1_0", b"5, 5", b"\xb2"):
            head = [b"POST /update HTTP/1.1", b"Host: x", b"Content-Length: " + length, b"", b""]
            self.refused_as_a_whole(b"\r\n".join(head))

    def test_too_many_headers(self) -> None:
        """A request with more than 500 headers is answered 400 (threat 16)."""
        lines = b"".join(b"X-%d: y\r\n" % number for number in range(600))
        self.refused_as_a_whole(b"POST /update HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")

    def test_chunks_that_are_none(self) -> None:
        """A chunk whose length is not plain hexadecimal digits is answered 400."""
        for length in (b"-1", b"+5", b"0x5", b"5_0", b"g"):
            client = self.connect()
            client.sends(request(None) + length + b"\r\nhello\r\n" + END)
            self.assertEqual((client.status, self.resource.seen), (400, []), length)


class TargetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.update, self.health, self.pages = Recorder(), Recorder(), Recorder()
        access = Access(b"token", allowed_hosts=frozenset({"deploy.example.com"}))
        root = Root(self.update, self.health, self.pages, access)
        self.site = BoundedSite(root, MAX_BODY, Clock())

    def ask(self, target: bytes, host: bytes = b"localhost") -> int:
        """The status of a request for that target."""
        transport = StringTransport()
        protocol = self.site.buildProtocol(transport.getPeer())
        assert protocol is not None
        protocol.makeConnection(transport)
        client = Connection(protocol, transport)
        client.sends(b"POST %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, host))
        return client.status

    def test_the_absolute_form(self) -> None:
        """A target with scheme and host leads where its path alone does (RFC 9112, 3.2.2)."""
        for target in (b"http://localhost:8080/update", b"HTTPS://elsewhere.example/update?a=b"):
            self.assertEqual(self.ask(target), 200)
        self.assertEqual(self.ask(b"http://127.0.0.1:18990/-/health"), 200)
        for target in (b"http://localhost", b"http://localhost?a=b", b"http://localhost/a//b?c"):
            self.assertEqual(self.ask(target), 200)
        seen = [[path for path, _, _ in one.seen] for one in (self.update, self.health, self.pages)]
        self.assertEqual(seen, [[b"/update", b"/update"], [b"/-/health"], [b"/", b"/", b"/a//b"]])

    def test_the_host_of_a_target(self) -> None:
        """It is the one that has to be ours, whatever `Host` says beside it."""
        for target, host, wanted in (
            (b"http://deploy.example.com/", b"evil.example", 200),
            (b"http://evil.example/", b"deploy.example.com", 421),
            (b"http://localhost@evil.example/", b"localhost", 421),
            (b"http://localhost:80@evil.example/", b"localhost", 421),
            (b"http:///", b"localhost", 421),
            (b"/http://deploy.example.com/", b"evil.example", 421),
        ):
            self.assertEqual(self.ask(target, host), wanted, target)


@define
class MemoryInbox:
    """An inbox that takes everything."""

    received: list[Delivery] = field(factory=list)

    async def receive(self, delivery: Delivery) -> Receipt:
        self.received.append(delivery)
        return Receipt(len(self.received), "accepted", "", ())


class EndpointTests(SynchronousTestCase):
    """The endpoint behind such a site."""

    def setUp(self) -> None:
        self.inbox = MemoryInbox()
        self.refused: list[tuple[str, int, str]] = []
        door = Door(
            [Key(SECRET, Trust(("acme",), ("**",)))],
            self.inbox,
            Addresses("https://deploy.example.com"),
            lambda: 1000.0,
            lambda work, *arguments: succeed(work(*arguments)),
            lambda client, status, cause: self.refused.append((client, status, cause)),
            trusted_proxies=("192.168.1.1/32",),
        )
        self.site = BoundedSite(UpdateResource(door), 10_000, Clock())

    def send(self, body: bytes, content_type: bytes, *headers: bytes) -> bytes:
        """Send a push that is signed over this body; the answer."""
        transport = StringTransport()
        protocol = self.site.buildProtocol(transport.getPeer())
        assert protocol is not None
        protocol.makeConnection(transport)
        mac = hmac.digest(SECRET, body, hashlib.sha256).hex().encode()
        signature = b"X-Hub-Signature-256: sha256=" + mac
        kind = b"Content-Type: " + content_type
        protocol.dataReceived(request(len(body), kind, signature, *headers) + body)
        answer: bytes = transport.value()
        return answer

    def push(self) -> bytes:
        """A plain push."""
        repository = {"host": "git.example.com", "full_name": "acme/site"}
        told = {"repository": repository, "ref": "refs/heads/main", "after": "2" * 40}
        return json.dumps(told).encode()

    def test_json(self) -> None:
        """The push that the tests below change one thing of is taken in."""
        self.assertIn(b" 202 ", self.send(self.push(), b"application/json"))
        self.assertEqual(len(self.inbox.received), 1)

    def test_multipart(self) -> None:
        """A body in parts is answered 415, rightly signed or not (threat 13)."""
        body = b'--x\r\nContent-Disposition: form-data; name="payload"\r\n\r\n%s\r\n--x--\r\n'
        answer = self.send(body % self.push(), b"multipart/form-data; boundary=x")
        self.assertIn(b" 415 ", answer)
        self.assertEqual(self.inbox.received, [])

    def test_compressed(self) -> None:
        """A compressed body is answered 415, whatever it is compressed with (threat 14)."""
        for encoding in (b"gzip", b"deflate", b"br", b"identity", b""):
            answer = self.send(
                gzip.compress(self.push()), b"application/json", b"Content-Encoding: " + encoding
            )
            self.assertIn(b" 415 ", answer, encoding)
        self.assertEqual(self.inbox.received, [])

    def test_who_was_refused(self) -> None:
        """A refused client is told apart by what the trusted proxy says of it (threat 25)."""
        self.send(
            self.push(), b"text/plain", b"X-Forwarded-For: 10.9.9.9, 203.0.113.7, 192.168.1.1"
        )
        self.assertEqual(
            [(client, status) for client, status, _ in self.refused], [("203.0.113.7", 415)]
        )


class ClientTests(SynchronousTestCase):
    def test_nobody_is_trusted(self) -> None:
        """Without trusted proxies the client is the peer, whatever it says (threat 25)."""
        self.assertEqual(client_of("203.0.113.9", ["127.0.0.1"], ()), "203.0.113.9")
        self.assertEqual(client_of("127.0.0.1", ["10.0.0.1"], ()), "127.0.0.1")

    def test_a_peer_that_is_no_proxy(self) -> None:
        """A peer that is not among the trusted proxies is not believed."""
        proxies = ("10.0.0.0/8", "::1/128")
        self.assertEqual(client_of("203.0.113.9", ["127.0.0.1"], proxies), "203.0.113.9")

    def test_a_chain_of_proxies(self) -> None:
        """What trusted proxies wrote is believed from the right, up to the first stranger."""
        proxies = ("10.0.0.0/8", "::1/128")
        for peer, forwarded, wanted in (
            ("10.0.0.1", [], "10.0.0.1"),
            ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
            ("::1", ["203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", ["1.1.1.1, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
            ("10.0.0.1", ["1.1.1.1", "203.0.113.7", "10.0.0.2"], "203.0.113.7"),
            ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", ["203.0.113.7, nonsense"], "nonsense"),
            ("10.0.0.1", [""], "10.0.0.1"),
        ):
            self.assertEqual(client_of(peer, forwarded, proxies), wanted, forwarded)

    def test_long_nonsense(self) -> None:
        """What stands there is kept short, for it is shown."""
        self.assertLess(len(client_of("10.0.0.1", ["x" * 10_000], ("10.0.0.0/8",))), 50)

    def test_sources_that_are_on_no_list(self) -> None:
        """No address is let in by being that address; the original let half of all in (threat 1)."""
        inbox = MemoryInbox()
        door = Door(
            [Key(SECRET, Trust(("acme",), ("**",)))],
            inbox,
            Addresses("https://deploy.example.com"),
            lambda: 1000.0,
            lambda work, *arguments: succeed(work(*arguments)),
            trusted_proxies=("192.168.1.1/32",),
        )
        site = BoundedSite(UpdateResource(door), 10_000, Clock())
        for address in (b"127.0.0.1", b"203.0.113.9", b"131.103.20.165"):
            transport = StringTransport()
            protocol = site.buildProtocol(transport.getPeer())
            assert protocol is not None
            protocol.makeConnection(transport)
            kind, source = b"Content-Type: application/json", b"X-Forwarded-For: " + address
            protocol.dataReceived(request(2, kind, source) + b"{}")
            self.assertIn(b" 401 ", transport.value())
        self.assertEqual(inbox.received, [])
