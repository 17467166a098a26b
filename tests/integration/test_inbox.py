"""The inbox over HTTP: what came in, what was refused, and deliveries that are replayed."""

from __future__ import annotations

import re
import urllib.parse

from tests.integration.harness import Daemon, Integration, eventually


class InboxTests(Integration):
    def deployed(self) -> Daemon:
        """A server with one delivery that was deployed."""
        self.upstream.configure(
            {"configs": {"base": {"location": str(self.folder / "www"), "branch": "main"}}}
        )
        daemon = self.daemon("public = true")
        daemon.push(self.upstream.commit({"x": "y"}), number="first")
        self.assertEqual(daemon.ended(1)["state"], "succeeded")
        return daemon

    def test_a_replay_by_the_api(self) -> None:
        """An accepted delivery is deployed again, also after a restart; acting needs the token."""
        daemon = self.deployed()
        path = "/github.com/acme/site/deliveries/1/replay"
        json = {"Accept": "application/json"}
        self.assertEqual(daemon.request("POST", path, headers=json).status, 401)
        daemon.stop()
        daemon.start()
        answer = daemon.request("POST", path)
        self.assertEqual((answer.status, answer.json["outcome"]), (202, "accepted"))
        self.assertEqual(answer.json["deploys"][0]["id"], 2)
        self.assertEqual(daemon.ended(2)["state"], "succeeded")
        for wrong in ("/github.com/acme/site/deliveries/99/replay", "/a/b/deliveries/1/replay"):
            self.assertEqual(daemon.request("POST", wrong).status, 404)

    def test_a_replay_by_the_page(self) -> None:
        """The button of a signed-in person's page works; a form from elsewhere does not."""
        daemon = self.deployed()
        form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        body = urllib.parse.urlencode({"token": daemon.token()}).encode()
        cookie = daemon.request("POST", "/-/sign-in", body, form).headers["Set-Cookie"]
        session = {**form, "Cookie": cookie.partition(";")[0]}
        page = daemon.request("GET", "/github.com/acme/site", headers=session).body.decode()
        found = re.search(r'action="([^"]+/replay)"><input [^>]*name="csrf" value="(\w+)"', page)
        assert found is not None, page
        action, csrf = found.groups()
        right = urllib.parse.urlencode({"csrf": csrf}).encode()
        self.assertEqual(daemon.request("POST", action, b"csrf=wrong", session).status, 403)
        foreign = {**session, "Origin": "https://evil.example"}
        self.assertEqual(daemon.request("POST", action, right, foreign).status, 403)
        self.assertEqual(daemon.request("POST", action, right, form).status, 401)
        answer = daemon.request("POST", action, right, {**session, "Origin": daemon.url})
        self.assertEqual(
            (answer.status, answer.headers["Location"]), (303, "/github.com/acme/site")
        )
        self.assertEqual(daemon.ended(2)["state"], "succeeded")

    def test_refused_ones_are_apart(self) -> None:
        """Refused requests are counted by cause and source, and displace no delivery."""
        daemon = self.deployed()
        for _ in range(30):
            answer = daemon.deliver(b"{}", {"X-GitHub-Event": "push"}, secret=b"wrong")
            self.assertEqual(answer.status, 401)
        daemon.request("POST", "/update", b"x", {"Content-Type": "text/plain"})
        counts = eventually(
            lambda: (c := daemon.get("/-/deliveries")["refused"]["counts"]) and len(c) == 2 and c,
            "the refusals are written",
        )
        self.assertEqual(
            {(one["status"], one["source"], one["count"]) for one in counts},
            {(401, "127.0.0.1", 30), (415, "127.0.0.1", 1)},
        )
        page = daemon.get("/-/deliveries")
        self.assertEqual([one["provider_id"] for one in page["deliveries"]], ["first"])
        html = daemon.request("GET", "/-/deliveries", headers={"Accept": "text/html"}).body
        self.assertIn(b">Refused</h2>", html)
        log = (daemon.state / "integralgit.log").read_text()
        for secret in (daemon.secret().decode(), daemon.token()):
            self.assertNotIn(secret, log)
