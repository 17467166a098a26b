"""Who may read: the access token as a bearer or by a session, and under which `Host`.

A session is a cookie that the token signs, so it survives a restart, and ends
for everybody when the token is replaced. Pure but for the request it looks at.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.web.server import Request

COOKIE = b"integralgit"
#: How long a session lasts, in seconds.
SESSION = 14 * 86400
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def host_of(value: str) -> str:
    """The host of a `Host` header or an authority, in lower case and without the port."""
    value = value.strip().lower()
    if value.startswith("["):
        return value.partition("]")[0] + "]"
    return value.partition(":")[0]


@frozen
class Access:
    """The rules; `token` is the access token, `allowed_hosts` are names besides loopback."""

    token: bytes = field(repr=False)
    public: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    secure: bool = False

    def host_is_known(self, request: Request) -> bool:
        """Whether the request names us by a name of ours; the guard against DNS rebinding."""
        values = request.requestHeaders.getRawHeaders("host", [])
        if len(values) != 1:
            return False
        host = host_of(values[0])
        return host in _LOOPBACK or host in self.allowed_hosts

    def may_read(self, request: Request, now: float) -> bool:
        """Whether the request may see pages and data."""
        return self.public or self.is_known(request, now)

    def is_known(self, request: Request, now: float) -> bool:
        """Whether the request carries the token or a valid session."""
        values = request.requestHeaders.getRawHeaders("authorization", [])
        scheme, _, given = (values[0] if len(values) == 1 else "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        return self._is_session(request.getCookie(COOKIE) or b"", now)

    def is_token(self, given: str) -> bool:
        """Whether that is the access token, compared in constant time."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token)

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
    site = request.requestHeaders.getRawHeaders("sec-fetch-site", [])
    if site:
        return site == ["same-origin"]
    origin = request.requestHeaders.getRawHeaders("origin", [])
    host = request.requestHeaders.getRawHeaders("host", [])
    return not origin or (len(origin) == 1 and [urlsplit(origin[0]).netloc] == host)
