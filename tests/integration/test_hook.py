"""The `post-receive` hook that comes with the package, with real pushes to a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from integralgit import hook
from tests.integration.harness import Daemon, Integration, git


class Hook(Integration):
    def install(self, daemon: Daemon, *programs: str) -> None:
        """Put the hook into the upstream repository; with programs given, it finds only these."""
        script = self.upstream.bare / "hooks" / "post-receive"
        text = hook.text()
        if programs:
            found = self.folder / "bin"
            found.mkdir()
            for program in programs:
                path = sys.executable if program == "python3" else shutil.which(program)
                assert path is not None, program
                (found / program).symlink_to(path)
            text = text.replace("#!/bin/sh\n", f"#!/bin/sh\nPATH={found}\n", 1)
        script.write_text(text)
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        for name, value in {
            "url": f"{daemon.url}/update",
            "repository": "git.example.com/acme/site",
            "secretFile": str(daemon.state / "webhook-secret"),
        }.items():
            git(self.upstream.bare, "config", f"integralgit.{name}", value)

    def said(self, *refs: str) -> list[str]:
        """What the hook says to somebody who pushes those refs."""
        done = subprocess.run(
            ["git", "-C", str(self.upstream.work), "push", "--quiet", "origin", *refs],
            check=True,
            capture_output=True,
            text=True,
        )
        lines = (line.removeprefix("remote: ").strip() for line in done.stderr.splitlines())
        return [line for line in lines if line.startswith("integralgit: ")]

    def deploys_by_push(self, *programs: str, secret: bytes | None = None) -> None:
        www = self.folder / "www"
        url = self.folder / "githost" / "{full_name}.git"
        daemon = Daemon(
            self.folder / "server",
            f'host_names = ["web1"]\n[[trust]]\nrepos = ["git.example.com/**"]\nurl = "{url}"\n',
        )
        if secret is not None:
            daemon.state.mkdir(parents=True)
            (daemon.state / "webhook-secret").write_bytes(secret)
            (daemon.state / "webhook-secret").chmod(0o600)
        self.addCleanup(daemon.stop)
        daemon.start()
        self.install(daemon, *programs)
        self.upstream.configure({"configs": {"base": {"location": str(www), "branch": "main"}}})
        commit = self.upstream.commit({"index.html": "one"})
        git(
            self.upstream.work,
            "push",
            "--quiet",
            "origin",
            'main:refs/heads/a"b',
            "main:refs/tags/v1",
        )
        git(self.upstream.work, "push", "--quiet", "origin", ":refs/tags/v1")
        deliveries = daemon.get("/-/deliveries")["deliveries"]
        told = [(one["pushes"][0]["ref"], one["pushes"][0]["deleted"]) for one in deliveries]
        self.assertEqual(
            sorted(told),
            [
                ('refs/heads/a"b', False),
                ("refs/heads/integralgit", False),
                ("refs/heads/main", False),
                ("refs/tags/v1", False),
                ("refs/tags/v1", True),
            ],
        )
        deploys = daemon.get("/git.example.com/acme/site")["deploys"]
        done = daemon.get(f"/git.example.com/acme/site/deploys/{deploys[-1]['id']}")
        self.assertEqual(done["wanted_commit"], commit)
        git(self.upstream.work, "commit", "--quiet", "--allow-empty", "-m", "Next")
        (main,) = self.said("main")
        page = f"{daemon.url}/git.example.com/acme/site/deploys/"
        self.assertTrue(main.startswith(f"integralgit: main: deploys, see {page}"), main)
        (quoted,) = self.said('main:refs/heads/c"d')
        said = 'integralgit: c"d: branch c"d is not deployed here (main is)'
        self.assertEqual(quoted, said)
        self.said(':refs/heads/c"d')
        freeze = "/git.example.com/acme/site/freeze"
        self.assertEqual(daemon.request("POST", freeze, b"reason=the+%22fair%22").status, 200)
        git(self.upstream.work, "commit", "--quiet", "--allow-empty", "-m", "Next")
        (frozen,) = self.said("main")
        said = 'integralgit: main: the repository is frozen and its newest push waits: the "fair"'
        self.assertTrue(frozen.startswith(f"{said}, see {page}"), frozen)
        marker = self.folder / "ran"
        (other,) = self.said(f"main:refs/heads/x|e`touch${{IFS}}{marker}`&$(id)")
        self.assertTrue(other.endswith("is not deployed here (main is)"), other)
        self.assertFalse(marker.exists())

    def test_with_curl_and_openssl(self) -> None:
        """Every ref that a push changes is delivered, signed without the secret in an argument (threat 61)."""
        tools = ["git", "curl", "openssl", "cut", "tr", "od", "cat", "printf", "id", "sed"]
        self.deploys_by_push(*tools)

    def test_with_python(self) -> None:
        """Where curl and openssl are missing, python3 does it."""
        self.deploys_by_push("git", "python3", "cut", "tr", "cat", "id", "sed")

    def test_a_long_secret(self) -> None:
        """A secret longer than HMAC's block is hashed first (RFC 2104)."""
        self.deploys_by_push(secret=os.urandom(70).hex().encode() + b"\n")

    def test_white_space_around_the_secret(self) -> None:
        """It is no part of the secret, whichever tools sign."""
        self.deploys_by_push(secret=b" \thook-secret of a friend \t\r\n")

    def test_a_sender_of_ones_own(self) -> None:
        """What the page about webhooks says to send by hand deploys."""
        daemon = Daemon(
            self.folder / "server",
            f'host_names = ["web1"]\n[[trust]]\nrepos = ["git.example.com/**"]\n'
            f'url = "{self.folder / "githost" / "{full_name}.git"}"\n',
        )
        self.addCleanup(daemon.stop)
        daemon.start()
        www = str(self.folder / "www")
        self.upstream.configure({"configs": {"base": {"location": www, "branch": "main"}}})
        self.upstream.commit({"index.html": "one"})
        page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
        (example,) = re.findall(r"```sh\n(cat > push.json.*?)```", page, re.DOTALL)
        example = example.replace("/srv/git/webhook-secret", str(daemon.state / "webhook-secret"))
        example = example.replace("https://deploy.example.com", daemon.url)
        done = subprocess.run(
            ["sh", "-ec", example],
            check=True,
            capture_output=True,
            text=True,
            cwd=self.upstream.work,
        )
        self.assertEqual(json.loads(done.stdout)["outcome"], "accepted", done)

    def test_wrong_settings(self) -> None:
        """A push succeeds, and says which setting of the hook is wrong."""
        daemon = self.daemon()
        self.install(daemon)
        for name, value, said in (
            ("url", daemon.url, f"integralgit.url does not end in /update: {daemon.url}"),
            (
                "secretFile",
                "/nowhere/secret",
                "cannot read integralgit.secretFile, /nowhere/secret",
            ),
            ("repository", "", "set integralgit.url, .repository and .secretFile"),
        ):
            git(self.upstream.bare, "config", f"integralgit.{name}", value)
            git(self.upstream.work, "commit", "--quiet", "--allow-empty", "-m", "Next")
            first, *rest = self.said("main")
            self.assertIn(said, first)
            answer = ["integralgit: main: That is not done by this method."]
            self.assertEqual(rest, answer if name == "url" else [])

    def test_a_server_that_is_gone(self) -> None:
        """A push succeeds, and says that nobody was told."""
        daemon = self.daemon()
        self.install(daemon)
        daemon.stop()
        self.upstream.commit({"x": "y"})
        self.assertEqual(
            git(Path(self.upstream.bare), "rev-parse", "main"),
            git(self.upstream.work, "rev-parse", "main"),
        )
