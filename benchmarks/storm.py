"""How long one turn of the reactor takes while a storm blows: `make bench-storm`.

The server runs in this process, with a clock tick every 2 ms; a tick that
comes late tells how long the reactor was busy with something else. The storm
comes from a process of its own, over the loopback interface. Figures are for
people to read; nothing here decides a test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from integralgit.tap import Options, makeService

TICK = 0.002
_CLIENT = """
import sys
from pathlib import Path
from tests.integration.storm import Storm, Target
storm = Storm(Target(int(sys.argv[1]), Path(sys.argv[2]).read_bytes().strip()))
storm.blow(int(sys.argv[3]))
print(dict(storm.answers))
"""
log = Logger()
anything: Any = reactor


def memory(field: str) -> float:
    """A figure of this process's memory, in MB (proc(5), `status`)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def main(requests: int = 1000) -> None:
    """Start a server, measure it idle and in a storm, and print both."""
    with tempfile.TemporaryDirectory() as folder:
        options = Options()
        settings = Path(folder, "integralgit.toml")
        settings.write_text(
            f'state = "{folder}"\nlisten = ["tcp:0:interface=127.0.0.1"]\n'
            f"allow_root = {'true' if os.geteuid() == 0 else 'false'}\n"
            # A path on this machine, so that no fetch goes anywhere else.
            f'[[trust]]\nrepos = ["github.com/acme/*"]\nurl = "{folder}/none/{{name}}.git"\n'
        )
        options.parseOptions(["--config", str(settings)])
        service = makeService(options)
        service.privilegedStartService()
        service.startService()
        port = service.parts[-1].ports[0].getHost().port
        turns: list[float] = []
        last = [time.perf_counter()]

        def tick() -> None:
            now = time.perf_counter()
            turns.append(now - last[0])
            last[0] = now

        def report(name: str) -> None:
            late = sorted(turns)
            print(
                f"{name:12} turns {len(late):6}  median {late[len(late) // 2] * 1000:6.1f} ms"
                f"  99.9 % {late[int(len(late) * 0.999)] * 1000:6.1f} ms"
                f"  longest {late[-1] * 1000:6.1f} ms  memory {memory('VmRSS'):5.1f} MB"
            )
            turns.clear()

        def blow() -> str:
            done = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    _CLIENT,
                    str(port),
                    f"{folder}/webhook-secret",
                    str(requests),
                ],
                check=True,
                capture_output=True,
                text=True,
            )
            return done.stdout.strip()

        def ended(answers: object) -> None:
            report("in the storm")
            print(answers)
            service.stopService().addCallback(lambda _: anything.stop())

        def begin() -> None:
            report("idle")
            deferToThread(blow).addBoth(ended)

        anything.callWhenRunning(LoopingCall(tick).start, TICK)
        anything.callLater(2, begin)
        anything.run()


if __name__ == "__main__":
    main()
