"""The pages as people use them: long logs, acts, signing in, and names that mean harm."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.integration.browser import chromium, page
from tests.integration.harness import PATIENCE, ROOT, Daemon, Integration, eventually, git

DEPLOY = "/github.com/acme/site/deploys/{}"
#: As `bidi` and other tricks come in names and messages.
HOSTILE = (
    "<img src=x onerror=alert(1)>\"'><script>alert(2)</script> \u202egnp.exe\u2066 ${x} {{7*7}}"
)
#: A branch name that git allows.
BRANCH = "<img/src=x/onerror=alert(3)>&quot;`id`$(id)"
#: In how many lines the text of an element stands.
LINES = """element => {
    const range = document.createRange();
    range.selectNodeContents(element.lastChild);
    return new Set([...range.getClientRects()].map(one => Math.round(one.top))).size;
}"""
LOG_TRICKS = (
    "printf '\\033]8;;javascript:alert(4)\\033\\\\click\\033]8;;\\033\\\\\\n'\n"
    "printf '\\033]0;title\\007after a title\\n\\377\\376 bad bytes\\n'\n"
    "printf '\\342\\200\\256reversed\\n<script>alert(5)</script>\\n</pre></p><img src=x onerror=alert(6)>\\n'\n"
    "printf '\\033[31mred\\033[0m plain\\n10%%\\r100%%\\n\\000nul\\n'\n"
)


class PageTests(Integration):
    def serve(
        self,
        script: str,
        *,
        settings: str = "public = true",
        message: str = "A change",
        branch: str = "main",
        **config: Any,
    ) -> Daemon:
        """A server to which one commit with that script was pushed."""
        base = {"location": str(self.folder / "www"), "script": "./deploy.sh", "branch": branch}
        self.upstream.configure({"configs": {"base": base | config}})
        commit = self.upstream.commit({"deploy.sh": f"#!/bin/sh\n{script}"}, message, branch)
        daemon = self.daemon(settings)
        daemon.push(commit, branch)
        return daemon

    @contextmanager
    def opened(self, daemon: Daemon, path: str, **options: Any) -> Iterator[Page]:
        """A page of the server in a browser; see `tests.integration.browser.page`."""
        with page(daemon.url, **options) as opened:
            opened.goto(daemon.url + path)
            yield opened

    def sign_in(self, opened: Page, daemon: Daemon) -> None:
        """Sign in where the server asks for it."""
        opened.get_by_label("Access token").fill(daemon.token())
        opened.locator("main").get_by_role("button", name="Sign in").click()


class LogTests(PageTests):
    def test_a_long_log(self) -> None:
        """200,000 lines open at once, any of them is a link away, and only those in sight are there."""
        daemon = self.serve("seq 200000 | sed 's/^/line number /'\necho the needle\nseq 500\n")
        self.assertEqual(daemon.ended(1)["state"], "succeeded")
        with self.opened(daemon, DEPLOY.format(1)) as opened:
            rows = opened.locator("#lines .l")
            expect(opened.get_by_text("line number 1", exact=True)).to_be_visible()
            opened.get_by_role("searchbox").fill("NEEDLE")
            opened.get_by_role("searchbox").press("Enter")
            needle = opened.get_by_text("the needle", exact=True)
            expect(needle).to_be_in_viewport()
            expect(opened.locator("output")).to_have_text("1 of 1")
            self.assertLess(rows.count(), 2000)
            for number in (100_000, 7, 200_300):
                opened.goto(f"{daemon.url}{DEPLOY.format(1)}#L{number}")
                expect(opened.locator(f"#L{number}")).to_be_in_viewport()
                expect(opened.locator(f"#L{number}")).to_have_class(re.compile("target"))
            for _ in range(20):
                opened.mouse.wheel(0, -3000)
            expect(rows.first).to_be_attached()
            eventually(lambda: rows.count() < 2000, "what is far away is emptied")

    def test_a_link_to_a_line(self) -> None:
        """A link to a line opens there, in a step that is folded too."""
        daemon = self.serve("seq 3000")
        daemon.ended(1)
        with self.opened(daemon, DEPLOY.format(1) + "#L1500") as opened:
            expect(opened.locator("#L1500")).to_be_in_viewport()
        with self.opened(daemon, DEPLOY.format(1)) as opened:
            fetch = opened.locator("details.step", has_text="fetch")
            expect(fetch).not_to_have_attribute("open", "")
            # The first line of a step is its headline.
            opened.goto(f"{daemon.url}{DEPLOY.format(1)}#L1")
            expect(opened.locator("summary#L1")).to_be_in_viewport()
            opened.goto(f"{daemon.url}{DEPLOY.format(1)}#L2")
            expect(opened.locator("#L2")).to_be_in_viewport()
            expect(fetch).to_have_attribute("open", "")

    def test_what_a_terminal_would_show(self) -> None:
        """Colours, progress, bad bytes and times; steps fold and say how long they took."""
        daemon = self.serve(LOG_TRICKS + "sleep 2.5\necho late\n")
        daemon.ended(1)
        with self.opened(daemon, DEPLOY.format(1)) as opened:
            lines = opened.locator("#lines")
            expect(lines.locator(".f1")).to_have_text("red")
            expect(lines.get_by_text("100%", exact=True)).to_be_visible()
            expect(lines).to_contain_text("⟨U+202E⟩reversed")
            expect(lines).to_contain_text("after a title")
            expect(lines).to_contain_text("�� bad bytes")
            self.assertEqual(lines.locator("a:not([href^='#L'])").count(), 0)
            step = opened.locator("details.step", has_text="script")
            expect(step.locator(".took")).to_have_text(re.compile(r"^[2-9]\.\d s$"))
            expect(step.locator(".l", has_text="late").locator("i")).to_have_text(
                re.compile("^0:0[1-9]$")
            )
            step.locator("summary").click()
            expect(lines.locator(".f1")).not_to_be_visible()

    def test_following(self) -> None:
        """A log is followed until the reader scrolls up, and again when the reader says so."""
        wait = "while [ ! -e ../go-{0} ]; do sleep 0.05; done\n"
        script = f"seq 300\n{wait.format(1)}seq 300 600\n{wait.format(2)}seq 600 900\necho end\n"
        daemon = self.serve(script)
        for n in (1, 2):
            self.addCleanup((self.folder / f"go-{n}").touch)
        eventually(lambda: "\n300\n" in daemon.log(1), "the script has begun")
        with self.opened(daemon, DEPLOY.format(1)) as opened:
            expect(opened.get_by_text("300", exact=True).last).to_be_in_viewport()
            expect(opened.locator("#follow")).to_be_hidden()
            opened.mouse.wheel(0, -2000)
            expect(opened.locator("#follow")).to_be_visible()
            before = opened.evaluate("scrollY")
            (self.folder / "go-1").touch()
            # A line that is not near the screen is not in the page, but the page has grown by it.
            height = "document.documentElement.scrollHeight > 12000"
            eventually(lambda: opened.evaluate(height), "the page grows")
            self.assertLess(abs(opened.evaluate("scrollY") - before), 100)
            opened.locator("#follow").click()
            expect(opened.get_by_text("600", exact=True).last).to_be_in_viewport()
            expect(opened.locator("#follow")).to_be_hidden()
            (self.folder / "go-2").touch()
            expect(opened.get_by_text("end", exact=True)).to_be_in_viewport()
            expect(opened.locator("h1")).to_contain_text("succeeded")
            numbers = [int(one) for one in opened.locator("#lines .l > a").all_inner_texts()]
            self.assertEqual(numbers, sorted(set(numbers)))

    def test_many_lines_at_once(self) -> None:
        """Whoever scrolls down after a burst that was not followed finds every line."""
        script = "seq 60\nwhile [ ! -e ../go ]; do sleep 0.05; done\nseq 61 5000\n"
        daemon = self.serve(script)
        self.addCleanup((self.folder / "go").touch)
        eventually(lambda: "\n60\n" in daemon.log(1), "the script has begun")
        with self.opened(daemon, DEPLOY.format(1)) as opened:
            expect(opened.get_by_text("60", exact=True).last).to_be_in_viewport()
            opened.mouse.wheel(0, -300)
            expect(opened.locator("#follow")).to_be_visible()
            (self.folder / "go").touch()
            expect(opened.locator("h1")).to_contain_text("succeeded")
            for _ in range(4):
                opened.mouse.wheel(0, 500)
                opened.wait_for_timeout(100)
            expect(opened.locator("#L150 span")).to_have_text("143")
            step = opened.locator("details.step", has_text="script")
            shown = [int(one) for one in step.locator(".l > a").all_text_contents()]
            self.assertEqual(shown[:150], list(range(shown[0], shown[0] + 150)))

    def test_without_javascript(self) -> None:
        """The end of a long log, a way to the rest, and a search."""
        daemon = self.serve("seq 2000 | sed 's/^/number /'")
        daemon.ended(1)
        with self.opened(daemon, DEPLOY.format(1), java_script_enabled=False) as opened:
            expect(opened.locator("#lines")).to_contain_text("number 2000")
            opened.get_by_role("link", name="Earlier lines").click()
            expect(opened.locator("#lines")).to_contain_text("number 1300")
            expect(opened.locator("#lines")).not_to_contain_text("number 2000")
            opened.get_by_role("searchbox").fill("number 77")
            opened.get_by_role("searchbox").press("Enter")
            expect(opened.locator(".found")).to_contain_text("11 lines hold")
            opened.locator(".found a").first.click()
            expect(opened.get_by_text("number 77", exact=True)).to_be_visible()

    def test_an_adopted_deploy(self) -> None:
        """The log of a script that outlived its server is live again, with all its lines."""
        daemon = self.serve("seq 5\nwhile [ ! -e ../go ]; do sleep 0.05; done\necho after\n")
        self.addCleanup((self.folder / "go").touch)
        eventually(lambda: "\n5\n" in daemon.log(1), "the script has begun")
        daemon.stop()
        daemon.start()
        with self.opened(daemon, DEPLOY.format(1)) as opened:
            expect(opened.get_by_text("5", exact=True).last).to_be_visible()
            (self.folder / "go").touch()
            expect(opened.get_by_text("after", exact=True)).to_be_visible()
            expect(opened.locator("h1")).to_contain_text("succeeded")


class ActTests(PageTests):
    def test_clicks_while_the_page_is_renewed(self) -> None:
        """No click is lost, however often what is new is shown around what is clicked."""
        hold = self.folder / "hold"
        hold.touch()
        self.addCleanup(lambda: hold.unlink(missing_ok=True))
        daemon = self.serve("while [ -e ../hold ]; do sleep 0.05; done\n", settings="")
        with self.opened(daemon, "/github.com/acme/site") as opened:
            self.sign_in(opened, daemon)
            opened.goto(daemon.url + DEPLOY.format(1))
            expect(opened.locator("h1")).to_contain_text("running")
            opened.evaluate(
                """async () => {
                    const live = await import("/-/static/live.js");
                    const again = async () => {
                        while (true) await live.refresh("#summary", location.pathname);
                    };
                    again();
                }"""
            )
            for number in range(10):
                opened.locator("#cancel summary").click()
                is_open = opened.evaluate("document.querySelector('#cancel').open")
                self.assertEqual(is_open, number % 2 == 0)
            opened.locator("#cancel summary").click()
            opened.get_by_role("button", name="Cancel the deploy").click()
            expect(opened.locator("h1")).to_contain_text("cancelled")

    def test_nothing_moves_under_a_press(self) -> None:
        """What is new is shown when what is pressed was let go: a click on what has moved would be lost."""
        hold = self.folder / "hold"
        hold.touch()
        self.addCleanup(lambda: hold.unlink(missing_ok=True))
        daemon = self.serve("while [ -e ../hold ]; do sleep 0.05; done\n")
        with self.opened(daemon, DEPLOY.format(1)) as opened:
            expect(opened.locator("h1")).to_contain_text("running")
            facts = opened.locator("dl.facts")
            opened.locator("h1").hover()
            opened.mouse.down()
            facts.evaluate("facts => facts.remove()")
            with opened.expect_response(lambda answer: answer.url.endswith("/deploys/1")):
                opened.evaluate(
                    """async () => {
                        const live = await import("/-/static/live.js");
                        live.refresh("#summary", location.pathname);
                    }"""
                )
            opened.evaluate("new Promise((done) => setTimeout(done, 300))")
            expect(facts).to_have_count(0)
            opened.mouse.up()
            expect(facts).to_have_count(1)

    def test_acts(self) -> None:  # noqa: PLR0915 - one visit, from act to act
        """Everything that people may do is done from the pages, after signing in where one was."""
        wait = "while [ -e ../hold ]; do sleep 0.05; done\n"
        daemon = self.serve(f"{wait}cp a.txt ../live\n", settings="")
        hold = self.folder / "hold"
        self.addCleanup(lambda: hold.unlink(missing_ok=True))
        daemon.ended(1)
        self.upstream.commit({"a.txt": "one"})
        with self.opened(daemon, "/github.com/acme/site?limit=30") as opened:
            opened.get_by_label("Access token").fill("not the token")
            opened.locator("main").get_by_role("button", name="Sign in").click()
            expect(opened.get_by_role("alert")).to_have_text("That is not the access token.")
            self.sign_in(opened, daemon)
            expect(opened).to_have_url(f"{daemon.url}/github.com/acme/site?limit=30")

            opened.get_by_role("button", name="Deploy now").click()
            expect(opened).to_have_url(daemon.url + DEPLOY.format(2))
            expect(opened.locator("h1")).to_contain_text("succeeded")

            hold.touch()
            daemon.push(self.upstream.commit({"a.txt": "two"}))
            opened.goto(daemon.url + DEPLOY.format(3))
            expect(opened.locator("h1")).to_contain_text("running")
            opened.locator("#cancel summary").click()
            opened.get_by_role("button", name="Cancel the deploy").click()
            expect(opened.locator("h1")).to_contain_text("cancelled")
            hold.unlink()
            opened.get_by_role("button", name="Deploy again").click()
            expect(opened).to_have_url(daemon.url + DEPLOY.format(4))
            expect(opened.locator("h1")).to_contain_text("succeeded")
            self.assertEqual((self.folder / "live").read_text(), "two")

            opened.goto(daemon.url + DEPLOY.format(2))
            opened.locator("#rollback summary").click()
            opened.get_by_role("button", name=re.compile("^Roll back to [0-9a-f]{10}$")).click()
            expect(opened).to_have_url(daemon.url + DEPLOY.format(5))
            expect(opened.locator("h1")).to_contain_text("succeeded")
            self.assertEqual((self.folder / "live").read_text(), "one")

            opened.goto(f"{daemon.url}/github.com/acme/site")
            opened.locator("#freeze summary").click()
            opened.get_by_label("Reason").fill("the fair")
            # What somebody types stays while the page shows what is new.
            opened.evaluate("window.sameDocument = true")
            daemon.push(self.upstream.commit({"a.txt": "three"}))
            expect(opened.locator(".title").first).to_contain_text("Change")
            expect(opened.locator(".row .state").first).to_contain_text("succeeded")
            self.assertTrue(opened.evaluate("window.sameDocument"))
            expect(opened.get_by_label("Reason")).to_have_value("the fair")
            opened.get_by_role("textbox", name="For").fill("2h")
            opened.locator("#freeze form button").click()
            expect(opened.locator(".warning")).to_contain_text("the fair")
            opened.get_by_role("button", name="Unfreeze").click()
            expect(opened.locator(".warning")).to_have_count(0)

            opened.get_by_role("link", name="Deliveries").click()
            opened.get_by_role("button", name="Replay").first.click()
            expect(opened).to_have_url(f"{daemon.url}/github.com/acme/site")
            opened.get_by_role("button", name="Sign out").click()
            opened.goto(daemon.url)
            expect(opened.get_by_label("Access token")).to_be_visible()

    def test_under_another_name(self) -> None:
        """Signing in and acting work over plain http too, under a name that is not this machine's own."""
        daemon = self.serve("true", settings='allowed_hosts = ["deploy.test"]')
        daemon.ended(1)
        daemon.token()
        url = daemon.url.replace("127.0.0.1", "deploy.test")
        with page(url) as opened:
            opened.goto(f"{url}/github.com/acme/site")
            self.sign_in(opened, daemon)
            opened.get_by_role("button", name="Deploy now").click()
            expect(opened).to_have_url(url + DEPLOY.format(2))
            expect(opened.locator("h1")).to_contain_text("succeeded")

    def test_the_header_of_a_phone(self) -> None:
        """Its words are whole, each in one line, and all of them are on the screen."""
        daemon = self.serve("true")
        daemon.ended(1)
        for width in (390, 320):
            with self.opened(daemon, "/", viewport={"width": width, "height": 800}) as opened:
                opened.goto(f"{daemon.url}/-/sign-in")
                self.sign_in(opened, daemon)
                expect(opened.get_by_role("button", name="Sign out")).to_be_visible()
                words = opened.locator("header").locator("a, button")
                for at in range(words.count()):
                    one = words.nth(at)
                    box, lines = one.bounding_box(), one.evaluate(LINES)
                    assert box is not None
                    self.assertEqual(lines, 1, one.inner_text())
                    self.assertLessEqual(box["x"] + box["width"], width, one.inner_text())

    def test_forms_of_others(self) -> None:
        """A form of another site does nothing, whatever cookie the browser has (threat 79)."""
        daemon = self.serve("true", settings="")
        daemon.ended(1)
        form = (
            f'<form method="post" action="{daemon.url}/github.com/acme/site/deploys">'
            "<button>x</button></form>"
        )
        context = chromium().new_context()
        opened = context.new_page()
        opened.goto(daemon.url)
        self.sign_in(opened, daemon)
        expect(opened.get_by_role("heading", name="Repositories")).to_be_visible()
        opened.goto(f"data:text/html,{quote(form)}")
        opened.get_by_role("button").click()
        expect(opened.locator("main")).to_contain_text("Sign in")
        context.close()
        self.assertEqual(len(daemon.get("/github.com/acme/site")["deploys"]), 1)

    def test_ways_out(self) -> None:
        """Signing in never leads to another site (threat 82)."""
        daemon = self.serve("true", settings="")
        for to in ("https://evil.test/", "//evil.test", "/\\evil.test", "/\tevil", "javascript:x"):
            answer = daemon.request(
                "POST",
                "/-/sign-in",
                f"token={daemon.token()}&to={quote(to, safe='')}".encode(),
                {"Content-Type": "application/x-www-form-urlencoded"},
            )
            self.assertEqual((answer.status, answer.headers["Location"]), (303, "/"), to)


