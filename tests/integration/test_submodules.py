"""Submodules by real git: off by default, and harmless where the config asks for them."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from integralgit.deploy.checkout import Checkout, open_location
from integralgit.deploy.child import Children
from integralgit.deploy.git import Git, git_environment
from integralgit.deploy.plan import Refused
from integralgit.deploy.source import Source
from integralgit.deploy.spawn import spawner
from integralgit.deploy.submodules import is_safe
from integralgit.deploy.update import Update
from integralgit.names import Repository
from tests.integration.harness import Upstream, git

RESCUE = "refs/integralgit/rescue/7"
ALLOW = ("-c", "protocol.file.allow=always")


class VersionTests(SynchronousTestCase):
    def test_versions(self) -> None:
        """The releases that mend CVE-2025-48384 are known, line by line (threat 30)."""
        for version in (
            "git version 2.43.7",
            "2.50.1",
            "2.50.1.windows.1",
            "2.51.0",
            "3.0",
            "2.47.4",
        ):
            self.assertTrue(is_safe(version), version)
        for version in ("git version 2.39.5", "2.43.6", "2.50.0", "1.9", "", "2.42.9"):
            self.assertFalse(is_safe(version), version)


class Submodules(TestCase):
    def setUp(self) -> None:
        self.folder = Path(f"{self.id()}-{time.monotonic_ns()}").absolute()
        self.folder.mkdir()
        self.upstream = Upstream(self.folder / "githost")
        self.library = Upstream(self.folder / "libhost")
        self.library.commit({"lib.txt": "one\n"})
        self.www = self.folder / "www"
        work = self.upstream.work
        git(work, *ALLOW, "submodule", "--quiet", "add", str(self.library.bare), "lib")
        self.upstream.commit({"a.txt": "one\n"})

    async def update(self, mode: str = "safe", *, submodules: bool = True) -> str:
        """One update; why it was refused, or what it said."""
        said: list[str] = []
        os.close(open_location(str(self.www)))
        source = Source(Repository("github.com", "acme/site"), str(self.upstream.bare))
        runner = Git(Children(reactor, spawner(reactor)), git_environment(os.environ), 60)
        runner = runner.within(str(self.www)).allowing(source.protocols)
        runner = runner.with_environment(
            GIT_CONFIG_GLOBAL=os.devnull,
            GIT_CONFIG_NOSYSTEM="1",
            GIT_CEILING_DIRECTORIES=str(self.folder.parent),
        )
        checkout = Checkout(runner, str(self.www), "origin", source)
        await checkout.prepare("main")
        tips = await checkout.fetch("main")
        update = Update(checkout, said.append, deferToThread, "web1", submodules)
        try:
            await update.run("main", mode, tips, [], RESCUE)
        except Refused as refused:
            return str(refused)
        return "\n".join(said)

    def next_library(self, text: str) -> str:
        """A new commit of the library, which the site takes over; the library's commit."""
        commit = self.library.commit({"lib.txt": text})
        git(self.upstream.work / "lib", "fetch", "--quiet")
        git(self.upstream.work / "lib", "checkout", "--quiet", commit)
        self.upstream.commit({"a.txt": text})
        git(self.upstream.work, "add", "lib")
        git(self.upstream.work, "commit", "--quiet", "--amend", "--no-edit")
        git(self.upstream.work, "push", "--quiet", "--force", "origin", "main")
        return commit

    def lib(self) -> str:
        return (self.www / "lib" / "lib.txt").read_text()

    async def test_off_by_default(self) -> None:
        """Nothing of a submodule is fetched, and the first deploy says so (threat 30)."""
        said = await self.update(submodules=False)
        self.assertIn("submodules stay empty", said)
        self.assertEqual(list((self.www / "lib").iterdir()), [])
        self.next_library("two\n")
        await self.update(submodules=False)
        self.assertEqual(list((self.www / "lib").iterdir()), [])
        self.assertFalse((self.www / ".git" / "modules").exists())

    async def test_they_follow(self) -> None:
        """They are cloned, and follow the checkout; also where the key is set later."""
        await self.update(submodules=False)
        await self.update()
        self.assertEqual(self.lib(), "one\n")
        self.next_library("two\n")
        await self.update()
        self.assertEqual(self.lib(), "two\n")
        self.assertEqual(git(self.www, "status", "--porcelain"), "")

    async def test_another_address(self) -> None:
        """An address that `.gitmodules` changes is taken over."""
        await self.update()
        moved = self.folder / "moved.git"
        self.library.bare.rename(moved)
        self.library.bare = moved
        git(self.library.work, "remote", "set-url", "origin", str(moved))
        git(self.upstream.work, "submodule", "--quiet", "set-url", "lib", str(moved))
        self.upstream.commit({".gitmodules": (self.upstream.work / ".gitmodules").read_text()})
        self.next_library("two\n")
        await self.update()
        self.assertEqual(self.lib(), "two\n")

    async def test_one_that_cannot_be_fetched(self) -> None:
        """The deploy fails and says that the checkout moved; the next one completes it."""
        await self.update()
        self.next_library("two\n")
        away = self.library.bare.with_name("away")
        self.library.bare.rename(away)
        self.assertIn("but not all of its submodules", await self.update())
        self.assertEqual((self.lib(), (self.www / "a.txt").read_text()), ("one\n", "two\n"))
        away.rename(self.library.bare)
        await self.update("ff-only")
        self.assertEqual(self.lib(), "two\n")

    async def test_edits_inside(self) -> None:
        """They refuse before anything changes; `follow` keeps them in the submodule."""
        await self.update()
        self.next_library("two\n")
        (self.www / "lib" / "lib.txt").write_text("mine\n")
        before = git(self.www, "rev-parse", "HEAD")
        for mode in ("safe", "ff-only"):
            self.assertIn("commits or edits of their own: lib", await self.update(mode))
            self.assertEqual(git(self.www, "rev-parse", "HEAD"), before)
            self.assertEqual(self.lib(), "mine\n")
        said = await self.update("follow")
        self.assertIn("In the submodule lib:", said)
        self.assertEqual(self.lib(), "two\n")
        self.assertEqual(git(self.www / "lib", "show", f"{RESCUE}:lib.txt"), "mine")

    async def test_commits_inside(self) -> None:
        """Commits on no branch refuse, or are kept; commits on a branch are safe as they are."""
        await self.update()
        inside = self.www / "lib"
        (inside / "lib.txt").write_text("mine\n")
        git(inside, "commit", "--quiet", "-a", "-m", "Mine")
        mine = git(inside, "rev-parse", "HEAD")
        self.next_library("two\n")
        self.assertIn("commits or edits of their own: lib", await self.update())
        self.assertEqual(git(inside, "rev-parse", "HEAD"), mine)
        await self.update("follow")
        self.assertEqual(self.lib(), "two\n")
        self.assertEqual(git(inside, "merge-base", RESCUE, mine), mine)
        git(inside, "checkout", "--quiet", "-b", "mine", mine)
        self.next_library("three\n")
        await self.update()
        self.assertEqual(self.lib(), "three\n")
        self.assertEqual(git(inside, "rev-parse", "mine"), mine)

    async def test_one_that_was_removed(self) -> None:
        """One whose folder is gone, or holds nothing, comes back; edits around it are not touched for it."""
        for mode, text in (("safe", "two\n"), ("follow", "three\n")):
            await self.update()
            git(self.www, "submodule", "--quiet", "deinit", "--force", "lib")
            if mode == "safe":
                (self.www / "lib").rmdir()
            (self.www / "b.txt").write_text("mine\n")
            git(self.www, "add", "b.txt")
            self.next_library(text)
            said = await self.update(mode)
            self.assertNotIn("In the submodule", said)
            self.assertEqual(self.lib(), text)
        self.assertEqual(git(self.www, "show", f"{RESCUE}:b.txt"), "mine")

    async def test_submodules_of_theirs(self) -> None:
        """Commits and edits in a submodule of a submodule refuse, or are kept, whether its own moves or not."""
        nest = Upstream(self.folder / "nesthost")
        nest.commit({"nest.txt": "one\n"})
        git(self.library.work, *ALLOW, "submodule", "--quiet", "add", str(nest.bare), "nest")
        self.next_library("two\n")
        await self.update()
        inside = self.www / "lib" / "nest"
        (inside / "nest.txt").write_text("edited\n")
        self.next_library("two and a half\n")
        for mode in ("safe", "follow"):
            await self.update(mode)
            self.assertEqual((inside / "nest.txt").read_text(), "edited\n")
        (inside / "nest.txt").write_text("mine\n")
        git(inside, "commit", "--quiet", "-a", "-m", "Mine")
        mine = git(inside, "rev-parse", "HEAD")
        self.upstream.commit({"a.txt": "three\n"})
        self.assertIn("commits or edits of their own: lib/nest", await self.update())
        self.next_library("four\n")
        self.assertIn("commits or edits of their own: lib/nest", await self.update())
        self.assertEqual(git(inside, "rev-parse", "HEAD"), mine)
        said = await self.update("follow")
        self.assertIn("In the submodule lib/nest:", said)
        self.assertEqual((self.lib(), (inside / "nest.txt").read_text()), ("four\n", "one\n"))
        self.assertEqual(git(inside, "merge-base", RESCUE, mine), mine)

    async def test_one_that_becomes_a_file(self) -> None:
        """Where something in it is a person's, that is not removed with it; else it makes way."""
        await self.update()
        work = self.upstream.work
        git(work, "rm", "--quiet", "--cached", "lib")
        shutil.rmtree(work / "lib")
        self.upstream.commit({"lib": "a file now\n"})
        mine = self.www / "lib" / "mine.txt"
        mine.write_text("mine\n")
        for mode in ("safe", "ff-only", "follow"):
            for submodules in (True, False):
                told = await self.update(mode, submodules=submodules)
                self.assertIn("something of yours in them: lib", told)
                self.assertEqual((mine.read_text(), self.lib()), ("mine\n", "one\n"))
        mine.unlink()
        await self.update()
        self.assertEqual((self.www / "lib").read_text(), "a file now\n")

    async def test_edits_where_nothing_moves(self) -> None:
        """An edit inside a submodule that stays where it is does no harm to a deploy."""
        await self.update()
        (self.www / "lib" / "lib.txt").write_text("mine\n")
        self.upstream.commit({"a.txt": "two\n"})
        await self.update()
        self.assertEqual(self.lib(), "mine\n")
        self.assertEqual((self.www / "a.txt").read_text(), "two\n")

    async def test_an_address_that_is_a_command(self) -> None:
        """A submodule's address cannot run a command (threat 28)."""
        work = self.upstream.work
        text = (work / ".gitmodules").read_text().replace(str(self.library.bare), "ext::sh -c x")
        self.upstream.commit({".gitmodules": text})
        said = await self.update()
        self.assertIn("not all of its submodules", said)

    async def test_files_in_lfs(self) -> None:
        """They stay pointers, and the first deploy says what to do (threat 32)."""
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
        self.upstream.commit({".gitattributes": "*.bin filter=lfs\n", "a.bin": pointer})
        self.assertIn("let the script run `git lfs pull`", await self.update())
        self.assertEqual((self.www / "a.bin").read_text(), pointer)
