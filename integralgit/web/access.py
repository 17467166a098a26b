"""Who may read: the access token as a bearer or by a session, and under which `Host`.

A session is a cookie that the token signs, so it survives a restart, and ends
for everybody when the token is replaced. Pure but for the request it looks at.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.web.server import Request

COOKIE = b"integralgit"
#: How long a session lasts, in seconds.
SESSION = 14 * 86400
#: What stands for the address of a peer on a Unix socket.
LOCAL_SOCKET = "a local socket"


def host_of(value: str) -> str:
    """The host of a `Host` header or an authority, in lower case and without the port."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:]*)(:\d+)?", value.strip().lower())
    return found[1] if found else ""


def header_values(request: Request, name: str) -> list[str]:
    """The values of a header, whatever bytes they are."""
    values = request.requestHeaders.getRawHeaders(name.encode(), [])
    return [value.decode("latin-1") for value in values]


def is_loopback(host: str) -> bool:
    """Whether a host of an authority is this machine itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def client_of(peer: str, forwarded: Sequence[str], proxies: Sequence[str]) -> str:
    """The client's address: the peer's, or what trusted proxies say of theirs.

    `forwarded` are the values of `X-Forwarded-For`, of which only the part
    that trusted proxies have written is believed, from the right. Where there
    are any, a peer on a Unix socket is one: it has no address by which to name it.
    """
    if not proxies:
        return peer
    networks = [ipaddress.ip_network(proxy) for proxy in proxies]
    hops = [hop.strip() for value in forwarded for hop in value.split(",") if hop.strip()]
    client, is_trusted = peer, peer == LOCAL_SOCKET or _is_in(peer, networks)
    while hops and is_trusted:
        client = hops.pop()[:45]
        is_trusted = _is_in(client, networks)
    return client


def _is_in(address: str, networks: Sequence[Any]) -> bool:
    try:
        parsed = ipaddress.ip_address(address.removeprefix("::ffff:"))
    except ValueError:
        return False
    return any(parsed in network for network in networks)


@frozen
class Access:
    """The rules; `token` is the access token, `allowed_hosts` are names besides loopback."""

    token: bytes = field(repr=False)
    public: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    secure: bool = False

    def host_is_known(self, request: Request) -> bool:
        """Whether the request names us by a name of ours; the guard against DNS rebinding."""
        values = header_values(request, "host")
        if len(values) != 1:
            return False
        host = host_of(values[0])
        return is_loopback(host) or host in self.allowed_hosts

    def may_read(self, request: Request, now: float) -> bool:
        """Whether the request may see pages and data."""
        return self.public or self.is_known(request, now)

    def is_known(self, request: Request, now: float) -> bool:
        """Whether the request carries the token or a valid session."""
        return self._has_token(request) or self._is_session(request.getCookie(COOKIE) or b"", now)

    def _has_token(self, request: Request) -> bool:
        values = header_values(request, "authorization")
        scheme, _, given = (values[0] if len(values) == 1 else "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(given.strip())

    def is_token(self, given: str) -> bool:
        """Whether that is the access token, compared in constant time."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token)

    def may_act(self, request: Request, now: float, csrf: str) -> bool:
        """Whether the request may change something: by the token, or by a form of a session's page."""
        if self._has_token(request):
            return True
        cookie = request.getCookie(COOKIE) or b""
        return (
            self._is_session(cookie, now)
            and is_same_origin(request)
            and hmac.compare_digest(csrf.encode("utf-8", "replace"), self.csrf(request).encode())
        )

    def csrf(self, request: Request) -> str:
        """What the forms of a session's pages carry to prove that they are its own."""
        key = hmac.digest(self.token, b"csrf", hashlib.sha256)
        return hmac.digest(key, request.getCookie(COOKIE) or b"", hashlib.sha256).hex()

    def _signed(self, expires: bytes) -> bytes:
        key = hmac.digest(self.token, b"session", hashlib.sha256)
        return expires + b"." + hmac.digest(key, expires, hashlib.sha256).hex().encode()

    def _is_session(self, cookie: bytes, now: float) -> bool:
        expires = cookie.partition(b".")[0]
        if not (expires.isdigit() and len(expires) < 12 and int(expires) > now):
            return False
        return hmac.compare_digest(cookie, self._signed(expires))

    def session(self, now: float) -> bytes:
        """A new session, as the value of a `Set-Cookie` header."""
        value = self._signed(str(int(now) + SESSION).encode())
        return self._cookie(value, SESSION)

    def no_session(self) -> bytes:
        """The `Set-Cookie` header that ends a session."""
        return self._cookie(b"", 0)

    def _cookie(self, value: bytes, age: int) -> bytes:
        flags = b"; HttpOnly; SameSite=Strict; Path=/; Max-Age=%d" % age
        return COOKIE + b"=" + value + flags + (b"; Secure" if self.secure else b"")


def is_same_origin(request: Request) -> bool:
    """Whether a form was sent from a page of ours, as far as the browser says."""
    site = header_values(request, "sec-fetch-site")
    if site:
        return site == ["same-origin"]
    origin = header_values(request, "origin")
    host = header_values(request, "host")
    if not origin:
        return True
    try:
        return len(origin) == 1 and [urlsplit(origin[0]).netloc] == host
    except ValueError:
        return False
