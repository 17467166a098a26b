"""Started as a service: in every documented way, with its files, options and refusals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.parse

from tests.integration.harness import (
    PATIENCE,
    ROOT,
    TWISTD,
    Integration,
    eventually,
    is_answered,
    own_port,
    surroundings,
)


class Start(Integration):
    def run_twistd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run twistd to its end, for a start that is refused."""
        return subprocess.run(
            [TWISTD, "-n", "--pidfile=", "integralgit", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def test_files(self) -> None:
        """State is private, the secrets are made, and the log tells where things are."""
        daemon = self.daemon()
        self.assertEqual(daemon.state.stat().st_mode & 0o777, 0o700)
        for name in ("webhook-secret", "access-token", "integralgit.log", "integralgit.sqlite"):
            self.assertEqual((daemon.state / name).stat().st_mode & 0o777, 0o600, name)
        log = (daemon.state / "integralgit.log").read_text()
        self.assertIn(f"hosts are told to send to {daemon.url}/update", log)
        self.assertIn(f"the webhook secret is in {daemon.state / 'webhook-secret'}", log)
        self.assertNotIn(daemon.secret().decode(), log)
        self.assertNotIn(daemon.token(), log)
        before = (daemon.secret(), daemon.token())
        daemon.stop()
        daemon.start()
        self.assertEqual((daemon.secret(), daemon.token()), before)

    def test_a_hangup(self) -> None:
        """The server goes on, and says that settings are read at the start."""
        daemon = self.daemon()
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        log = daemon.state / "integralgit.log"
        eventually(lambda: "SIGHUP changes nothing" in log.read_text(), "it is logged")
        self.assertEqual(daemon.request("GET", "/-/health", headers={}).status, 200)

    def test_what_is_loaded(self) -> None:
        """What only pages, reports and numbers need is not loaded for a start."""
        program = "import sys, integralgit.assembly; print(*sys.modules, sep='\\n')"
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=surroundings(),
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = {name.partition(".")[0] for name in done.stdout.split()}
        self.assertIn("twisted", loaded)
        heavy = {"klein", "werkzeug", "jinja2", "treq", "prometheus_client"}
        self.assertEqual(loaded & heavy, set())

    def test_wrong_settings(self) -> None:
        """A wrong setting stops the start with one clear line."""
        (self.folder / "bad.toml").write_text("wrokers = 3\n")
        (self.folder / "worse.toml").write_text("workers =\n")
        root = ["--allow-root"] if os.geteuid() == 0 else []
        cases = {
            ("--workers", "many"): "the setting `workers` must be a whole number",
            ("--listen", "tcp:http:x"): "the setting `listen` is not a usable endpoint",
            ("--config", "bad.toml"): "unknown setting `wrokers`; did you mean `workers`?",
            ("--config", "worse.toml"): "worse.toml is not TOML",
            ("--config", "none.toml"): "none.toml cannot be read: No such file",
        }
        for arguments, said in cases.items():
            done = self.run_twistd(*root, *arguments)
            self.assertEqual(done.returncode, 1, arguments)
            lines = done.stderr.strip().splitlines()
            self.assertEqual(len(lines), 1, done.stderr)
            self.assertTrue(lines[0].startswith("integralgit: "), lines[0])
            self.assertIn(said, lines[0])

    def test_a_busy_port(self) -> None:
        """A port that is taken stops the start, and says so."""
        root = ["--allow-root"] if os.geteuid() == 0 else []
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            done = self.run_twistd(*root, "--listen", f"tcp:{port}:interface=127.0.0.1")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("integralgit: cannot listen", done.stderr + done.stdout)
        self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_a_busy_port_as_a_daemon(self) -> None:
        """Whoever has started a daemon hears that as well, and it leaves no pid behind."""
        root = ["--allow-root"] if os.geteuid() == 0 else []
        pidfile = self.folder / "pid"
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            listen = ["--listen", f"tcp:{port}:interface=127.0.0.1"]
            done = subprocess.run(
                [TWISTD, f"--pidfile={pidfile}", "integralgit", *root, *listen],
                cwd=self.folder,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        self.assertEqual(done.returncode, 1)
        self.assertIn("integralgit: cannot listen", done.stderr)
        # The daemon tells its parent first, and takes its pid away after that.
        eventually(
            lambda: not pidfile.exists(), "the pid of a daemon that did not start is still there"
        )

    def test_a_state_folder_that_is_in_use(self) -> None:
        """Two servers would run what is queued twice: the second one says who has the folder, and ends."""
        daemon = self.daemon()
        assert daemon.process is not None
        arguments = [TWISTD, "-n", "--pidfile=", "integralgit", "-c", str(daemon.settings_file)]
        done = subprocess.run(
            [*arguments, "--listen", f"tcp:{own_port()}:interface=127.0.0.1"],
            cwd=daemon.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        told = f"integralgit: the state folder {daemon.state} is in use by process"
        self.assertIn(f"{told} {daemon.process.pid};", done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        daemon.stop()
        daemon.start()

    def test_not_as_root(self) -> None:
        """Root has to be allowed; others need nothing of the kind (threat 75)."""
        done = self.run_twistd("--listen", "tcp:nonsense")
        if os.geteuid() == 0:
            self.assertIn("running as root would run every deploy script as root", done.stderr)
        else:
            self.assertNotIn("root", done.stderr)

    def test_the_tac_file(self) -> None:
        """`twistd -ny integralgit.tac` starts the same server, with the settings beside it."""
        root = "allow_root = true\n" if os.geteuid() == 0 else ""
        (self.folder / "integralgit.toml").write_text(
            f'{root}listen = ["tcp:0:interface=127.0.0.1"]\n'
        )
        output = self.folder / "output"
        with output.open("wb") as out:
            server = subprocess.Popen(
                [sys.executable, TWISTD, "--pidfile=", "-ny", str(ROOT / "integralgit.tac")],
                cwd=self.folder,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            log = self.folder / "integralgit-state" / "integralgit.log"
            eventually(lambda: log.exists() and "told to send to" in log.read_text(), "it starts")
        finally:
            server.terminate()
            server.wait(PATIENCE)
        self.assertIn("told to send to", output.read_text())

    def test_as_a_daemon(self) -> None:
        """A daemon keeps its state private, but a web server can read what it checks out."""
        www = self.folder / "www"
        self.upstream.configure({"configs": {"base": {"location": str(www), "branch": "main"}}})
        commit = self.upstream.commit({"index.html": "one"})
        daemon = self.daemon()
        daemon.stop()
        port = own_port()
        pidfile = self.folder / "pid"
        subprocess.run(
            [
                *[TWISTD, f"--pidfile={pidfile}", "integralgit", "-c", "integralgit.toml"],
                *["--listen", f"tcp:{port}:interface=127.0.0.1"],
            ],
            cwd=daemon.folder,
            check=True,
            timeout=PATIENCE,
        )
        eventually(lambda: pidfile.exists() and pidfile.read_text(), "it runs")
        pid = int(pidfile.read_text())
        try:
            daemon.url = f"http://127.0.0.1:{port}"
            eventually(lambda: is_answered(port), "it listens")
            daemon.push(commit)
            self.assertEqual(daemon.ended(1)["state"], "succeeded")
        finally:
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: not pidfile.exists(), "it ends")
        self.assertEqual((www / "index.html").stat().st_mode & 0o777, 0o644)
        self.assertEqual(www.stat().st_mode & 0o777, 0o755)
        self.assertEqual(daemon.state.stat().st_mode & 0o777, 0o700)
        self.assertEqual((daemon.state / "logs" / "1.log").stat().st_mode & 0o777, 0o600)
        self.assertFalse((daemon.folder / "twistd.log").exists())


class Access(Integration):
    def test_reading_needs_the_token(self) -> None:
        """Pages and data are for those with the token or a session; health and webhook are not (threat 83)."""
        daemon = self.daemon()
        html = {"Accept": "text/html"}
        self.assertEqual(daemon.request("GET", "/-/health", headers={}).json, {"status": "ok"})
        self.assertEqual(
            daemon.request("GET", "/", headers={"Accept": "application/json"}).status, 401
        )
        page = daemon.request("GET", "/", headers=html)
        self.assertEqual(page.status, 401)
        self.assertIn(b'name="token"', page.body)
        form = {"Content-Type": "application/x-www-form-urlencoded", **html}
        wrong = daemon.request("POST", "/-/sign-in", b"token=wrong", form)
        self.assertEqual(wrong.status, 401)
        body = urllib.parse.urlencode({"token": daemon.token()}).encode()
        right = daemon.request("POST", "/-/sign-in", body, form)
        self.assertEqual((right.status, right.headers["Location"]), (303, "/"))
        cookie = right.headers["Set-Cookie"]
        for flag in ("HttpOnly", "SameSite=Strict", "Path=/"):
            self.assertIn(flag, cookie)
        session = {"Cookie": cookie.partition(";")[0], **html}
        self.assertEqual(daemon.request("GET", "/", headers=session).status, 200)
        foreign = {**form, "Origin": "https://evil.example"}
        self.assertEqual(daemon.request("POST", "/-/sign-in", body, foreign).status, 403)

    def test_unknown_hosts(self) -> None:
        """Pages answer only under known names; the webhook under any (threat 80)."""
        daemon = self.daemon('allowed_hosts = ["deploy.example.com"]\npublic = true')
        for host, status in {"evil.test": 421, "deploy.example.com": 200, "localhost": 200}.items():
            answer = daemon.request("GET", "/-/health", headers={"Host": host})
            self.assertEqual(answer.status, status, host)
        told = "<p>This server does not answer to that name; see `allowed_hosts` in its settings."
        for accept, said in {"text/html": told, "*/*": '{"error":"This server'}.items():
            answer = daemon.request("GET", "/", headers={"Host": "evil.test", "Accept": accept})
            self.assertEqual((answer.status, said in answer.body.decode()), (421, True), accept)
        answer = daemon.request("POST", "/update", b"{}", {"Host": "evil.test"})
        self.assertEqual(answer.status, 415)

    def test_what_does_not_exist(self) -> None:
        """Unknown paths, deploys and methods are answered with a sentence, never with a 500."""
        daemon = self.daemon("public = true")
        for path, status in {
            "/github.com/acme/none": 404,
            "/github.com/acme/none/deploys/99999999999999999999": 404,
            "/-/static/../tap.py": 404,
            "/-/nothing": 404,
            "/%ff": 400,
            "/-/deliveries?limit=x": 400,
        }.items():
            answer = daemon.request("GET", path, headers={"Accept": "application/json"})
            self.assertEqual(answer.status, status, (path, answer.body))
            self.assertIn("error", json.loads(answer.body))
        log = (daemon.state / "integralgit.log").read_text()
        self.assertNotIn("Traceback", log)
        self.assertEqual(daemon.request("POST", "/").status, 405)
        self.assertEqual(daemon.request("GET", "/update").status, 405)
