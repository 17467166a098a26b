"""Real git among hostile settings, remotes and names: it runs nothing, asks nobody, and ends."""

from __future__ import annotations

import base64
import os
import socket
import time
from collections.abc import Awaitable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from integralgit.location.checkout import Checkout
from integralgit.location.folders import open_location
from integralgit.location.git import Git, GitError, git_environment
from integralgit.location.mirror import Mirrors, Outdated
from integralgit.location.plan import Refused
from integralgit.location.refs import look
from integralgit.location.source import Source
from integralgit.location.update import Update
from integralgit.names import CONFIG_BRANCH, Repository
from integralgit.processes.child import Children
from integralgit.processes.spawn import spawner
from tests.integration.harness import Upstream, git

SITE = Repository("github.com", "acme/site")


class RealGit(TestCase):
    def setUp(self) -> None:
        self.folder = Path(f"{self.id()}-{time.monotonic_ns()}").absolute()
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        self.www = self.folder / "www"
        #: What a program that must not run would make.
        self.marker = self.folder / "ran"
        self.program = self.folder / "program"
        self.program.write_text(f"#!/bin/sh\ntouch {self.marker}\n")
        self.program.chmod(0o755)

    def runner(self, protocols: str = "", timeout: float = 60.0) -> Git:
        """Git as the server runs it, for a user with that home; with other protocols, if given."""
        server = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        server |= {"SSH_ASKPASS": str(self.program), "DISPLAY": ":0"}
        runner = Git(Children(reactor, spawner(reactor)), git_environment(server), timeout)
        runner = runner.with_environment(GIT_CEILING_DIRECTORIES=str(self.folder.parent))
        runner = runner.within(str(self.folder))
        return runner.allowing(protocols) if protocols else runner

    def configure(self, *settings: tuple[str, str]) -> None:
        """Write the user's ~/.gitconfig."""
        for name, value in settings:
            git(self.folder, "config", "--file", str(self.home / ".gitconfig"), name, value)

    async def failure(self, work: Awaitable[Any]) -> str:
        """What git says of work that fails; nothing must have run."""
        try:
            await work
        except GitError as error:
            self.assertFalse(self.marker.exists(), str(error))
            return str(error)
        raise AssertionError("git did not fail")


