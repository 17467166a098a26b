"""What was accepted and what runs survive any end of the server."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from integralgit.processes.groups import group_is_alive
from tests.integration.harness import (
    PATIENCE,
    ROOT,
    TWISTD,
    Daemon,
    Integration,
    eventually,
    git,
    is_answered,
    own_port,
)

#: Says that it runs, then waits for a file that the test makes.
WAITS = """#!/bin/sh
echo "begun $INTEGRALGIT_DEPLOY"
while [ ! -e ../go ]; do sleep 0.05; done
echo "going on"
exit ${CODE:-0}
"""


class Restart(Integration):
    def running(self, **env: str) -> Daemon:
        """A server with a deploy whose script waits."""
        base: dict[str, Any] = {"location": str(self.folder / "www"), "branch": "main"}
        base |= {"script": "./deploy.sh", "env": env, "timeout": 60}
        self.upstream.configure({"configs": {"base": base}})
        commit = self.upstream.commit({"deploy.sh": WAITS})
        daemon = self.daemon()
        daemon.push(commit)
        eventually(lambda: "begun" in daemon.log(1), "the script runs")
        self.addCleanup((self.folder / "go").touch)
        return daemon

    def picked_up(self, how: signal.Signals) -> None:
        daemon = self.running(CODE="7")
        daemon.stop(how)
        daemon.start()
        deploy = daemon.deploy(1)
        self.assertEqual((deploy["state"], deploy["finished_at"]), ("running", None))
        (self.folder / "go").touch()
        deploy = daemon.ended(1)
        self.assertEqual((deploy["state"], deploy["exit_code"]), ("failed", 7))
        said = "begun 1\ngoing on\nFailed: the script failed with exit code 7\n"
        self.assertTrue(daemon.log(1).endswith(said), daemon.log(1))
        self.assertEqual(deploy["steps"][-1]["state"], "failed")

    def test_a_script_goes_on_when_the_server_stops(self) -> None:
        """The next server shows it as running, with its whole output and its exit code."""
        self.picked_up(signal.SIGTERM)

    def test_a_script_goes_on_when_the_server_is_killed(self) -> None:
        """The same after `kill -9` (threat 69)."""
        self.picked_up(signal.SIGKILL)

    def test_a_script_that_ends_while_no_server_runs(self) -> None:
        """Its exit code is read from the wrapper's file by the next server."""
        daemon = self.running(CODE="5")
        daemon.stop(signal.SIGKILL)
        (self.folder / "go").touch()
        status = daemon.state / "logs" / "1.exit"
        eventually(lambda: status.exists() and status.read_text().strip(), "the script ends")
        ended_at = status.stat().st_mtime
        daemon.start()
        deploy = daemon.ended(1)
        self.assertEqual((deploy["state"], deploy["exit_code"]), ("failed", 5))
        finished = datetime.fromisoformat(deploy["finished_at"]).timestamp()
        self.assertAlmostEqual(finished, ended_at, places=2)
        self.assertIn("going on", daemon.log(1))

    def test_a_script_whose_wrapper_is_killed(self) -> None:
        """The rest of it is ended before the next push is deployed there, and the deploy says why (threat 69)."""
        daemon = self.running()
        wrapper = self.wrapper_of(daemon)
        second = self.upstream.commit({"deploy.sh": "#!/bin/sh\n"})
        daemon.push(second)
        os.kill(wrapper, signal.SIGKILL)
        self.its_wrapper_was_killed(daemon, wrapper)
        self.assertEqual(daemon.ended(2)["state"], "succeeded")

    def test_a_script_whose_wrapper_is_killed_with_the_server(self) -> None:
        """The next server ends the rest of it, and does not run it a second time (threat 69)."""
        daemon = self.running()
        wrapper = self.wrapper_of(daemon)
        daemon.stop(signal.SIGKILL)
        os.kill(wrapper, signal.SIGKILL)
        daemon.start()
        self.its_wrapper_was_killed(daemon, wrapper)
        self.assertEqual(len(daemon.get("/github.com/acme/site")["deploys"]), 1)

    def wrapper_of(self, daemon: Daemon) -> int:
        """The wrapper of the script that runs."""
        with closing(sqlite3.connect(daemon.state / "integralgit.sqlite")) as database:
            ((pid,),) = database.execute("SELECT pid FROM scripts").fetchall()
        return int(pid)

    def its_wrapper_was_killed(self, daemon: Daemon, wrapper: int) -> None:
        """The first deploy has failed for that, and nothing of its script is there."""
        deploy = daemon.ended(1)
        self.assertFalse(group_is_alive(wrapper))
        self.assertEqual(
            (deploy["state"], deploy["reason"]),
            (
                "failed",
                "the script's wrapper was killed from outside (out of memory?),"
                " and with it the script",
            ),
        )

    def test_the_queue_survives(self) -> None:
        """A push that waited when the server was killed is deployed after the next start."""
        self.queue_survives(signal.SIGKILL)

    def test_the_queue_survives_a_graceful_stop(self) -> None:
        """The same when the server was asked to stop."""
        self.queue_survives(signal.SIGTERM)

    def queue_survives(self, how: signal.Signals) -> None:
        daemon = self.running()
        second = self.upstream.commit({"x": "y"})
        self.assertEqual(daemon.push(second).status, 202)
        self.assertEqual(daemon.deploy(2)["state"], "queued")
        daemon.stop(how)
        daemon.start()
        self.assertEqual(daemon.deploy(2)["state"], "queued")
        (self.folder / "go").touch()
        self.assertEqual(daemon.ended(1)["state"], "succeeded")
        self.assertEqual(daemon.ended(2)["commit"], second)

    def test_a_stop_in_the_middle_of_a_fetch(self) -> None:
        """Git is ended, and the deploy goes back to the queue and runs after the next start."""
        self.cut_off(signal.SIGTERM)

    def test_a_kill_in_the_middle_of_a_fetch(self) -> None:
        """The next server waits until git has let go of the location, and deploys then (threat 43)."""
        self.cut_off(signal.SIGKILL)

    def test_a_cancel_before_a_stop(self) -> None:
        """A deploy that was cancelled in its fetch stays cancelled, although the server stops."""
        self.cancelled_before(signal.SIGTERM)

    def test_a_cancel_before_a_kill(self) -> None:
        """The same where the server is killed before the git that fetches has ended (threat 69)."""
        self.cancelled_before(signal.SIGKILL)

    def cancelled_before(self, how: signal.Signals) -> None:
        daemon = self.fetching("trap '' TERM")
        answer = daemon.request("POST", "/github.com/acme/site/deploys/2/cancel", b"")
        self.assertEqual(answer.status, 202)
        daemon.stop(how)
        daemon.start()
        deploy = daemon.ended(2)
        self.assertEqual(
            (deploy["state"], deploy["reason"]), ("cancelled", "cancelled before its script ran")
        )

    def test_a_new_location_whose_host_is_deaf(self) -> None:
        """A deploy that waits for the git host can be cancelled, and does not hold up a stop."""
        www = self.folder / "www"
        self.upstream.configure({"configs": {"base": {"location": str(www), "branch": "main"}}})
        daemon = self.daemon()
        commit = self.upstream.commit({"x": "1"})
        daemon.push(commit)
        daemon.ended(1)
        daemon.stop()
        shutil.rmtree(www)
        deaf = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(deaf.close)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        daemon.settings = daemon.settings.replace(str(self.folder / "githost"), url)
        daemon.settings += "allow_http = true\n"
        daemon.start()
        for number in (2, 3):
            daemon.push(commit, number=str(number))
            asked, _ = deaf.accept()
            self.addCleanup(asked.close)
            eventually(lambda: "── fetch ──" in daemon.log(number), "it asks")  # noqa: B023
            if number == 2:
                daemon.request("POST", "/github.com/acme/site/deploys/2/cancel")
                self.assertEqual(daemon.ended(2)["state"], "cancelled")
        daemon.stop()

    def fetching(self, first: str = "") -> Daemon:
        """A server whose second deploy hangs in its fetch, until there is a file `slow.go`.

        What it hangs in does that `first`.
        """
        www = self.folder / "www"
        self.upstream.configure({"configs": {"base": {"location": str(www), "branch": "main"}}})
        daemon = self.daemon()
        daemon.push(self.upstream.commit({"x": "1"}))
        daemon.ended(1)
        slow = self.folder / "slow"
        slow.write_text(
            f"#!/bin/sh\n{first}\ntouch {slow}.begun\n"
            f'while [ ! -e {slow}.go ]; do sleep 0.05; done\nexec git-upload-pack "$@"\n'
        )
        slow.chmod(0o755)
        git(www, "config", "remote.origin.uploadpack", str(slow))
        second = self.upstream.commit({"x": "2"})
        daemon.push(second)
        eventually(Path(f"{slow}.begun").exists, "the fetch hangs")
        self.addCleanup(Path(f"{slow}.go").touch)
        return daemon

    def cut_off(self, how: signal.Signals) -> None:
        """End the server while a fetch hangs; the next one deploys."""
        daemon = self.fetching()
        second = git(self.upstream.work, "rev-parse", "HEAD")
        daemon.stop(how)
        daemon.start()
        if how is signal.SIGKILL:
            eventually(lambda: "waiting for a git that works in" in daemon.log(2), "it waits")
        (self.folder / "slow.go").touch()
        deploy = daemon.ended(2)
        self.assertEqual((deploy["state"], deploy["commit"]), ("succeeded", second))
        self.assertEqual(git(self.folder / "www", "rev-parse", "HEAD"), second)

    def test_a_kill_before_the_script(self) -> None:
        """Its wrapper was started and recorded, but not let run: the same deploy is run anew, once."""
        self.before_the_script(signal.SIGKILL)

    def test_a_stop_before_the_script(self) -> None:
        """The same; the script is told of where the checkout was before any of it."""
        self.before_the_script(signal.SIGTERM)

    def test_a_stop_before_the_first_script(self) -> None:
        """Where there was nothing before, the script is told that, too."""
        www, slow = self.folder / "www", self.folder / "slow"
        base = {"location": str(www), "branch": "main", "script": "./deploy.sh"}
        self.upstream.configure({"configs": {"base": base}})
        script = '#!/bin/sh\necho "it runs from ($INTEGRALGIT_PREVIOUS_COMMIT)"\n'
        settings = self.folder / "home" / ".gitconfig"
        settings.parent.mkdir()
        waits = f"touch {slow}.begun; while [ ! -e {slow}.go ]; do sleep 0.05; done; cat"
        settings.write_text(f'[filter "slow"]\n\tsmudge = "{waits}"\n')
        daemon = self.daemon(environment={"HOME": str(settings.parent)})
        self.addCleanup(Path(f"{slow}.go").touch)
        files = {"deploy.sh": script, ".gitattributes": "*.txt filter=slow\n", "x.txt": "x\n"}
        daemon.push(self.upstream.commit(files))
        eventually(Path(f"{slow}.begun").exists, "git changes the files")
        eventually((daemon.state / "logs" / "1.exit").exists, "the wrapper waits")
        self.ended_under_git(daemon, slow, signal.SIGTERM)
        deploy = daemon.ended(1)
        self.assertEqual((deploy["state"], deploy["previous_commit"]), ("succeeded", None))
        self.assertIn("it runs from ()\n", daemon.log(1))

    def ended_under_git(self, daemon: Daemon, slow: Path, how: signal.Signals) -> None:
        """End the server while git waits for a file, and start the next one."""
        assert daemon.process is not None
        daemon.process.send_signal(how)
        if how == signal.SIGKILL:
            daemon.process.wait()
        # A git that changes files is let finish.
        Path(f"{slow}.go").touch()
        daemon.process.wait()
        daemon.stop()
        daemon.start()

    def before_the_script(self, how: signal.Signals) -> None:
        www, slow = self.folder / "www", self.folder / "slow"
        base = {"location": str(www), "branch": "main", "script": "./deploy.sh"}
        self.upstream.configure({"configs": {"base": base}})
        script = '#!/bin/sh\necho "it runs from $INTEGRALGIT_PREVIOUS_COMMIT"\n'
        daemon = self.daemon()
        first = self.upstream.commit({"deploy.sh": script, ".gitattributes": "*.txt filter=slow\n"})
        daemon.push(first)
        daemon.ended(1)
        waits = f"touch {slow}.begun; while [ ! -e {slow}.go ]; do sleep 0.05; done; cat"
        git(www, "config", "filter.slow.smudge", waits)
        self.addCleanup(Path(f"{slow}.go").touch)
        second = self.upstream.commit({"x.txt": "content\n"})
        daemon.push(second)
        eventually(Path(f"{slow}.begun").exists, "git changes the files")
        status = daemon.state / "logs" / "2.exit"
        eventually(status.exists, "the wrapper waits")
        self.assertEqual(status.read_text(), "  -\n")
        with closing(sqlite3.connect(daemon.state / "integralgit.sqlite")) as database:
            known = "SELECT previous_commit, head FROM scripts WHERE deploy = 2"
            (recorded,) = eventually(lambda: database.execute(known).fetchall(), "it is known")
        self.assertEqual(recorded, (first, second))
        self.ended_under_git(daemon, slow, how)
        deploy = daemon.ended(2)
        self.assertEqual((deploy["state"], deploy["exit_code"]), ("succeeded", 0))
        self.assertEqual(daemon.log(2).count("it runs from"), 1)
        self.assertIn(f"it runs from {first}\n", daemon.log(2))
        self.assertEqual((deploy["previous_commit"], deploy["commit"]), (first, second))
        self.assertEqual([one["id"] for one in deploy["commits"]], [second])
        self.assertEqual(
            [one["id"] for one in daemon.get("/github.com/acme/site")["deploys"]], [2, 1]
        )
        self.assertEqual((www / "x.txt").read_text(), "content\n")

    def test_the_deadline_survives(self) -> None:
        """A script keeps its deadline over a restart, and its whole group is ended then (threat 72)."""
        self.upstream.configure(
            {
                "configs": {
                    "base": {
                        "location": str(self.folder / "www"),
                        "branch": "main",
                        "script": "./deploy.sh",
                        "timeout": 4,
                    }
                }
            }
        )
        commit = self.upstream.commit({"deploy.sh": WAITS})
        daemon = self.daemon()
        daemon.push(commit)
        eventually(lambda: "begun" in daemon.log(1), "the script runs")
        daemon.stop(signal.SIGKILL)
        daemon.start()
        deploy = daemon.ended(1)
        self.assertEqual(deploy["state"], "timed_out")
        self.assertIn("its timeout of 4 s", deploy["reason"])
        self.assertNotIn("going on", daemon.log(1))

    def test_more_scripts_than_workers(self) -> None:
        """Every script that runs on is followed at once, so that it can be ended, whatever its turn."""
        names = ("web1", "web2", "web3")
        base = {"branch": "main", "script": "./deploy.sh", "timeout": 60}
        configs = {name: {**base, "location": str(self.folder / name)} for name in names}
        self.upstream.configure({"configs": configs})
        commit = self.upstream.commit({"deploy.sh": WAITS})
        daemon = self.daemon(f"host_names = {list(names)}\nworkers = 3".replace("'", '"'))
        self.addCleanup((self.folder / "go").touch)
        daemon.push(commit)
        numbers = (1, 2, 3)
        eventually(
            lambda: all("begun" in daemon.log(number) for number in numbers), "the scripts run"
        )
        daemon.stop(signal.SIGKILL)
        daemon.settings = daemon.settings.replace("workers = 3", "workers = 1")
        daemon.start()
        for number in reversed(numbers):
            path = f"/github.com/acme/site/deploys/{number}/cancel"
            self.assertEqual(daemon.request("POST", path).status, 202)
            self.assertEqual(daemon.ended(number)["state"], "cancelled")

    def held(self, **base: Any) -> tuple[Daemon, int]:
        """A server of one worker with the locations `a` and `b`, and a descriptor that holds `a`."""
        configs = {
            name: {"branch": "main", "location": str(self.folder / name), **base}
            for name in ("a", "b")
        }
        self.upstream.configure({"configs": configs})
        daemon = self.daemon('host_names = ["a", "b"]\nworkers = 1')
        (self.folder / "a").mkdir()
        held = os.open(self.folder / "a", os.O_RDONLY)
        self.addCleanup(os.close, held)
        fcntl.flock(held, fcntl.LOCK_EX)
        return daemon, held

    def test_a_location_that_somebody_holds(self) -> None:
        """A deploy that waits for its location keeps none of the workers."""
        daemon, held = self.held()
        daemon.push(self.upstream.commit({"x": "y"}))
        # The config tells of the second location, once it is read.
        eventually(lambda: len(daemon.get("/github.com/acme/site")["deploys"]) == 2, "both wait")
        self.assertEqual(daemon.ended(2)["state"], "succeeded")
        eventually(lambda: "waiting for the location" in daemon.log(1), "the other one waits")
        self.assertEqual(daemon.deploy(1)["state"], "running")
        fcntl.flock(held, fcntl.LOCK_UN)
        self.assertEqual(daemon.ended(1)["state"], "succeeded")

    def test_no_worker_is_free_again(self) -> None:
        """A deploy that waited for its location, and then for a worker, can be cancelled."""
        daemon, held = self.held(script="./deploy.sh", timeout=60)
        self.addCleanup((self.folder / "go").touch)
        daemon.push(self.upstream.commit({"deploy.sh": WAITS}))
        eventually(lambda: "begun" in daemon.log(2), "the other one's script runs")
        fcntl.flock(held, fcntl.LOCK_UN)
        eventually(lambda: "waiting for a worker" in daemon.log(1), "no worker is free")
        daemon.request("POST", "/github.com/acme/site/deploys/1/cancel")
        self.assertEqual(daemon.ended(1)["state"], "cancelled")
        self.assertEqual(daemon.deploy(2)["state"], "running")

    def test_a_script_that_restarts_the_server(self) -> None:
        """A repository that deploys the server itself may restart it from its script (threat 74)."""
        port = own_port()
        pidfile = self.folder / "server" / "pid"
        start = (
            f"cd {self.folder}/server && PYTHONPATH={ROOT} {TWISTD} --pidfile={pidfile} integralgit"
            f" -c integralgit.toml --listen tcp:{port}:interface=127.0.0.1"
        )
        script = f"""#!/bin/sh
old=$(cat {pidfile})
echo "ending $old"
kill "$old"
while kill -0 "$old" 2>/dev/null; do sleep 0.05; done
echo "starting anew"
{start} && echo "started $(cat {pidfile})"
sleep 1
exit 6
"""
        base = {"location": str(self.folder / "www"), "branch": "main", "script": "./deploy.sh"}
        self.upstream.configure({"configs": {"base": base}})
        commit = self.upstream.commit({"deploy.sh": script})
        daemon = self.daemon()
        daemon.stop()
        subprocess.run(["sh", "-c", start], check=True, timeout=PATIENCE)
        eventually(lambda: pidfile.exists() and pidfile.read_text(), "it runs")
        first = int(pidfile.read_text())
        self.addCleanup(lambda: os.kill(int(pidfile.read_text()), signal.SIGTERM))
        daemon.url = f"http://127.0.0.1:{port}"

        def ended() -> Any:
            try:
                deploy = daemon.deploy(1)
            except OSError:
                return None
            return deploy if deploy["finished_at"] else None

        eventually(lambda: is_answered(port), "it listens")
        daemon.push(commit)
        deploy = eventually(ended, "the new server records the end of the script")
        self.assertEqual((deploy["state"], deploy["exit_code"]), ("failed", 6), daemon.log(1))
        second = int(pidfile.read_text())
        self.assertNotEqual(first, second)
        self.assertIn(f"ending {first}\nstarting anew\n", daemon.log(1))
        self.assertIn(f"started {second}\n", daemon.log(1))

    def test_a_delivery_that_comes_again(self) -> None:
        """A delivery id is known across restarts; after a failed run it may run again."""
        self.upstream.configure(
            {
                "configs": {
                    "base": {
                        "location": str(self.folder / "www"),
                        "branch": "main",
                        "script": "./deploy.sh",
                    }
                }
            }
        )
        flag = self.folder / "fail"
        commit = self.upstream.commit({"deploy.sh": f"#!/bin/sh\ntest ! -e {flag}\n"})
        daemon = self.daemon()
        daemon.push(commit, number="same")
        daemon.ended(1)
        daemon.stop()
        daemon.start()
        again = daemon.push(commit, number="same")
        self.assertEqual((again.status, again.json["outcome"]), (200, "ignored"))
        self.assertEqual([one["id"] for one in again.json["deploys"]], [1])
        flag.touch()
        daemon.push(commit, number="other")
        self.assertEqual(daemon.ended(2)["state"], "failed")
        flag.unlink()
        self.assertEqual(daemon.push(commit, number="other").status, 202)
        self.assertEqual(daemon.ended(3)["state"], "succeeded")

    def test_a_helper_that_stays(self) -> None:
        """What a fetch leaves behind, as git-credential-cache does, holds nobody up (threat 69)."""
        base = {"location": str(self.folder / "www"), "branch": "main"}
        self.upstream.configure({"configs": {"base": base}})
        daemon = self.daemon()
        daemon.push(self.upstream.commit({"x": "1"}))
        daemon.ended(1)
        pid, upload = self.folder / "pid", self.folder / "upload"
        stays = f"#!/bin/sh\nsleep 60 <&- >&- 2>&- &\necho $! > {pid}\n"
        upload.write_text(f'{stays}exec git-upload-pack "$@"\n')
        upload.chmod(0o755)
        git(self.folder / "www", "config", "remote.origin.uploadpack", str(upload))
        daemon.push(self.upstream.commit({"x": "2"}))
        self.assertEqual(daemon.ended(2)["state"], "succeeded")
        self.addCleanup(os.kill, int(pid.read_text()), signal.SIGKILL)
        git(self.folder / "www", "config", "--unset", "remote.origin.uploadpack")
        daemon.push(self.upstream.commit({"x": "3"}))
        self.assertEqual(daemon.ended(3)["state"], "succeeded")
        self.assertNotIn("waiting", daemon.log(3))

    def test_two_servers_and_one_location(self) -> None:
        """The second waits while the first one's script runs, and says who holds the location (threats 69 and 71)."""
        first = self.running()
        second = Daemon(self.folder / "second", first.settings)
        self.addCleanup(second.stop)
        second.start()
        second.push(self.upstream.commit({"x": "y"}))
        eventually(lambda: "waiting for the location, which process" in second.log(1), "it waits")
        self.assertEqual(second.deploy(1)["state"], "running")
        Path(self.folder / "go").touch()
        self.assertEqual(first.ended(1)["state"], "succeeded")
        self.assertEqual(second.ended(1)["state"], "succeeded")
