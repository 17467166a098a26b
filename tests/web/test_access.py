"""Who may read, by token or session, and under which `Host`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyChannel

from integralgit.web.access import SESSION, Access, host_of, is_same_origin

TOKEN = b"0123456789abcdef"
NOW = 1_700_000_000.0
ACCESS = Access(TOKEN, allowed_hosts=frozenset({"deploy.example.com"}))


def request(*headers: tuple[str, str]) -> Request:
    """A request with these headers; a name may come more than once."""
    made = Request(DummyChannel(), False)
    for name, value in headers:
        made.requestHeaders.addRawHeader(name, value)
    made.parseCookies()
    return made


def cookie(set_cookie: bytes) -> str:
    """What a browser sends back for a `Set-Cookie` header."""
    return set_cookie.decode().partition(";")[0]


def knows(access: Access, *headers: tuple[str, str], now: float = NOW) -> bool:
    """Whether a request with these headers is known."""
    return access.is_known(request(*headers), now)


class HostTests(SynchronousTestCase):
    def test_host_of(self) -> None:
        """The host is in lower case and without its port; an IPv6 address keeps its brackets."""
        for value, wanted in (
            ("deploy.example.com", "deploy.example.com"),
            ("Deploy.Example.COM:8080", "deploy.example.com"),
            (" localhost:1 ", "localhost"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("", ""),
        ):
            self.assertEqual(host_of(value), wanted)

    def test_names_of_ours(self) -> None:
        """Loopback and the allowed hosts are names of ours, with any port and in any case."""
        for host in (
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "deploy.example.com",
            "DEPLOY.example.com:443",
        ):
            self.assertTrue(ACCESS.host_is_known(request(("Host", host))), host)

    def test_other_names(self) -> None:
        """Any other name is not ours, however much it resembles one."""
        for host in (
            "evil.example",
            "deploy.example.com.evil.example",
            "evil-deploy.example.com",
            "example.com",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "user@deploy.example.com",
            "[::2]:8080",
            "[",
            "",
            ":8080",
            "é",
        ):
            self.assertFalse(ACCESS.host_is_known(request(("Host", host))), host)

    def test_no_host_or_two(self) -> None:
        """A request without a `Host`, or with two, names nobody."""
        self.assertFalse(ACCESS.host_is_known(request()))
        twice = request(("Host", "localhost"), ("Host", "localhost"))
        self.assertFalse(ACCESS.host_is_known(twice))

    def test_only_loopback_without_allowed_hosts(self) -> None:
        """Without allowed hosts, only loopback is known."""
        access = Access(TOKEN)
        self.assertTrue(access.host_is_known(request(("Host", "localhost"))))
        self.assertFalse(access.host_is_known(request(("Host", "deploy.example.com"))))


class TokenTests(SynchronousTestCase):
    def test_bearer(self) -> None:
        """The token as a bearer is known, whatever the case of the scheme."""
        for value in (f"Bearer {TOKEN.decode()}", f"bearer  {TOKEN.decode()} "):
            self.assertTrue(knows(ACCESS, ("Authorization", value)), value)

    def test_anything_else(self) -> None:
        """No, half, doubled, and otherwise presented tokens are not known."""
        token = TOKEN.decode()
        for value in (
            "",
            "Bearer",
            "Bearer ",
            "Bearer " + token[:-1],
            "Bearer " + token + "0",
            "Bearer " + token.upper(),
            "Bearer é" + token,
            "Basic " + token,
            "Token " + token,
            token,
        ):
            self.assertFalse(knows(ACCESS, ("Authorization", value)), value)
        right = ("Authorization", f"Bearer {token}")
        self.assertFalse(knows(ACCESS, right, right))
        self.assertFalse(knows(ACCESS, ("Authorization", "Bearer x"), right))
        self.assertFalse(knows(ACCESS))

    def test_is_token(self) -> None:
        """Only the very token is the token, and text that is not UTF-8 is just different."""
        self.assertTrue(ACCESS.is_token(TOKEN.decode()))
        for given in ("", TOKEN.decode()[:-1], TOKEN.decode() + "\0", "\ud800", "é"):
            self.assertFalse(ACCESS.is_token(given), ascii(given))

    def test_the_token_is_not_shown(self) -> None:
        """The token is not in the text of the rules, which may end in a log."""
        self.assertNotIn(TOKEN.decode(), repr(ACCESS))

    def test_who_may_read(self) -> None:
        """Reading needs the token, unless the pages are public; being known always needs it."""
        public = Access(TOKEN, public=True)
        bearer = request(("Authorization", f"Bearer {TOKEN.decode()}"))
        self.assertFalse(ACCESS.may_read(request(), NOW))
        self.assertTrue(ACCESS.may_read(bearer, NOW))
        self.assertTrue(public.may_read(request(), NOW))
        self.assertFalse(public.is_known(request(), NOW))


class SessionTests(SynchronousTestCase):
    def test_a_session_is_known_until_it_ends(self) -> None:
        """A session is known from its start until its time is over."""
        sent = ("Cookie", cookie(ACCESS.session(NOW)))
        self.assertTrue(knows(ACCESS, sent))
        self.assertTrue(knows(ACCESS, sent, now=NOW + SESSION - 1))
        self.assertFalse(knows(ACCESS, sent, now=NOW + SESSION))
        self.assertFalse(knows(ACCESS, sent, now=NOW + 10 * SESSION))

    def test_it_survives_a_restart(self) -> None:
        """A session of the same token is known to another process; of another token it is not."""
        sent = ("Cookie", cookie(ACCESS.session(NOW)))
        self.assertTrue(knows(Access(TOKEN), sent))
        self.assertFalse(knows(Access(TOKEN + b"x"), sent))

    def test_among_other_cookies(self) -> None:
        """Cookies of others beside it do not matter."""
        sent = cookie(ACCESS.session(NOW))
        self.assertTrue(knows(ACCESS, ("Cookie", f"a=b; {sent}; c=d")))

    def test_forgeries(self) -> None:
        """A cookie that we did not sign as it stands is not known."""
        name, _, value = cookie(ACCESS.session(NOW)).partition("=")
        expires, _, signature = value.partition(".")
        later = str(int(expires) + 1)
        for forged in (
            "",
            ".",
            expires,
            f"{expires}.",
            f".{signature}",
            f"{later}.{signature}",
            f"{expires}.{signature[:-1]}",
            f"{expires}.{signature}0",
            f"{expires}.{signature}.",
            f"0{expires}.{signature}",
            f"+{expires}.{signature}",
            f"{'9' * 500}.{signature}",
            f"{expires}.{'0' * len(signature)}",
            f"{expires}.{TOKEN.decode()}",
            TOKEN.decode(),
            "nan." + signature,
            "é." + signature,
        ):
            self.assertFalse(knows(ACCESS, ("Cookie", f"{name}={forged}")), forged)
        self.assertFalse(knows(ACCESS, ("Cookie", f"other={value}")))

    def test_the_cookie_is_guarded(self) -> None:
        """The cookie is out of reach for scripts and other sites, and ends by itself."""
        flags = ACCESS.session(NOW).split(b"; ")[1:]
        wanted = {b"HttpOnly", b"SameSite=Strict", b"Path=/", b"Max-Age=%d" % SESSION}
        self.assertEqual(set(flags), wanted)
        secure = Access(TOKEN, secure=True)
        self.assertEqual(set(secure.session(NOW).split(b"; ")[1:]), wanted | {b"Secure"})

    def test_the_cookie_does_not_hold_the_token(self) -> None:
        """Who reads the cookie does not learn the token."""
        self.assertNotIn(TOKEN, ACCESS.session(NOW))

    def test_signing_out(self) -> None:
        """Signing out replaces the cookie by one that is empty and over."""
        ended = ACCESS.no_session()
        self.assertIn(b"; Max-Age=0", ended)
        self.assertFalse(knows(ACCESS, ("Cookie", cookie(ended))))


class OriginTests(SynchronousTestCase):
    HOST = ("Host", "deploy.example.com:8080")

    def test_what_the_browser_says_of_the_site(self) -> None:
        """Where the browser says where a form came from, only our own pages count."""
        ours = ("Origin", "http://deploy.example.com:8080")
        for site, wanted in (
            ("same-origin", True),
            ("same-site", False),
            ("cross-site", False),
            ("none", False),
            ("", False),
        ):
            sent = request(self.HOST, ("Sec-Fetch-Site", site), ours)
            self.assertEqual(is_same_origin(sent), wanted, site)
        twice = request(
            self.HOST, ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")
        )
        self.assertFalse(is_same_origin(twice))

    def test_the_origin_otherwise(self) -> None:
        """Else the origin, where there is one, must be the host that was asked."""
        for origin, wanted in (
            ("http://deploy.example.com:8080", True),
            ("https://deploy.example.com:8080", True),
            ("http://deploy.example.com", False),
            ("http://deploy.example.com:8081", False),
            ("http://evil.example", False),
            ("http://deploy.example.com:8080.evil.example", False),
            ("http://deploy.example.com:8080@evil.example", False),
            ("null", False),
            ("", False),
            ("deploy.example.com:8080", False),
        ):
            sent = request(self.HOST, ("Origin", origin))
            self.assertEqual(is_same_origin(sent), wanted, origin)

    def test_two_origins(self) -> None:
        """Two origins are none."""
        ours = ("Origin", "http://deploy.example.com:8080")
        self.assertFalse(is_same_origin(request(self.HOST, ours, ours)))

    def test_a_client_that_is_no_browser(self) -> None:
        """A client that says nothing of where it comes from is no browser on another site."""
        self.assertTrue(is_same_origin(request(self.HOST)))
