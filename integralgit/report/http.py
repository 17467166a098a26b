"""Asking other servers: bounded in time and size, without redirects, and never in the clear.

What goes wrong is a value with a sentence in it, and no sentence of ours ever
holds more of a URL than its host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from attrs import define, field
from twisted.internet import error as errors
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError, SSLError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import (
    IAgent,
    IAgentEndpointFactory,
    IBodyProducer,
    IPolicyForHTTPS,
    IResponse,
)
from zope.interface import implementer

from integralgit import __version__
from integralgit.report.answers import Answer, NoAnswer, Told

#: Seconds for a connection, and for everything until the whole answer is there.
CONNECT, WHOLE = 10.0, 30.0
#: How much of an answer is read, in bytes, and of one that lists what is there already.
MOST, LISTED = 64 * 1024, 1024 * 1024
#: How much a connection may bring in all, with what is around a body: then it is cut.
ALL = LISTED + MOST
#: What keeps a connection from being there, as people say it.
_WORDS: dict[type[Exception], str] = {
    errors.ConnectionRefusedError: "connection refused",
    DNSLookupError: "the name of the host is not known",
    errors.NoRouteError: "no route to the host",
    errors.TCPTimedOutError: "it took too long",
    errors.TimeoutError: "it took too long",
}
USER_AGENT = f"IntegralGit/{__version__}"


@implementer(IAgent)
@define(eq=False)
class AsItCame:
    """An agent that takes bodies as they are, for a small one can unpack into a large one."""

    _agent: Any

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Send a request that asks for a body without any encoding, and take it as such."""
        plain = headers.copy() if headers is not None else Headers()
        plain.setRawHeaders(b"accept-encoding", [b"identity"])

        def take(response: IResponse) -> IResponse:
            response.headers.removeHeader(b"content-encoding")
            return response

        asked: Deferred[IResponse] = self._agent.request(method, uri, plain, bodyProducer)
        return asked.addCallback(take)


@define(eq=False)
class _Bounded(Protocol):
    """Collects a body up to so many bytes, and hangs up on what is longer, or late."""

    _most: int
    done: Deferred[bytes] = field(init=False)
    _body: bytearray = field(factory=bytearray, init=False)

    def __attrs_post_init__(self) -> None:
        self.done = Deferred(lambda _: self._hang_up())

    def _hang_up(self) -> None:
        cast(Any, self.transport).loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._body += data[: self._most - len(self._body)]
        if len(self._body) >= self._most:
            self._finish()
            self._hang_up()

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: ARG002 - Twisted's
        self._finish()

    def _finish(self) -> None:
        if not self.done.called:
            self.done.callback(bytes(self._body))


@define(eq=False)
class Http:
    """The one way out for HTTP."""

    _reactor: Any
    _client: Any

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        allow_http: bool = False,
        timeout: float = WHOLE,
        most: int = MOST,
    ) -> Told:
        """The answer to a request, its body up to `most` bytes, or why there is none; cancelling gives it up."""
        if not url.startswith("https://") and not (allow_http and url.startswith("http://")):
            return NoAnswer("the URL does not begin with https://", heard=False)
        asking = Deferred.fromCoroutine(self._ask(method, url, headers, body, most))
        asking.addTimeout(timeout, self._reactor, lambda late, seconds: _late(seconds))
        return await asking

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, most: int
    ) -> Told:
        try:
            response = await self._client.request(
                method,
                url,
                headers=Headers(
                    {"User-Agent": [USER_AGENT]} | {name: [text] for name, text in headers.items()}
                ),
                data=body,
                allow_redirects=False,
                unbuffered=True,
                reactor=self._reactor,
            )
            body_of = _Bounded(most)
            response.original.deliverBody(body_of)
            told = await body_of.done
        except CancelledError:
            raise
        except Exception as error:
            return no_answer(error)
        return Answer(response.code, _plain(response.headers), told)


class TooLong(Exception):
    """A connection brought more than `ALL` bytes."""


