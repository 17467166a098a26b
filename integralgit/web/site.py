"""HTTP as we take it: bounded in size, number and time, forms not parsed, `/update` and health beside Klein.

A connection owes us a complete request: it has `DEADLINE` seconds for that,
however it spreads its bytes, and the oldest that owe one go first when there
are too many. A small body stays in memory, a large one goes to a file, for
memory that once held many large ones is not given back; there is a bound for
each, and one for all large ones that are there at the same time, so that these
never take the room of an ordinary delivery.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO, Any, cast
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, combinedLogFormatter, datetimeToLogString
from twisted.web.iweb import IAccessLogFormatter
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site
from zope.interface import provider

from integralgit.web.access import LOCAL_SOCKET, Access, client_of, header_values
from integralgit.web.answers import bare_error

#: Seconds from the beginning of a connection, or the end of its last request, to a complete one.
DEADLINE = 30.0
#: Seconds that a slow reader has for what is left of an answer.
READING = 600.0
#: How many connections may owe a request.
WAITING = 512
#: Seconds in which a sender may read why it was refused, before the connection ends.
LINGER = 2.0
#: The bytes of bodies that may be there at the same time; more only for a single larger one.
IN_FLIGHT = 64_000_000
#: The bytes of a body that have room whatever else is there; the connections are bounded.
ORDINARY = 128 * 1024
#: From this size on a body is in a file, in bytes.
SPOOLED = 512 * 1024

#: A target as it is sent to a proxy, and may be to us: authority, path and query.
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)

_REFUSALS = {
    408: ("Request Timeout", "The request did not arrive in time."),
    413: ("Content Too Large", "The body is too large."),
    503: ("Service Unavailable", "Too much is being received; send it again later."),
}


class Channel(HTTPChannel):
    """A connection that tells its site whether it owes a request."""

    site: BoundedSite
    #: How often it was too late since the last request.
    _reminders = 0

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.owes(self)

    def allContentReceived(self) -> None:
        self._reminders = 0
        self.site.owes_nothing(self)
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        self.site.owes(self)
        super().requestDone(request)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.owes_nothing(self)
        super().connectionLost(reason)

    def _send100Continue(self) -> None:
        """Do not ask for a body that was refused by its length; Twisted calls this after that."""
        if not self.requests[-1].is_refused:
            super()._send100Continue()

    def too_late(self) -> None:
        """The request did not arrive in time: say so if it has begun, and hang up.

        If none has begun, the last answer may still be on its way to a slow reader.
        """
        self._reminders += 1
        if self.requests and not self._handlingRequest:
            self.requests[-1].refuse(408)
        elif self._reminders > READING / DEADLINE:
            self.forceAbortClient()
        else:
            self.site.owes(self)
            if self._reminders == 1:
                self.setTimeout(None)
                self.loseConnection()

    def hang_up(self) -> None:
        """End the connection, whatever is still in it."""
        self.forceAbortClient()


class BoundedRequest(Request):
    """A request whose body stays within the site's bounds."""

    content: IO[bytes]
    channel: Any
    _bounds: BoundedSite
    is_refused = False
    _size = 0
    #: How much of the body counts among what is there at the same time.
    _held = 0

    def gotLength(self, length: int | None) -> None:
        if self.is_refused:
            return
        self.content = BytesIO()
        self._bounds = self.channel.site
        if length is not None and length > self._bounds.max_body:
            self.refuse(413)

    def handleContentChunk(self, data: bytes) -> None:
        if self.is_refused:
            return
        before, size = self._size, self._size + len(data)
        more = max(0, size - ORDINARY) - self._held
        if size > self._bounds.max_body:
            self.refuse(413)
        elif not self._bounds.hold(more):
            self.refuse(503)
        else:
            self._size, self._held = size, self._held + more
            try:
                if size >= SPOOLED > before:
                    self._spool()
                self.content.write(data)
            except OSError:
                self.refuse(503)

    def _spool(self) -> None:
        """Move what has come so far from memory to a file, which is gone when it is closed."""
        before = cast(BytesIO, self.content)
        self.content = TemporaryFile(dir=self._bounds.folder)
        self.content.write(before.getvalue())

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.is_refused:
            return
        if not path.startswith(b"/") and (found := _ABSOLUTE.fullmatch(path)):
            # The target says which host is meant, whatever `Host` says (RFC 9112, 3.2.2).
            self.requestHeaders.setRawHeaders(b"host", [found[1]])
            path = found[2] if found[2].startswith(b"/") else b"/" + found[2]
        super().requestReceived(command, path, version)

    def finish(self) -> None:
        self._release()
        super().finish()

    def connectionLost(self, reason: Failure) -> None:
        self._release()
        super().connectionLost(reason)

    def _release(self) -> None:
        """Give back the body's share of the room; whoever reads it has done so."""
        if self._size:
            self._bounds.release(self._held)
            self._size = self._held = 0
            # A file ends with its last reader, which may still be a thread.
            self.content = BytesIO()

    def refuse(self, status: int) -> None:
        """Answer at once, take the rest of the body for nothing, and hang up soon."""
        self.is_refused = True
        self._release()
        channel: Channel = self.channel
        phrase, error = _REFUSALS[status]
        body = b'{"error":"%s"}\n' % error.encode()
        retry = b"Retry-After: 30\r\n" if status == 503 else b""
        channel.transport.write(  # type: ignore[union-attr]
            b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: application/json\r\n%s"
            b"Content-Length: %d\r\n\r\n%s" % (status, phrase.encode(), retry, len(body), body)
        )
        site = channel.site
        site.refused(sender_of(self, site.proxies), status, error)
        site.owes_nothing(channel)
        site.clock.callLater(LINGER, channel.hang_up)


