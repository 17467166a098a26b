"""HTTP as we take it: bodies in memory and bounded, forms not parsed, `/update` beside Klein."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from integralgit.web.access import Access
from integralgit.web.answers import json_bytes

#: Seconds in which a sender of too much may read the answer before the connection ends.
LINGER = 2.0
_TOO_LARGE = b'{"error": "The body is too large."}\n'
_ANSWER = (
    b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_TOO_LARGE), _TOO_LARGE)
)


class BoundedRequest(Request):
    """A request whose body stays in memory and within the site's bound."""

    content: BytesIO
    channel: Any

    _too_large = False

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if length is not None and length > self.channel.factory.max_body:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        if self._too_large:
            return
        if self.content.tell() + len(data) > self.channel.factory.max_body:
            self._refuse()
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self._too_large:
            super().requestReceived(command, path, version)

    def _refuse(self) -> None:
        """Answer at once, take the rest for nothing, and hang up soon."""
        self._too_large = True
        self.content = BytesIO()
        self.channel.transport.write(_ANSWER)
        self.channel.factory.reactor.callLater(LINGER, self.channel.loseConnection)


class BoundedSite(Site):
    """A site with our kind of request; `max_body` is in bytes."""

    requestFactory = BoundedRequest

    def __init__(self, resource: IResource, max_body: int, reactor: IReactorTime) -> None:
        super().__init__(
            resource, BoundedRequest, parsePOSTFormSubmission=False, reactor=reactor, timeout=60
        )
        self.max_body = max_body


class Root(Resource):
    """`/update` for git hosts, under whatever name; everything else for people, under ours."""

    isLeaf = True

    def __init__(self, update: Resource, pages: Resource, access: Access) -> None:
        super().__init__()
        self._update = update
        self._pages = pages
        self._access = access

    def render(self, request: Request) -> Any:
        if request.path == b"/update":
            return self._update.render(request)
        if not self._access.host_is_known(request):
            error = "This server does not answer to that name; see `allowed_hosts` in its settings."
            return json_bytes(request, {"error": error}, 421)
        return self._pages.render(request)
