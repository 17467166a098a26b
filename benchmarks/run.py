"""`make bench`: runs the benchmarks, and writes their table and plot into `docs/`."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import twisted
from benchmarks import door, footprint, growth, many, output, push
from benchmarks.measure import HEAD, Result, table
from benchmarks.plot import plot

DOCS = Path(__file__).parents[1] / "docs"
_INTRODUCTION = """\
# How fast it is

`make bench` wrote this page. What is compared was measured in turns, in one run
on one machine, over the loopback interface; shown are medians, with the
quartiles in brackets, and ratios of medians. A ratio is worth more than the
times beside it, for those are this machine's.
"""
GROUPS: dict[str, Callable[[Path], list[Result]]] = {
    group.GROUP: group.run for group in (push, door, many, output, footprint)
}


def machine(loads: list[float]) -> str:
    """What it was measured on, without names."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    git = subprocess.run(["git", "version"], capture_output=True, text=True, check=True).stdout
    busy = f"the load was {min(loads):.1f} to {max(loads):.1f} before the groups began"
    return (
        f"{os.cpu_count()} cores of {model}, Linux {platform.release()},"
        f" Python {platform.python_version()}, Twisted {twisted.__version__},"
        f" git {git.split()[2]}; {busy}.\n"
    )


def install(programs: tuple[str, ...]) -> bool:
    """Whether Debian's programs are there, or could be installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {' and '.join(missing)}", flush=True)
        subprocess.run(["apt-get", "install", "--yes", "--quiet=2", *missing], check=False)
    return all(shutil.which(program) for program in programs)


def main() -> None:
    """Run all groups, or one; only a run of all writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*GROUPS, growth.GROUP]
    parser.add_argument("--only", choices=names, help="run one group, and write nothing")
    only = parser.parse_args().only
    sections, loads = [], []
    for name in [only] if only else names:
        if name == door.GROUP and not install(door.NEEDS):
            print(f"{name}: left out, for it needs {' and '.join(door.NEEDS)}")
            continue
        loads.append(os.getloadavg()[0])
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            if name == growth.GROUP:
                results, lines = growth.run(Path(folder))
                if not only:
                    across = "repositories with 1,000 deploys each in the archive"
                    (DOCS / "growth.svg").write_text(plot(growth.SIZES, lines, across, "ms"))
            else:
                results = GROUPS[name](Path(folder))
        rows = table([HEAD, *(result.cells for result in results)])
        notes = "".join(f"\n- {one.what}: {one.note}" for one in results if one.note)
        sections.append(f"## {name}\n\n{rows}{notes}\n" if notes else f"## {name}\n\n{rows}")
        print(sections[-1], flush=True)
        print(f"({name} took {time.monotonic() - start:.0f} s)\n", flush=True)
    if not only:
        picture = "![How cost grows](growth.svg)\n"
        limits = Path(__file__).with_name("limits.md").read_text()
        page = "\n".join([_INTRODUCTION, machine(loads), *sections, picture, limits])
        (DOCS / "benchmarks.md").write_text(page)
        print("written: docs/benchmarks.md and docs/growth.svg", file=sys.stderr)


if __name__ == "__main__":
    main()