class Names(RealGit):
    async def test_options(self) -> None:
        """What looks like an option is a name wherever git is given one (threats 26 and 27)."""
        upstream = Upstream(self.folder / "githost")
        commit = upstream.configure("{}")
        option = f"--upload-pack={self.program}"
        runner = self.runner("file")
        told = [await self.failure(look(runner, option, str(upstream.bare)))]
        (self.folder / "mirrors").mkdir()
        mirrors = Mirrors(self.folder / "mirrors", runner, deferToThread)
        told.append(await self.failure(mirrors.config(Source(SITE, option), commit)))
        checkout = Checkout(
            runner.within(str(upstream.work)), str(upstream.work), option, Source(SITE, option)
        )
        told.append(await self.failure(checkout.fetch(CONFIG_BRANCH)))
        for one in told:
            self.assertIn(option, one)

    async def test_a_repository_that_a_checkout_has_brought(self) -> None:
        """A location that is bare, with a config of its own, is none of ours: nothing of that runs (threat 55)."""
        bare = self.www / "theme"
        bare.mkdir(parents=True)
        git(self.folder, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
        git(bare, "config", "core.bare", "false")
        git(bare, "config", "core.worktree", str(bare))
        git(bare, "config", "filter.x.smudge", str(self.program))
        (bare / "info" / "attributes").write_text("* filter=x\n")
        upstream = Upstream(self.folder / "githost")
        upstream.commit({"a.txt": "one\n"})
        runner = self.runner("file").within(str(bare))
        checkout = Checkout(runner, str(bare), "origin", Source(SITE, str(upstream.bare)))
        with self.assertRaisesRegex(Refused, "neither empty nor a git repository"):
            await checkout.prepare("main")
        self.assertFalse(self.marker.exists())

    async def test_a_long_one(self) -> None:
        """A repository whose name is too long for a file has its mirror as well; no two have the same."""
        upstream = Upstream(self.folder / "githost")
        commit = upstream.configure("{}")
        (self.folder / "mirrors").mkdir()
        mirrors = Mirrors(self.folder / "mirrors", self.runner("file"), deferToThread)
        for end in "ab":
            long = Repository("github.com", "group/" * 40 + end)
            text = await mirrors.config(Source(long, str(upstream.bare)), commit)
            self.assertEqual(text, "{}")
        self.assertEqual(len(list((self.folder / "mirrors").iterdir())), 2)

    async def test_a_config_that_moves_on(self) -> None:
        """One that was pushed since it was asked where it is, is read instead."""
        upstream = Upstream(self.folder / "githost")
        source = Source(Repository("github.com", "acme/site"), str(upstream.bare))
        mirrors = Mirrors(self.folder / "mirrors", self.runner("file"), deferToThread)
        (self.folder / "mirrors").mkdir()
        upstream.configure("first")
        first = await mirrors.tip(source)
        assert first is not None
        second = upstream.configure("second")
        with self.assertRaises(Outdated) as raised:
            await mirrors.config(source, first)
        self.assertEqual(raised.exception.tip, second)
        self.assertEqual(await mirrors.config(source, second), "second")

    async def test_other_protocols(self) -> None:
        """Only https and ssh are spoken, whatever the user's config allows (threat 28)."""
        upstream = Upstream(self.folder / "githost")
        self.configure(("protocol.allow", "always"), ("protocol.ext.allow", "always"))
        for url in (f"ext::{self.program}", "fd::7", f"file://{upstream.bare}", str(upstream.bare)):
            told = await self.failure(look(self.runner(), url, "refs/heads/main"))
            self.assertRegex(told, "transport '(ext|fd|file)' not allowed", url)

    async def test_hosts_that_are_options(self) -> None:
        """Git does not hand an option to ssh in the place of a host (threat 29)."""
        url = f"ssh://-oProxyCommand={self.program}/x"
        told = await self.failure(look(self.runner(), url, "refs/heads/main"))
        self.assertIn("strange hostname", told)


class HostileSettings(RealGit):
    async def test_settings_of_the_user(self) -> None:
        """Programs that ~/.gitconfig names for other purposes do not run (threats 31 and 33)."""
        hooks = self.folder / "hooks"
        hooks.mkdir()
        for name in ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"):
            (hooks / name).symlink_to(self.program)
        run = str(self.program)
        self.configure(
            ("core.hooksPath", str(hooks)),
            ("core.fsmonitor", run),
            ("core.askPass", run),
            ("core.editor", run),
            ("core.pager", run),
            ("core.sshCommand", run),
            ("diff.external", run),
            ("gpg.program", run),
            ("commit.gpgSign", "true"),
            ("log.showSignature", "true"),
            ("alias.fetch", f"!{run}"),
            ("alias.status", f"!{run}"),
            ("color.ui", "always"),
            ("core.quotePath", "true"),
            ("diff.noPrefix", "true"),
            ("fetch.prune", "true"),
            ("fetch.recurseSubmodules", "true"),
            ("submodule.recurse", "true"),
            ("gc.auto", "1"),
            ("safe.bareRepository", "explicit"),
            ("user.useConfigOnly", "true"),
            ("merge.ff", "only"),
            ("pull.ff", "only"),
            ("init.defaultObjectFormat", "sha256"),
        )
        upstream = Upstream(self.folder / "githost")
        tip = upstream.configure('{"configs": {}}')
        upstream.commit({"a.txt": "one\n", "ä.txt": "one\n"})
        runner = self.runner("file")
        source = Source(SITE, str(upstream.bare))
        (self.folder / "mirrors").mkdir()
        mirrors = Mirrors(self.folder / "mirrors", runner, deferToThread)
        self.assertEqual(await mirrors.tip(source), tip)
        self.assertEqual(await mirrors.config(source, tip), '{"configs": {}}')

        await self.update(runner, source)
        (self.www / "mine.txt").write_text("mine\n")
        git(self.www, "add", "mine.txt")
        git(self.www, "commit", "--quiet", "-m", "Mine")
        second = upstream.commit({"a.txt": "two\n", "ä.txt": "two\n"})
        await self.update(runner, source)
        self.assertEqual((self.www / "ä.txt").read_text(), "two\n")
        self.assertEqual(git(self.www, "rev-parse", "HEAD^2"), second)
        self.assertFalse(self.marker.exists())

    async def update(self, runner: Git, source: Source) -> None:
        """Bring the location to the newest commit, as a deploy does."""
        os.close(open_location(str(self.www)))
        checkout = Checkout(runner.within(str(self.www)), str(self.www), "origin", source)
        await checkout.prepare("main")
        tips = await checkout.fetch("main")
        update = Update(checkout, lambda line: None, deferToThread, "web1")
        updated = await update.run("main", "safe", tips, [], "refs/integralgit/rescue/7")
        self.assertTrue(await checkout.commits(updated.previous, updated.head))

    async def test_a_checkout_of_another_user(self) -> None:
        """A checkout that belongs to somebody else is refused, with what is to be done (threat 34)."""
        git(self.folder, "init", "--quiet", str(self.www))
        # How git's own tests play another user.
        runner = self.runner().with_environment(GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
        checkout = Checkout(runner.within(str(self.www)), str(self.www), "origin", Source(SITE, ""))
        with self.assertRaises(Refused) as raised:
            await checkout.prepare("main")
        self.assertEqual(
            str(raised.exception),
            f"the location {self.www} belongs to another user, and git does not trust it; give it"
            f" to this server's user (chown -R), or add it to git's safe.directory",
        )


class _Host(BaseHTTPRequestHandler):
    """A git host that wants a password, and has moved what is below `/old`."""

    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.seen.append((self.path.split("?")[0], self.headers["Authorization"]))
        if self.path.startswith("/old"):
            self.send_response(301)
            self.send_header("Location", self.path.replace("/old", "/new", 1))
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
        pass


class Remotes(RealGit):
    def host(self) -> tuple[str, list[tuple[str, str | None]]]:
        """The URL of a git host, and the paths and proofs that it is asked with."""
        seen: list[tuple[str, str | None]] = []
        handler = type("Host", (_Host,), {"seen": seen})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}", seen

    async def test_a_host_that_asks_for_a_password(self) -> None:
        """Where there is none nobody is asked, and git ends at once (threat 44)."""
        url, seen = self.host()
        self.configure(("core.askPass", str(self.program)))
        told = await self.failure(look(self.runner("http"), f"{url}/site.git", "refs/heads/main"))
        self.assertRegex(told, "Authentication failed|could not read Username")
        self.assertTrue(seen)

    async def test_a_credential_helper(self) -> None:
        """One that the administrator has configured for the server's user works (threat 33)."""
        url, seen = self.host()
        helper = f'!touch {self.folder}/asked; printf "username=ann\\npassword=s3cret\\n"; :'
        self.configure(("credential.helper", helper))
        await self.failure(look(self.runner("http"), f"{url}/site.git", "refs/heads/main"))
        proof = f"Basic {base64.b64encode(b'ann:s3cret').decode()}"
        self.assertIn(proof, [proof for _, proof in seen])

    async def test_a_repository_that_has_moved(self) -> None:
        """Git follows the redirect of its first request (threat 50)."""
        url, seen = self.host()
        await self.failure(look(self.runner("http"), f"{url}/old/site.git", "refs/heads/main"))
        self.assertIn("/new/site.git/info/refs", [path for path, _ in seen])

    async def test_a_host_that_hangs(self) -> None:
        """A remote that never answers costs no more than `git_timeout` (threats 45 and 52)."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/site.git"
            runner = self.runner("http", timeout=0.5)
            told = await self.failure(look(runner, url, "refs/heads/main"))
        self.assertEqual(told, "git ls-remote failed: it took too long and was stopped")
        delayed: Any = reactor
        for call in delayed.getDelayedCalls():
            # The last look after the group, in ten seconds; it is gone.
            if "_kill" in call.func.__qualname__:
                call.cancel()
