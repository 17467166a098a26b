"""A push whose fetch begins while it is written down: nothing but the time is to be seen of that."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.integration.harness import Answer, Daemon, Integration, eventually, git

SITE = "/github.com/acme/site"


class HeadStart(Integration):
    def start(self) -> Daemon:
        """A server that has deployed once; what is fetched there after that is counted."""
        self.configure("www")
        daemon = self.daemon()
        self.first = self.upstream.commit({"x": "1"})
        daemon.push(self.first, number="first")
        daemon.ended(1)
        self.fetches, script = self.folder / "fetches", self.folder / "fetching"
        script.write_text(
            f'#!/bin/sh\necho x >> {self.fetches}\n[ ! -e {script}.fails ] || {{ rm {script}.fails; exit 1; }}\nexec git-upload-pack "$@"\n'
        )
        script.chmod(0o755)
        git(self.folder / "www", "config", "remote.origin.uploadpack", str(script))
        # The settings of the checkout have changed, so the next deploy looks closer.
        daemon.push(self.upstream.commit({"x": "2"}))
        self.assertEqual((daemon.ended(2)["state"], self.fetched()), ("succeeded", 1))
        return daemon

    def configure(self, location: str, **more: Any) -> str:
        """Let the site be deployed to that folder; the commit of the config."""
        base = {"location": str(self.folder / location), "branch": "main", **more}
        return self.upstream.configure({"configs": {"base": base}})

    def fetched(self) -> int:
        """How often was fetched since the count began."""
        return len(self.fetches.read_text().splitlines())

    @contextmanager
    def nothing_is_written(self, daemon: Daemon) -> Iterator[None]:
        """Hold the database, as somebody's backup might, for less than the server waits for it."""
        with closing(sqlite3.connect(daemon.state / "integralgit.sqlite")) as database:
            database.execute("BEGIN IMMEDIATE")
            yield
            database.execute("ROLLBACK")

    def test_before_it_is_written_down(self) -> None:
        """The fetch begins while the database is waited for; the deploy uses it, and tells of it."""
        daemon = self.start()
        commit = self.upstream.commit({"x": "3"})
        with ThreadPoolExecutor() as pool:
            with self.nothing_is_written(daemon):
                answer = pool.submit(daemon.push, commit)
                eventually(lambda: self.fetched() == 2, "it fetches")
                self.assertFalse(answer.done())
            self.assertEqual(answer.result().status, 202)
        deploy = daemon.ended(3)
        self.assertEqual((deploy["state"], deploy["commit"]), ("succeeded", commit))
        self.assertEqual(git(self.folder / "www", "rev-parse", "HEAD"), commit)
        self.assertEqual([step["name"] for step in deploy["steps"]], ["fetch", "update"])
        self.assertEqual(self.fetched(), 2)
        log = daemon.log(3)
        self.assertEqual(log.count("main       -> origin/main"), 1, log)
        self.assertLess(log.index("── fetch ──"), log.index("-> origin/main"), log)
        self.assertFalse((self.folder / "www" / ".git" / "integralgit-at-work").exists())

    def test_in_vain(self) -> None:
        """A delivery that is sent again costs one fetch, however often; after a deploy, another."""
        daemon = self.start()

        def again() -> Answer:
            return daemon.push(self.first, number="first")

        self.assertEqual(again().json["outcome"], "ignored")
        note = self.folder / "www" / ".git" / "integralgit-at-work"
        eventually(lambda: self.fetched() == 2 and not note.exists(), "it has fetched")
        for _ in range(3):
            self.assertEqual(again().json["outcome"], "ignored")
        daemon.push(self.upstream.commit({"x": "3"}))
        self.assertEqual((daemon.ended(3)["state"], self.fetched()), ("succeeded", 3))
        again()
        eventually(lambda: self.fetched() == 4, "it fetches again")

    def test_it_fails(self) -> None:
        """The deploy fetches itself then, and nothing is said of the first fetch."""
        daemon = self.start()
        Path(f"{self.folder}/fetching.fails").touch()
        commit = self.upstream.commit({"x": "3"})
        daemon.push(commit)
        deploy = daemon.ended(3)
        self.assertEqual((deploy["state"], deploy["commit"]), ("succeeded", commit))
        self.assertEqual(self.fetched(), 3)
        self.assertNotIn("fatal", daemon.log(3))

    def test_where_it_is_not_deployed_any_more(self) -> None:
        """A fetch at a location that the config has left does not hinder what goes elsewhere."""
        daemon = self.start()
        daemon.push(self.configure("new"), branch="integralgit")
        eventually(lambda: str(self.folder / "new") in str(daemon.get(SITE)), "the config was read")
        commit = self.upstream.commit({"x": "3"})
        daemon.push(commit)
        deploy = daemon.ended(3)
        self.assertEqual((deploy["state"], deploy["commit"]), ("succeeded", commit))
        self.assertEqual(deploy["location"], str(self.folder / "new"))
        self.assertEqual(git(self.folder / "new", "rev-parse", "HEAD"), commit)

    def test_a_config_that_changes_with_it(self) -> None:
        """What the fetch brings of the config counts, as ever."""
        daemon = self.start()
        config = self.configure("www", script="./deploy.sh")
        commit = self.upstream.commit({"deploy.sh": "#!/bin/sh\necho it runs\n"})
        daemon.push(commit)
        deploy = daemon.ended(3)
        self.assertEqual((deploy["state"], deploy["config_commit"]), ("succeeded", config))
        self.assertIn("it runs\n", daemon.log(3))
        self.assertEqual(self.fetched(), 2)

    def test_a_frozen_repository(self) -> None:
        """What is pushed to it is fetched once at most, and deployed when it is lifted."""
        daemon = self.start()
        daemon.request("POST", f"{SITE}/freeze", b"reason=the+fair")
        for n in range(3):
            commit = self.upstream.commit({"x": f"frozen {n}"})
            self.assertIn("frozen", daemon.push(commit).json["reason"])
        eventually(lambda: self.fetched() == 2, "it has fetched")
        daemon.request("POST", f"{SITE}/unfreeze")
        deploy = daemon.ended(5)
        self.assertEqual((deploy["state"], deploy["commit"]), ("succeeded", commit))
        self.assertEqual(self.fetched(), 3)

    def test_something_holds_the_location(self) -> None:
        """Where an earlier git was cut off, it is looked after before anything is fetched."""
        daemon = self.start()
        git_folder = self.folder / "www" / ".git"
        (git_folder / "integralgit-at-work").touch()
        (git_folder / "refs" / "remotes" / "origin" / "main.lock").touch()
        commit = self.upstream.commit({"x": "3"})
        daemon.push(commit)
        self.assertEqual(daemon.ended(3)["state"], "succeeded")
        self.assertIn("main.lock, left by a git that was cut off", daemon.log(3))