class _Metered(ProtocolWrapper):
    """A connection that is cut when it has brought more than `ALL` bytes, for no parser bounds headers."""

    _left = ALL

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            cast(Any, self.transport).abortConnection()
        else:
            super().dataReceived(data)

    def loseConnection(self) -> None:
        # TLS waits for the other side's goodbye; what comes in place of that is too much.
        self._left = 0
        super().loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(Failure(TooLong()) if self._left < 0 else reason)


@implementer(IStreamClientEndpoint)
@define(eq=False)
class _MeteredEndpoint:
    """An endpoint whose connections are metered: above TLS, where there is TLS."""

    _endpoint: IStreamClientEndpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        metered = WrappingFactory(protocolFactory)
        metered.protocol = _Metered
        # Their starts and stops would be four lines in the log for each request.
        metered.noisy = cast(Any, protocolFactory).noisy = False
        connecting: Deferred[Any] = self._endpoint.connect(metered)
        return connecting.addCallback(lambda wrapper: wrapper.wrappedProtocol)


@implementer(IAgentEndpointFactory)
@define(eq=False)
class _Endpoints:
    """The endpoints that an `Agent` has by itself, metered."""

    _reactor: Any
    _policy: IPolicyForHTTPS

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii")
        endpoint: Any = HostnameEndpoint(self._reactor, host, uri.port, timeout=CONNECT)
        if uri.scheme == b"https":
            creator = self._policy.creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(creator, endpoint)
        return _MeteredEndpoint(endpoint)


def over(agent: Any, **options: Any) -> Any:
    """The `HTTPClient` of treq over an agent: it takes bodies as they came, and no cookies.

    Those know no ports, and would go to whatever else is asked on the same host.
    """
    from http.cookiejar import DefaultCookiePolicy

    from treq.client import HTTPClient
    from treq.cookies import IndexableCookieJar

    jar = IndexableCookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return HTTPClient(AsItCame(agent), jar, **options)


@define(eq=False)
class _Client:
    """Made when it is first asked, for the import of treq would cost a tenth of the start."""

    _reactor: Any
    _treq: Any = field(default=None, init=False)

    def request(self, *arguments: Any, **options: Any) -> Any:
        """As treq's `HTTPClient` has it."""
        if self._treq is None:
            from twisted.web.client import Agent, BrowserLikePolicyForHTTPS

            endpoints = _Endpoints(self._reactor, BrowserLikePolicyForHTTPS())
            self._treq = over(Agent.usingEndpointFactory(self._reactor, endpoints))
        return self._treq.request(*arguments, **options)


def client(reactor: Any) -> Any:
    """The client that the world is asked with: it checks certificates, and keeps no cookies."""
    return _Client(reactor)


def _late(seconds: float) -> NoAnswer:
    return NoAnswer(f"there was no answer within {seconds:g} seconds", heard=True)


def _plain(headers: Headers) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): values[-1].decode("latin-1")
        for name, values in headers.getAllRawHeaders()
    }


def in_words(error: Exception) -> str:
    """Why there is no connection, as people say it."""
    return _WORDS.get(type(error), type(error).__name__)


def no_answer(error: Exception) -> NoAnswer:
    """Why there was no answer, in words that hold nothing of the request."""
    if isinstance(error, DNSLookupError):
        return NoAnswer("the name of the host is not known", heard=False)
    from twisted.web.client import ResponseFailed

    if isinstance(error, ResponseFailed):
        causes = [reason.value for reason in error.reasons]
        # Of a certificate that is another host's, service_identity tells.
        modules = ("OpenSSL", "service_identity")
        tls = [one for one in causes if type(one).__module__.startswith(modules)]
        if tls or any(isinstance(one, SSLError) for one in causes):
            return NoAnswer("the connection is not to be trusted: TLS failed", heard=False)
        if any(isinstance(one, TooLong) for one in causes):
            return NoAnswer(f"the headers of the answer exceed {ALL // 1024} KB", heard=True)
        return NoAnswer("the connection was cut before the answer", heard=True)
    if isinstance(error, ConnectError):
        return NoAnswer(f"there is no connection: {in_words(error)}", heard=False)
    return NoAnswer(f"the request failed: {type(error).__name__}", heard=True)
