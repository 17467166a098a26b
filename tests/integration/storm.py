"""A storm of deliveries, from many connections at once, a tenth of them hostile.

Bounded in number and time, and only ever sent to the loopback interface.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from attrs import define, field, frozen

from tests.integration.harness import github_push

#: What a body of 48 MB is made of, which is slow to decode as a form.
_ESCAPES = b"%41" * 20_000
_LARGE = 48_000_000
_HEAD = "POST /update HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@frozen
class Target:
    """Where the storm goes: a port of this machine, and the secret of honest senders."""

    port: int
    secret: bytes


@define
class Storm:
    """What was sent and what came back: answers by kind of sender, and accepted delivery ids."""

    target: Target
    answers: Counter[tuple[str, int]] = field(factory=Counter)
    accepted: list[str] = field(factory=list)

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.target.port), timeout=60) as connection:
            yield connection

    def _answer(self, connection: socket.socket) -> int:
        """The status of an answer; 0 where the server hung up without one."""
        received = b""
        try:
            while b"\r\n" not in received:
                chunk = connection.recv(65536)
                if not chunk:
                    return 0
                received += chunk
        except OSError:
            return 0
        return int(received.split(b" ", 2)[1])

    def honest(self, number: int) -> int:
        """A rightly signed push, of a commit of its own."""
        commit = hashlib.sha1(str(number).encode()).hexdigest()  # noqa: S324 - as git does
        body = json.dumps(github_push(commit, "main")).encode()
        identity = f"storm-{number}"
        mac = hmac.new(self.target.secret, body, hashlib.sha256).hexdigest()
        head = (
            f"{_HEAD}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-GitHub-Event: push\r\nX-GitHub-Delivery: {identity}\r\n"
            f"X-Hub-Signature-256: sha256={mac}\r\n\r\n"
        )
        with self._connected() as connection:
            connection.sendall(head.encode() + body)
            status = self._answer(connection)
        if status == 202:
            self.accepted.append(identity)
        return status

    def large_form(self, number: int) -> int:
        """48 MB of a form that is slow to decode, announced by its length."""
        return self._large(f"Content-Length: {_LARGE}\r\n", lambda chunk: chunk)

    def large_chunks(self, number: int) -> int:
        """The same in chunks, without a length."""
        return self._large(
            "Transfer-Encoding: chunked\r\n", lambda chunk: b"%x\r\n%s\r\n" % (len(chunk), chunk)
        )

    def _large(self, length: str, encode: Callable[[bytes], bytes]) -> int:
        kind = "Content-Type: application/x-www-form-urlencoded\r\nX-GitHub-Event: push\r\n"
        with self._connected() as connection:
            connection.sendall(f"{_HEAD}{kind}{length}\r\n".encode())
            chunk = encode(_ESCAPES)
            try:
                for _ in range(_LARGE // len(_ESCAPES)):
                    connection.sendall(chunk)
            except OSError:
                pass
            return self._answer(connection)

    def slow(self, number: int) -> int:
        """A body that comes byte by byte, for a while, and never ends."""
        with self._connected() as connection:
            connection.sendall(f"{_HEAD}Content-Length: 5000\r\n\r\n".encode())
            for _ in range(20):
                connection.sendall(b"{")
                time.sleep(0.1)
        return 0

    def forged(self, number: int) -> int:
        """A push with a wrong signature."""
        body = b'{"ref": "refs/heads/main"}'
        head = (
            f"{_HEAD}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={'0' * 64}\r\n\r\n"
        )
        with self._connected() as connection:
            connection.sendall(head.encode() + body)
            return self._answer(connection)

    def nonsense(self, number: int) -> int:
        """Bytes that are no request."""
        with self._connected() as connection:
            connection.sendall(b"\x16\x03\x01" + b"\xff\x00" * 2000 + b"\r\n\r\n")
            return self._answer(connection)

    def blow(self, requests: int = 1000, at_once: int = 40) -> None:
        """Send everything, mixed, with that many connections at the same time."""
        hostile = [self.large_form, self.large_chunks, self.slow, self.forged, self.nonsense]
        senders = [
            hostile[number // 10 % len(hostile)] if number % 10 == 0 else self.honest
            for number in range(requests)
        ]
        with ThreadPoolExecutor(at_once) as pool:
            for sender, status in zip(
                senders, pool.map(lambda n: senders[n](n), range(requests)), strict=True
            ):
                self.answers[sender.__name__, status] += 1
