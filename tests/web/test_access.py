"""Who may read, by token or session, and under which `Host`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyChannel

from integralgit.web.access import (
    COOKIE,
    LOCAL_SOCKET,
    SESSION,
    Access,
    client_of,
    host_of,
    is_loopback,
    is_same_origin,
)

TOKEN = b"0123456789abcdef"
NOW = 1_700_000_000.0
ACCESS = Access(TOKEN, allowed_hosts=frozenset({"deploy.example.com"}))


def request(*headers: tuple[str, str | bytes]) -> Request:
    """A request with these headers; a name may come more than once, and a value be any bytes."""
    made = Request(DummyChannel(), False)
    for name, value in headers:
        raw = value if isinstance(value, bytes) else value.encode()
        made.requestHeaders.addRawHeader(name.encode(), raw)
    made.parseCookies()
    return made


def cookie(set_cookie: bytes) -> str:
    """What a browser sends back for a `Set-Cookie` header."""
    return set_cookie.decode().partition(";")[0]


def knows(access: Access, *headers: tuple[str, str | bytes], now: float = NOW) -> bool:
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
            ("[::1]evil.example", ""),
            ("[::1", ""),
            ("[evil.example]", "[evil.example]"),
            ("localhost:port", ""),
            ("localhost:1:2", ""),
            ("", ""),
        ):
            self.assertEqual(host_of(value), wanted)

    def test_names_of_ours(self) -> None:
        """Loopback and the allowed hosts are names of ours, with any port and in any case."""
        for host in (
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "127.0.0.2",
            "127.0.0.2:8080",
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
            "[::1]evil.example",
            "[::1]evil.example:8080",
            "[::1",
            "128.0.0.1",
            "[",
            "",
            ":8080",
            "é",
        ):
            self.assertFalse(ACCESS.host_is_known(request(("Host", host))), host)

    def test_bytes_that_are_no_text(self) -> None:
        """A `Host` that is not UTF-8 is just another name."""
        for host in (b"\xff", b"localhost\xff", b"\xfflocalhost:8080", b"[\xff]"):
            self.assertFalse(ACCESS.host_is_known(request(("Host", host))), host)

    def test_loopback(self) -> None:
        """All of 127.0.0.0/8 is this machine, and so are `::1` and `localhost`."""
        for host in ("localhost", "127.0.0.1", "127.0.0.2", "127.255.255.254", "[::1]"):
            self.assertTrue(is_loopback(host), host)
        for host in ("", "[]", "0.0.0.0", "10.0.0.1", "[::2]", "127.0.0.1.example", "127.1"):  # noqa: S104 - it is not listened on
            self.assertFalse(is_loopback(host), host)

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

    def test_bytes_that_are_no_text(self) -> None:
        """An `Authorization` that is not UTF-8 is not known."""
        for value in (b"\xff", b"Bearer \xff", b"Bearer " + TOKEN + b"\xff", b"\xff " + TOKEN):
            self.assertFalse(knows(ACCESS, ("Authorization", value)), value)

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

    def test_an_origin_that_is_none(self) -> None:
        """An origin that is broken, or bytes that are no text, is another one."""
        for origin in (b"http://[", b"http://[::1", b"http://]", b"\xff", b"http://\xff"):
            sent = request(self.HOST, ("Origin", origin))
            self.assertFalse(is_same_origin(sent), origin)
        self.assertFalse(is_same_origin(request(self.HOST, ("Sec-Fetch-Site", b"\xff"))))
        self.assertFalse(is_same_origin(request(("Host", b"\xff"), ("Origin", "http://x"))))


class ActingTests(SynchronousTestCase):
    HOST = ("Host", "deploy.example.com")
    OURS = ("Origin", "https://deploy.example.com")

    def setUp(self) -> None:
        self.cookie = ("Cookie", cookie(ACCESS.session(NOW)))
        self.csrf = ACCESS.csrf(request(self.cookie))

    def acts(
        self, *headers: tuple[str, str | bytes], csrf: str | None = None, now: float = NOW
    ) -> bool:
        """Whether a request with these headers may change something."""
        given = self.csrf if csrf is None else csrf
        return ACCESS.may_act(request(self.HOST, *headers), now, given)

    def test_the_token(self) -> None:
        """A program with the token may act, and needs nothing of a page."""
        right = ("Authorization", f"Bearer {TOKEN.decode()}")
        self.assertTrue(self.acts(right, csrf=""))
        self.assertTrue(self.acts(right, ("Origin", "https://evil.example"), csrf=""))
        self.assertFalse(self.acts(("Authorization", "Bearer x"), csrf=""))

    def test_a_form_of_our_own(self) -> None:
        """A session may act by a form of its own page, sent from there."""
        self.assertTrue(self.acts(self.cookie, self.OURS))
        self.assertTrue(self.acts(self.cookie, ("Sec-Fetch-Site", "same-origin")))

    def test_a_wrong_proof(self) -> None:
        """A form without the session's own proof may not act."""
        other = ACCESS.csrf(request(("Cookie", cookie(ACCESS.session(NOW + 1)))))
        self.assertNotEqual(other, self.csrf)
        signed_out = ACCESS.csrf(request())
        wrong = ["", other, signed_out, self.csrf[:-1], self.csrf.upper(), "é", "\ud800"]
        for csrf in (*wrong, TOKEN.decode()):
            self.assertFalse(self.acts(self.cookie, self.OURS, csrf=csrf), ascii(csrf))

    def test_a_form_of_another_site(self) -> None:
        """A form that another site has sent may not act, with the right proof too (threat 79)."""
        for name, value in (
            ("Origin", b"https://evil.example"),
            ("Origin", b"http://["),
            ("Origin", b"null"),
            ("Origin", b"\xff"),
            ("Sec-Fetch-Site", b"cross-site"),
            ("Sec-Fetch-Site", b"same-site"),
        ):
            self.assertFalse(self.acts(self.cookie, (name, value)), value)

    def test_no_session(self) -> None:
        """Without a session, with a forged or an old one, the proof alone is worth nothing."""
        forged = ("Cookie", f"{COOKIE.decode()}=9999999999.{'0' * 64}")
        self.assertFalse(self.acts(self.OURS))
        self.assertFalse(self.acts(self.OURS, csrf=ACCESS.csrf(request())))
        self.assertFalse(self.acts(forged, self.OURS, csrf=ACCESS.csrf(request(forged))))
        self.assertFalse(self.acts(self.cookie, self.OURS, now=NOW + SESSION))

    def test_public_pages(self) -> None:
        """Where everybody may read, not everybody may act."""
        public = Access(TOKEN, public=True)
        sent = request(self.HOST, self.OURS)
        self.assertTrue(public.may_read(sent, NOW))
        self.assertFalse(public.may_act(sent, NOW, public.csrf(sent)))


