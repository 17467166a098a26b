"""Tests of what is read of a checkout without asking git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from integralgit.location.folders import Verified, look_of
from integralgit.location.refs import Head, head_in, refs_in

MAIN, TAG = "refs/heads/main", "refs/tags/v1"


class FilesOfGit(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(self.mktemp()).absolute()
        self.folder = self.place / ".git"
        self.git("init", "--quiet", "--initial-branch=main", str(self.place))
        self.git("commit", "--quiet", "--allow-empty", "-m", "One")
        self.commit = self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """What git prints."""
        folder = ["-C", str(self.place)] if self.place.exists() else []
        name = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "A"}
        environment = {**os.environ, **name, "GIT_COMMITTER_EMAIL": "a@b"}
        command = ["git", *folder, *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return done.stdout.strip()

    def test_loose_and_packed(self) -> None:
        """Refs are found in their own files and among the packed ones, the file first."""
        self.git("tag", "--annotate", "-m", "x", "v1")
        tag = self.git("rev-parse", "v1")
        wanted = {MAIN: self.commit, TAG: tag}
        self.assertEqual(refs_in(self.folder, [MAIN, TAG, "refs/heads/none"]), wanted)
        self.git("pack-refs", "--all")
        self.assertFalse((self.folder / MAIN).exists())
        self.assertEqual(refs_in(self.folder, [MAIN, TAG, "refs/heads/none"]), wanted)
        self.git("commit", "--quiet", "--allow-empty", "-m", "Two")
        self.assertEqual(refs_in(self.folder, [MAIN]), {MAIN: self.git("rev-parse", "HEAD")})

    def test_a_ref_that_is_a_folder(self) -> None:
        """A name that others begin with is no ref."""
        self.git("branch", "a/b")
        self.assertEqual(refs_in(self.folder, ["refs/heads/a", "refs/heads/main/x"]), {})

    def test_where_it_is(self) -> None:
        """On a branch, on one without a commit yet, and on none; also if the refs are packed."""
        self.assertEqual(head_in(self.folder), Head(self.commit, "main"))
        self.git("pack-refs", "--all")
        self.assertEqual(head_in(self.folder), Head(self.commit, "main"))
        self.git("checkout", "--quiet", "--detach")
        self.assertEqual(head_in(self.folder), Head(self.commit, None))
        self.git("checkout", "--quiet", "--orphan", "a/new")
        self.assertEqual(head_in(self.folder), Head(None, "a/new"))

    def test_git_is_asked_where_it_is(self) -> None:
        """Whatever is not plain is left to git, a branch of an odd name too."""
        file = self.folder / "HEAD"
        for text in ("ref: refs/heads/link", "ref: refs/remotes/origin/main", "ref: x", "", "a1b2"):
            self.git("symbolic-ref", "refs/heads/link", MAIN)
            file.write_text(f"{text}\n")
            self.assertIsNone(head_in(self.folder), text)
            file.write_text(f"ref: {MAIN}\n")
        file.unlink()
        self.assertIsNone(head_in(self.folder))
        file.symlink_to("refs/heads/main")
        self.assertIsNone(head_in(self.folder))

    def test_git_is_asked(self) -> None:
        """Symbolic refs, other ways to store refs and linked folders are left to git."""
        self.git("symbolic-ref", "refs/heads/link", MAIN)
        self.assertIsNone(refs_in(self.folder, ["refs/heads/link"]))
        self.git("worktree", "add", "--quiet", "--detach", str(self.place / "linked"))
        self.assertIsNone(refs_in(self.place / "linked" / ".git", [MAIN]))
        (self.folder / "reftable").mkdir()
        self.assertIsNone(refs_in(self.folder, [MAIN]))

    def test_a_location_in_order(self) -> None:
        """It is verified again when its settings or its folders are others."""
        verified, place = Verified(), str(self.place)
        self.assertFalse(verified.remembers(place, look_of(place)))
        verified.remember(place, look_of(place))
        self.git("commit", "--quiet", "--allow-empty", "-m", "Two")
        self.assertTrue(verified.remembers(place, look_of(place)))
        self.git("config", "remote.origin.url", "https://example.com/x")
        self.assertFalse(verified.remembers(place, look_of(place)))
        verified.remember(place, look_of(place))
        self.folder.rename(self.place / "elsewhere")
        self.git("init", "--quiet", str(self.place))
        self.assertFalse(verified.remembers(place, look_of(place)))

    def test_settings_that_name_others(self) -> None:
        """Settings that lie partly elsewhere are never remembered."""
        verified, place = Verified(), str(self.place)
        self.git("config", "include.path", "../settings")
        verified.remember(place, look_of(place))
        self.assertIsNone(look_of(place))
        self.assertFalse(verified.remembers(place, look_of(place)))
