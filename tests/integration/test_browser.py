"""The pages in a real browser, with a real deploy behind them."""

from __future__ import annotations

import socket
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from unittest import TestCase

from playwright.sync_api import Page, expect

from integralgit.web.pages import MARKS
from tests.integration.browser import chromium, page
from tests.integration.harness import Daemon, Integration, eventually, own_port

SITE = "/github.com/acme/site"
#: Prints a line, then one more for each file `../go-N` that the test makes.
STEPWISE = """#!/bin/sh
echo "line 0 <script>alert(1)</script>"
for n in 1 2 3; do
    while [ ! -e ../go-$n ]; do sleep 0.05; done
    echo "line $n"
done
"""
HOSTILE = "<img src=x onerror=alert(1)> & \u202egnp"


#: A loaded machine may take its time; a test that passes never waits that long.
expect.set_options(timeout=30_000)


class Passing(BaseRequestHandler):
    """One connection through the proxy."""

    server: Proxy
    request: socket.socket

    def handle(self) -> None:
        asked = self.request.recv(65536)
        if self.server.is_away:
            self.request.sendall(
                b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            self.server.turned_away.append(asked.partition(b" HTTP")[0].decode())
        elif asked:
            with socket.create_connection(("127.0.0.1", self.server.port)) as behind:
                behind.sendall(asked)
                Thread(target=pass_on, args=(self.request, behind), daemon=True).start()
                pass_on(behind, self.request)


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Write what is read, to its end."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


class Proxy(ThreadingTCPServer):
    """A reverse proxy for a port of this machine; while the server is away it answers 502, as others do."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.port = port
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.is_away = False
        #: What was asked while the server was away.
        self.turned_away: list[str] = []


#: The pixels of a sign in the font of the pages.
PIXELS = """sign => {
    const context = document.createElement("canvas").getContext("2d");
    context.font = getComputedStyle(document.body).font;
    context.fillText(sign, 10, 30);
    return context.getImageData(0, 0, 60, 60).data.join();
}"""


class Signs(TestCase):
    def test_states(self) -> None:
        """Every state has a sign of its own that a browser has in its fonts."""
        with page("http://127.0.0.1:1") as opened:
            opened.set_content('<body style="font: 16px/1.5 system-ui, sans-serif">')
            drawn = {sign: opened.evaluate(PIXELS, sign) for sign in MARKS.values()}
            # No font has a sign for this one, so that it is the empty box.
            box = opened.evaluate(PIXELS, "\U0010fffe")
        self.assertEqual([sign for sign, pixels in drawn.items() if pixels == box], [])
        self.assertEqual(len(set(drawn.values())), len(MARKS))


class LiveLog(Integration):
    def start(self, settings: str = "") -> Daemon:
        base = {"location": str(self.folder / "www"), "script": "./deploy.sh", "branch": "main"}
        self.upstream.configure({"configs": {"base": base}})
        commit = self.upstream.commit({"deploy.sh": STEPWISE}, HOSTILE)
        daemon = self.daemon(f"public = true\n{settings}")
        for n in (1, 2, 3):
            self.addCleanup((self.folder / f"go-{n}").touch)
        daemon.push(commit)
        return daemon

    def go(self, n: int) -> None:
        (self.folder / f"go-{n}").touch()

    def lines(self, opened: Page) -> list[str]:
        return [x for x in opened.locator("#log").inner_text().splitlines() if x.startswith("line")]

    def test_lines_appear_as_they_are_printed(self) -> None:
        """The page shows a deploy line by line without a reload, then its end."""
        daemon = self.start()
        with page(daemon.url) as opened:
            opened.goto(f"{daemon.url}{SITE}/deploys/1")
            log = opened.locator("#log")
            expect(log).to_contain_text("line 0 <script>alert(1)</script>")
            expect(opened.locator("h1")).to_contain_text("running")
            opened.evaluate("window.sameDocument = true")
            for n in (1, 2, 3):
                expect(log).not_to_contain_text(f"line {n}")
                self.go(n)
                expect(log).to_contain_text(f"line {n}")
            expect(opened.locator("h1")).to_contain_text("succeeded")
            expect(opened.locator("#summary")).to_contain_text("<img src=x onerror=alert(1)>")
            self.assertTrue(opened.evaluate("window.sameDocument"))
            self.assertEqual(len(self.lines(opened)), 4)

    def test_the_log_goes_on_after_a_restart_of_the_server(self) -> None:
        """A cut connection resumes without loss or repetition."""
        port = own_port()
        daemon = self.start(f'listen = ["tcp:{port}:interface=127.0.0.1"]')
        context = chromium().new_context()
        opened = context.new_page()
        opened.goto(f"{daemon.url}{SITE}/deploys/1")
        self.go(1)
        expect(opened.locator("#log")).to_contain_text("line 1")
        daemon.stop()
        self.go(2)
        daemon.start()
        self.go(3)
        expect(opened.locator("#log")).to_contain_text("line 3", timeout=30_000)
        expect(opened.locator("h1")).to_contain_text("succeeded", timeout=30_000)
        self.assertEqual(
            [line.split("<")[0].strip() for line in self.lines(opened)],
            ["line 0", "line 1", "line 2", "line 3"],
        )
        context.close()

    def test_pages_go_on_after_the_errors_of_a_proxy(self) -> None:
        """A page whose events were answered 502 while the server restarted shows what it has missed."""
        port = own_port()
        daemon = self.start(f'listen = ["tcp:{port}:interface=127.0.0.1"]')
        proxy = Proxy(port)
        self.addCleanup(proxy.server_close)
        self.addCleanup(proxy.shutdown)
        Thread(target=proxy.serve_forever, daemon=True).start()
        context = chromium().new_context()
        self.addCleanup(context.close)
        log, overview = context.new_page(), context.new_page()
        log.goto(f"{proxy.url}{SITE}/deploys/1")
        overview.goto(proxy.url)
        self.go(1)
        expect(log.locator("#log")).to_contain_text("line 1")
        expect(overview.locator(".state.running").first).to_be_visible()
        proxy.is_away = True
        daemon.stop()
        asked = {f"GET {SITE}/deploys/1/events?view=lines", "GET /-/events"}
        eventually(lambda: asked <= {*proxy.turned_away}, "both pages are answered 502")
        self.go(2)
        self.go(3)
        daemon.start()
        daemon.ended(1)
        proxy.is_away = False
        expect(log.locator("#log")).to_contain_text("line 3")
        expect(log.locator("h1")).to_contain_text("succeeded")
        self.assertEqual(len(self.lines(log)), 4)
        expect(overview.locator(".state.succeeded").first).to_be_visible()
        expect(overview.locator(".state.running")).to_have_count(0)

    def test_the_overview_is_live(self) -> None:
        """The overview and a repository's page follow a deploy without a reload."""
        daemon = self.start()
        with page(daemon.url) as overview, page(daemon.url) as repository:
            overview.goto(daemon.url)
            repository.goto(f"{daemon.url}{SITE}")
            for opened in (overview, repository):
                expect(opened.locator(".state.running").first).to_be_visible()
            for n in (1, 2, 3):
                self.go(n)
            for opened in (overview, repository):
                expect(opened.locator(".state.succeeded").first).to_be_visible()
                expect(opened.locator(".state.running")).to_have_count(0)

    def test_a_phone_and_no_script(self) -> None:
        """At phone width nothing is cut off sideways, and all pages work without JavaScript."""
        daemon = self.start()
        for n in (1, 2, 3):
            self.go(n)
        daemon.ended(1)
        paths = [
            "/",
            SITE,
            f"{SITE}/deploys/1",
            "/-/deliveries",
        ]
        for scheme in ("light", "dark"):
            phone = {
                "viewport": {"width": 390, "height": 800},
                "java_script_enabled": False,
                "color_scheme": scheme,
            }
            with page(daemon.url, **phone) as opened:
                for path in paths:
                    opened.goto(daemon.url + path)
                    box = opened.locator("body").bounding_box()
                    assert box is not None
                    self.assertLessEqual(box["width"], 390, path)
                opened.goto(daemon.url + paths[2])
                expect(opened.locator("#log")).to_contain_text("line 3")
