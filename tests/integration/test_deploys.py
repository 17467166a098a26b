"""Many deploys leave nothing behind: no descriptor, no child, little memory (threat 73).

`make test` runs a few; `make test-deploys COUNT=1000` runs many, and prints
what the server holds.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from attrs import frozen

from tests.integration.harness import Daemon, Integration, eventually

#: Deploys until everything that is made once has been made.
FIRST = 5
#: Prints, leaves a background process behind for a moment, and fails every seventh time.
SCRIPT = """#!/bin/sh
sleep 0.1 &
echo "deploy $INTEGRALGIT_DEPLOY"
exit $(( INTEGRALGIT_DEPLOY % 7 == 0 ))
"""


@frozen
class Held:
    """What a process holds: open descriptors, children, and memory in kB (proc(5))."""

    descriptors: int
    children: int
    memory: int


def held(daemon: Daemon) -> Held:
    """What the server holds."""
    assert daemon.process is not None
    folder = Path(f"/proc/{daemon.process.pid}")
    children = (folder / "task" / folder.name / "children").read_text().split()
    memory = re.search(r"VmRSS:\s+(\d+) kB", (folder / "status").read_text())
    assert memory is not None
    return Held(len(os.listdir(folder / "fd")), len(children), int(memory[1]))


class Deploys(Integration):
    def test_many_deploys(self) -> None:
        """After many deploys the server has no more descriptors and children than after a few (threat 73)."""
        count = int(os.environ.get("COUNT") or 15)
        base = {"location": str(self.folder / "www"), "branch": "main", "script": "./deploy.sh"}
        self.upstream.configure({"configs": {"base": base}})
        daemon = self.daemon()
        commit = self.upstream.commit({"deploy.sh": SCRIPT})
        before = Held(0, 0, 0)
        for number in range(1, count + 1):
            if number % 5 == 0:
                commit = self.upstream.commit({"x": str(number)})
            daemon.push(commit)
            state = "succeeded" if number % 7 else "failed"
            self.assertEqual(daemon.ended(number)["state"], state)
            if number == FIRST or (number % 100 == 0 and count > 100):
                now = eventually(lambda: self.at_rest(daemon), "no child is left")
                before = now if number == FIRST else before
                if count > 100:
                    sys.stderr.write(f"after {number}: {now}\n")
        eventually(
            lambda: held(daemon).descriptors <= before.descriptors, "no descriptor is left open"
        )
        eventually(lambda: self.at_rest(daemon), "no child is left unreaped")

    def at_rest(self, daemon: Daemon) -> Held | None:
        """What the server holds, if it has no child."""
        now = held(daemon)
        return None if now.children else now