def sender_of(request: Request, proxies: Sequence[str]) -> str:
    """The address that a request comes from, as far as trusted proxies tell that of their clients."""
    peer = str(getattr(request.getClientAddress(), "host", LOCAL_SOCKET))
    return client_of(peer, header_values(request, "x-forwarded-for"), proxies)


@provider(IAccessLogFormatter)
def access_line(_timestamp: str, request: BoundedRequest) -> str:
    """The line of a request in the log, with the time of day; the reactor's clock is another one.

    It begins with the sender's address, which may be any text, as printable ASCII.
    """
    line = cast(str, combinedLogFormatter(datetimeToLogString(), request))
    _, separator, rest = line.partition('" - - ')
    sender = sender_of(request, request.channel.site.proxies)
    return '"' + sender.encode("unicode_escape").decode().replace('"', '\\"') + separator + rest


class BoundedSite(Site):
    """A site with our kind of connection; `max_body` is in bytes, `folder` for large bodies.

    `refused` is told of every request that is refused before anybody has read
    it: the client's address, the status, the reason. `proxies` are the
    networks of those who are believed what their clients' addresses are.
    """

    requestFactory = BoundedRequest
    protocol: Any = Channel

    def __init__(
        self,
        resource: IResource,
        max_body: int,
        clock: IReactorTime,
        refused: Callable[[str, int, str], None] = lambda client, status, cause: None,
        folder: str | None = None,
        proxies: Sequence[str] = (),
    ) -> None:
        super().__init__(
            resource,
            BoundedRequest,
            parsePOSTFormSubmission=False,
            reactor=clock,
            timeout=60,
            logFormatter=access_line,
        )
        self.max_body = max_body
        self.folder = folder
        self.proxies = proxies
        self.clock: Any = clock
        self.refused = refused
        self._budget = max(max_body, IN_FLIGHT)
        self._in_flight = 0
        # In the order in which their time is over.
        self._owing: dict[Channel, float] = {}
        self._timer: IDelayedCall | None = None

    def log(self, request: Any) -> None:
        """One line per request, but for those that the archive has and those that say nothing."""
        if request.path not in (b"/update", b"/-/health"):
            super().log(request)

    def hold(self, size: int) -> bool:
        """Take a share of the room for bodies; False where there is not that much left."""
        if self._in_flight + size > self._budget:
            return False
        self._in_flight += size
        return True

    def release(self, size: int) -> None:
        """Give back a share."""
        self._in_flight -= size

    def owes(self, channel: Channel) -> None:
        """The connection owes a complete request from now on."""
        self._owing[channel] = self.clock.seconds() + DEADLINE
        if len(self._owing) > WAITING:
            oldest = next(iter(self._owing))
            self.owes_nothing(oldest)
            oldest.hang_up()
        self._set_timer()

    def owes_nothing(self, channel: Channel) -> None:
        """The connection has sent its request, or has ended."""
        self._owing.pop(channel, None)

    def _set_timer(self) -> None:
        if self._owing and (self._timer is None or not self._timer.active()):
            due = next(iter(self._owing.values()))
            delay = max(0.0, due - self.clock.seconds())
            self._timer = self.clock.callLater(delay, self._time_is_over)

    def _time_is_over(self) -> None:
        now = self.clock.seconds()
        for channel in [one for one, due in self._owing.items() if due <= now]:
            self._owing.pop(channel, None)
            channel.too_late()
        self._set_timer()


class Root(Resource):
    """`/update` for git hosts, under whatever name; everything else for people, under ours."""

    isLeaf = True

    def __init__(self, update: Resource, health: Resource, pages: Resource, access: Access) -> None:
        super().__init__()
        self._update = update
        self._health = health
        self._pages = pages
        self._access = access

    def render(self, request: Request) -> Any:
        if request.path == b"/update":
            return self._update.render(request)
        if not self._access.host_is_known(request):
            error = "This server does not answer to that name; see `allowed_hosts` in its settings."
            return bare_error(request, 421, error)
        if request.path == b"/-/health":
            return self._health.render(request)
        try:
            unquote_to_bytes(request.path).decode()
        except UnicodeDecodeError:
            # Klein would log that as a fault, of whoever asks for it.
            return bare_error(request, 400, "The address is not text in UTF-8.")
        return self._pages.render(request)
