"""`make demo` does what it says, and the commands that it prints work as printed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from unittest import TestCase

from integralgit import demo
from tests.integration.harness import PATIENCE, eventually


class Demo(TestCase):
    def setUp(self) -> None:
        self.folder = Path(f"{self.id()}-{time.monotonic_ns()}").absolute()
        self.folder.mkdir()
        self.output = self.folder / "output"

    def start(self) -> str:
        """Run the demo in the foreground of its own folder; the URL that it names."""
        with self.output.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "integralgit.demo"],
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.send_signal, signal.SIGINT)
        found = eventually(
            lambda: re.search(r"IntegralGit runs at (\S+) and", self.output.read_text()),
            f"the demo starts; see {self.output}",
        )
        return str(found[1])

    def deploys(self, url: str) -> Any:
        request = urllib.request.Request(
            f"{url}/localhost/demo/site", headers={"Accept": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["deploys"]

    def test_the_demo(self) -> None:
        """It deploys its first push, and then what the person pushes by the printed commands."""
        url = self.start()
        first = self.deploys(url)[0]
        self.assertIn(first["state"], ("running", "succeeded"))
        said = self.output.read_text()
        commands = re.findall(r"^ {9}(\S.*)$", said, re.MULTILINE)
        self.assertEqual(len(commands), 4, said)
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        subprocess.run(
            ["sh", "-e", "-c", "\n".join(commands)],
            cwd=self.folder,
            env=environment,
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )

        def done() -> Any:
            newest = self.deploys(url)[0]
            told = [one["message"] for one in newest["commits"]]
            return newest if told == ["Say that it works"] and newest["finished_at"] else None

        newest = eventually(done, "the second push is deployed")
        self.assertEqual(newest["state"], "succeeded")
        page = (self.folder / "demo" / "www" / "index.html").read_text()
        self.assertIn("It works.", page)

    def test_a_port_that_is_taken(self) -> None:
        """The demo takes another port where its own is taken."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            self.assertNotEqual(demo.free_port(port), port)
