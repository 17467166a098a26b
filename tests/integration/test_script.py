"""Tests of the wrapper of a deploy script, by a real shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.script import _WRAPPER

#: Prints its arguments and its environment as JSON, and ends with 7.
TELL = "import json, os, sys\nprint(json.dumps([sys.argv, dict(os.environ)]))\nsys.exit(7)\n"


class Wrapper(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.status = self.folder / "status"
        self.status.write_text("   \n")
        self.script = self.folder / "a script"
        self.script.write_text(f"#!{sys.executable}\n{TELL}")
        self.script.chmod(0o755)

    def run_(self, told: bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """Run the wrapper, and tell it that."""
        arguments = [str(self.status), str(self.folder), "027", str(self.script)]
        return subprocess.run(
            ["sh", "-c", _WRAPPER, "integralgit-script", *arguments],
            input=told,
            stdout=subprocess.PIPE,
            env={"PATH": os.defpath, **environment},
            check=False,
        )

    def told(self, told: bytes, **environment: str) -> tuple[list[str], dict[str, str]]:
        """The arguments and the environment of the script that ran."""
        ended = self.run_(told, **environment)
        self.assertEqual((ended.returncode, self.status.read_text()), (7, "  7\n"))
        arguments, seen = json.loads(ended.stdout)
        return arguments, seen

    def test_as_it_is(self) -> None:
        """A script that runs itself gets no argument, and hears where the checkout was."""
        arguments, seen = self.told(b"abc123\n")
        self.assertEqual(arguments, [str(self.script)])
        self.assertEqual(seen["INTEGRALGIT_PREVIOUS_COMMIT"], "abc123")

    def test_the_first_time(self) -> None:
        """Where the checkout was nowhere, the variable is there, and empty."""
        _, seen = self.told(b"-\n")
        self.assertEqual(seen["INTEGRALGIT_PREVIOUS_COMMIT"], "")

    def test_through_an_interpreter(self) -> None:
        """What a shebang names runs it, with all that follows as one argument, as by the kernel."""
        tell = self.folder / "tell"
        tell.write_text(self.script.read_text())
        tell.chmod(0o755)
        for more in ((), ("-x",), ("-S python3 -u \\n $HOME",)):
            told = " ".join(["-", str(tell), *more]).encode()
            arguments, _ = self.told(told + b"\n")
            self.assertEqual(arguments, [str(tell), *more, str(self.script)])

    def test_the_variables_of_the_config(self) -> None:
        """The script has the environment that it was given, whatever names a shell might use."""
        names = ("status", "folder", "mask", "previous", "interpreter", "code", "go")
        given = dict.fromkeys(names, "x")
        _, seen = self.told(b"abc123\n", **given)
        self.assertEqual({name: seen.get(name) for name in names}, given)

    def test_nobody_says_go(self) -> None:
        """Where its input is closed, the script does not run, and no status is left."""
        ended = self.run_(b"")
        self.assertEqual((ended.returncode, ended.stdout), (125, b""))
        self.assertEqual(self.status.read_text(), "   \n")
