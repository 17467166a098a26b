"""One append-only file per deploy, which its script writes directly; readers come with an offset.

Reads are small, from files that were just written or are cached, so they are
made on the reactor's thread.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import msgspec
from attrs import define

#: The most that one read gives, in bytes.
CHUNK = 64 * 1024
_MARK = re.compile(r"(\d{1,18}) (\d{1,15}\.\d{3})", re.ASCII)


class Mark(msgspec.Struct, frozen=True):
    """When a log had which size: what lies before was printed by then."""

    size: int
    time: float


@define
class Logs:
    """The folder of the log files."""

    _folder: Path

    def _path(self, deploy: int) -> str:
        return f"{self._folder}/{deploy:d}.log"

    def open(self, deploy: int) -> int:
        """A descriptor that appends to the deploy's log; whoever opened it closes it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path(deploy), flags, 0o600)

    def status_file(self, deploy: int) -> Path:
        """Where the wrapper of the deploy's script leaves the exit status."""
        return self._folder / f"{deploy:d}.exit"

    def _marks_file(self, deploy: int) -> Path:
        return self._folder / f"{deploy:d}.marks"

    def mark(self, deploy: int, mark: Mark) -> None:
        """Add a mark to those of the deploy's log; raises `OSError`."""
        with self._marks_file(deploy).open("a") as file:
            file.write(f"{mark.size} {mark.time:.3f}\n")

    def marks(self, deploy: int) -> list[Mark]:
        """The marks of the deploy's log, in their order; a line that was cut off is left out."""
        try:
            lines = self._marks_file(deploy).read_text().splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            return []
        found = (_MARK.fullmatch(line) for line in lines)
        return [Mark(int(one[1]), float(one[2])) for one in found if one]

    def forget(self, deploy: int) -> None:
        """Remove what is there of a deploy."""
        for file in (self._path(deploy), self.status_file(deploy), self._marks_file(deploy)):
            with suppress(FileNotFoundError):
                os.unlink(file)

    def size(self, deploy: int) -> int:
        """The size of the deploy's log in bytes; 0 while there is none."""
        try:
            return os.stat(self._path(deploy)).st_size
        except FileNotFoundError:
            return 0

    def known_size(self, deploy: int) -> int | None:
        """The same; None where it cannot be looked at, which keeps no deploy from its end."""
        try:
            return self.size(deploy)
        except OSError:
            return None

    def larger_than(self, size: int) -> list[int]:
        """The deploys whose logs have more bytes than that; looks at all of them, so for a thread."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                number, dot, kind = entry.name.partition(".")
                if number.isdigit() and dot + kind == ".log":
                    with suppress(FileNotFoundError):
                        if entry.stat(follow_symlinks=False).st_size > size:
                            found.append(int(number))
        return found

    def cut(self, deploy: int, size: int) -> None:
        """Take away what the deploy's log has beyond that size; raises `OSError`."""
        if self.size(deploy) > size:
            os.truncate(self._path(deploy), size)

    def read(self, deploy: int, offset: int, end: int, limit: int = CHUNK) -> bytes:
        """The log from `offset` up to `end`, at most `limit` bytes; empty where there is none."""
        wanted = min(end - offset, limit)
        if wanted <= 0:
            return b""
        try:
            with open(self._path(deploy), "rb", buffering=0) as file:
                file.seek(offset)
                return file.read(wanted) or b""
        except FileNotFoundError:
            return b""


def whole_characters(chunk: bytes) -> bytes:
    """The chunk without a last UTF-8 character that is not complete yet."""
    for back in range(1, min(4, len(chunk)) + 1):
        byte = chunk[-back]
        if byte & 0xC0 == 0x80:
            continue
        needs = (
            2
            if byte & 0xE0 == 0xC0
            else 3
            if byte & 0xF0 == 0xE0
            else 4
            if byte & 0xF8 == 0xF0
            else 1
        )
        return chunk[:-back] if needs > back else chunk
    return chunk
