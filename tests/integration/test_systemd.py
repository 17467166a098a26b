"""The units that come with the package, checked by systemd's own tools; and a socket that it holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest

import integralgit
from tests.integration.harness import PATIENCE, TWISTD, Daemon, Integration, eventually, own_port

UNITS = Path(integralgit.__file__).parent / "systemd"
#: What implies NoNewPrivileges=yes where there is a User=, by systemd.exec(5) of systemd 252.
IMPLY = {
    *("DynamicUser", "LockPersonality", "MemoryDenyWriteExecute", "PrivateDevices"),
    *("ProtectClock", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules"),
    *("ProtectKernelTunables", "RestrictAddressFamilies", "RestrictNamespaces"),
    *("RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallFilter"),
    *("SystemCallLog", "NoNewPrivileges"),
}


def settings_of(name: str) -> dict[str, str]:
    """What a unit sets."""
    lines = (UNITS / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")


def tool(name: str) -> str:
    """The path of a tool of systemd; the test is skipped where there is none, except under CI."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI") == "true":
            raise AssertionError(f"{name} is missing, and under CI nothing is skipped")
        raise SkipTest(f"{name} is missing: install Debian's package systemd for this test")
    return path


class Systemd(Integration):
    def units(self) -> list[Path]:
        """Copies of the units, with the program where it is here."""
        copies = []
        for name in ("integralgit.service", "integralgit.socket"):
            copy = self.folder / name
            text = (UNITS / name).read_text()
            copy.write_text(text.replace("/opt/integralgit/bin/twistd", TWISTD))
            copies.append(copy)
        return copies

    def test_the_units(self) -> None:
        """Systemd finds nothing wrong with them, and little that is exposed."""
        analyze, units = tool("systemd-analyze"), [str(unit) for unit in self.units()]
        done = subprocess.run(
            [analyze, "verify", *units], capture_output=True, text=True, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        rated = subprocess.run(
            [analyze, "security", "--offline=true", units[0]],
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"exposure level for integralgit.service: ([\d.]+)", rated.stdout)
        assert found is not None, rated
        self.assertLess(float(found[1]), 2.5)

    def test_what_a_script_keeps(self) -> None:
        """A stop leaves a script alone, and its files in /tmp, which it may write to."""
        unit = settings_of("integralgit.service")
        self.assertEqual((unit["KillMode"], unit["PrivateTmp"]), ("process", "no"))
        self.assertLessEqual({"-/tmp", "-/var/tmp"}, set(unit["ReadWritePaths"].split()))

    def test_the_drop_in_for_scripts(self) -> None:
        """With the drop-in, nothing of the unit keeps scripts from sudo, and systemd takes it."""
        unit, more = settings_of("integralgit.service"), settings_of("integralgit-scripts.conf")
        kept = {name for name in IMPLY & unit.keys() if more.get(name) not in ("no", "")}
        self.assertEqual(kept, set())
        analyze, (service, _) = tool("systemd-analyze"), self.units()
        folder = self.folder / "integralgit.service.d"
        folder.mkdir()
        (folder / "scripts.conf").write_text((UNITS / "integralgit-scripts.conf").read_text())
        done = subprocess.run(
            [analyze, "verify", service], capture_output=True, text=True, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_places_that_are_not_there(self) -> None:
        """The service starts where a place that may be written to is missing."""
        for name in ("integralgit.service", "integralgit-scripts.conf"):
            for place in settings_of(name)["ReadWritePaths"].split():
                self.assertTrue(place.startswith("-"), (name, place))

    def test_a_socket_of_systemd(self) -> None:
        """The server adopts the socket that systemd holds by the name of the socket unit."""
        activate = tool("systemd-socket-activate")
        name = re.search(r"FileDescriptorName=(\w+)", (UNITS / "integralgit.socket").read_text())
        assert name is not None
        port = own_port()
        daemon = Daemon(
            self.folder / "server", f'listen = ["systemd:domain=INET:name={name[1]}"]\n'
        )
        daemon.write_settings()
        with daemon.output.open("wb") as output:
            process = subprocess.Popen(
                [
                    *[activate, "-l", f"127.0.0.1:{port}", f"--fdname={name[1]}", TWISTD],
                    *["-n", "--pidfile=", "integralgit", "-c", str(daemon.settings_file)],
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=daemon.folder,
            )
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.terminate)
        daemon.url = f"http://127.0.0.1:{port}"

        def healthy() -> bool:
            try:
                return daemon.request("GET", "/-/health", headers={}).status == 200
            except OSError:
                return False

        eventually(healthy, f"the server answers; see {daemon.output}")
