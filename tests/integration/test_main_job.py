"""The main job: a signed delivery in, a deployed host out."""

from __future__ import annotations

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration.harness import Daemon, Integration, eventually, git

SCRIPT = """#!/bin/sh
env | sort >../environment
cat >../stdin
tr '\\0' '\\n' </proc/$PPID/environ >../environment-of-the-wrapper
tr '\\0' '\\n' </proc/$PPID/cmdline >../arguments
echo "deploying $INTEGRALGIT_COMMIT"
echo "to standard error" >&2
"""


class MainJob(Integration):
    def config(self, **web: Any) -> dict[str, Any]:
        return {
            "hostgroups": {"web": ["web1", "web2"], "staging": ["stage1"]},
            "configs": {
                "base": {
                    "location": str(self.folder / "www"),
                    "script": "./deploy.sh",
                    "branch": "main",
                },
                "staging": {"branch": "dev"},
                "web": {"env": {"COLOUR": "blue"}, **web},
            },
        }

    def test_from_a_push_to_a_deployed_host(self) -> None:
        """A push is cloned and its script run; all of it can be read (threats 58, 60, 61 and 66)."""
        config = self.upstream.configure(self.config())
        commit = self.upstream.commit({"deploy.sh": SCRIPT, "index.html": "one"}, "First")
        daemon = self.daemon(environment={"SECRET_OF_THE_SERVER": "leak"})

        answer = daemon.push(commit)

        self.assertEqual(answer.status, 202, answer.body)
        queued = answer.json["deploys"][0]
        url = f"{daemon.url}/github.com/acme/site/deploys/1"
        self.assertEqual(answer.json["outcome"], "accepted")
        self.assertEqual(answer.headers["Location"], url)
        self.assertEqual(
            queued,
            {
                "id": 1,
                "repo": "github.com/acme/site",
                "branch": "main",
                "location": None,
                "url": url,
            },
        )
        deploy = daemon.ended(1)
        www = self.folder / "www"
        self.assertEqual(deploy["state"], "succeeded", daemon.log(1))
        self.assertEqual(git(www, "rev-parse", "HEAD"), commit)
        self.assertEqual(git(www, "symbolic-ref", "HEAD"), "refs/heads/main")
        self.assertEqual(git(www, "status", "--porcelain"), "")
        self.assertEqual((www / "index.html").read_text(), "one")
        expected = {
            "host": "web1",
            "location": str(www),
            "branch": "main",
            "trigger": "push",
            "reason": None,
            "commit": commit,
            "head": commit,
            "previous_commit": None,
            "config_commit": config,
            "exit_code": 0,
            "superseded_by": None,
        }
        self.assertEqual({key: deploy[key] for key in expected}, expected)
        self.assertEqual([step["name"] for step in deploy["steps"]], ["fetch", "update", "script"])
        self.assertEqual({step["state"] for step in deploy["steps"]}, {"succeeded"})
        times = [deploy["created_at"], deploy["started_at"]]
        for step in deploy["steps"]:
            times += [step["started_at"], step["finished_at"]]
        times.append(deploy["finished_at"])
        self.assertEqual(times, sorted(times))
        for time in times:
            self.assertRegex(time, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        log = daemon.log(1)
        self.assertIn(f"deploying {commit}\nto standard error\n", log)
        self.assertEqual(deploy["log_size"], len(log.encode()))
        self.assertEqual(deploy["commits"], [{"id": commit, "message": "First", "author": "Ann"}])
        self.check_surroundings(url, commit)
        for name in ("environment", "environment-of-the-wrapper", "arguments"):
            text = (self.folder / name).read_text()
            for secret in ("leak", daemon.token(), daemon.secret().decode()):
                self.assertNotIn(secret, text, name)
        ours = (self.folder / "environment-of-the-wrapper").read_text().splitlines()
        self.assertIn(f"INTEGRALGIT_COMMIT={commit}", ours)

    def check_surroundings(self, url: str, commit: str) -> None:
        """The script had the documented environment and an empty stdin, and nothing else."""
        text = (self.folder / "environment").read_text()
        found = dict(line.split("=", 1) for line in text.splitlines())
        allowed = {
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "SHELL",
            "LANG",
            "TMPDIR",
            "TZ",
            "PWD",
            "OLDPWD",
        }
        ours = {
            "CI": "true",
            "INTEGRALGIT": "1",
            "INTEGRALGIT_REPO": "github.com/acme/site",
            "INTEGRALGIT_BRANCH": "main",
            "INTEGRALGIT_COMMIT": commit,
            "INTEGRALGIT_PREVIOUS_COMMIT": "",
            "INTEGRALGIT_HOST": "web1",
            "INTEGRALGIT_LOCATION": str(self.folder / "www"),
            "INTEGRALGIT_DEPLOY": "1",
            "INTEGRALGIT_TRIGGER": "push",
            "INTEGRALGIT_URL": url,
            "COLOUR": "blue",
        }
        rest = {
            name: value
            for name, value in found.items()
            if name not in allowed and not name.startswith("LC_") and name not in ("_", "SHLVL")
        }
        self.assertEqual(rest, ours)
        self.assertEqual((self.folder / "stdin").read_bytes(), b"")

    def test_a_location_behind_a_link(self) -> None:
        """A link that leads out of what the settings allow is refused, and nothing is made there (threat 54)."""
        allowed, home = self.folder / "allowed", self.folder / "home"
        allowed.mkdir()
        home.mkdir()
        (allowed / "out").symlink_to(home)
        base = {"location": str(allowed / "out" / "site"), "branch": "main"}
        self.upstream.configure({"configs": {"base": base}})
        url = json.dumps(str(self.upstream.bare))
        trust = f'[[trust]]\nrepos = ["github.com/acme/*"]\nurl = {url}\n'
        daemon = Daemon(
            self.folder / "server",
            f'host_names = ["web1"]\n{trust}locations = [{json.dumps(f"{allowed}/**")}]',
        )
        self.addCleanup(daemon.stop)
        daemon.start()
        daemon.push(self.upstream.commit({"x": "1"}))
        deploy = daemon.ended(1)
        self.assertEqual(deploy["state"], "failed")
        self.assertIn(f"is really {home.resolve()}/site, which is not in", deploy["reason"])
        self.assertEqual(list(home.iterdir()), [])

    def test_later_pushes(self) -> None:
        """A second push, another branch, a config push and a failing script do what they should."""
        www = self.folder / "www"
        self.upstream.configure(self.config())
        first = self.upstream.commit({"deploy.sh": SCRIPT, "index.html": "one"})
        daemon = self.daemon()
        daemon.push(first)
        daemon.ended(1)

        second = self.upstream.commit({"index.html": "two"}, "Second")
        answer = daemon.push(second)
        self.assertEqual(answer.json["deploys"][0]["location"], str(www))
        deploy = daemon.ended(2)
        self.assertEqual(deploy["state"], "succeeded")
        self.assertEqual((deploy["previous_commit"], deploy["commit"]), (first, second))
        self.assertEqual([one["message"] for one in deploy["commits"]], ["Second"])
        self.assertEqual((www / "index.html").read_text(), "two")

        other = self.upstream.commit({"index.html": "dev"}, branch="dev")
        answer = daemon.push(other, "dev")
        self.assertEqual(answer.status, 200)
        self.assertEqual(
            answer.json,
            {
                "outcome": "ignored",
                "reason": "branch dev is not deployed here (main is)",
                "deploys": [],
            },
        )

        config = self.upstream.configure(self.config(branch="dev"))
        answer = daemon.push(config, "integralgit")
        self.assertEqual((answer.status, answer.json["deploys"]), (202, []))
        eventually(
            lambda: (
                daemon.get("/github.com/acme/site")["config"][0]["values"]["branch"]
                == {"value": "dev", "layer": "web"}
            ),
            "the page shows the new branch",
        )
        self.assertEqual(len(daemon.get("/github.com/acme/site")["deploys"]), 2)

        failing = self.upstream.commit({"deploy.sh": "#!/bin/sh\necho no\nexit 3\n"}, branch="dev")
        daemon.push(failing, "dev")
        deploy = daemon.ended(3)
        self.assertEqual(deploy["state"], "failed")
        self.assertEqual((deploy["exit_code"], deploy["branch"]), (3, "dev"))
        self.assertEqual(deploy["reason"], "the script failed with exit code 3")
        self.assertEqual(deploy["steps"][-1]["state"], "failed")
        self.assertEqual(git(www, "rev-parse", "HEAD"), failing)
        self.assertEqual(git(www, "symbolic-ref", "HEAD"), "refs/heads/dev")
        self.assertEqual(git(www, "rev-parse", "main"), second)

    def ended(self, daemon: Daemon, number: int) -> Any:
        """A deploy that may follow from a look at the config only, once it has ended."""
        path = f"/github.com/acme/site/deploys/{number}"
        eventually(lambda: daemon.request("GET", path).status == 200, path)
        return daemon.ended(number)

    def test_a_branch_that_becomes_a_folder_of_branches(self) -> None:
        """What the remote has no more is not in the way; a local branch that is, a person renames."""
        www = self.folder / "www"
        daemon = self.daemon()
        number = 0
        for before, branch in (
            (None, "release"),
            ("release", "release/1"),
            ("release/1", "release"),
        ):
            if before is not None:
                git(self.upstream.work, "branch", "-m", before, f"was-{number}")
                git(self.upstream.work, "push", "--quiet", "--delete", "origin", before)
            self.upstream.configure(self.config(branch=branch, script=None))
            commit = self.upstream.commit({"index.html": branch}, branch=branch)
            daemon.push(commit, branch)
            number += 1
            deploy = self.ended(daemon, number)
            if before is not None:
                self.assertEqual(deploy["state"], "failed", deploy)
                self.assertIn(
                    f"no branch {branch} in the checkout beside {before}", deploy["reason"]
                )
                self.assertEqual((www / "index.html").read_text(), before)
                git(www, "branch", "-m", before, f"old-{number}")
                retry = daemon.request("POST", f"/github.com/acme/site/deploys/{number}/retry")
                self.assertEqual(retry.status, 202)
                number += 1
                deploy = daemon.ended(number)
            self.assertEqual(deploy["state"], "succeeded", deploy)
            self.assertEqual((www / "index.html").read_text(), branch)
            self.assertEqual(git(www, "symbolic-ref", "--short", "HEAD"), branch)

    def test_where_the_commits_come_from(self) -> None:
        """From the push, where it tells all that the deploy brings; else from the repository.

        Where nothing is new, it is the commit that is there.
        """
        self.upstream.configure(self.config(script=None))
        first = self.upstream.commit({"x": "1"}, "First")
        daemon = self.daemon()
        daemon.push(first)
        daemon.ended(1)
        second = self.upstream.commit({"x": "2"}, "Second")
        daemon.push(second, before=first)
        told = {"id": second, "message": "Change the site", "author": "Ann"}
        self.assertEqual(daemon.ended(2)["commits"], [told])
        third = self.upstream.commit({"x": "3"}, "Third")
        fourth = self.upstream.commit({"x": "4"}, "Fourth")
        daemon.push(fourth, before=third)
        commits = daemon.ended(3)["commits"]
        self.assertEqual([one["message"] for one in commits], ["Fourth", "Third"])
        site = "/github.com/acme/site/deploys"
        daemon.request("POST", site)
        (commit,) = daemon.ended(4)["commits"]
        self.assertEqual((commit["id"], commit["message"]), (fourth, "Fourth"))
        daemon.request("POST", f"{site}/2/rollback")
        self.assertEqual(daemon.ended(5)["commits"], [told])

    def test_a_config_push_that_was_missed(self) -> None:
        """A push that the known config would ignore is deployed if the config has changed."""
        self.upstream.configure(self.config())
        first = self.upstream.commit({"deploy.sh": SCRIPT})
        daemon = self.daemon()
        daemon.push(first)
        daemon.ended(1)
        self.upstream.configure(self.config(branch="dev"))
        second = self.upstream.commit({"x": "y"}, branch="dev")
        self.assertEqual(daemon.push(second, "dev").json["outcome"], "ignored")
        deploys = eventually(
            lambda: daemon.get("/github.com/acme/site")["deploys"][:-1], "the push is deployed"
        )
        self.assertEqual(daemon.ended(deploys[0]["id"])["commit"], second)
        delivery = daemon.get("/github.com/acme/site")["deliveries"][0]
        self.assertEqual(delivery["outcome"], "accepted")

    def test_a_config_that_is_pushed_with_a_push(self) -> None:
        """The push goes to the locations that the new config has besides, and at once."""
        one, two = ({"location": str(self.folder / name)} for name in ("one", "two"))
        config: dict[str, Any] = {"base": {"branch": "main"}, "web1": one}
        self.upstream.configure({"configs": config})
        waits = "#!/bin/sh\nwhile [ -e ../wait ]; do sleep 0.05; done\n"
        daemon = self.daemon('host_names = ["web1", "web2"]')
        daemon.push(self.upstream.commit({"deploy.sh": waits}))
        daemon.ended(1)
        (self.folder / "wait").touch()
        one["script"] = "./deploy.sh"
        self.upstream.configure({"configs": {**config, "web2": two}})
        second = self.upstream.commit({"x": "2"})
        self.assertEqual(len(daemon.push(second).json["deploys"]), 1)
        deploy = self.ended(daemon, 3)
        self.assertEqual((deploy["location"], deploy["commit"]), (two["location"], second))
        self.assertEqual(daemon.deploy(2)["state"], "running")
        (self.folder / "wait").unlink()
        self.assertEqual(daemon.ended(2)["state"], "succeeded")
        self.assertEqual(len(daemon.get("/github.com/acme/site")["deploys"]), 3)

    def test_what_a_config_push_will_change(self) -> None:
        """The page says which keys the next deploy will use other values for, until one has."""
        self.upstream.configure(self.config())
        commit = self.upstream.commit({"deploy.sh": "#!/bin/sh\n"})
        daemon = self.daemon()
        daemon.push(commit)
        daemon.ended(1)

        def coming() -> Any:
            (live,) = daemon.get("/github.com/acme/site")["live"]
            return live["next"]

        self.assertIsNone(coming())
        new = self.config(env={"COLOUR": "red"}, health_timeout=5, update="follow")
        daemon.push(self.upstream.configure(new), branch="integralgit")
        said = "will use other values for env, update and health_timeout."
        self.assertIn(said, eventually(coming, "the config is looked at"))
        daemon.push(commit)
        daemon.ended(2)
        self.assertIsNone(coming())

    def test_a_location_that_another_host_name_gets(self) -> None:
        """The deploy is told as that name's, to its script and to everybody else."""
        base = {"branch": "main", "script": "./deploy.sh"}
        www = {"location": str(self.folder / "www")}
        self.upstream.configure({"configs": {"base": base, "web1": www}})
        script = "#!/bin/sh\necho to $INTEGRALGIT_HOST\n"
        daemon = self.daemon('host_names = ["web1", "web2"]')
        daemon.push(self.upstream.commit({"deploy.sh": script}))
        self.assertEqual(daemon.ended(1)["host"], "web1")
        self.upstream.configure({"configs": {"base": base, "web2": www}})
        daemon.push(self.upstream.commit({"x": "2"}))
        self.assertEqual(daemon.ended(2)["host"], "web2")
        self.assertIn("to web2\n", daemon.log(2))

    def test_twenty_pushes_at_once(self) -> None:
        """They end in the newest commit, with one script at a time and few deploys."""
        script = """#!/bin/sh
mkdir ../running || echo OVERLAP >>../overlaps
sleep 0.3
echo "$INTEGRALGIT_COMMIT" >>../deployed
rmdir ../running
"""
        self.upstream.configure(self.config())
        first = self.upstream.commit({"deploy.sh": script})
        daemon = self.daemon()
        daemon.push(first)
        daemon.ended(1)
        commits = [self.upstream.commit({"n": str(n)}) for n in range(20)]
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(daemon.push, commits))
        self.assertEqual({answer.status for answer in answers}, {202})

        def idle() -> Any:
            deploys = daemon.get("/github.com/acme/site?limit=50")["deploys"]
            return deploys if all(one["finished_at"] for one in deploys) else None

        deploys = eventually(idle, "all is quiet")
        self.assertEqual(len(deploys), 21)
        self.assertFalse((self.folder / "overlaps").exists())
        deployed = (self.folder / "deployed").read_text().split()
        self.assertEqual(deployed[-1], commits[-1])
        self.assertLess(len(deployed), 8)
        states = [one["state"] for one in deploys]
        self.assertEqual(states[0], "succeeded")
        self.assertEqual(set(states), {"succeeded", "superseded"})
        superseded = [one for one in deploys if one["state"] == "superseded"]
        self.assertTrue(all(one["superseded_by"] > one["id"] for one in superseded))
        self.assertEqual(git(self.folder / "www", "rev-parse", "HEAD"), commits[-1])

    def test_a_repository_without_a_config(self) -> None:
        """A push of a repository with nothing for this host is accepted, and skipped with a reason."""
        commit = self.upstream.commit({"x": "y"})
        daemon = self.daemon()
        self.assertEqual(daemon.push(commit).status, 202)
        deploy = daemon.ended(1)
        self.assertEqual(deploy["state"], "skipped")
        self.assertIn("no branch integralgit", deploy["reason"])

    def test_a_config_that_was_mended(self) -> None:
        """What the known config would refuse is read afresh first, and makes no folder meanwhile (threat 58)."""
        forbidden = self.folder / "forbidden" / "www"
        config = self.config()
        config["configs"]["base"]["location"] = str(forbidden)
        self.upstream.configure(config)
        url = self.folder / "githost" / "{full_name}.git"
        daemon = Daemon(
            self.folder / "server",
            f'host_names = ["web1"]\n[[trust]]\nrepos = ["github.com/acme/*"]\nurl = "{url}"\n'
            f'locations = ["{self.folder}/www"]\n',
        )
        self.addCleanup(daemon.stop)
        daemon.start()
        daemon.push(self.upstream.commit({"deploy.sh": SCRIPT}))
        refused = daemon.ended(1)
        self.assertEqual(refused["state"], "failed")
        self.assertIn("is not in locations =", refused["reason"])
        self.assertFalse(forbidden.parent.exists())
        self.upstream.configure(self.config())
        daemon.push(self.upstream.commit({"x": "y"}))
        deploys = eventually(
            lambda: (
                (d := daemon.get("/github.com/acme/site")["deploys"]) and d[0]["finished_at"] and d
            ),
            "the second push is deployed",
        )
        self.assertEqual(
            (deploys[0]["state"], deploys[0]["location"]), ("succeeded", str(self.folder / "www"))
        )

    def test_a_location_that_was_mended(self) -> None:
        """Where the location of the known config cannot be used, that is read afresh as well."""
        daemon = self.daemon()
        number = 0
        (self.folder / "file").touch()
        (self.folder / "full").mkdir()
        (self.folder / "full" / "mine.txt").touch()
        git(self.folder, "clone", "--quiet", str(self.upstream.bare), "another")
        git(self.folder / "another", "remote", "set-url", "origin", "https://example.com/x.git")
        for name in ("file", "full", "another"):
            config = self.config()
            config["configs"]["base"]["location"] = str(self.folder / name)
            self.upstream.configure(config)
            daemon.push(self.upstream.commit({"deploy.sh": SCRIPT, name: "1"}))
            number += 1
            self.assertEqual(daemon.ended(number)["state"], "failed", name)
            config["configs"]["base"]["location"] = str(self.folder / f"good-{name}")
            self.upstream.configure(config)
            daemon.push(self.upstream.commit({name: "2"}))
            number += 1
            deploy = daemon.ended(number)
            self.assertEqual(deploy["state"], "succeeded", deploy["reason"])
            self.assertEqual(deploy["location"], str(self.folder / f"good-{name}"))
            self.assertEqual((self.folder / f"good-{name}" / name).read_text(), "2")

    def test_a_mirror_that_a_kill_has_left_locked(self) -> None:
        """The server's own small repositories are made anew where they cannot be used."""
        self.upstream.configure(self.config())
        daemon = self.daemon()
        mirror = daemon.state / "mirrors" / "github.com%2Facme%2Fsite.git"
        git(self.folder, "init", "--quiet", "--bare", str(mirror))
        (mirror / "shallow.lock").touch()
        daemon.push(self.upstream.commit({"deploy.sh": SCRIPT}))
        self.assertEqual(daemon.ended(1)["state"], "succeeded")

    def test_a_broken_config(self) -> None:
        """While the newest config is broken the last good one stays in use, and the page says so."""
        self.upstream.configure(self.config())
        daemon = self.daemon()
        daemon.push(self.upstream.commit({"deploy.sh": SCRIPT}))
        daemon.ended(1)
        broken = self.config(timeout="soon")
        config = self.upstream.configure(broken)
        daemon.push(config, "integralgit")
        page = eventually(
            lambda: (p := daemon.get("/github.com/acme/site"))["config"][0]["errors"] and p,
            "the error is shown",
        )
        self.assertRegex(
            page["config"][0]["errors"][0],
            "^host web1, layer web, key timeout: timeout must be a number or text",
        )
        self.assertEqual(page["config"][0]["values"]["timeout"]["value"], 900)
        second = self.upstream.commit({"x": "y"})
        daemon.push(second)
        deploy = daemon.ended(2)
        self.assertEqual((deploy["state"], deploy["commit"]), ("succeeded", second))
        self.assertIn("The newest config is broken", daemon.log(2))

    def test_a_key_that_is_none(self) -> None:
        """Where nobody heeds what the config says, the deploy's log tells that."""
        self.upstream.configure(self.config(scrpt="./other.sh"))
        daemon = self.daemon()
        daemon.push(self.upstream.commit({"deploy.sh": SCRIPT}))
        self.assertEqual(daemon.ended(1)["state"], "succeeded")
        self.assertIn("key scrpt: unknown key: did you mean `script`?", daemon.log(1))

    def test_a_timeout(self) -> None:
        """A script that runs too long is ended with all its children (threat 64)."""
        self.upstream.configure(self.config(timeout=3))
        commit = self.upstream.commit(
            {
                "deploy.sh": "#!/bin/sh\ncut -d' ' -f5 /proc/$$/stat >../group\nsleep 600 & sleep 600\n"
            }
        )
        daemon = self.daemon()
        daemon.push(commit)
        deploy = daemon.ended(1)
        self.assertEqual(deploy["state"], "timed_out")
        self.assertEqual(
            deploy["reason"],
            "the script ran longer than its timeout of 3 s (`timeout` in the config)",
        )
        group = (self.folder / "group").read_text().strip()
        alive = [pid for pid in os.listdir("/proc") if pid.isdigit() and self.group(pid) == group]
        self.assertEqual(alive, [])

    def group(self, pid: str) -> str | None:
        """The process group of a process, or None where it has ended (proc(5), `stat`)."""
        try:
            with open(f"/proc/{pid}/stat") as file:
                state, _, group, *_ = file.read().rpartition(")")[2].split()
        except OSError:
            return None
        return None if state in "ZX" else group

    def test_a_background_process(self) -> None:
        """What a script leaves behind holds up neither its deploy nor the next one (threat 63)."""
        self.upstream.configure(self.config())
        daemon = self.daemon()
        left = self.folder / "left"
        for number in (1, 2):
            commit = self.upstream.commit(
                {"deploy.sh": f"#!/bin/sh\nsleep 600 &\necho $! >>{left}\n: {number}\n"}
            )
            daemon.push(commit)
            deploy = daemon.ended(number)
            self.addCleanup(os.kill, int(left.read_text().split()[-1]), signal.SIGKILL)
            self.assertEqual(deploy["state"], "succeeded", deploy["reason"])
            self.assertIn("A background process of the script still runs", daemon.log(number))

    def test_a_script_that_empties_its_log(self) -> None:
        """What it has lost cannot be brought back; the log says so, and the rest is the script's."""
        self.upstream.configure(self.config())
        daemon = self.daemon()
        for number, more in ((1, ""), (2, "seq 1000\n")):
            script = f"#!/bin/sh\necho a warning > /dev/stderr\n{more}"
            daemon.push(self.upstream.commit({"deploy.sh": script}))
            deploy = daemon.ended(number)
            self.assertEqual(deploy["state"], "succeeded")
            self.assertEqual([step["log_offset"] for step in deploy["steps"]], [0, 0, 0])
            said, *_, told = daemon.log(number).splitlines()
            self.assertEqual(said, "a warning")
            self.assertIn("let it write with >> or >&2", told)

    def test_a_script_that_prints_without_end(self) -> None:
        """It is stopped when its log is full, and the log says so at its end (threat 67)."""
        self.upstream.configure(self.config())
        daemon = self.daemon('max_log = "200kB"')
        daemon.push(
            self.upstream.commit(
                {"deploy.sh": "#!/bin/sh\nwhile :; do echo more; sleep 0.001; done\n"}
            )
        )
        path = self.folder / "server" / "state" / "logs" / "1.log"
        eventually(path.exists, "it begins")
        with path.open("ab") as log:
            log.write(b"x" * 200_000)
        deploy = daemon.ended(1)
        self.assertEqual(deploy["reason"], "the script printed more than max_log allows")
        self.assertEqual(deploy["state"], "failed")
        self.assertTrue(daemon.log(1).endswith("printed more than max_log allows\n"))

    def test_what_a_script_file_may_be(self) -> None:
        """Without the x bit it runs through its shebang or sh; what cannot run is told (threat 55)."""
        self.upstream.configure(self.config(script="run.txt"))
        daemon = self.daemon()
        daemon.push(self.upstream.commit({"run.txt": "echo by $0\n"}))
        self.assertEqual(daemon.ended(1)["state"], "succeeded")
        self.assertIn(f"by {self.folder}/www/run.txt", daemon.log(1))
        self.upstream.commit({"run.txt": "#!/usr/bin/env python3\nprint(6 * 7)\n"})
        git(self.upstream.work, "update-index", "--chmod=-x", "run.txt")
        daemon.push(self.upstream.commit({}))
        self.assertEqual(daemon.ended(2)["state"], "succeeded")
        self.assertIn("\n42\n", daemon.log(2))
        daemon.push(self.upstream.commit({"run.txt": None}))
        deploy = daemon.ended(3)
        self.assertEqual(deploy["state"], "failed")
        self.assertEqual(deploy["reason"], "the script run.txt is not a file in the checkout")
        daemon.push(self.upstream.commit({"run.txt": "#!/nowhere/python\nprint(6 * 7)\n"}))
        self.assertEqual(
            daemon.ended(4)["reason"],
            "the script run.txt could not be started: its first line asks for /nowhere/python,"
            " which is no program here",
        )
        daemon.push(self.upstream.commit({"run.txt": "#!/usr/bin/env no-such-program\n"}))
        deploy = daemon.ended(5)
        self.assertEqual((deploy["state"], deploy["exit_code"]), ("failed", 127))
        self.assertIn("a command that was not found", deploy["reason"])

    def test_the_log_of_an_ended_deploy_as_events(self) -> None:
        """The event stream gives the whole log, resumes from any id, and ends."""
        self.upstream.configure(self.config())
        daemon = self.daemon()
        daemon.push(self.upstream.commit({"deploy.sh": SCRIPT}))
        daemon.ended(1)
        path = "/github.com/acme/site/deploys/1/events"
        log = daemon.log(1)
        whole = self.stream(daemon.request("GET", path).body)
        self.assertEqual("".join(data["text"] for name, data in whole if name == "log"), log)
        self.assertEqual(whole[-1][0], "end")
        token = {"Authorization": f"Bearer {daemon.token()}"}
        rest = daemon.request("GET", path, headers={**token, "Last-Event-ID": "20"})
        text = "".join(d["text"] for name, d in self.stream(rest.body) if name == "log")
        self.assertEqual(text.encode(), log.encode()[20:])
        part = daemon.request(
            "GET", "/github.com/acme/site/deploys/1/log", headers={**token, "Range": "bytes=3-9"}
        )
        self.assertEqual((part.status, part.body), (206, log.encode()[3:10]))

    def stream(self, body: bytes) -> list[tuple[str, Any]]:
        """The named events of a stream."""
        found = re.findall(r"^event: (\w+)\ndata: (.*)$", body.decode(), re.MULTILINE)
        return [(name, json.loads(data)) for name, data in found]
