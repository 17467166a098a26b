"""A clock that is set while the server runs: what waits goes by another one."""

from __future__ import annotations

import time

from tests.integration.harness import PATIENCE, ROOT, Integration, eventually

#: Python calls this at its start: the time of day is that of the machine, and what stands in a file.
SITECUSTOMIZE = """
import os
import time

told = time.time


def now():
    with open(os.environ["CLOCK_IS_OFF_BY"]) as file:
        return told() + float(file.read() or 0)


time.time = now
"""
DAY = 86400
SCRIPT = "#!/bin/sh\necho begun\nwhile [ ! -e ../go ]; do sleep 0.05; done\necho done\n"


class SetClock(Integration):
    def setUp(self) -> None:
        super().setUp()
        python = self.folder / "python"
        python.mkdir()
        (python / "sitecustomize.py").write_text(SITECUSTOMIZE)
        self.off = self.folder / "off"
        self.off.write_text("0")
        environment = {"PYTHONPATH": f"{python}:{ROOT}", "CLOCK_IS_OFF_BY": str(self.off)}
        self.server = self.daemon(environment=environment)

    def begun(self, timeout: float) -> None:
        """A script runs, which waits for a file."""
        base = {
            "location": str(self.folder / "www"),
            "branch": "main",
            "script": "./deploy.sh",
            "timeout": timeout,
        }
        self.upstream.configure({"configs": {"base": base}})
        self.server.push(self.upstream.commit({"deploy.sh": SCRIPT}))
        eventually(lambda: "begun" in self.server.log(1), "the script runs")

    def set_clock(self, seconds: float) -> None:
        """The clock is set by so much, and the server has something to do."""
        self.off.write_text(str(seconds))
        self.assertEqual(self.server.request("GET", "/-/health").status, 200)

    def test_set_forward(self) -> None:
        """A script is not ended because the clock was set forward by a day (threat 72)."""
        self.begun(600)
        self.set_clock(DAY)
        (self.folder / "go").touch()
        self.assertEqual(self.server.ended(1)["state"], "succeeded")

    def test_set_back(self) -> None:
        """A script has no more time because the clock was set back by a day (threat 72)."""
        self.addCleanup((self.folder / "go").touch)
        self.begun(2)
        self.set_clock(-DAY)
        begun = time.monotonic()
        self.assertEqual(self.server.ended(1)["state"], "timed_out")
        self.assertLess(time.monotonic() - begun, PATIENCE)

    def test_the_log(self) -> None:
        """A line of the log about a request has the time of day, as it is set."""
        self.set_clock(-400 * DAY)
        self.server.request("GET", "/")
        year = time.gmtime(time.time() - 400 * DAY).tm_year
        eventually(
            lambda: f"/{year}:" in self.server.output.read_text(), "the request is in the log"
        )