class HarmTests(PageTests):
    def pages(self) -> list[str]:
        repo = "/github.com/acme/site"
        listed = ["/", "/-/repositories", "/-/deliveries"]
        return [*listed, repo, f"{repo}/deliveries", DEPLOY.format(1), "/nothing/here"]

    def test_hostile_names(self) -> None:
        """Names, messages and output that mean harm are shown for what they are (threats 76 and 78)."""
        git(self.upstream.work, "config", "user.name", "<b>Ann</b>\u202e")
        daemon = self.serve(
            LOG_TRICKS, message=HOSTILE, branch=BRANCH, env={"X": "<script>alert(7)</script>"}
        )
        push = json.dumps({"X": 1}).encode()
        daemon.deliver(
            push, {"X-GitHub-Event": "<script>alert(8)</script>", "X-GitHub-Delivery": "1"}
        )
        self.assertEqual(daemon.ended(1)["state"], "succeeded", daemon.ended(1))
        for scheme in ("light", "dark"):
            with page(daemon.url, color_scheme=scheme) as opened:
                for path in self.pages()[:-1]:
                    opened.goto(daemon.url + path)
                    opened.wait_for_timeout(200)
                    self.assertEqual(opened.locator("img, main script").count(), 0, path)
                    shown = opened.locator("body").inner_text()
                    self.assertNotRegex(shown, "[\u202a-\u202e\u2066-\u2069]", path)
                    if path in ("/", "/github.com/acme/site", DEPLOY.format(1)):
                        self.assertIn("<img src=x onerror=alert(1)>", shown, path)
                        self.assertIn("⟨U+202E⟩gnp.exe", shown, path)

    def test_accessibility(self) -> None:
        """Nothing of weight against the rules for people who use other means than a screen and a mouse."""
        daemon = self.serve(LOG_TRICKS + "exit 3")
        daemon.ended(1)
        axe = Axe()
        for scheme, widths in (("light", (1280,)), ("dark", (390,))):
            for width in widths:
                options: dict[str, Any] = {
                    "color_scheme": scheme,
                    "viewport": {"width": width, "height": 800},
                }
                with self.signed_in(daemon, options) as opened:
                    for path in [*self.pages()[:-1], "/-/sign-in"]:
                        opened.goto(daemon.url + path)
                        expect(opened.locator("main")).to_be_visible()
                        found = axe.run(opened).response["violations"]
                        told = [
                            (one["id"], one["impact"], [n["html"] for n in one["nodes"]][:3])
                            for one in found
                        ]
                        self.assertEqual(told, [], (path, scheme, width))
                        self.assertLessEqual(
                            opened.evaluate("document.documentElement.scrollWidth"), width, path
                        )

    @contextmanager
    def signed_in(self, daemon: Daemon, options: dict[str, Any]) -> Iterator[Page]:
        with page(daemon.url, **options) as opened:
            opened.goto(f"{daemon.url}/-/sign-in")
            self.sign_in(opened, daemon)
            expect(opened.get_by_role("button", name="Sign out")).to_be_visible()
            yield opened

    def test_sizes(self) -> None:
        """The script and the style sheet stay small."""
        static = ROOT / "integralgit" / "web" / "static"
        script = (static / "live.js").read_text()
        self.assertLess(len(script.splitlines()), 420)
        self.assertLess(len(script.encode()), 20_000)
        self.assertLess((static / "style.css").stat().st_size, 15_000)


