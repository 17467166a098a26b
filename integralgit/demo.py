"""`make demo`: a git repository, a server and a first push, all on this machine.

It uses what every user has: the `post-receive` hook that comes with the
package, a settings file, `twistd integralgit`, and git.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from integralgit import hook

PORT = 8080
CONFIG: dict[str, Any] = {
    "hostgroups": {"web": ["demo"]},
    "configs": {
        "base": {"branch": "main", "script": "./deploy.sh"},
        "web": {"env": {"GREETING": "Hello from the host group web"}},
        "demo": {"location": ""},
    },
}
SCRIPT = """#!/bin/sh
# What runs on every host after its checkout was brought to the newest commit.
echo "$GREETING"
echo "deploying $INTEGRALGIT_COMMIT of $INTEGRALGIT_REPO on $INTEGRALGIT_HOST"
for step in 1 2 3 4 5 6 7 8 9 10; do
    echo "step $step of 10"
    sleep 0.7
done
echo "index.html has $(wc -c <index.html) bytes; the site is live"
"""


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder, as a person would; what it says is shown."""
    subprocess.run(["git", "-C", str(folder), *arguments], check=True)


def free_port(wanted: int) -> int:
    """The wanted port of the loopback interface, or another one where it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("demo: no port is free")


def make_repository(root: Path, url: str) -> None:
    """A bare repository with the hook, a working copy of it, and the config on its own branch."""
    bare, work = root / "site.git", root / "work"
    if not bare.exists():
        subprocess.run(
            ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(bare)], check=True
        )
        script = bare / "hooks" / "post-receive"
        script.write_text(hook.text())
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    for name, value in {
        "url": f"{url}/update",
        "repository": "localhost/demo/site",
        "secretFile": str(root / "state" / "webhook-secret"),
    }.items():
        git(bare, "config", f"integralgit.{name}", value)
    if work.exists():
        return
    subprocess.run(
        ["git", "init", "--quiet", "--initial-branch=integralgit", str(work)], check=True
    )
    git(work, "config", "user.name", "Demo")
    git(work, "config", "user.email", "demo@localhost")
    git(work, "remote", "add", "origin", str(bare))
    CONFIG["configs"]["demo"]["location"] = str(root / "www")
    (work / "config").write_text(json.dumps(CONFIG, indent=2) + "\n")
    git(work, "add", "config")
    git(work, "commit", "--quiet", "-m", "Say which host deploys what")
    git(work, "checkout", "--quiet", "--orphan", "main")
    git(work, "rm", "--quiet", "-rf", ".")
    (work / "index.html").write_text("<h1>Hello</h1>\n")
    (work / "deploy.sh").write_text(SCRIPT)
    (work / "deploy.sh").chmod(0o755)
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", "A site with one page")


def wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers; ends the demo where it does not."""
    for _ in range(150):
        if server.poll() is not None:
            raise SystemExit("demo: the server did not start; its words are above")
        try:
            urllib.request.urlopen(f"{url}/-/health", timeout=2)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise SystemExit("demo: the server does not answer")


def main() -> int:
    """Run the demo in the folder `demo` until it is interrupted."""
    root = Path("demo").absolute()
    root.mkdir(exist_ok=True)
    port = free_port(PORT)
    url = f"http://127.0.0.1:{port}"
    settings = root / "integralgit.toml"
    settings.write_text(
        f'listen = ["tcp:{port}:interface=127.0.0.1"]\n'
        f"state = {json.dumps(str(root / 'state'))}\n"
        'host_names = ["demo"]\n'
        "public = true\n"
        "poll = 0\n"
        f"allow_root = {'true' if os.geteuid() == 0 else 'false'}\n"
        "\n[[trust]]\n"
        'repos = ["localhost/demo/site"]\n'
        f"locations = [{json.dumps(str(root / 'www'))}]\n"
        f"url = {json.dumps(str(root / 'site.git'))}\n"
    )
    twistd = str(Path(sys.executable).with_name("twistd"))
    server = subprocess.Popen(
        [twistd, "-n", "--pidfile=", "integralgit", "--config", str(settings)], cwd=root
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        wait_until_healthy(url, server)
        if port != PORT:
            print(f"\nPort {PORT} is taken, so the demo uses {port}.")
        make_repository(root, url)
        is_new = not (root / "www").exists()
        if is_new:
            print("\nThe first push: config and code.\n", flush=True)
        git(root / "work", "push", "--quiet", "--set-upstream", "origin", "integralgit", "main")
        where = os.path.relpath(root / "work")
        print(
            f"""
IntegralGit runs at {url} and deploys into {os.path.relpath(root / "www")}.

  1. Open {url} and watch {"the first deploy, live" if is_new else "what was deployed"}.
  2. In another terminal, change something and push it:

         cd {where}
         echo '<p>It works.</p>' >> index.html
         git commit -am 'Say that it works'
         git push

  3. Watch it deploy. Ctrl-C here ends the server; make demo starts it again.
""",
            flush=True,
        )
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
