"""Pushes that no delivery told of are found by looking."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.integration.harness import Daemon, Integration, eventually, git, github_push

SITE, SHOP = "/github.com/acme/site", "/github.com/acme/shop"


class Polls(Integration):
    def configure(self, branch: str = "main") -> str:
        return self.upstream.configure(
            {"configs": {"base": {"location": str(self.folder / "www"), "branch": branch}}}
        )

    def newest(self, daemon: Daemon, commit: str) -> Any:
        """The newest deploy, once it has brought that commit."""

        def look() -> Any:
            deploys = daemon.get(SITE)["deploys"]
            done = deploys and deploys[0]["commit"] == commit and deploys[0]["finished_at"]
            return deploys[0] if done else None

        return eventually(look, f"{commit} is deployed")

    def page(self, daemon: Daemon) -> str:
        return daemon.request("GET", SITE, headers={"Accept": "text/html"}).body.decode()

    def test_a_missed_push(self) -> None:
        """It is deployed, and the page says that the hook may be broken, until a delivery comes."""
        self.configure()
        first = self.upstream.commit({"x": "1"})
        daemon = self.daemon("poll = 1\npublic = true")
        daemon.push(first)
        daemon.ended(1)
        second = self.upstream.commit({"x": "2"})
        deploy = self.newest(daemon, second)
        self.assertEqual((deploy["trigger"], deploy["state"]), ("poll", "succeeded"))
        self.assertIn("the webhook may be broken", self.page(daemon))
        daemon.push(second)
        self.assertNotIn("the webhook may be broken", self.page(daemon))

    def test_while_no_server_ran(self) -> None:
        """A push that came while no server ran is found at the next start."""
        self.configure()
        daemon = self.daemon("poll = 600")
        daemon.push(self.upstream.commit({"x": "1"}))
        daemon.ended(1)
        daemon.stop()
        second = self.upstream.commit({"x": "2"})
        daemon.start()
        self.assertEqual(self.newest(daemon, second)["trigger"], "poll")

    def test_what_counts_as_seen(self) -> None:
        """Not deployed: a tip that was told of, an older commit rolled back to, a branch just named."""
        self.configure()
        first = self.upstream.commit({"x": "1"})
        daemon = self.daemon("poll = 1")
        daemon.push(first)
        daemon.ended(1)
        daemon.push(self.upstream.commit({"x": "2"}))
        daemon.ended(2)
        self.assertEqual(daemon.request("POST", f"{SITE}/deploys/1/rollback").status, 202)
        daemon.ended(3)
        self.upstream.commit({"x": "3"}, branch="dev")
        self.configure("dev")
        eventually(
            lambda: daemon.get(SITE)["config"][0]["values"]["branch"]["value"] == "dev",
            "the config is read without being told",
        )
        time.sleep(2.5)  # two more looks
        self.assertEqual(len(daemon.get(SITE)["deploys"]), 3)
        self.assertEqual(git(self.folder / "www", "rev-parse", "HEAD"), first)
        later = self.upstream.commit({"x": "4"}, branch="dev")
        self.assertEqual(self.newest(daemon, later)["branch"], "dev")

    def test_a_renamed_repository(self) -> None:
        """Its old name, to which its git host still answers, deploys nothing where the new one does."""
        self.configure()
        daemon = self.daemon("poll = 0")
        daemon.push(self.upstream.commit({"x": "1"}))
        daemon.ended(1)
        shop = self.upstream.bare.with_name("shop.git")
        shop.symlink_to(self.upstream.bare)
        git(self.folder / "www", "remote", "set-url", "origin", str(shop))
        push = github_push(self.upstream.commit({"x": "2"}))
        push["repository"] |= {"name": "shop", "full_name": "acme/shop"}
        headers = {"X-GitHub-Event": "push", "X-GitHub-Delivery": "renamed"}
        self.assertEqual(daemon.deliver(json.dumps(push).encode(), headers).status, 202)
        eventually(
            lambda: daemon.get(f"{SHOP}/deploys/2")["finished_at"], "the new one is deployed"
        )
        daemon.stop()
        third = self.upstream.commit({"x": "3"})
        daemon.settings = daemon.settings.replace("poll = 0", "poll = 1")
        daemon.start()
        www = self.folder / "www"
        eventually(lambda: git(www, "rev-parse", "HEAD") == third, "it is deployed")
        time.sleep(2.5)  # two more looks
        states = [one["state"] for one in daemon.get(SHOP)["deploys"]]
        self.assertIn("succeeded", states)
        self.assertNotIn("failed", states)
        self.assertEqual([one["id"] for one in daemon.get(SITE)["deploys"]], [1])

    def test_a_repository_that_a_trust_names(self) -> None:
        """It is deployed without any delivery."""
        self.configure()
        first = self.upstream.commit({"x": "1"})
        url = self.folder / "githost" / "{full_name}.git"
        daemon = Daemon(
            self.folder / "server",
            'host_names = ["web1"]\npoll = 1\n'
            f'[[trust]]\nrepos = ["github.com/acme/site"]\nurl = "{url}"\n',
        )
        self.addCleanup(daemon.stop)
        daemon.start()
        eventually(lambda: daemon.request("GET", SITE).status == 200, "it is known")
        self.assertEqual(self.newest(daemon, first)["trigger"], "poll")
