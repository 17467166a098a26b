"""Bringing a checkout to the newest commit, by real git: what moves, what is refused, what is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from integralgit.deploy.checkout import Checkout, Tips, open_location, read_config
from integralgit.deploy.child import Children
from integralgit.deploy.git import Git, git_environment
from integralgit.deploy.plan import Refused
from integralgit.deploy.source import Source
from integralgit.deploy.update import Update, Updated
from integralgit.hostconfig.resolve import ConfigError
from integralgit.names import Repository
from tests.integration.harness import Upstream, git

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

    async def update(self, mode: str = "safe", branch: str = "main") -> Result:
        """One fetch and update of the location, as a deploy does it."""
        said: list[str] = []
        os.close(open_location(str(self.www)))
        source = Source(Repository("github.com", "acme/site"), str(self.upstream.bare))
        runner = Git(Children(reactor), git_environment(os.environ), 60)
        runner = runner.within(str(self.www)).allowing(source.protocols)
        runner = runner.with_environment(
            GIT_CONFIG_GLOBAL=os.devnull,
            GIT_CONFIG_NOSYSTEM="1",
            # The tests themselves may lie in a checkout of this project.
            GIT_CEILING_DIRECTORIES=str(self.folder.parent),
        )
        checkout = Checkout(runner, str(self.www), "origin", source)
        try:
            await checkout.prepare(branch)
            tips: Tips = await checkout.fetch(branch)
            update = Update(checkout, said.append, deferToThread, "web1")
            updated = await update.run(branch, mode, tips, self.deployed, RESCUE)
        except Refused as refused:
            return Result(None, str(refused), "\n".join(said))
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

    async def test_first_clone_that_was_cut_off(self) -> None:
        """A repository that was made but never filled is filled by the next deploy."""
        git(self.folder, "init", "--quiet", "--initial-branch=main", str(self.www))
        commit = await self.start()
        self.assertEqual(self.head(), commit)

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
        """It is named; `follow` keeps it under the rescue ref."""
        await self.refused(
            lambda: (self.www / "a.txt").write_text("edited\n"), "edited here:\n  a.txt"
        )

    async def test_an_untracked_file_in_the_way(self) -> None:
        """It is named; `follow` keeps it under the rescue ref."""
        await self.refused(lambda: (self.www / "new.txt").write_text("mine\n"), "  new.txt")

    async def test_an_ignored_file_in_the_way(self) -> None:
        """Git would overwrite it without a word; we name it, and `follow` keeps it."""

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

    async def test_a_file_where_a_folder_is_wanted(self) -> None:
        """It is named; `follow` keeps it under the rescue ref."""
        await self.refused(lambda: (self.www / "folder").write_text("mine\n"), "  folder")

    async def test_a_deleted_file_that_changed(self) -> None:
        """A tracked file that was removed by hand is an edit too."""
        await self.start()
        self.upstream.commit({"a.txt": "two\n"})
        (self.www / "a.txt").unlink()
        result = await self.update()
        self.assertIn("a.txt", result.refused or "")

    async def test_local_commits(self) -> None:
        """`safe` merges them, `ff-only` refuses, `follow` keeps them aside."""
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
        await self.update("safe")
        self.assertEqual(self.tree()["local.txt"], b"mine\n")
        self.assertEqual(git(self.www, "merge-base", "HEAD", again), again)

        result = await self.update("follow")
        self.assertEqual(self.head(), again)
        self.assertNotIn("local.txt", self.tree())
        self.assertEqual(git(self.www, "show", f"{RESCUE}:local.txt"), "mine")
        self.assertIn(f"git checkout {RESCUE} -- FILE", result.said)

    async def test_local_commits_that_conflict(self) -> None:
        """The conflicting files are named, and everything is as it was."""
        await self.start()
        (self.www / "a.txt").write_text("mine\n")
        git(self.www, "commit", "--quiet", "-a", "-m", "Local")
        local, before = self.head(), self.tree()
        self.upstream.commit({"a.txt": "two\n"})
        result = await self.update()
        self.assertIn("local commits conflict with the new ones in: a.txt", result.refused or "")
        self.assertEqual((self.head(), self.tree()), (local, before))
        self.assertEqual(git(self.www, "status", "--porcelain"), "")

    async def test_history_that_was_rewritten(self) -> None:
        """The remote is followed where only its own old commits are left behind."""
        first = await self.start()
        self.upstream.commit({"a.txt": "two\n"})
        await self.update()
        git(self.upstream.work, "reset", "--quiet", "--hard", first)
        rewritten = self.upstream.commit({"a.txt": "other\n"})
        result = await self.update("ff-only")
        self.assertIn("not a fast-forward", result.refused or "")
        result = await self.update("safe")
        self.assertEqual(self.head(), rewritten)
        git(self.upstream.work, "reset", "--quiet", "--hard", first)
        git(self.upstream.work, "push", "--quiet", "--force", "origin", "main")
        await self.update("safe")
        self.assertEqual(self.head(), first)

    async def test_another_branch(self) -> None:
        """The wanted branch is checked out; the one before keeps its commits."""
        first = await self.start()
        (self.www / "local.txt").write_text("mine\n")
        git(self.www, "add", ".")
        git(self.www, "commit", "--quiet", "-m", "Local")
        local = self.head()
        dev = self.upstream.commit({"a.txt": "dev\n"}, branch="dev")
        await self.update(branch="dev")
        self.assertEqual(
            (self.head(), git(self.www, "symbolic-ref", "HEAD")), (dev, "refs/heads/dev")
        )
        self.assertEqual(git(self.www, "rev-parse", "main"), local)
        git(self.www, "checkout", "--quiet", "--detach", first)
        await self.update(branch="dev")
        self.assertEqual(git(self.www, "symbolic-ref", "HEAD"), "refs/heads/dev")

    async def test_a_tag_named_like_the_branch(self) -> None:
        """The branch is deployed, not the tag."""
        await self.start()
        git(self.upstream.work, "tag", "main", "HEAD")
        git(self.upstream.work, "push", "--quiet", "origin", "refs/tags/main")
        git(self.www, "tag", "main", "HEAD")
        git(self.upstream.work, "commit", "--quiet", "--allow-empty", "-m", "Next")
        git(self.upstream.work, "push", "--quiet", "origin", "refs/heads/main")
        await self.update()
        self.assertEqual(self.head(), git(self.upstream.work, "rev-parse", "refs/heads/main"))

    async def test_a_merge_in_progress(self) -> None:
        """What a person has begun in the checkout is not touched."""
        await self.start()
        (self.www / ".git" / "MERGE_HEAD").write_text(self.head() + "\n")
        self.upstream.commit({"a.txt": "two\n"})
        self.assertIn("a merge is in progress", (await self.update()).refused or "")

    async def test_places_that_are_not_ours(self) -> None:
        """A folder with files, a part of another repository and another repository are refused."""
        self.upstream.commit({"a.txt": "one\n"})
        self.www.mkdir()
        (self.www / "precious.txt").write_text("x")
        self.assertIn("neither empty nor a git repository", (await self.update()).refused or "")
        git(self.folder, "init", "--quiet", str(self.folder))
        self.assertIn("lies inside another repository", (await self.update()).refused or "")
        git(self.folder, "init", "--quiet", str(self.www))
        git(self.www, "remote", "add", "origin", "https://github.com/other/site.git")
        self.assertIn(
            "another repository than github.com/acme/site", (await self.update()).refused or ""
        )
        self.assertEqual(self.tree(), {"precious.txt": b"x"})

    async def test_a_repository_with_sha256(self) -> None:
        """Commits with ids of 64 digits are cloned and followed as others are (threat 51)."""
        self.upstream = Upstream(self.folder / "other", object_format="sha256")
        first = await self.start()
        self.assertEqual(len(first), 64)
        second = self.upstream.commit({"a.txt": "two\n"})
        self.assertEqual((await self.update()).updated, Updated(first, second))

    async def test_a_shallow_checkout(self) -> None:
        """A shallow clone moves forward, and stays what it is (threat 47)."""
        self.upstream.commit({"a.txt": "one\n"})
        first = self.upstream.commit({"a.txt": "two\n"})
        url = f"file://{self.upstream.bare}"
        git(self.folder, "clone", "--quiet", "--depth=1", url, str(self.www))
        git(self.www, "remote", "set-url", "origin", str(self.upstream.bare))
        second = self.upstream.commit({"a.txt": "three\n"})
        self.assertEqual((await self.update()).updated, Updated(first, second))

    async def test_a_location_that_is_a_link(self) -> None:
        """A location may be a symbolic link to a folder."""
        (self.folder / "real").mkdir()
        self.www.symlink_to(self.folder / "real")
        commit = await self.start()
        self.assertEqual(git(self.folder / "real", "rev-parse", "HEAD"), commit)

    async def test_an_update_that_was_cut_off(self) -> None:
        """It is completed first, whatever half of it stands there; other files are left alone."""
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
        (self.www / ".git" / "index.lock").write_bytes(b"")
        result = await self.update()
        self.assertIn("was cut off and is completed first", result.said)
        self.assertIn("removed the lock", result.said)
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
        self.assertFalse(note.exists())

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

    async def test_a_branch_that_is_gone(self) -> None:
        """A branch that the remote no longer has is said to be missing, not deployed again."""
        await self.start()
        git(self.upstream.bare, "branch", "-m", "main", "trunk")
        result = await self.update()
        self.assertEqual(result.refused, "there is no branch main in github.com/acme/site")

    async def test_hooks_of_the_checkout(self) -> None:
        """Hooks and fsmonitor that somebody put into the checkout do not run."""
        await self.start()
        marker = self.folder / "ran"
        for name in ("post-checkout", "post-merge", "reference-transaction", "pre-merge-commit"):
            hook = self.www / ".git" / "hooks" / name
            hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
            hook.chmod(0o755)
        git(self.www, "config", "core.fsmonitor", str(self.www / ".git" / "hooks" / "post-merge"))
        self.upstream.commit({"a.txt": "two\n"})
        self.assertIsNone((await self.update()).refused)
        self.assertFalse(marker.exists())

    async def test_reading_the_config(self) -> None:
        """Only a plain file of a modest size is read: no link, no folder, no megabytes."""
        runner = Git(Children(reactor), git_environment(os.environ), 60)
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
