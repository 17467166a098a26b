"""Statuses and messages, told by a real server to a real one that is as troublesome as real ones are."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.integration.harness import eventually
from tests.integration.receiver import CUT, HEARD, REDIRECT, SLOW, Receiver, Relay
from tests.integration.reporting import CHAT, SITE, Reporting


class Reports(Reporting):
    def test_the_whole_story(self) -> None:
        """Statuses, deployments and messages say what the page says."""
        daemon = self.start(deployments=True)
        daemon.push(self.commit)
        deploy = daemon.ended(1)
        self.told(self.commit, "success")
        last = self.receiver.statuses[self.commit][-1]
        self.assertEqual(last["context"], "integralgit/web1")
        self.assertEqual(last["target_url"], deploy["links"]["self"])
        self.told(self.config, "success")
        (made,) = eventually(
            lambda: [one for one in self.receiver.deployments if one["statuses"][-1:]],
            "a deployment",
        )
        eventually(lambda: made["statuses"][-1]["state"] == "success", "the deployment's end")
        self.assertEqual((made["ref"], made["environment"]), (self.commit, "web1"))
        self.assertEqual(made["statuses"][-1]["log_url"], deploy["links"]["self"])
        (self.folder / "fail").touch()
        failed = self.push(daemon, a="1")
        deploy = daemon.ended(2)
        self.told(failed, "failure")
        self.assertIn(deploy["reason"], self.receiver.statuses[failed][-1]["description"])
        (chat,) = eventually(lambda: self.receiver.said(CHAT), "the chat hears of it")
        self.assertIn(deploy["reason"], chat["text"])
        self.assertIn(deploy["links"]["self"], chat["text"])
        self.push(daemon, a="2")
        daemon.ended(3)
        (self.folder / "fail").unlink()
        self.push(daemon, a="3")
        daemon.ended(4)
        texts = eventually(
            lambda: [one["text"] for one in self.receiver.said(CHAT)][1:], "the recovery is told"
        )
        self.assertEqual(len(texts), 1)
        self.assertIn("works again", texts[0])
        types = eventually(lambda: self.receiver.said("/program")[2:], "the program hears of all")
        self.assertEqual([one["type"] for one in types], ["deploy.recovered"])

    def test_the_config(self) -> None:
        """A commit to the branch of the config is told its first error, with host, layer and key."""
        daemon = self.start()
        daemon.push(self.commit)
        daemon.ended(1)
        broken = self.upstream.configure(
            {"configs": {"base": {"location": str(self.folder / "www"), "timeout": "soon"}}}
        )
        daemon.push(broken, "integralgit")
        self.told(broken, "failure")
        text = self.receiver.statuses[broken][-1]["description"]
        self.assertIn("host web1, layer base, key timeout", text)

    def test_troubles(self) -> None:
        """However the receiver behaves, each end is told once, in order, and no deploy waits (threats 85 and 91)."""
        elsewhere = Receiver()
        self.addCleanup(elsewhere.close)
        self.receiver.elsewhere = f"{elsewhere.url}/stolen"
        daemon = self.start()
        self.receiver.troubles = [
            HEARD,
            (500, {}),
            CUT,
            (429, {"Retry-After": "1"}),
            (403, {"Retry-After": "1"}),
        ]
        commits = [self.commit]
        daemon.push(self.commit)
        for number in (2, 3):
            daemon.ended(number - 1)
            commits.append(self.push(daemon, a=str(number)))
        self.assertEqual([daemon.ended(number)["state"] for number in (1, 2, 3)], ["succeeded"] * 3)
        for commit in commits:
            states = self.told(commit, "success")
            self.assertEqual(states.count("success"), 1, states)
        succeeded = [
            commit
            for heard in self.receiver.heard
            for commit in commits
            if heard.path.endswith(f"/statuses/{commit}") and heard.body["state"] == "success"
        ]
        self.assertEqual(succeeded, commits)
        eventually(lambda: self.receiver.said("/program")[2:], "the program hears of all")
        self.assertEqual(elsewhere.heard, [])

    def test_a_message_that_was_heard(self) -> None:
        """A message whose answer was cut off comes again under its own id, before the next one."""
        daemon = self.start()
        self.receiver.troubled, self.receiver.troubles = "/program", [HEARD, (503, {})]
        daemon.push(self.commit)
        daemon.ended(1)
        self.push(daemon, a="1")
        daemon.ended(2)
        eventually(lambda: self.receiver.said("/program")[2:], "the program hears of both")
        heard = [one for one in self.receiver.heard if one.path == "/program"]
        names = [one.headers["webhook-id"] for one in heard]
        self.assertEqual((names[0], len(names), len(set(names))), (names[1], 3, 2))

    def test_no_redirect_is_followed(self) -> None:
        """A redirect is not followed, and the token goes nowhere else (threat 85)."""
        elsewhere = Receiver()
        self.addCleanup(elsewhere.close)
        self.receiver.elsewhere = f"{elsewhere.url}/stolen"
        daemon = self.start()
        self.receiver.troubles = [REDIRECT] * 20
        daemon.push(self.commit)
        daemon.ended(1)
        eventually(
            lambda: "redirects are not followed" in (daemon.state / "integralgit.log").read_text(),
            "it is said",
        )
        self.assertEqual(elsewhere.heard, [])

    def test_a_restart_in_between(self) -> None:
        """What a server could not tell, the next one does; what may have been heard is asked first."""
        daemon = self.start()
        self.receiver.troubles = [SLOW]
        daemon.push(self.commit)
        daemon.ended(1)
        second = self.push(daemon, a="1")
        daemon.ended(2)
        daemon.stop()
        self.receiver.go.set()
        daemon.start()
        for commit in (self.commit, second, self.config):
            states = self.told(commit, "success")
            self.assertEqual(states.count("success"), 1, states)

    def test_killed_in_between(self) -> None:
        """The same when the server is killed, and while nobody listens at the receiver's."""
        daemon = self.start()
        port = self.receiver.port
        self.receiver.close()
        daemon.push(self.commit)
        daemon.ended(1)
        daemon.stop(signal.SIGKILL)
        self.receiver = Receiver(port)
        daemon.start()
        self.assertEqual(self.told(self.commit, "success"), ["success"])
        events = eventually(lambda: self.receiver.said("/program"), "the program hears of it")
        self.assertEqual([one["type"] for one in events], ["deploy.succeeded"])

    def test_mail(self) -> None:
        """A failure is told by mail, through the relay that the settings name."""
        relay = Relay()
        self.addCleanup(relay.close)
        daemon = self.daemon(
            '[[notify]]\nform = "mail"\nto = ["ann@example.com", "bob@example.com"]\n'
            f'from = "ig@web1.example.com"\nrelay = "{relay.address}"\n'
        )
        (self.folder / "fail").touch()
        daemon.push(self.commit)
        deploy = daemon.ended(1)
        (mail,) = eventually(lambda: relay.mails, "the mail comes")
        self.assertIn("Subject: Deploy 1 of github.com/acme/site main on web1 failed", mail)
        self.assertIn(deploy["reason"], mail)
        self.assertIn(deploy["links"]["self"], "".join(line.rstrip("=") for line in mail))
        self.assertEqual(daemon.get("/-/outbox")["sent"][0]["receiver"], "notify ann@example.com")

    def test_a_mail_that_is_refused_to_some(self) -> None:
        """Who has a mail gets it once, over a restart too; who is refused hears later, or is named."""
        refusals = {"bob@example.com": ["450 greylisted"] * 2, "eve@example.com": ["550 no eve"]}
        relay = Relay(refusals)
        self.addCleanup(relay.close)
        daemon = self.daemon(
            '[[notify]]\nform = "mail"\nfrom = "ig@web1.example.com"\n'
            'to = ["ann@example.com", "bob@example.com", "eve@example.com"]\n'
            f'relay = "{relay.address}"\n'
        )
        (self.folder / "fail").touch()
        daemon.push(self.commit)
        daemon.ended(1)
        eventually(lambda: relay.to, "the mail comes")
        daemon.stop()
        daemon.start()
        (one,) = eventually(lambda: daemon.get("/-/outbox")["given_up"], "the mail's end")
        self.assertEqual(
            one["problem"],
            "the relay refused eve@example.com: 550 no eve; the others have it",
        )
        self.assertEqual(relay.to, [["ann@example.com"], ["bob@example.com"]])

    def test_secrets(self) -> None:
        """No token, URL or secret is in any file, page, log or output (threat 86)."""
        daemon = self.start(deployments=True)
        self.receiver.troubles = [(422, {}), (401, {}), (500, {})]
        (self.folder / "fail").touch()
        daemon.push(self.commit)
        daemon.ended(1)
        eventually(lambda: self.receiver.said(CHAT), "the chat hears of it")
        pages = ["/", SITE, f"{SITE}/deploys/1", f"{SITE}/deploys/1/log", "/-/deliveries"]
        pages += ["/-/outbox", "/-/health"]
        auth = {"Authorization": f"Bearer {daemon.token()}"}
        for page in pages:
            for accept in ("application/json", "text/html"):
                answer = daemon.request("GET", page, headers={**auth, "Accept": accept})
                self.assertNotIn(b"canary", answer.body, page)
        daemon.stop()
        files = [path for path in daemon.state.rglob("*") if path.is_file()]
        files += daemon.folder.glob("output-*")
        self.assertIn(Path(daemon.state / "integralgit.log"), files)
        for path in files:
            self.assertNotIn(b"canary", path.read_bytes(), path)
