"""Submodules by real git: off by default, and harmless where the config asks for them."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from integralgit.location.checkout import Checkout
from integralgit.location.disks import in_own_thread
from integralgit.location.folders import open_location
from integralgit.location.git import Git, git_environment
from integralgit.location.plan import Refused
from integralgit.location.replaced import ASIDE
from integralgit.location.source import Source
from integralgit.location.submodules import is_safe
from integralgit.location.unfinished import NOTE
from integralgit.location.update import Update
from integralgit.names import Repository
from integralgit.processes.child import Children
from integralgit.processes.groups import boot_id
from integralgit.processes.spawn import spawner
from tests.integration.harness import Integration, Upstream, git, stage_odd_link

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
        update = Update(checkout, said.append, in_own_thread(reactor), "web1", submodules)
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

    async def test_one_that_cannot_be_written(self) -> None:
        """The deploy fails as often as it is tried, and no submodule is left half checked out (threat 48)."""
        good = self.library.commit({"lib.txt": "good\n"})
        work = self.library.work
        stage_odd_link(work)
        git(work, "commit", "--quiet", "-m", "A link that no file system takes")
        git(work, "push", "--quiet", "origin", "main")
        odd = git(work, "rev-parse", "HEAD")
        for first in (True, False):
            self.take_over(odd)
            for _ in range(2):
                self.assertIn("unable to create symlink link", await self.update())
            if not first:
                self.assertEqual(git(self.www / "lib", "rev-parse", "HEAD"), good)
                self.assertEqual(git(self.www / "lib", "status", "--porcelain"), "")
            self.take_over(good)
            await self.update()
            self.assertEqual(self.lib(), "good\n")

    def take_over(self, commit: str) -> None:
        """The site takes over a commit of the library, without its files."""
        git(self.upstream.work, "update-index", "--cacheinfo", f"160000,{commit},lib")
        git(self.upstream.work, "commit", "--quiet", "-m", "Take over")
        git(self.upstream.work, "push", "--quiet", "origin", "main")

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

    async def test_what_status_does_not_tell_of_inside(self) -> None:
        """What was staged before it was edited again, and edits that git was told not to look at, are kept."""
        self.library.commit({"other.txt": "one\n"})
        self.next_library("first\n")
        await self.update()
        inside = self.www / "lib"
        (inside / "lib.txt").write_text("staged\n")
        git(inside, "add", "lib.txt")
        (inside / "lib.txt").write_text("mine\n")
        git(inside, "update-index", "--assume-unchanged", "other.txt")
        (inside / "other.txt").write_text("mine too\n")
        self.next_library("two\n")
        self.assertIn("commits or edits of their own: lib", await self.update())
        await self.update("follow")
        self.assertEqual(self.lib(), "two\n")
        for place, text in (("lib.txt", "mine"), ("other.txt", "mine too")):
            self.assertEqual(git(inside, "show", f"{RESCUE}:{place}"), text)
        self.assertEqual(git(inside, "show", f"{RESCUE}^2:lib.txt"), "staged")

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

    async def test_files_in_the_way_inside(self) -> None:
        """Untracked and ignored ones refuse before anything changes; `follow` keeps them in the submodule."""
        self.library.commit({".gitignore": "*.log\n"})
        self.next_library("two\n")
        await self.update()
        names = ("untracked.txt", "ignored.log")
        self.library.commit(dict.fromkeys(names, "theirs\n"))
        self.next_library("three\n")
        inside, before = self.www / "lib", git(self.www, "rev-parse", "HEAD")
        for name in names:
            (inside / name).write_text("mine\n")
        (inside / "elsewhere.txt").write_text("mine\n")
        for mode in ("safe", "ff-only"):
            told = await self.update(mode)
            self.assertIn("overwrite files in submodules: lib/ignored.log, lib/untracked.txt", told)
            self.assertEqual(git(self.www, "rev-parse", "HEAD"), before)
            self.assertEqual(self.lib(), "two\n")
            self.assertEqual((inside / names[0]).read_text(), "mine\n")
        said = await self.update("follow")
        self.assertIn("In the submodule lib:", said)
        self.assertEqual(self.lib(), "three\n")
        for name in names:
            self.assertEqual((inside / name).read_text(), "theirs\n")
            self.assertEqual(git(inside, "show", f"{RESCUE}:{name}"), "mine")
        self.assertEqual(git(inside, "status", "--porcelain"), "?? elsewhere.txt")

    async def test_a_file_in_the_way_inside_one_of_theirs(self) -> None:
        """It is found there too, though the commits of both are yet to be fetched."""
        nest = Upstream(self.folder / "nesthost")
        nest.commit({"nest.txt": "one\n"})
        work = self.library.work
        git(work, *ALLOW, "submodule", "--quiet", "add", str(nest.bare), "nest")
        self.next_library("two\n")
        await self.update()
        git(work / "nest", "pull", "--quiet", "origin", nest.commit({"new.txt": "theirs\n"}))
        git(work, "add", "nest")
        self.next_library("three\n")
        mine = self.www / "lib" / "nest" / "new.txt"
        mine.write_text("mine\n")
        self.assertIn("in submodules: lib/nest/new.txt", await self.update())
        self.assertEqual((self.lib(), mine.read_text()), ("two\n", "mine\n"))
        await self.update("follow")
        self.assertEqual((self.lib(), mine.read_text()), ("three\n", "theirs\n"))
        self.assertEqual(git(mine.parent, "show", f"{RESCUE}:new.txt"), "mine")

    async def test_work_that_cannot_be_kept_inside(self) -> None:
        """Where one submodule's cannot, that of the others stays as it is too."""
        work = self.upstream.work
        git(work, *ALLOW, "submodule", "--quiet", "add", str(self.library.bare), "more")
        self.upstream.commit({})
        await self.update()
        self.library.commit({"other/x.txt": "theirs\n"})
        git(work / "more", "pull", "--quiet", "origin", "main")
        git(work, "add", "more")
        self.next_library("two\n")
        (self.www / "lib" / "lib.txt").write_text("mine\n")
        other = self.www / "more" / "other"
        git(self.www, "init", "--quiet", str(other))
        (other / "x.txt").write_text("mine\n")
        self.assertIn("another repository", await self.update("follow"))
        self.assertEqual((self.lib(), (other / "x.txt").read_text()), ("mine\n", "mine\n"))
        self.assertEqual((self.www / "a.txt").read_text(), "one\n")

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

    async def test_a_git_folder_that_is_none(self) -> None:
        """An empty one, in which git would find the repository around it, is no submodule of ours to look at."""
        await self.update(submodules=False)
        (self.www / "lib" / ".git").mkdir()
        self.next_library("two\n")
        await self.update()
        self.assertEqual(self.lib(), "two\n")

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

    def replace_library(self, files: dict[str, str | None]) -> str:
        """A new commit with these files, and without the submodule."""
        git(self.upstream.work, "rm", "--quiet", "--cached", "lib")
        shutil.rmtree(self.upstream.work / "lib")
        return self.upstream.commit({".gitmodules": None, **files})

    async def test_a_file_in_the_place_of_a_folder_with_one(self) -> None:
        """What somebody has put into the folder of one that is not cloned is looked for there, too."""
        work, mine = self.upstream.work, self.www / "sub" / "two" / "mine.txt"
        git(work, *ALLOW, "submodule", "--quiet", "add", str(self.library.bare), "sub/two")
        self.upstream.commit({"sub/k.txt": "1\n"})
        await self.update(submodules=False)
        mine.write_text("mine\n")
        git(work, "rm", "--quiet", "--cached", "-r", "sub")
        shutil.rmtree(work / "sub")
        self.upstream.commit({"sub": "file\n"})
        for mode in ("safe", "ff-only"):
            refused = await self.update(mode, submodules=False)
            self.assertIn("nothing was changed", refused)
            self.assertEqual(mine.read_text(), "mine\n")

    async def test_one_that_nothing_tells_of(self) -> None:
        """A repository that was added by mistake, without `.gitmodules`, goes no more than others do."""
        work, here = self.upstream.work, self.www / "lib"
        self.upstream.commit({".gitmodules": None})
        await self.update(submodules=False)
        here.rmdir()
        git(self.www, *ALLOW, "clone", "--quiet", str(self.library.bare), "lib")
        (here / "mine.txt").write_text("mine\n")
        git(work, "rm", "--quiet", "--cached", "lib")
        shutil.rmtree(work / "lib")
        self.upstream.commit({"lib": "file\n"})
        for mode in ("safe", "ff-only", "follow"):
            refused = await self.update(mode, submodules=False)
            self.assertIn("nothing was changed", refused)
            self.assertEqual((here / "mine.txt").read_text(), "mine\n")

    async def test_a_folder_that_becomes_one(self) -> None:
        """What else is in it refuses, or is kept; folders that are empty then are not in the way."""
        work = self.upstream.work
        for mode in ("ff-only", "safe", "follow"):
            self.upstream.commit({f"{mode}/lib.txt": "ours\n", f"{mode}/sub/b.txt": "ours\n"})
            await self.update()
            git(work, "rm", "--quiet", "-r", mode)
            git(work, *ALLOW, "submodule", "--quiet", "add", str(self.library.bare), mode)
            output = self.www / mode / "build" / "objects" / "a.o"
            output.parent.mkdir(parents=True)
            (self.www / mode / "empty").mkdir()
            commit = self.upstream.commit({".gitignore": "build/\n"})
            output.write_text("built\n")
            if mode != "follow":
                told = await self.update(mode)
                self.assertIn(f"overwrite files: {mode}/build/objects/a.o", told)
                self.assertTrue((self.www / mode / "empty").is_dir())
                output.unlink()
            await self.update(mode)
            self.assertEqual(git(self.www, "rev-parse", "HEAD"), commit)
            self.assertEqual(git(self.www, "status", "--porcelain", "--ignored"), "")
            self.assertEqual(sorted(os.listdir(self.www / mode)), [".git", "lib.txt"])
        kept = git(self.www, "show", f"{RESCUE}:follow/build/objects/a.o")
        self.assertEqual(kept, "built")

    async def test_one_that_becomes_a_file(self) -> None:
        """Something of a person's in it refuses, or is kept with its git folder; else it makes way."""
        await self.update()
        self.replace_library({"lib": "a file now\n"})
        mine = self.www / "lib" / "mine.txt"
        mine.write_text("mine\n")
        for mode in ("safe", "ff-only"):
            for submodules in (True, False):
                told = await self.update(mode, submodules=submodules)
                self.assertIn("something of yours in them: lib", told)
                self.assertEqual((mine.read_text(), self.lib()), ("mine\n", "one\n"))
        await self.update("follow", submodules=False)
        self.assertEqual((self.www / "lib").read_text(), "a file now\n")
        kept = ("--git-dir=.git/modules/lib", "--work-tree=.", "show", f"{RESCUE}:mine.txt")
        self.assertEqual(git(self.www, *kept), "mine")

    async def test_one_that_becomes_a_folder(self) -> None:
        """One in which nothing is a person's gives way to files of its names, and comes back again."""
        work = self.upstream.work
        for mode in ("safe", "ff-only", "follow"):
            await self.update(mode)
            before = git(work, "rev-parse", "HEAD")
            commit = self.replace_library({"lib/lib.txt": mode, "lib/sub/more.txt": mode})
            for submodules in (False, True):
                await self.update(mode, submodules=submodules)
                self.assertEqual(git(self.www, "rev-parse", "HEAD"), commit)
                self.assertEqual(git(self.www, "status", "--porcelain", "--ignored"), "")
                self.assertEqual(sorted(os.listdir(self.www / "lib")), ["lib.txt", "sub"])
            self.assertFalse((self.www / ".git" / ASIDE).exists())
            git(work, "rm", "--quiet", "-r", "lib")
            git(work, "checkout", "--quiet", before, "--", "lib", ".gitmodules")
            git(work, *ALLOW, "submodule", "--quiet", "update", "--init")
            self.upstream.commit({"a.txt": f"after {mode}\n"})
            await self.update(mode)
            self.assertEqual(self.lib(), "one\n")
            self.assertEqual(git(self.www, "status", "--porcelain", "--ignored"), "")

    async def test_one_that_comes_back(self) -> None:
        """What an earlier commit has left there becomes the submodule again, and so do its own."""
        nest = Upstream(self.folder / "nesthost")
        nest.commit({"nest.txt": "one\n"})
        work, library = self.upstream.work, self.library.work
        git(library, *ALLOW, "submodule", "--quiet", "add", str(nest.bare), "nest")
        self.next_library("two\n")
        await self.update()
        git(library, "rm", "--quiet", "--cached", "nest")
        self.next_library("three\n")
        git(work, "rm", "--quiet", "--cached", "lib")
        await self.update()
        self.upstream.commit({"a.txt": "gone\n"})
        await self.update()
        self.assertEqual(self.lib(), "three\n")
        git(library, "add", "nest")
        git(work, "add", "lib")
        for mode in ("safe", "follow"):
            self.next_library(f"back in {mode}\n")
            await self.update(mode)
            self.assertEqual(self.lib(), f"back in {mode}\n")
            self.assertEqual(git(self.www, "status", "--porcelain"), "")
            git(self.www, "reset", "--quiet", "--hard", "HEAD~1")
        self.assertTrue((self.www / "lib" / "nest" / "nest.txt").exists())

    async def test_files_in_place_of_one_that_is_not_there(self) -> None:
        """A file takes the place of a submodule's folder, but not of what a person has put there."""
        await self.update(submodules=False)
        self.replace_library({"lib": "a file now\n"})
        mine = self.www / "lib" / "mine.txt"
        mine.write_text("mine\n")
        for submodules in (False, True):
            told = await self.update(submodules=submodules)
            self.assertIn("overwrite files: lib/mine.txt", told)
            self.assertEqual(mine.read_text(), "mine\n")
        await self.update("follow", submodules=False)
        self.assertEqual((self.www / "lib").read_text(), "a file now\n")
        self.assertEqual(git(self.www, "show", f"{RESCUE}:lib/mine.txt"), "mine")

    async def test_others_in_whose_place_files_come(self) -> None:
        """One that an earlier commit has removed, and one whose folder becomes a file, give way too."""
        await self.update()
        self.replace_library({"a.txt": "two\n"})
        await self.update()
        self.assertEqual(self.lib(), "one\n")
        self.upstream.commit({"lib/lib.txt": "ours\n"})
        await self.update()
        self.assertEqual(self.lib(), "ours\n")
        work = self.upstream.work
        library = str(self.library.bare)
        git(work, *ALLOW, "submodule", "--quiet", "add", "--name", "two", library, "sub/two")
        self.upstream.commit({})
        await self.update()
        self.assertTrue((self.www / "sub" / "two" / "lib.txt").exists())
        git(work, "rm", "--quiet", "--cached", "sub/two")
        shutil.rmtree(work / "sub")
        self.upstream.commit({"sub": "a file now\n"})
        await self.update()
        self.assertEqual((self.www / "sub").read_text(), "a file now\n")

    async def test_what_is_in_one_that_gives_way(self) -> None:
        """What only it has refuses, whatever it is; `follow` keeps all of that."""
        nest = Upstream(self.folder / "nesthost")
        nest.commit({"nest.txt": "one\n"})
        self.library.commit({".gitignore": "*.log\n", "b.txt": "one\n"})
        git(self.library.work, *ALLOW, "submodule", "--quiet", "add", str(nest.bare), "nest")
        self.next_library("two\n")
        await self.update()
        self.replace_library({"lib/lib.txt": "ours\n"})
        inside = self.www / "lib"

        def look() -> str:
            return git(self.www, "rev-parse", "HEAD") + git(self.www, "status", "--porcelain")

        async def refuse(path: str = "lib") -> None:
            before = look()
            for mode in ("safe", "ff-only"):
                told = await self.update(mode)
                self.assertIn(f"something of yours in them: {path}", told)
                self.assertEqual(look(), before)

        for name in ("untracked.txt", "ignored.log", "nest/untracked.txt"):
            (inside / name).write_text("mine\n")
            await refuse(os.path.dirname(f"lib/{name}"))
            self.assertEqual((inside / name).read_text(), "mine\n")
            (inside / name).unlink()
        (inside / "lib.txt").write_text("mine\n")
        await refuse()
        git(inside, "update-index", "--assume-unchanged", "lib.txt")
        await refuse()
        self.assertEqual(self.lib(), "mine\n")
        git(inside, "update-index", "--no-assume-unchanged", "lib.txt")
        git(inside, "stash", "--quiet")
        await refuse()
        stash = git(inside, "rev-parse", "stash")
        git(inside, "stash", "drop", "--quiet")
        (inside / "b.txt").write_text("committed\n")
        git(inside, "commit", "--quiet", "-a", "-m", "Mine")
        await refuse()
        commit = git(inside, "rev-parse", "HEAD")
        git(inside, "update-ref", "refs/stash", stash)
        for name in ("lib.txt", "ignored.log", "nest/untracked.txt"):
            (inside / name).write_text("mine\n")
        said = await self.update("follow")
        self.assertEqual(self.lib(), "ours\n")
        self.assertEqual(os.listdir(inside), ["lib.txt"])
        folder = self.www / ".git" / "modules" / "lib"
        self.assertIn(f"git --git-dir={folder} --work-tree=. show {RESCUE}:FILE", said)
        kept = (f"--git-dir={folder}", "--work-tree=.")
        for name, text in (("lib.txt", "mine"), ("ignored.log", "mine"), ("b.txt", "committed")):
            self.assertEqual(git(self.www, *kept, "show", f"{RESCUE}:{name}"), text)
        for one in (stash, commit):
            git(self.www, *kept, "merge-base", "--is-ancestor", one, RESCUE)
        kept = (f"--git-dir={folder / 'modules' / 'nest'}", "--work-tree=.")
        self.assertEqual(git(self.www, *kept, "show", f"{RESCUE}:untracked.txt"), "mine")

    async def test_what_cannot_be_kept_does_not_give_way(self) -> None:
        """A repository in a submodule, or its own git folder there, refuses in every mode."""
        await self.update()
        before = git(self.www, "rev-parse", "HEAD")
        self.replace_library({"lib/lib.txt": "ours\n"})
        inside = self.www / "lib"
        git(inside, "init", "--quiet", "other")
        for mode, why in (("safe", "something of yours"), ("follow", "another repository")):
            self.assertIn(why, await self.update(mode))
            self.assertTrue((inside / "other" / ".git" / "HEAD").exists())
        shutil.rmtree(inside / "other")
        (inside / ".git").unlink()
        (self.www / ".git" / "modules" / "lib").rename(inside / ".git")
        git(
            self.www,
            "config",
            "--file",
            str(inside / ".git" / "config"),
            "--unset",
            "core.worktree",
        )
        for mode, why in (("safe", "something of yours"), ("follow", "absorbgitdirs")):
            self.assertIn(why, await self.update(mode))
            self.assertEqual(git(inside, "status", "--porcelain"), "")
        self.assertEqual(git(self.www, "rev-parse", "HEAD"), before)
        git(self.www, "submodule", "--quiet", "absorbgitdirs")
        await self.update()
        self.assertEqual(self.lib(), "ours\n")

    async def test_one_that_gives_way_and_another_file_that_does_not(self) -> None:
        """Where something else is in the way, it is where it was."""
        await self.update()
        self.replace_library({"a.txt": "two\n", "lib/lib.txt": "ours\n"})
        (self.www / "a.txt").write_text("mine\n")
        for submodules in (False, True):
            self.assertIn("overwrite files: a.txt", await self.update(submodules=submodules))
            self.assertEqual(git(self.www / "lib", "status", "--porcelain"), "")
            self.assertEqual(git(self.www, "status", "--porcelain"), "M a.txt")
        self.assertFalse((self.www / ".git" / ASIDE).exists())

    async def test_an_update_that_was_cut_off_after_one_gave_way(self) -> None:
        """The next deploy completes it, whether its files had begun to come or not."""
        await self.update()
        before = git(self.www, "rev-parse", "HEAD")
        to = self.replace_library({"lib/lib.txt": "ours\n", "lib/more.txt": "ours\n"})
        git(self.www, "fetch", "--quiet", "origin", "main")
        saved = self.folder / "saved"
        shutil.copytree(self.www, saved, symlinks=True)
        for has_begun in (False, True):
            shutil.rmtree(self.www)
            shutil.copytree(saved, self.www, symlinks=True)
            folder = self.www / ".git"
            (folder / ASIDE).mkdir()
            (self.www / "lib").rename(folder / ASIDE / "0")
            (folder / NOTE).symlink_to(f"main\n{before}\n{to}\n{boot_id()}")
            if has_begun:
                (self.www / "lib").mkdir()
                (self.www / "lib" / "lib.txt").write_text("ours\n")
            self.assertIn("is completed first", await self.update())
            self.assertEqual(git(self.www, "rev-parse", "HEAD"), to)
            self.assertEqual(git(self.www, "status", "--porcelain", "--ignored"), "")
            self.assertFalse((folder / ASIDE).exists())

    async def test_a_kill_after_one_was_put_aside(self) -> None:
        """It is back in its place with the next deploy, if nothing else is there by then."""
        await self.update()
        for number, is_taken in enumerate((False, True)):
            aside = self.www / ".git" / ASIDE
            aside.mkdir()
            (self.www / "lib").rename(aside / "lib")
            if is_taken:
                (self.www / "lib").write_text("mine\n")
            self.upstream.commit({"a.txt": f"{number}\n"})
            said = await self.update(submodules=False)
            self.assertEqual("brought back the submodule lib" in said, not is_taken)
            self.assertFalse(aside.exists())
            if not is_taken:
                self.assertEqual(git(self.www, "status", "--porcelain"), "")
                self.assertEqual(self.lib(), "one\n")
        self.assertEqual((self.www / "lib").read_text(), "mine\n")

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


