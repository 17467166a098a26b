"""What people may do: deploy now, cancel, retry, roll back, freeze; by the API and by the pages."""

from __future__ import annotations

import shlex
from typing import Any

from tests.integration.harness import Answer, Daemon, Integration, eventually, git

SITE = "/github.com/acme/site"
WAITS = """#!/bin/sh
trap 'echo "asked to end"; exit 9' TERM
echo "begun $INTEGRALGIT_TRIGGER"
while [ -e ../wait ]; do sleep 0.05; done
"""


class Acts(Integration):
    def start(self, settings: str = "") -> Daemon:
        base = {"location": str(self.folder / "www"), "branch": "main", "script": "./deploy.sh"}
        self.upstream.configure({"configs": {"base": base}})
        self.first = self.upstream.commit({"deploy.sh": WAITS, "x": "1"})
        return self.daemon(settings)

    def act(self, daemon: Daemon, path: str, body: bytes = b"") -> Answer:
        return daemon.request("POST", SITE + path, body)

    def deployed(self, daemon: Daemon, answer: Answer) -> Any:
        """The deploy that an act queued, once it has ended."""
        self.assertEqual(answer.status, 202, answer.body)
        return daemon.ended(answer.json["deploys"][0]["id"])

    def test_deploy_now(self) -> None:
        """It works for a repository that no push has told of, and fetches what is newest."""
        daemon = self.start()
        deploy = self.deployed(daemon, self.act(daemon, "/deploys"))
        self.assertEqual((deploy["state"], deploy["trigger"]), ("succeeded", "manual"))
        self.assertEqual(deploy["commit"], self.first)
        second = self.upstream.commit({"x": "2"})
        self.assertEqual(self.deployed(daemon, self.act(daemon, "/deploys"))["commit"], second)
        refused = daemon.request("POST", "/github.com/others/site/deploys")
        self.assertEqual(refused.status, 409)
        self.assertIn("no [[trust]]", refused.json["error"])

    def test_cancel(self) -> None:
        """A running script is asked to end, a waiting deploy ends at once, an ended one is refused."""
        daemon = self.start()
        (self.folder / "wait").touch()
        daemon.push(self.first)
        eventually(lambda: "begun" in daemon.log(1), "the script runs")
        daemon.push(self.upstream.commit({"x": "2"}))
        self.assertEqual(self.act(daemon, "/deploys/2/cancel").json["state"], "cancelled")
        self.assertEqual(self.act(daemon, "/deploys/1/cancel").status, 202)
        deploy = daemon.ended(1)
        self.assertEqual((deploy["state"], deploy["exit_code"]), ("cancelled", 9))
        self.assertIn("asked to end", daemon.log(1))
        again = self.act(daemon, "/deploys/1/cancel")
        self.assertEqual(
            (again.status, again.json["error"]), (409, "deploy 1 has ended: cancelled.")
        )

    def test_cancel_after_a_restart(self) -> None:
        """A script that was picked up again can be cancelled too."""
        daemon = self.start()
        (self.folder / "wait").touch()
        daemon.push(self.first)
        eventually(lambda: "begun" in daemon.log(1), "the script runs")
        daemon.stop()
        daemon.start()
        self.assertEqual(self.act(daemon, "/deploys/1/cancel").status, 202)
        self.assertEqual(daemon.ended(1)["state"], "cancelled")

    def test_retry_and_roll_back(self) -> None:
        """A retry deploys the newest commit, a roll-back an earlier one, which stays until a push (threat 59)."""
        daemon = self.start()
        daemon.push(self.first)
        daemon.ended(1)
        broken = self.upstream.commit({"deploy.sh": "#!/bin/sh\nexit 1\n"})
        daemon.push(broken)
        self.assertEqual(daemon.ended(2)["state"], "failed")
        retried = self.deployed(daemon, self.act(daemon, "/deploys/2/retry"))
        self.assertEqual((retried["trigger"], retried["commit"]), ("retry", broken))
        base = {"location": str(self.folder / "www"), "branch": "main", "script": "./deploy.sh"}
        config = self.upstream.configure({"configs": {"base": {**base, "timeout": 60}}})
        back = self.deployed(daemon, self.act(daemon, "/deploys/1/rollback"))
        self.assertEqual((back["state"], back["trigger"]), ("succeeded", "rollback"))
        # Only the commit goes back, not the config.
        self.assertEqual(back["config_commit"], config)
        self.assertEqual((back["commit"], back["head"]), (self.first, self.first))
        self.assertEqual(git(self.folder / "www", "rev-parse", "HEAD"), self.first)
        refused = self.act(daemon, "/deploys/2/rollback")
        self.assertEqual(refused.status, 409)
        third = self.upstream.commit({"deploy.sh": WAITS, "x": "3"})
        daemon.push(third)
        self.assertEqual(daemon.ended(5)["commit"], third)
        self.assertEqual(self.act(daemon, "/deploys/99/retry").status, 404)

    def test_a_roll_back_without_the_git_host(self) -> None:
        """It goes on with the commit that is there, where the host or the branch is away."""
        daemon = self.start()
        commits = [self.first, *(self.upstream.commit({"x": str(n)}) for n in (2, 3))]
        for number, commit in enumerate(commits, 1):
            git(self.upstream.bare, "update-ref", "refs/heads/main", commit)
            daemon.push(commit)
            daemon.ended(number)
        away = self.upstream.bare.with_name("away")
        self.upstream.bare.rename(away)
        back = self.deployed(daemon, self.act(daemon, "/deploys/2/rollback"))
        self.assertEqual(
            (back["state"], back["commit"], back["reason"]), ("succeeded", commits[1], None)
        )
        self.assertIn("the commit to go back to is here", daemon.log(4))
        failed = self.deployed(daemon, self.act(daemon, "/deploys/3/retry"))
        self.assertEqual(failed["state"], "failed")
        away.rename(self.upstream.bare)
        git(self.upstream.bare, "update-ref", "-d", "refs/heads/main")
        back = self.deployed(daemon, self.act(daemon, "/deploys/1/rollback"))
        self.assertEqual((back["state"], back["head"]), ("succeeded", self.first))

    def test_a_roll_back_under_local_commits(self) -> None:
        """It says that it cannot be done, and changes nothing."""
        daemon = self.start()
        www = self.folder / "www"
        daemon.push(self.first)
        daemon.ended(1)
        daemon.push(self.upstream.commit({"x": "2"}))
        daemon.ended(2)
        (www / "mine.txt").write_text("mine")
        git(www, "add", "mine.txt")
        git(www, "commit", "--quiet", "-m", "Mine")
        head = git(www, "rev-parse", "HEAD")
        back = self.deployed(daemon, self.act(daemon, "/deploys/1/rollback"))
        self.assertEqual(back["state"], "failed")
        self.assertIn("of its own on top of what is to be rolled back", back["reason"])
        self.assertEqual(git(www, "rev-parse", "HEAD"), head)

    def ways_out(self, log: str) -> list[str]:
        """The gits that a deploy's log proposes for the checkout."""
        there = f": git -C {self.folder / 'www'} "
        return [line.partition(there)[2] for line in log.splitlines() if there in line]

    def test_the_ways_out_of_a_refusal(self) -> None:
        """The log says how to discard what is in the way, and that works."""
        daemon = self.start()
        www = self.folder / "www"
        daemon.push(self.first)
        daemon.ended(1)
        (www / "x").write_text("mine")
        daemon.push(self.upstream.commit({"x": "2"}))
        self.assertEqual(daemon.ended(2)["state"], "failed")
        discard, keep = self.ways_out(daemon.log(2))
        git(www, *shlex.split(keep.replace("commit", "commit --quiet -m Mine")))
        conflict = self.deployed(daemon, self.act(daemon, "/deploys/2/retry"))
        self.assertIn("conflict", conflict["reason"])
        merge, drop = self.ways_out(daemon.log(3))
        self.assertTrue(merge.startswith("merge "))
        git(www, *shlex.split(drop))
        (www / "x").write_text("mine again")
        third = self.upstream.commit({"x": "3"})
        daemon.push(third)
        self.assertEqual(daemon.ended(4)["state"], "failed")
        git(www, *shlex.split(discard))
        done = self.deployed(daemon, self.act(daemon, "/deploys/4/retry"))
        self.assertEqual((done["state"], done["head"]), ("succeeded", third))
        self.assertEqual((www / "x").read_text(), "3")

    def test_nothing_to_deploy(self) -> None:
        """A repository that cannot be read is not remembered, and the answer says why."""
        daemon = self.start()
        answer = daemon.request("POST", "/github.com/acme/none/deploys")
        self.assertEqual(answer.status, 409)
        self.assertIn("git ls-remote failed", answer.json["error"])
        self.assertEqual(daemon.get("/")["repositories"], [])

    def test_a_freeze(self) -> None:
        """Pushes wait as one while a repository is frozen, which the answer and the page say."""
        daemon = self.start()
        daemon.push(self.first)
        daemon.ended(1)
        frozen = self.act(daemon, "/freeze", b"reason=the+fair&for=1h")
        self.assertEqual(frozen.json["frozen"]["reason"], "the fair")
        commits = [self.upstream.commit({"x": str(n)}) for n in range(3)]
        for commit in commits:
            self.assertIn("frozen", daemon.push(commit).json["reason"])
        daemon.stop()
        daemon.start()
        page = daemon.get(SITE)
        self.assertEqual(page["frozen"]["reason"], "the fair")
        states = [one["state"] for one in page["deploys"]]
        self.assertEqual(states, ["queued", "superseded", "superseded", "succeeded"])
        self.assertEqual(self.act(daemon, "/unfreeze").json["frozen"], None)
        self.assertEqual(daemon.ended(4)["commit"], commits[-1])
        self.assertEqual(self.act(daemon, "/unfreeze").status, 409)
        for length in (b"for=ever", b"for=0", b"for=3661d"):
            self.assertEqual(self.act(daemon, "/freeze", length).status, 400, length)
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {daemon.token()}",
            "Content-Type": "application/json",
        }
        answer = daemon.request("POST", f"{SITE}/freeze", b'{"for": "2h"}', headers)
        self.assertEqual(answer.status, 415)
        self.assertIn("as a form", answer.json["error"])
        self.assertEqual(daemon.request("POST", f"{SITE}/deploys", b"{}", headers).status, 202)

    def test_a_freeze_that_ends(self) -> None:
        """What has waited is deployed when the freeze is over."""
        daemon = self.start()
        daemon.push(self.first)
        daemon.ended(1)
        self.act(daemon, "/freeze", b"for=6")
        second = self.upstream.commit({"x": "2"})
        daemon.push(second)
        self.assertEqual(daemon.deploy(2)["state"], "queued")
        self.assertEqual(daemon.ended(2)["commit"], second)