class ClientTests(SynchronousTestCase):
    PROXIES = ("127.0.0.0/8", "10.0.0.0/8", "fd00::/8")

    def test_without_proxies(self) -> None:
        """Where no proxy is trusted, the client is the peer, whatever is sent."""
        for peer in ("127.0.0.1", "203.0.113.9", "::1"):
            self.assertEqual(client_of(peer, ["198.51.100.7"], ()), peer)

    def test_a_peer_that_is_no_proxy(self) -> None:
        """What a peer says that is no trusted proxy is not believed."""
        self.assertEqual(client_of("203.0.113.9", ["198.51.100.7"], self.PROXIES), "203.0.113.9")

    def test_behind_proxies(self) -> None:
        """The client is the right-most hop that is no trusted proxy."""
        for forwarded, wanted in (
            (["203.0.113.9"], "203.0.113.9"),
            (["203.0.113.9, 10.1.2.3"], "203.0.113.9"),
            (["203.0.113.9,10.1.2.3", "fd00::1"], "203.0.113.9"),
            (["2001:db8::1, 10.1.2.3"], "2001:db8::1"),
            (["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
            ([], "127.0.0.1"),
        ):
            self.assertEqual(client_of("127.0.0.1", forwarded, self.PROXIES), wanted)

    def test_a_unix_socket(self) -> None:
        """A peer on a Unix socket is a proxy where any is trusted; nobody else becomes one by that name."""
        for proxies, forwarded, wanted in (
            ((), ["203.0.113.9"], LOCAL_SOCKET),
            (("10.0.0.0/8",), [], LOCAL_SOCKET),
            (("10.0.0.0/8",), ["203.0.113.9"], "203.0.113.9"),
            (("10.0.0.0/8",), ["203.0.113.9, 10.1.2.3"], "203.0.113.9"),
            (("10.0.0.0/8",), ["203.0.113.9", LOCAL_SOCKET], LOCAL_SOCKET),
        ):
            self.assertEqual(client_of(LOCAL_SOCKET, forwarded, proxies), wanted, forwarded)

    def test_forged_hops(self) -> None:
        """What stands left of the first hop that is no proxy may be forged, and is not believed."""
        for forged in ("198.51.100.7", "127.0.0.1", "10.0.0.1, 127.0.0.1", "\xff, nonsense"):
            for forwarded in ([f"{forged}, 203.0.113.9, 10.1.2.3"], [forged, "203.0.113.9"]):
                client = client_of("127.0.0.1", forwarded, self.PROXIES)
                self.assertEqual(client, "203.0.113.9", forwarded)

    def test_a_hop_that_is_no_address(self) -> None:
        """What is no address is nobody's proxy, and is kept up to the length of one."""
        forwarded = ["203.0.113.9, " + "x" * 1000]
        self.assertEqual(client_of("127.0.0.1", forwarded, self.PROXIES), "x" * 45)
