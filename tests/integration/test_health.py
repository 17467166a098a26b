"""Health after a deploy, and going back: the page, the status and the message tell one story."""

from __future__ import annotations

import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.integration.harness import PATIENCE, Daemon, eventually, git
from tests.integration.reporting import CHAT, SITE, Reporting

SCRIPT = """#!/bin/sh
echo "$INTEGRALGIT_TRIGGER" >>../runs
while [ -e ../wait ]; do sleep 0.05; done
"""


class Health(Reporting):
    """A site that answers with the status that stands in a file of its checkout, or as told."""

    def setUp(self) -> None:
        super().setUp()
        self.status: int | None = None
        test, www = self, self.folder / "www"

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = (www / "status").read_text() if test.status is None else str(test.status)
                self.send_response(int(text))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Be silent."""

        site = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        site.daemon_threads = True
        threading.Thread(target=site.serve_forever, args=(0.05,), daemon=True).start()
        self.addCleanup(site.server_close)
        self.addCleanup(site.shutdown)
        self.url = f"http://ann:canary@127.0.0.1:{site.server_address[1]}/health"
        self.configure()
        self.commit = self.change("200")

    def configure(self, **more: Any) -> None:
        """Let the site's health be asked."""
        base: dict[str, Any] = {"location": str(self.folder / "www"), "branch": "main"}
        base |= {"script": "./deploy.sh"}
        base |= {"health": self.url, "health_timeout": "2s", "rollback": True, **more}
        self.config = self.upstream.configure({"configs": {"base": base}})

    def change(self, status: str) -> str:
        """Commit a version of the site that answers so."""
        return self.upstream.commit({"deploy.sh": SCRIPT, "status": status})

    def runs(self) -> list[str]:
        """The triggers with which the script ran."""
        return (self.folder / "runs").read_text().split()

    def steps(self, deploy: Any) -> dict[str, str]:
        """The states of a deploy's steps."""
        return {step["name"]: step["state"] for step in deploy["steps"]}

    def test_a_roll_back(self) -> None:
        """The unhealthy deploy fails, another brings the last good commit back, and all say so."""
        daemon = self.start(deployments=True)
        daemon.push(self.commit)
        self.assertEqual(daemon.ended(1)["state"], "succeeded")
        self.told(self.commit, "success")
        bad = self.change("503")
        daemon.push(bad)
        failed, back = daemon.ended(2), daemon.ended(3)
        self.assertEqual(self.steps(failed)["health"], "failed")
        self.assertEqual((failed["state"], failed["rolled_back_by"]), ("failed", 3))
        where = self.url.replace("ann:canary@", "")
        reason = (
            f"{where} was not healthy within 2 seconds: the answer was 503;"
            f" deploy 3 rolls back to {self.commit[:12]}"
        )
        self.assertEqual(failed["reason"], reason)
        self.assertEqual((back["state"], back["trigger"]), ("succeeded", "rollback"))
        self.assertEqual((back["rolls_back"], back["commit"]), (2, self.commit))
        self.assertEqual(git(self.folder / "www", "rev-parse", "HEAD"), self.commit)
        self.assertEqual(self.runs(), ["push", "push", "rollback"])
        self.assertIn(f"GET {where}: the answer was 503\n", daemon.log(2))
        self.assertIn(f"GET {where}: the answer was 200\n", daemon.log(3))
        self.tell_the_same(daemon, bad, reason)

    def tell_the_same(self, daemon: Daemon, bad: str, reason: str) -> None:
        """The git host, the chat and the pages tell of the roll-back as the deploys do."""
        self.told(bad, "failure")
        self.assertIn(reason[:80], self.receiver.statuses[bad][-1]["description"])
        eventually(
            lambda: self.receiver.statuses[self.commit][-1]["description"].startswith(
                "Rolled back"
            ),
            "the good commit is told of again",
        )
        self.assertEqual(self.receiver.states(self.commit)[-1], "success")
        texts = eventually(
            lambda: (
                [one["text"] for one in self.receiver.said(CHAT)][1:] and self.receiver.said(CHAT)
            ),
            "the chat hears of both",
        )
        self.assertIn(reason, texts[0]["text"])
        self.assertIn("was rolled back", texts[1]["text"])
        for number, other in ((2, 3), (3, 2)):
            page = daemon.request("GET", f"{SITE}/deploys/{number}", headers=self.html(daemon))
            self.assertIn(f'href="{SITE}/deploys/{other}"', page.body.decode())
            self.assertNotIn("canary", page.body.decode())

    def html(self, daemon: Daemon) -> dict[str, str]:
        """The headers of somebody with a browser."""
        return {"Authorization": f"Bearer {daemon.token()}", "Accept": "text/html"}

    def test_nothing_to_go_back_to(self) -> None:
        """A first deploy that is not healthy fails, and says that there is nothing to go back to."""
        self.status = 500
        daemon = self.daemon()
        daemon.push(self.commit)
        deploy = daemon.ended(1)
        self.assertTrue(
            deploy["reason"].endswith("; there is no earlier good commit to go back to")
        )
        self.assertEqual((deploy["state"], deploy["rolled_back_by"]), ("failed", None))

    def test_a_roll_back_that_is_not_healthy(self) -> None:
        """It fails, and that is the end of it."""
        daemon = self.daemon()
        daemon.push(self.commit)
        daemon.ended(1)
        self.status = 500
        daemon.push(self.change("200"))
        daemon.ended(2)
        deploy = daemon.ended(3)
        self.assertEqual((deploy["state"], deploy["rolls_back"]), ("failed", 2))
        self.assertTrue(deploy["reason"].endswith("; a roll-back is not rolled back"))
        self.assertEqual(len(daemon.get(SITE)["deploys"]), 3)

    def waiting(self, daemon: Daemon) -> None:
        """Wait until the first deploy's health is asked."""
        eventually(lambda: "the answer was 500" in daemon.log(1), "its health is asked")

    def test_restarts(self) -> None:
        """A server that is started in the health step goes on there; the script runs once."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(how):
                self.status = 500
                self.configure(health_timeout="5m")
                daemon = Daemon(self.folder / how.name, self.settings())
                self.addCleanup(daemon.stop)
                daemon.start()
                daemon.push(self.commit)
                self.waiting(daemon)
                daemon.stop(how)
                daemon.start()
                self.status = 200
                deploy = daemon.ended(1)
                self.assertEqual((deploy["state"], deploy["exit_code"]), ("succeeded", 0))
                names = ["fetch", "update", "script", "health"]
                self.assertEqual(self.steps(deploy), dict.fromkeys(names, "succeeded"))
                self.assertEqual([step["name"] for step in deploy["steps"]], names)
                self.assertEqual(self.runs(), ["push"])
                (self.folder / "runs").unlink()

    def settings(self) -> str:
        """The settings of a server that trusts the upstream."""
        url = self.folder / "githost" / "{full_name}.git"
        return f'host_names = ["web1"]\n[[trust]]\nrepos = ["github.com/acme/*"]\nurl = "{url}"\n'

    def test_an_adopted_script(self) -> None:
        """A script that outlived its server is followed by the health step, and by its roll-back."""
        daemon = self.daemon()
        daemon.push(self.commit)
        daemon.ended(1)
        (self.folder / "wait").touch()
        daemon.push(self.change("503"))
        eventually(lambda: self.runs()[1:], "the second script runs")
        daemon.stop()
        daemon.start()
        (self.folder / "wait").unlink()
        deploy = daemon.ended(2)
        self.assertEqual((deploy["state"], deploy["rolled_back_by"]), ("failed", 3))
        self.assertEqual(self.steps(deploy)["script"], "succeeded")
        self.assertEqual(daemon.ended(3)["state"], "succeeded")

    def test_cancel(self) -> None:
        """A cancel ends the wait, and nothing is rolled back."""
        self.status = 500
        self.configure(health_timeout="5m")
        daemon = self.daemon()
        daemon.push(self.commit)
        self.waiting(daemon)
        self.assertEqual(daemon.request("POST", f"{SITE}/deploys/1/cancel").status, 202)
        deploy = daemon.ended(1)
        self.assertEqual(deploy["state"], "cancelled")
        self.assertEqual(deploy["reason"], "cancelled while its health was awaited")
        self.assertTrue(Path(self.folder / "www").exists())

    def test_cancel_while_nothing_is_answered(self) -> None:
        """A cancel is not lost while a question is unanswered, and nothing is rolled back."""
        daemon = self.daemon()
        daemon.push(self.commit)
        daemon.ended(1)
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        silent.settimeout(PATIENCE)
        self.url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        self.configure(health_timeout="5m")
        daemon.push(self.change("200"))
        asking, _ = silent.accept()
        self.addCleanup(asking.close)
        self.assertTrue(asking.recv(1))
        self.assertEqual(daemon.request("POST", f"{SITE}/deploys/2/cancel").status, 202)
        deploy = daemon.ended(2)
        self.assertEqual((deploy["state"], deploy["rolled_back_by"]), ("cancelled", None))
        self.assertNotIn("GET", daemon.log(2))
