"""A small disk that can be filled or made read-only, where only the processes of a test see it."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from unittest import SkipTest

from attrs import define, field

from tests.integration.harness import PATIENCE


@define
class Disk:
    """A file system in memory, mounted at `folder` in a mount namespace of its own.

    A process holds the namespace; the mount ends with it and its children.
    Works for root, and where user namespaces are allowed, for everybody.
    """

    folder: Path
    size: int
    _holder: subprocess.Popen[str] = field(init=False)
    _as_root: bool = field(init=False)

    def mount(self) -> None:
        """Make the namespace, or skip the test where that is not possible."""
        self.folder.mkdir(parents=True)
        said = ""
        for kind in ("-m", "-rm"):
            holder = subprocess.Popen(
                ["unshare", kind, "sh", "-c", _HOLD, "hold", str(self.size), str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert holder.stdout is not None
            said = holder.stdout.readline()
            if said == "mounted\n":
                self._holder, self._as_root = holder, kind == "-m"
                return
            holder.communicate()
        raise SkipTest(f"no mount namespace can be made here: {said.strip()}")

    def unmount(self) -> None:
        """End the namespace."""
        self._holder.communicate(timeout=PATIENCE)

    @property
    def prefix(self) -> tuple[str, ...]:
        """What starts a program in the namespace; the program takes its place."""
        user = () if self._as_root else ("-U", "--preserve-credentials")
        return ("nsenter", f"--target={self._holder.pid}", "-m", *user, "--")

    def seen(self, path: Path) -> Path:
        """A path of ours for one in the namespace."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def fill(self, leave: int = 0) -> None:
        """Fill the disk, but for so many bytes; a server that writes meanwhile may take a part."""
        with self.seen(self.folder / "ballast").open("ab", buffering=0) as ballast:
            found = os.statvfs(ballast.fileno())
            left = found.f_bavail * found.f_frsize - leave
            try:
                while left > 0:
                    left -= ballast.write(b"\0" * min(left, 1 << 16))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Make room again."""
        self.seen(self.folder / "ballast").unlink()

    def remount(self, how: str) -> None:
        """Make the disk `ro` or `rw`."""
        self.run("mount", "-o", f"remount,{how}", str(self.folder))

    def run(self, *command: str) -> str:
        """What a program prints that runs in the namespace."""
        done = subprocess.run(
            [*self.prefix, *command], check=True, timeout=PATIENCE, capture_output=True, text=True
        )
        return done.stdout.strip()


_HOLD = """
mount -t tmpfs -o size="$1" small "$2" && echo mounted && read -r wait_for_the_end
"""