def count(viewer: socket.socket, character: bytes) -> int:
    """How often a character comes in a stream of events, until its end."""
    viewer.settimeout(PATIENCE)
    found, last = 0, b""
    while b"event: end" not in last:
        data = viewer.recv(1 << 20)
        if not data:
            raise AssertionError("the stream was cut off")
        found += data.count(character)
        last = last[-20:] + data
    return found


class ProgramTests(PageTests):
    def test_headers(self) -> None:
        """No page can be framed, or runs anything but our own script (threats 76 and 81)."""
        daemon = self.serve("true")
        daemon.ended(1)
        for path in ("/", "/github.com/acme/site", DEPLOY.format(1), "/-/deliveries", "/no/thing"):
            headers = daemon.request("GET", path, headers={"Accept": "text/html"}).headers
            policy = dict(
                part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
            )
            self.assertEqual(policy["default-src"], "'none'", path)
            self.assertEqual(policy["script-src"], "'self'", path)
            self.assertEqual(policy["frame-ancestors"], "'none'", path)
            self.assertEqual(headers["X-Frame-Options"], "DENY", path)
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff", path)

    def test_many_repositories(self) -> None:
        """The overview shows the repositories that were deployed last, and leads to all."""
        daemon = self.serve("true")
        daemon.ended(1)
        few = daemon.get("/")
        self.assertEqual((len(few["repositories"]), few["more_repositories"]), (1, False))
        daemon.stop()
        others = [f"github.com/acme/{n:03}" for n in range(60)]
        connection = sqlite3.connect(daemon.state / "integralgit.sqlite")
        connection.executemany(
            "INSERT INTO repositories (repo, first_seen, provider) VALUES (?, 0, 'github')",
            [(repo,) for repo in others],
        )
        connection.commit()
        connection.close()
        daemon.start()
        many = daemon.get("/")
        first, *rest = [one["repo"] for one in many["repositories"]]
        self.assertEqual((first, rest), ("github.com/acme/site", others[:49]))
        self.assertTrue(many["more_repositories"])
        named = daemon.get("/-/repositories")["repositories"]
        self.assertEqual(named, [*others, "github.com/acme/site"])
        html = {"Accept": "text/html", "Authorization": f"Bearer {daemon.token()}"}
        self.assertIn(b"/-/repositories", daemon.request("GET", "/", headers=html).body)
        everything = daemon.request("GET", "/-/repositories", headers=html).body
        self.assertEqual(everything.count(b"github.com/acme/"), 2 * 61)

    def test_numbers_only(self) -> None:
        """A deploy is a number, and never a path (threat 90)."""
        daemon = self.serve("true")
        daemon.ended(1)
        for number in ("..%2f..%2fintegralgit.sqlite", "1.log", "-1", "1%00", "9" * 30):
            for path in (
                f"/github.com/acme/site/deploys/{quote(number, safe='%')}{rest}"
                for rest in ("", "/log")
            ):
                self.assertIn(daemon.request("GET", path).status, (400, 404), path)

    def test_metrics_and_badge(self) -> None:
        """What was done in numbers, for those who may read; a badge for all, where that is set (threat 92)."""
        from prometheus_client.parser import text_string_to_metric_families

        daemon = self.serve("true", settings="badges = true")
        daemon.ended(1)
        self.assertEqual(daemon.request("GET", "/-/metrics", headers={}).status, 401)
        self.assertEqual(daemon.request("GET", "/-/health", headers={}).json, {"status": "ok"})
        text = daemon.request("GET", "/-/metrics").body.decode()
        samples = {
            (one.name, *sorted(one.labels.values())): one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
        }
        site = "github.com/acme/site"
        self.assertEqual(samples["integralgit_deploys_total", site, "succeeded"], 1)
        self.assertEqual(samples["integralgit_deliveries_total", "accepted"], 1)
        self.assertEqual(samples["integralgit_deploy_seconds_count", site], 1)
        self.assertEqual(samples["integralgit_viewers",], 0)
        badge = daemon.request("GET", f"/{site}/badge.svg", headers={})
        self.assertEqual((badge.status, badge.headers["Content-Type"]), (200, "image/svg+xml"))
        self.assertIn("deploy: succeeded", badge.body.decode())

    def test_a_hundred_viewers(self) -> None:
        """Each gets every byte, one that never reads costs little, and the script does not notice (threat 87)."""
        lines, wide = 5_000, 200
        wait = "while [ ! -e ../go ]; do sleep 0.05; done\n"
        script = f"{wait}yes '{'~' * wide}' | head -n {lines}\n"
        daemon = self.serve(script)
        self.addCleanup((self.folder / "go").touch)
        eventually(lambda: "script" in daemon.log(1), "the script has begun")
        assert daemon.process is not None
        status = Path(f"/proc/{daemon.process.pid}/status")

        def memory() -> int:
            found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
            assert found is not None
            return int(found[1])

        port = urlsplit(daemon.url).port
        asked = f"GET {DEPLOY.format(1)}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        viewers = [socket.create_connection(("127.0.0.1", port)) for _ in range(101)]
        before = memory()
        for viewer in viewers:
            self.addCleanup(viewer.close)
            viewer.sendall(asked)
        (self.folder / "go").touch()
        with ThreadPoolExecutor(20) as threads:
            counts = list(threads.map(lambda viewer: count(viewer, b"~"), viewers[1:]))
        # Each piece comes as text and as HTML.
        self.assertEqual(set(counts), {2 * lines * wide})
        self.assertEqual(daemon.ended(1)["state"], "succeeded")
        self.assertLess(memory() - before, 60_000, "kB more, for 200 MB of events")

    def test_lines_and_find(self) -> None:
        """A log by its lines, and what is wrong with the question where something is."""
        daemon = self.serve("seq 50 | sed 's/^/needle /'")
        daemon.ended(1)
        log = DEPLOY.format(1) + "/log"
        found = daemon.get(f"{log}?lines=10-12")
        self.assertEqual((found["first"], found["last"]), (10, 12))
        self.assertEqual(re.findall(r'id="L(\d+)"', found["html"]), ["10", "11", "12"])
        self.assertEqual([one["name"] for one in found["sections"]], ["fetch", "update", "script"])
        first = found["sections"][-1]["first"]
        self.assertEqual(
            daemon.get(f"{log}?find=needle%2049")["lines"], [first + 49], daemon.log(1)
        )
        self.assertEqual(daemon.get(f"{log}?find=needle%2049&after={first + 49}")["lines"], [])
        for wrong in ("lines=x", "lines=5-3", "lines=0-4", "lines=1-2&lines=3-4"):
            self.assertEqual(daemon.request("GET", f"{log}?{wrong}").status, 400, wrong)

    def test_short_names(self) -> None:
        """Shorter names and other cases lead to every page of a repository."""
        daemon = self.serve("true")
        daemon.ended(1)
        for path in (
            "/site/deploys/1",
            "/acme/site/deploys/1/log?lines=1-2",
            "/GitHub.com/Acme/Site",
        ):
            answer = daemon.request("GET", path)
            self.assertEqual(answer.status, 302, path)
            tail = re.sub("(?i)^/(github.com/)?(acme/)?site", "", path)
            self.assertEqual(answer.headers["Location"], "/github.com/acme/site" + tail)
        self.assertEqual(daemon.request("GET", "/other/site/deploys/1").status, 404)
