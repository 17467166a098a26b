"""Bringing a checkout to the newest commit, by real git: what moves, what is refused, what is kept."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree, which
from subprocess import CalledProcessError, run
from typing import Any
from unittest import SkipTest

from attrs import frozen
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from integralgit.hostconfig.resolve import ConfigError
from integralgit.location.checkout import Checkout, Tips
from integralgit.location.config import read_config
from integralgit.location.folders import open_location
from integralgit.location.git import Git, GitError, git_environment
from integralgit.location.plan import Refused
from integralgit.location.source import Source
from integralgit.location.status import Status
from integralgit.location.unfinished import Unfinished
from integralgit.location.update import Update, Updated
from integralgit.names import Repository
from integralgit.processes.child import Children
from integralgit.processes.spawn import spawner
from tests.integration.harness import Upstream, git, stage_odd_link

RESCUE = "refs/integralgit/rescue/7"


@frozen
class Result:
    """What an update did: where HEAD is, or why it was refused; and what it said."""

    updated: Updated | None
    refused: str | None
    said: str


class Updates(TestCase):
    def setUp(self) -> None:
        self.folder = Path(f"{self.id()}-{time.monotonic_ns()}").absolute()
        self.folder.mkdir()
        self.upstream = Upstream(self.folder / "githost")
        self.www = self.folder / "www"
        self.deployed: list[str] = []
        #: What the last update has changed, whether or not it has failed.
        self.changed: Updated | None = None

    async def update(self, mode: str = "safe", branch: str = "main") -> Result:
        """One fetch and update of the location, as a deploy does it."""
        said: list[str] = []
        os.close(open_location(str(self.www)))
        source = Source(Repository("github.com", "acme/site"), str(self.upstream.bare))
        runner = Git(Children(reactor, spawner(reactor)), git_environment(os.environ), 60)
        runner = runner.within(str(self.www)).allowing(source.protocols)
        runner = runner.with_environment(
            GIT_CONFIG_GLOBAL=os.devnull,
            GIT_CONFIG_NOSYSTEM="1",
            # The tests themselves may lie in a checkout of this project.
            GIT_CEILING_DIRECTORIES=str(self.folder.parent),
        )
        checkout = Checkout(runner, str(self.www), "origin", source)
        update = Update(checkout, said.append, deferToThread, "web1")
        try:
            await checkout.prepare(branch)
            tips: Tips = await checkout.fetch(branch)
            updated = await update.run(branch, mode, tips, self.deployed, RESCUE)
        except Refused as refused:
            return Result(None, str(refused), "\n".join(said))
        finally:
            self.changed = update.changed
        self.deployed.insert(0, tips.branch)
        return Result(updated, None, "\n".join(said))

    def tree(self) -> dict[str, bytes]:
        """Every file of the location outside .git, with its content."""
        return {
            str(path.relative_to(self.www)): path.read_bytes()
            for path in sorted(self.www.rglob("*"))
            if path.is_file() and ".git" not in path.relative_to(self.www).parts
        }

    def head(self) -> str:
        return git(self.www, "rev-parse", "HEAD")

    async def start(self, **files: str) -> str:
        """A first deploy with those files; its commit."""
        commit = self.upstream.commit({"a.txt": "one\n", "b.txt": "one\n", **files})
        result = await self.update()
        self.assertIsNone(result.refused)
        return commit

    async def test_first_clone(self) -> None:
        """A location that is not there becomes a checkout of the branch that follows the remote."""
        commit = await self.start()
        self.assertEqual(self.head(), commit)
        self.assertEqual(
            git(self.www, "rev-parse", "--abbrev-ref", "main@{upstream}"), "origin/main"
        )
        self.assertEqual(git(self.www, "status", "--porcelain"), "")

    async def test_fast_forward(self) -> None:
        """Files come, change and go; edited and untracked files elsewhere stay as they are."""
        first = await self.start(**{"gone.txt": "x"})
        (self.www / "b.txt").write_text("edited\n")
        (self.www / "mine.txt").write_text("untracked\n")
        second = self.upstream.commit({"a.txt": "two\n", "new/c.txt": "c", "gone.txt": None})
        result = await self.update()
        self.assertEqual(result.updated, Updated(first, second))
        self.assertEqual(
            self.tree(),
            {
                "a.txt": b"two\n",
                "b.txt": b"edited\n",
                "mine.txt": b"untracked\n",
                "new/c.txt": b"c",
            },
        )

    async def refused(self, prepare: Callable[[], object], *said: str) -> None:
        """An update over what `prepare` does is refused with the files, and changes nothing."""
        first = await self.start()
        self.upstream.commit({"a.txt": "two\n", "new.txt": "new\n", "folder/x.txt": "x\n"})
        prepare()
        before = self.tree()
        for mode in ("safe", "ff-only"):
            result = await self.update(mode)
            self.assertIn("would overwrite files", result.refused or "")
            for text in said:
                self.assertIn(text, result.said)
            self.assertEqual((self.tree(), self.head()), (before, first))
        result = await self.update("follow")
        self.assertIsNone(result.refused, result)
        self.assertEqual(self.tree()["a.txt"], b"two\n")
        self.assertEqual(git(self.www, "status", "--porcelain", "--untracked-files=no"), "")
        for name, content in before.items():
            if name not in ("a.txt", "b.txt") or content != b"one\n":
                kept = git(self.www, "show", f"{RESCUE}:{name}")
                self.assertEqual(kept, content.decode().strip(), name)

    async def test_an_edited_file_in_the_way(self) -> None:
        """It is named; `follow` keeps it under the rescue ref (threat 40)."""
        await self.refused(
            lambda: (self.www / "a.txt").write_text("edited\n"), "edited here:\n  a.txt"
        )

    async def test_an_ignored_file_in_the_way(self) -> None:
        """Git would overwrite it without a word; we name it, and `follow` keeps it (threat 40)."""

        def prepare() -> None:
            (self.www / ".git" / "info" / "exclude").write_text("new.txt\n")
            (self.www / "new.txt").write_text("secret\n")

        await self.refused(prepare, "not tracked by git here:\n  new.txt")

    async def test_edits_that_git_was_told_not_to_see(self) -> None:
        """Files marked assume-unchanged or skip-worktree are edits as others are."""
        await self.start()
        for name, flag in (("a.txt", "--assume-unchanged"), ("b.txt", "--skip-worktree")):
            git(self.www, "update-index", flag, name)
            (self.www / name).write_text("mine\n")
        self.upstream.commit({"a.txt": "two\n", "b.txt": "two\n", "new.txt": "new\n"})
        before = self.tree()
        for mode in ("safe", "ff-only"):
            result = await self.update(mode)
            self.assertIn("would overwrite files: a.txt, b.txt", result.refused or "")
            self.assertEqual(self.tree(), before)
        await self.update("follow")
        self.assertEqual(self.tree()["a.txt"], b"two\n")
        for name in ("a.txt", "b.txt"):
            self.assertEqual(git(self.www, "show", f"{RESCUE}:{name}"), "mine")

    async def test_what_a_branch_of_theirs_follows(self) -> None:
        """It stays as it is; only a branch that the update has made follows the remote one."""
        await self.start(**{"b.txt": "one\n"})
        self.assertEqual(git(self.www, "rev-parse", "--abbrev-ref", "main@{u}"), "origin/main")
        git(self.www, "config", "branch.main.remote", "fork")
        git(self.www, "switch", "--quiet", "--detach")
        await self.update()
        self.assertEqual(git(self.www, "config", "branch.main.remote"), "fork")

    async def test_a_ref_that_somebody_else_moves(self) -> None:
        """A fetch that another one has met tries once more."""
        await self.start(**{"b.txt": "one\n"})
        second = self.upstream.commit({"a.txt": "two\n"})
        program, tried = self.folder / "bin" / "git", self.folder / "tried"
        program.parent.mkdir()
        refusal = "error: cannot lock ref 'refs/remotes/origin/main': is at 1 but expected 2"
        real = which("git")
        program.write_text(
            f'#!/bin/sh\ncase "$*" in *" fetch "*) [ -e {tried} ] || {{ touch {tried};'
            f' echo "{refusal}" >&2; exit 1; }};; esac\nexec {real} "$@"\n'
        )
        program.chmod(0o755)
        self.addCleanup(os.environ.__setitem__, "PATH", os.environ["PATH"])
        os.environ["PATH"] = f"{program.parent}:{os.environ['PATH']}"
        await self.update()
        self.assertTrue(tried.exists())
        self.assertEqual(self.head(), second)

    async def test_another_worktree(self) -> None:
        """A branch that a person has checked out elsewhere is not moved there."""
        first = await self.start(**{"b.txt": "one\n"})
        elsewhere = self.folder / "elsewhere"
        git(self.www, "switch", "--quiet", "--detach")
        git(self.www, "worktree", "add", "--quiet", str(elsewhere), "main")
        self.upstream.commit({"a.txt": "two\n"})
        for mode in ("safe", "ff-only", "follow"):
            result = await self.update(mode)
            self.assertIn(f"main is checked out at {elsewhere}", result.refused or "")
        self.assertEqual(git(elsewhere, "rev-parse", "HEAD"), first)
        self.assertEqual(git(elsewhere, "status", "--porcelain"), "")
        git(elsewhere, "switch", "--quiet", "-c", "theirs")
        self.assertIsNone((await self.update()).refused)
        self.www, elsewhere = elsewhere, self.www
        result = await self.update()
        self.assertIn(f"main is checked out at {elsewhere}", result.refused or "")

        git(self.www, "branch", "--quiet", "--force", "gone", "main")
        gone = self.folder / "gone"
        git(self.www, "worktree", "add", "--quiet", str(gone), "gone")
        rmtree(gone)
        git(self.upstream.work, "push", "--quiet", "origin", "main:gone")
        self.assertIsNone((await self.update(branch="gone")).refused)

    async def test_what_stands_in_the_place_of_a_folder(self) -> None:
        """A file or link there is kept by `follow`, although no push is about anything in the folder."""
        for stands in ("file", "link"):
            await self.start(**{f"{stands}/x.txt": "x\n"})
            rmtree(self.www / stands)
            if stands == "file":
                (self.www / stands).write_text("precious\n")
            else:
                (self.www / stands).symlink_to("elsewhere")
            self.upstream.commit({"a.txt": f"{stands}\n"})
            await self.update("follow")
            self.assertEqual((self.www / stands / "x.txt").read_text(), "x\n")
        self.assertEqual(git(self.www, "cat-file", "blob", f"{RESCUE}:link"), "elsewhere")
        self.assertEqual(git(self.www, "cat-file", "blob", f"{RESCUE}:file"), "precious")

    async def test_what_a_filter_would_leave_out(self) -> None:
        """What is kept is what was there, byte for byte, with its mode; a link is kept as one."""
        await self.start(**{".gitattributes": "*.nb filter=strip\n* text=auto\n", "a.nb": "code\n"})
        git(self.www, "config", "filter.strip.clean", "sed /OUTPUT/d")
        there = {"a.nb": b"edited\nOUTPUT of days\n", "crlf.txt": b"one\r\ntwo\r\n", "odd,\n": b"x"}
        for name, content in there.items():
            (self.www / name).write_bytes(content)
        (self.www / "crlf.txt").chmod(0o755)
        (self.www / "link").symlink_to("a.nb")
        self.upstream.commit(dict.fromkeys([*there, "link"], "other\n"))
        await self.update("follow")
        self.assertEqual((self.www / "link").read_text(), "other\n")
        for name, content in {**there, "link": b"a.nb"}.items():
            kept = ["git", "-C", str(self.www), "cat-file", "blob", f"{RESCUE}:{name}"]
            self.assertEqual(run(kept, check=True, capture_output=True).stdout, content)
        listed = git(self.www, "ls-tree", "-z", "--format=%(objectmode) %(path)", RESCUE)
        modes = {one[7:]: one[:6] for one in listed.split("\0") if one}
        self.assertEqual(
            (modes["link"], modes["crlf.txt"], modes["a.nb"]), ("120000", "100755", "100644")
        )

    async def test_a_rescue_that_is_done_again(self) -> None:
        """What the same deploy kept before its server was killed stays kept."""
        await self.start()
        for text in ("first\n", "second\n"):
            self.upstream.commit({"a.txt": f"after {text}"})
            (self.www / "a.txt").write_text(text)
            await self.update("follow")
        self.assertEqual(git(self.www, "show", f"{RESCUE}:a.txt"), "second")
        parents = git(self.www, "rev-list", "--parents", "-1", RESCUE).split()[1:]
        self.assertIn("first", [git(self.www, "show", f"{one}:a.txt") for one in parents])

    async def test_local_commits(self) -> None:
        """`safe` merges them, `ff-only` refuses, `follow` keeps them aside (threat 39)."""
        await self.start()
        (self.www / "local.txt").write_text("mine\n")
        git(self.www, "add", "local.txt")
        git(self.www, "commit", "--quiet", "-m", "Local")
        local = self.head()
        remote = self.upstream.commit({"a.txt": "two\n"})
        result = await self.update("ff-only")
        self.assertIn(
            "not a fast-forward: the local branch main has 1 commit", result.refused or ""
        )
        self.assertEqual(self.head(), local)

        result = await self.update("safe")
        assert result.updated is not None
        self.assertEqual(result.updated.head, self.head())
        parents = git(self.www, "rev-list", "--parents", "-1", "HEAD").split()[1:]
        self.assertEqual(parents, [local, remote])
        author = git(self.www, "log", "-1", "--format=%an <%ae>")
        self.assertEqual(author, "IntegralGit <integralgit@web1>")
        self.assertEqual(self.tree()["local.txt"], b"mine\n")
        self.assertEqual(self.tree()["a.txt"], b"two\n")

        again = self.upstream.commit({"a.txt": "three\n"})
        git(self.www, "config", "user.email", "ops@example.com")
        await self.update("safe")
        author = git(self.www, "log", "-1", "--format=%an <%ae>")
        self.assertEqual(author, "IntegralGit <ops@example.com>")
        self.assertEqual(self.tree()["local.txt"], b"mine\n")
        self.assertEqual(git(self.www, "merge-base", "HEAD", again), again)

        result = await self.update("follow")
        self.assertEqual(self.head(), again)
        self.assertNotIn("local.txt", self.tree())
        self.assertEqual(git(self.www, "show", f"{RESCUE}:local.txt"), "mine")
        self.assertIn(f"git cat-file blob {RESCUE}:FILE > FILE", result.said)

    async def test_an_update_that_was_cut_off(self) -> None:
        """It is completed first, whatever half of it stands there; other files are left alone (threat 42)."""
        first = await self.start(**{"gone.txt": "x", "b.txt": "one\n"})
        second = self.upstream.commit(
            {"a.txt": "two\n", "new.txt": "new\n", "gone.txt": None, "more/c.txt": "c\n"}
        )
        await self.update("ff-only")
        git(self.www, "update-ref", "refs/heads/main", first)
        git(self.www, "reset", "--quiet", "--mixed")
        (self.www / "a.txt").write_text("tw")
        (self.www / "new.txt").unlink()
        (self.www / "gone.txt").write_text("x")
        (self.www / "b.txt").write_text("edited\n")
        (self.www / "mine.txt").write_text("mine\n")
        (self.www / ".git" / "integralgit-update").write_text(f"main\n{first}\n{second}\n")
        result = await self.update()
        self.assertIn("was cut off and is completed first", result.said)
        self.assertEqual(self.head(), second)
        self.assertEqual(
            self.tree(),
            {
                "a.txt": b"two\n",
                "b.txt": b"edited\n",
                "mine.txt": b"mine\n",
                "more/c.txt": b"c\n",
                "new.txt": b"new\n",
            },
        )
        self.assertEqual(git(self.www, "status", "--porcelain"), "M b.txt\n?? mine.txt")

    async def test_a_file_that_becomes_a_folder_in_one_that_was_cut_off(self) -> None:
        """It is completed, whether git had come to the folder or not."""
        first = await self.start(c="a file\n")
        self.upstream.commit({"c": None})
        second = self.upstream.commit({"c/d.txt": "in a folder\n"})
        for has_begun in (False, True):
            await self.update()
            git(self.www, "update-ref", "refs/heads/main", first)
            git(self.www, "reset", "--quiet", "--mixed" if has_begun else "--hard")
            (self.www / ".git" / "integralgit-update").write_text(f"main\n{first}\n{second}\n")
            self.assertIn("is completed first", (await self.update()).said)
            self.assertEqual(self.head(), second)
            self.assertEqual((self.www / "c" / "d.txt").read_text(), "in a folder\n")
            self.assertEqual(git(self.www, "status", "--porcelain"), "")

    def note(self, before: str | None, to: str) -> None:
        """The note of an update of main that begins now, later than all before by the file system's clock."""
        nobody: Any = None
        unfinished = Unfinished(self.www / ".git", nobody, nobody)
        note, earlier = self.www / ".git" / "integralgit-update", self.folder / "earlier"
        earlier.touch()
        while True:
            on_branch = "main" if before else None
            unfinished.begin("main", before, to, local=before, on_branch=on_branch)
            if note.lstat().st_ctime_ns > earlier.stat().st_ctime_ns:
                break

    async def test_one_that_was_cut_off_before_git_had_begun(self) -> None:
        """What stood in the way already is refused as ever, and stays; nothing is completed."""
        first = await self.start(**{"b.txt": "one\n"})
        second = self.upstream.commit(
            {"a.txt": "two\n", "up/.keep": "x", "notes/x": "x", "plain": "x"}
        )
        (self.www / "up").symlink_to("elsewhere")
        for name in ("notes", "plain"):
            (self.www / name).write_text("mine\n")
        before = self.tree()
        self.note(first, second)
        result = await self.update()
        self.assertIn("was cut off before it had changed anything", result.said)
        self.assertIn("would overwrite files: notes, plain, up", result.refused or "")
        self.assertEqual((self.tree(), os.readlink(self.www / "up")), (before, "elsewhere"))
        self.assertFalse(os.path.lexists(self.www / ".git" / "integralgit-update"))

    async def test_what_stands_in_the_place_of_a_folder_in_one_that_was_cut_off(self) -> None:
        """It is kept aside before git removes it, and what a link leads to is not touched."""
        first = await self.start(**{"old/x": "x\n", "c": "c\n", "d": "d\n"})
        second = self.upstream.commit(
            {"a.txt": "two\n", "old/x": None, "up/.keep": "x", "notes/x": "x", "c": None, "d": None}
        )
        second = self.upstream.commit({"c/x": "x", "d/x": "x"})
        self.note(first, second)
        (self.www / "a.txt").write_text("tw")
        (self.folder / "data").mkdir()
        (self.folder / "data" / "x").write_text("precious\n")
        rmtree(self.www / "old")
        for name in ("old", "up"):
            (self.www / name).symlink_to("../data")
        for name in ("notes", "d"):
            (self.www / name).write_text("mine\n")
        result = await self.update()
        self.assertIn("is completed first", result.said)
        self.assertEqual(self.head(), second)
        self.assertEqual((self.folder / "data" / "x").read_text(), "precious\n")
        self.assertEqual((self.www / "up" / ".keep").read_text(), "x")
        self.assertEqual(os.readlink(self.www / "old"), "../data")
        kept = git(self.www, "diff", "--name-only", f"{RESCUE}-cut^", f"{RESCUE}-cut")
        self.assertEqual(kept.split(), ["a.txt", "d", "notes", "up"])
        self.assertEqual(git(self.www, "cat-file", "blob", f"{RESCUE}-cut:up"), "../data")

    async def test_what_stands_in_the_place_of_a_folder_in_a_first_one_that_was_cut_off(
        self,
    ) -> None:
        """It is kept aside as well."""
        commit = await self.start(**{"up/.keep": "x", "b.txt": "one\n"})
        (self.www / ".git" / "index").unlink()
        git(self.www, "symbolic-ref", "HEAD", "refs/heads/unborn")
        git(self.www, "update-ref", "-d", "refs/heads/main")
        rmtree(self.www / "up")
        self.note(None, commit)
        (self.www / "up").write_text("mine\n")
        (self.www / "a.txt").unlink()
        (self.www / "a.txt").write_text("on")
        await self.update()
        self.assertEqual(self.head(), commit)
        self.assertEqual(git(self.www, "show", f"{RESCUE}-cut:up"), "mine")
        self.assertEqual((self.www / "up" / ".keep").read_text(), "x")

    async def test_a_change_of_branches_that_was_cut_off(self) -> None:
        """It is completed, wherever the branch was before, and whether or not HEAD was on one."""
        first = await self.start(**{"b.txt": "one\n"})
        git(self.upstream.work, "branch", "dev")
        second = self.upstream.commit({"a.txt": "two\n", "b.txt": "two\n"})
        await self.update()
        git(self.www, "branch", "--quiet", "--no-track", "dev", first)
        third = self.upstream.commit({"a.txt": "dev\n", "b.txt": "dev\n"}, branch="dev")
        nobody: Any = None
        for on_branch in ("main", None):
            git(self.www, "reset", "--quiet", "--hard", second)
            if on_branch is None:
                git(self.www, "checkout", "--quiet", "--detach")
            unfinished = Unfinished(self.www / ".git", nobody, nobody)
            unfinished.begin("dev", second, third, local=first, on_branch=on_branch)
            (self.www / "a.txt").write_text("dev\n")
            result = await self.update(branch="dev")
            self.assertIn("is completed first", result.said)
            self.assertEqual(result.updated, Updated(second, third))
            self.assertEqual(git(self.www, "symbolic-ref", "HEAD"), "refs/heads/dev")
            self.assertEqual(git(self.www, "rev-parse", "dev", "main").split(), [third, second])
            self.assertEqual(git(self.www, "status", "--porcelain"), "")
            git(self.www, "checkout", "--quiet", "main")
            git(self.www, "branch", "--quiet", "--force", "dev", first)

    async def test_line_ends_that_git_calls_edits(self) -> None:
        """Files that nobody has touched are no edits, whatever `.gitattributes` says of their line ends."""
        windows = self.upstream.work / "w.txt"
        windows.write_bytes(b"one\r\n")
        git(self.upstream.work, "add", "w.txt")
        first = await self.start(**{".gitattributes": ""})
        blob = git(self.upstream.work, "rev-parse", "HEAD:w.txt")
        second = self.upstream.commit({".gitattributes": "*.txt text\n"})
        self.assertEqual((await self.update()).updated, Updated(first, second))
        self.assertEqual(git(self.www, "rev-parse", "HEAD:w.txt"), blob)
        (self.www / "w.txt").unlink()
        (self.www / "w.txt").write_bytes(b"one\r\n")
        self.assertIn("w.txt", git(self.www, "status", "--porcelain"))
        third = self.upstream.commit({"w.txt": "two\n"})
        self.assertEqual((await self.update()).updated, Updated(second, third))
        self.assertEqual(self.tree()["w.txt"], b"two\n")
        (self.www / "w.txt").write_text("mine\n")
        self.upstream.commit({"w.txt": "three\n"})
        self.assertIn("overwrite files: w.txt", (await self.update()).refused or "")
        self.assertEqual(self.tree()["w.txt"], b"mine\n")

    async def test_git_gives_up_before_it_changes_anything(self) -> None:
        """Nothing is half done then, and nothing to be completed: what somebody edits stays (threat 40)."""
        await self.start(**{"b.txt": "one\n"})
        note, lock = (self.www / ".git" / name for name in ("integralgit-update", "index.lock"))
        self.upstream.commit({"a.txt": "two\n", "new/c.txt": "c\n"})
        (self.www / "a.txt").write_text("edited\n")
        lock.touch()
        with self.assertRaises(GitError):
            await self.update()
        self.assertFalse(os.path.lexists(note))
        lock.unlink()
        self.upstream.commit({"b.txt": "two\n"})
        result = await self.update()
        self.assertIn("would overwrite files: a.txt", result.refused or "")

        git(self.www, "stash", "--quiet")
        await self.update()
        with self.assertRaises(CalledProcessError):
            git(self.www, "stash", "pop", "--quiet")
        (self.www / "a.txt").write_text("resolved\n")
        for text in ("three\n", "four\n"):
            self.upstream.commit({"a.txt": text, "b.txt": text})
            with self.assertRaisesRegex(GitError, "resolve your current index first"):
                await self.update()
            self.assertFalse(os.path.lexists(note))
        self.assertEqual((self.www / "a.txt").read_text(), "resolved\n")
        self.assertEqual(git(self.www, "status", "--porcelain"), "UU a.txt")

    def with_odd_link(self, **files: str | None) -> str:
        """A commit of a link that no file system takes, and of those files."""
        self.upstream.commit(files)
        work = self.upstream.work
        stage_odd_link(work)
        git(work, "commit", "--quiet", "--amend", "--no-edit")
        git(work, "push", "--quiet", "--force", "origin", "main")
        commit = git(work, "rev-parse", "HEAD")
        git(work, "update-index", "--force-remove", "link")
        return commit

    async def test_what_cannot_be_written(self) -> None:
        """The update fails, all is as it was before, and what can be written is deployed then (threat 48)."""
        for mode in ("safe", "ff-only", "follow"):
            first = await self.start(**{"gone.txt": mode, "dir/x": mode})
            (self.www / "b.txt").write_text("edited\n")
            before = {**self.tree(), "b.txt": b"one\n" if mode == "follow" else b"edited\n"}
            odd = self.with_odd_link(
                **{"a.txt": mode, "gone.txt": None, "new/x": "x", "dir/x": "-"}
            )
            for _ in range(2):
                with self.assertRaisesRegex(GitError, "unable to create symlink link"):
                    await self.update(mode)
                self.assertEqual((self.tree(), self.head()), (before, first))
                self.assertEqual(git(self.www, "symbolic-ref", "HEAD"), "refs/heads/main")
                self.assertEqual(git(self.www, "diff", "--cached", "--name-only"), "")
            fixed = self.upstream.commit({"a.txt": f"{mode} again"})
            result = await self.update(mode)
            self.assertEqual(result.updated, Updated(first, fixed))
            self.assertEqual(git(self.www, "merge-base", odd, fixed), odd)
            self.assertIn("new/x", self.tree())
            (self.www / "b.txt").write_text("one\n")

    @contextmanager
    def locked(self, folder: Path) -> Iterator[None]:
        """A folder in which nobody makes or removes a file meanwhile, root neither."""
        begin, end = ["chmod", "a-w"], ["chmod", "u+w"]
        if not os.geteuid():
            begin, end = ["chattr", "+i"], ["chattr", "-i"]
        if which(begin[0]) is None or run([*begin, folder], check=False).returncode:
            raise SkipTest("no folder can be made immutable here")
        try:
            yield
        finally:
            run([*end, folder], check=True)

    async def test_what_cannot_be_removed(self) -> None:
        """The update fails, and all is as it was before; a folder with something in it just stays."""
        for mode in ("safe", "follow"):
            first = await self.start(
                **{f"{mode}/x": "x\n", f"{mode}/y": "y\n", f"new/{mode}": "n\n"}
            )
            mine = self.www / "new" / "mine"
            mine.write_text("mine\n")
            self.upstream.commit({f"new/{mode}": None})
            second = self.upstream.commit({})
            self.assertEqual((await self.update(mode)).updated, Updated(first, second))
            self.assertTrue(mine.exists())
            self.upstream.commit({"a.txt": f"{mode}\n", f"{mode}/x": None})
            before = self.tree()
            for _ in range(2):
                with (
                    self.locked(self.www / mode),
                    self.assertRaisesRegex(GitError, f"unable to unlink '{mode}/x'"),
                ):
                    await self.update(mode)
                self.assertIsNone(self.changed)
                self.assertEqual((self.tree(), self.head()), (before, second))
                self.assertEqual(git(self.www, "status", "--porcelain"), "?? new/")
            self.assertEqual(git(self.www, "for-each-ref", "refs/integralgit"), "")
            await self.update(mode)
            self.assertFalse((self.www / mode / "x").exists())

    async def test_what_cannot_be_removed_of_one_that_was_cut_off(self) -> None:
        """It is not completed; for another commit it is taken back."""
        first = await self.start(**{"d/x": "x\n", "e": "e\n"})
        second = self.upstream.commit({"a.txt": "two\n", "d/x": None, "e": None})
        self.note(first, second)
        (self.www / "a.txt").write_text("two\n")
        with self.locked(self.www / "d"):
            with self.assertRaisesRegex(OSError, "d/x"):
                await self.update()
            fixed = self.upstream.commit({"d/x": "x\n"})
            result = await self.update()
        self.assertIn("is taken back first", result.said)
        self.assertEqual(result.updated, Updated(first, fixed))
        self.assertEqual(git(self.www, "status", "--porcelain"), "")
        self.assertEqual(git(self.www, "for-each-ref", "refs/integralgit"), "")

    async def test_what_cannot_be_looked_at(self) -> None:
        """Where it cannot be told what git has left, no later deploy takes that for done."""
        first = await self.start(**{"b.txt": "one\n"})
        odd = self.with_odd_link(**{"a.txt": "two\n"})

        async def status(checkout: Checkout) -> Status:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        patch = self.patch(Checkout, "status", status)
        with self.assertRaisesRegex(OSError, "Too many open files"):
            await self.update()
        patch.restore()
        self.assertEqual(self.changed, Updated(first, odd))
        self.assertTrue(os.path.lexists(self.www / ".git" / "integralgit-update"))
        self.assertEqual(self.head(), odd)
        with self.assertRaisesRegex(GitError, "unable to create symlink link"):
            await self.update()
        fixed = self.upstream.commit({"b.txt": "two\n"})
        self.assertEqual((await self.update()).updated, Updated(first, fixed))
        self.assertEqual(git(self.www, "status", "--porcelain"), "")

    async def test_what_git_takes_along_to_what_cannot_be_written(self) -> None:
        """What was staged as it comes, with edits on top, is a person's, and stays as it is."""
        first = await self.start(**{"c.txt": "one\n"})
        for name in ("a.txt", "new.txt"):
            (self.www / name).write_text("hotfix\n")
            git(self.www, "add", name)
            (self.www / name).write_text("hotfix\nand more\n")
        before, status = self.tree(), git(self.www, "status", "--porcelain")
        self.with_odd_link(**{"a.txt": "hotfix\n", "new.txt": "hotfix\n", "c.txt": "two\n"})
        with self.assertRaisesRegex(GitError, "unable to create symlink link"):
            await self.update()
        self.assertEqual((self.tree(), self.head()), (before, first))
        self.assertEqual(git(self.www, "status", "--porcelain"), status)
        self.assertEqual(git(self.www, "for-each-ref", "refs/integralgit"), "")

    async def test_what_is_edited_while_git_cannot_write_another_file(self) -> None:
        """It is kept aside before the files are put back."""
        await self.start(**{".gitattributes": "b.txt filter=person\n"})
        (self.folder / "edit").write_text("mine\n")
        edit = f"mv {self.folder}/edit {self.www}/a.txt 2>/dev/null; cat"
        git(self.www, "config", "filter.person.smudge", edit)
        self.with_odd_link(**{"a.txt": "two\n", "b.txt": "two\n"})
        with self.assertRaisesRegex(GitError, "unable to create symlink link"):
            await self.update()
        self.assertEqual(self.tree()["a.txt"], b"one\n")
        self.assertEqual(git(self.www, "show", f"{RESCUE}-cut:a.txt"), "mine")

    async def test_a_first_checkout_that_cannot_be_written(self) -> None:
        """Nothing of it stays, on no branch; nor does a branch that was not there before."""
        self.with_odd_link(**{"a.txt": "one\n"})
        with self.assertRaisesRegex(GitError, "unable to create symlink link"):
            await self.update()
        self.assertEqual(self.tree(), {})
        self.assertEqual(git(self.www, "branch", "--list"), "")
        fixed = self.upstream.commit({"a.txt": "two\n"})
        self.assertEqual((await self.update()).updated, Updated(None, fixed))
        git(self.upstream.work, "checkout", "--quiet", "-b", "dev")
        self.with_odd_link(**{"a.txt": "three\n"})
        git(self.upstream.work, "push", "--quiet", "origin", "HEAD:dev")
        with self.assertRaisesRegex(GitError, "unable to create symlink link"):
            await self.update(branch="dev")
        self.assertEqual(git(self.www, "branch", "--list"), "* main")
        self.assertEqual(self.tree(), {"a.txt": b"two\n"})

    async def test_another_branch_that_cannot_be_written(self) -> None:
        """What was cut off after git had moved HEAD to it is taken back, to where each branch was."""
        first = await self.start()
        git(self.www, "checkout", "--quiet", "-b", "dev")
        git(self.www, "commit", "--quiet", "--allow-empty", "-m", "Mine")
        mine = git(self.www, "rev-parse", "HEAD")
        git(self.www, "checkout", "--quiet", "main")
        odd = self.with_odd_link(**{"a.txt": "two\n"})
        git(self.upstream.work, "push", "--quiet", "origin", "main:dev")
        git(self.www, "fetch", "--quiet", "origin")
        nobody: Any = None
        Unfinished(self.www / ".git", nobody, nobody).begin(
            "dev", first, odd, local=mine, on_branch="main"
        )
        git(self.www, "update-ref", "refs/heads/dev", odd)
        git(self.www, "symbolic-ref", "HEAD", "refs/heads/dev")
        fixed = self.upstream.commit({"b.txt": "fixed\n"})
        result = await self.update()
        self.assertIn("is taken back first", result.said)
        self.assertEqual(result.updated, Updated(first, fixed))
        self.assertEqual(git(self.www, "rev-parse", "dev"), mine)
        self.assertEqual(git(self.www, "status", "--porcelain"), "")

    async def test_what_was_cut_off_and_cannot_be_completed(self) -> None:
        """It is taken back for another commit, and what is neither is kept aside; for the same it fails."""
        first = await self.start(**{"c.txt": "one\n"})
        odd = self.with_odd_link(**{"a.txt": "two\n", "c.txt": "two\n", "new.txt": "new\n"})
        (self.www / "a.txt").write_text("two\n")
        (self.www / "c.txt").write_text("edited since\n")
        (self.www / "new.txt").write_text("half writ")
        (self.www / ".git" / "integralgit-update").write_text(f"main\n{first}\n{odd}\n")
        with self.assertRaisesRegex(GitError, "unable to create symlink link"):
            await self.update()
        fixed = self.upstream.commit({"b.txt": "fixed\n"})
        result = await self.update()
        self.assertIn("is taken back first", result.said)
        self.assertEqual(result.updated, Updated(first, fixed))
        self.assertEqual(git(self.www, "status", "--porcelain"), "")
        kept = git(self.www, "ls-tree", "-r", "--name-only", f"{RESCUE}-cut").split()
        self.assertLess({"c.txt", "new.txt"}, {*kept})

    async def test_git_gives_up_and_a_folder_cannot_be_looked_into(self) -> None:
        """It is git's error that is told, and nothing is to be completed."""
        await self.start(**{"d/f.txt": "one\n"})
        self.upstream.commit({"d/f.txt": "two\n"})
        (self.www / ".git" / "index.lock").touch()
        rmtree(self.www / "d")
        (self.www / "d").symlink_to("d")
        with self.assertRaisesRegex(GitError, "index.lock"):
            await self.update()
        self.assertFalse(os.path.lexists(self.www / ".git" / "integralgit-update"))

    async def test_a_first_checkout_that_was_cut_off(self) -> None:
        """It is completed; what is there and differs, half written or edited since, is kept aside (threat 42)."""
        first = await self.start(**{"b.txt": "one\n", "c.txt": "c\n", "d/e.txt": "e\n"})
        (self.www / ".git" / "index").unlink()
        (self.www / "a.txt").write_text("edited since\n")
        (self.www / "c.txt").unlink()
        (self.www / "mine.txt").write_text("mine\n")
        (self.www / ".git" / "integralgit-update").write_text(f"main\nnothing\n{first}\n")
        git(self.www, "symbolic-ref", "HEAD", "refs/heads/unborn")
        git(self.www, "update-ref", "-d", "refs/heads/main")
        result = await self.update()
        self.assertIn("was cut off and is completed first", result.said)
        self.assertEqual(self.head(), first)
        self.assertEqual(git(self.www, "status", "--porcelain"), "?? mine.txt")
        self.assertEqual(git(self.www, "ls-tree", "-r", "--name-only", f"{RESCUE}-cut"), "a.txt")
        self.assertEqual(git(self.www, "show", f"{RESCUE}-cut:a.txt"), "edited since")
        self.assertFalse((self.www / ".git" / "integralgit-edited.index").exists())

    async def test_work_after_an_update_was_cut_off(self) -> None:
        """What a person did since is never undone: a commit voids the note, a file is kept aside."""
        first = await self.start()
        second = self.upstream.commit({"a.txt": "two\n", "b.txt": "two\n"})
        note = self.www / ".git" / "integralgit-update"
        note.write_text(f"main\n{first}\n{second}\n")
        (self.www / "a.txt").write_text("by hand\n")
        git(self.www, "commit", "--quiet", "-a", "-m", "By hand")
        mine = self.head()
        result = await self.update()
        self.assertIn("the branch was moved since", result.said)
        self.assertEqual(git(self.www, "merge-base", "HEAD", mine), mine)
        self.assertFalse(os.path.lexists(note))

        git(self.www, "reset", "--quiet", "--hard", first)
        note.write_text(f"main\n{first}\n{second}\n")
        (self.www / "a.txt").write_text("edited since\n")
        await self.update()
        self.assertEqual(self.head(), second)
        self.assertEqual(git(self.www, "show", f"{RESCUE}-cut:a.txt"), "edited since")

    async def test_a_rewritten_branch_after_a_deploy_that_failed(self) -> None:
        """What the remote branch had is known although a failed deploy has fetched since."""
        first = self.upstream.commit({"a.txt": "one\n"})
        self.upstream.commit({"secret.txt": "removed later\n"})
        url = str(self.upstream.bare)
        git(self.folder, "clone", "--quiet", url, str(self.www))
        git(self.upstream.work, "reset", "--quiet", "--hard", first)
        rewritten = self.upstream.commit({"a.txt": "two\n"})
        (self.www / "a.txt").write_text("in the way\n")
        self.assertIsNotNone((await self.update()).refused)
        git(self.www, "checkout", "--quiet", "a.txt")
        self.assertIsNone((await self.update()).refused)
        self.assertEqual(self.head(), rewritten)
        self.assertNotIn("secret.txt", self.tree())

    def begun(self, first: str, second: str) -> None:
        """An update that was cut off when git had changed one file, a.txt."""
        git(self.www, "fetch", "--quiet", "origin", "main:refs/remotes/origin/main")
        self.note(first, second)
        (self.www / "a.txt").write_text("two\n")

    def link_submodule(self) -> None:
        """Let the next commit have a submodule at lib."""
        lib = self.folder / "lib"
        git(self.folder, "init", "--quiet", "--initial-branch=main", str(lib))
        (lib / "l").write_text("l")
        git(lib, "add", ".")
        git(lib, "commit", "--quiet", "-m", "l")
        entry = f"160000,{git(lib, 'rev-parse', 'HEAD')},lib"
        git(self.upstream.work, "update-index", "--add", "--cacheinfo", entry)

    async def kept_when_completed(self, path: str) -> None:
        """Complete what was cut off; what somebody has written at that path since is kept."""
        (self.www / path).parent.mkdir(exist_ok=True)
        (self.www / path).write_text("mine")
        result = await self.update()
        self.assertIsNone(result.refused)
        self.assertEqual(git(self.www, "show", f"{RESCUE}-cut:{path}"), "mine")

    async def test_a_file_that_becomes_a_submodule_in_one_that_was_cut_off(self) -> None:
        """What somebody has written there since is kept."""
        first = await self.start(lib="file\n")
        git(self.upstream.work, "rm", "--quiet", "lib")
        self.link_submodule()
        self.begun(first, self.upstream.commit({"a.txt": "two\n"}))
        await self.kept_when_completed("lib")
        self.assertTrue((self.www / "lib").is_dir())

    async def test_a_submodule_that_becomes_a_file_in_one_that_was_cut_off(self) -> None:
        """What somebody has put into its folder since is kept."""
        self.link_submodule()
        first = await self.start()
        git(self.upstream.work, "rm", "--quiet", "--cached", "lib")
        self.begun(first, self.upstream.commit({"a.txt": "two\n", "lib": "a file\n"}))
        await self.kept_when_completed("lib/mine")
        self.assertEqual((self.www / "lib").read_text(), "a file\n")

    async def test_edits_that_git_does_not_see_in_one_that_was_cut_off(self) -> None:
        """Files that git was told not to look at are kept, where they are changed and where they go."""
        for flag in ("--skip-worktree", "--assume-unchanged"):
            first = await self.start(conf=f"{flag}\n", gone="g\n")
            second = self.upstream.commit({"a.txt": f"two {flag}\n", "conf": "c2\n", "gone": None})
            git(self.www, "update-index", flag, "conf", "gone")
            self.begun(first, second)
            (self.www / "gone").write_text("mine")
            await self.kept_when_completed("conf")
            self.assertEqual(git(self.www, "show", f"{RESCUE}-cut:gone"), "mine")
            self.assertEqual((self.www / "conf").read_text(), "c2\n")
            self.assertFalse((self.www / "gone").exists())

    async def test_other_line_ends_in_one_that_was_cut_off(self) -> None:
        """A file that only a filter leaves the same is written as in the new commit."""
        work = self.upstream.work
        (work / "run.sh").write_bytes(b"#!/bin/sh\r\n")
        git(work, "add", "run.sh")
        first = await self.start()
        (work / ".gitattributes").write_text("*.sh text eol=lf\n")
        git(work, "add", ".gitattributes")
        git(work, "add", "--renormalize", ".")
        self.begun(first, self.upstream.commit({"a.txt": "two\n"}))
        self.assertIsNone((await self.update()).refused)
        self.assertEqual((self.www / "run.sh").read_bytes(), b"#!/bin/sh\n")

    async def test_a_link_that_cannot_be_removed(self) -> None:
        """One that leads to a folder is no folder: the update fails, and all is as it was."""
        (self.upstream.work / "d").mkdir()
        (self.upstream.work / "d" / "l").symlink_to("../t")
        git(self.upstream.work, "add", "d/l")
        first = await self.start(**{"t/x": "x", "d/k": "k"})
        self.upstream.commit({"a.txt": "two\n", "d/l": None})
        failing = self.assertRaisesRegex(GitError, "unable to unlink")
        with self.locked(self.www / "d"), failing:
            await self.update()
        self.assertEqual((self.head(), git(self.www, "status", "--porcelain")), (first, ""))
        self.assertEqual(git(self.www, "for-each-ref", "refs/integralgit"), "")

    async def test_a_sparse_checkout_in_one_that_was_cut_off(self) -> None:
        """What lies outside of it stays away."""
        first = await self.start(**{"in/x": "x", "out/x": "x"})
        git(self.www, "sparse-checkout", "set", "in")
        second = self.upstream.commit({"a.txt": "two\n", "out/x": "y", "out/n": "n"})
        self.begun(first, second)
        self.assertIsNone((await self.update()).refused)
        self.assertEqual(list(self.tree()), ["a.txt", "b.txt", "in/x"])

    async def test_reading_the_config(self) -> None:
        """Only a plain file of a modest size is read: no link, no folder, no megabytes (threat 36)."""
        runner = Git(Children(reactor, spawner(reactor)), git_environment(os.environ), 60)
        runner = runner.within(str(self.upstream.work))
        commit = self.upstream.configure('{"configs": {}}\n')
        self.assertEqual(await read_config(runner, commit), '{"configs": {}}')
        cases: dict[str, Callable[[Path], Any]] = {
            "is not a plain file": lambda path: path.symlink_to("/etc/passwd"),
            "is larger than": lambda path: path.write_text(" " * 300_000),
            "has no file `config`": lambda path: path.with_name("other").write_text("x"),
            "is not text in UTF-8": lambda path: path.write_bytes(b"\xff\xfe"),
        }
        for said, make in cases.items():
            folder = self.folder / said.replace(" ", "-").replace("`", "")
            git(self.folder, "init", "--quiet", str(folder))
            make(folder / "config")
            git(folder, "add", ".")
            git(folder, "commit", "--quiet", "-m", "x")
            head = git(folder, "rev-parse", "HEAD")
            error = await self.assertFailure(
                _deferred(read_config(runner.within(str(folder)), head)), ConfigError
            )
            self.assertIn(said, str(error))


def _deferred(work: Any) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(work)