class Pages(Integration):
    def test_a_checkout_that_was_updated_without_its_submodules(self) -> None:
        """The deploy fails, and the pages say that it has changed the checkout all the same."""
        www, work = self.folder / "www", self.upstream.work
        base = {"location": str(www), "branch": "main", "submodules": True}
        self.upstream.configure({"configs": {"base": base}})
        first = self.upstream.commit({"a.txt": "one\n"})
        server = self.daemon()
        server.push(first)
        self.assertEqual(server.ended(1)["state"], "succeeded")
        (work / ".gitmodules").write_text(
            f'[submodule "lib"]\n\tpath = lib\n\turl = {self.folder}/gone.git\n'
        )
        git(work, "add", ".gitmodules")
        git(work, "update-index", "--add", "--cacheinfo", f"160000,{first},lib")
        second = self.upstream.commit({"a.txt": "two\n"})
        server.push(second)
        deploy = server.ended(2)
        self.assertEqual((deploy["state"], deploy["head"]), ("failed", second))
        self.assertEqual(deploy["previous_commit"], first)
        self.assertEqual(git(www, "rev-parse", "HEAD"), second)
        page = server.get("/github.com/acme/site")
        (live,) = page["live"]
        self.assertEqual((live["last_good"]["id"], live["changed_by"]["id"]), (1, 2))
        self.assertEqual(page["not_deployed"], [])
