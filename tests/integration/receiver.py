"""A real HTTP server that plays the git host's API and the chat: it keeps what it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from attrs import define, field, frozen

#: What the server does with a request instead of answering it as it should.
SLOW, CUT, HEARD, REDIRECT = "slow", "cut", "heard", "redirect"


@frozen
class Heard:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    raw: bytes
    at: float


@define(eq=False)
class Receiver:
    """A server on 127.0.0.1.

    `troubles` are what it does with the next writing requests to paths that
    begin with `troubled`.

    A trouble is a status with headers, or one of the words above: `slow`
    waits until the test sets `go`, `cut` hangs up without listening, `heard`
    takes the request and hangs up, `redirect` points to `elsewhere`.
    """

    port: int = 0
    troubled: str = "/repos/"
    troubles: list[Any] = field(factory=list)
    heard: list[Heard] = field(factory=list, init=False)
    go: threading.Event = field(factory=threading.Event, init=False)
    elsewhere: str = ""
    statuses: dict[str, list[Any]] = field(factory=dict, init=False)
    deployments: list[dict[str, Any]] = field(factory=list, init=False)
    _server: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                receiver._handle(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Be silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop listening."""
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        raw = request.rfile.read(int(request.headers.get("content-length", 0)))
        body = json.loads(raw) if raw else None
        heard = Heard(
            request.command,
            request.path,
            {name.lower(): text for name, text in request.headers.items()},
            body,
            raw,
            time.monotonic(),
        )
        trouble = None
        is_troubled = request.command == "POST" and request.path.startswith(self.troubled)
        if is_troubled and self.troubles:
            trouble = self.troubles.pop(0)
        if trouble == CUT:
            request.close_connection = True
            return
        if trouble == SLOW:
            self.go.wait(60)
        if isinstance(trouble, tuple):
            self._answer(request, trouble[0], {"message": "trouble"}, trouble[1])
            return
        if trouble == REDIRECT:
            self._answer(request, 307, {}, {"Location": self.elsewhere})
            return
        self.heard.append(heard)
        status, answer = self._act(heard)
        if trouble == HEARD:
            request.close_connection = True
            return
        self._answer(request, status, answer, {})

    def _answer(
        self, request: BaseHTTPRequestHandler, status: int, body: Any, headers: Mapping[str, str]
    ) -> None:
        encoded = json.dumps(body).encode()
        try:
            request.send_response(status)
            for name, text in headers.items():
                request.send_header(name, text)
            request.send_header("Content-Length", str(len(encoded)))
            request.end_headers()
            request.wfile.write(encoded)
        except OSError:
            pass

    def _act(self, heard: Heard) -> tuple[int, Any]:
        """What GitHub would do with the request, as far as we use it."""
        parts = heard.path.partition("?")[0].strip("/").split("/")
        if parts[0] != "repos":
            return 200, "ok"
        rest = parts[3:]
        if heard.method == "GET" and rest[0] == "commits":
            return 200, list(reversed(self.statuses.get(rest[1], [])))
        if rest[0] == "statuses":
            self.statuses.setdefault(rest[1], []).append(heard.body)
            return 201, {"id": len(self.heard)}
        if rest == ["deployments"] and heard.method == "GET":
            return 200, list(reversed(self.deployments))
        if rest == ["deployments"]:
            made = {"id": len(self.deployments) + 1, **heard.body, "statuses": []}
            self.deployments.append(made)
            return 201, made
        statuses = self.deployments[int(rest[1]) - 1]["statuses"]
        if heard.method == "GET":
            return 200, list(reversed(statuses))
        statuses.append(heard.body)
        return 201, {"id": len(statuses)}

    def states(self, commit: str) -> list[str]:
        """The states that a commit's status has had, oldest first."""
        return [one["state"] for one in self.statuses.get(commit, [])]

    def said(self, path: str) -> list[Any]:
        """The bodies that were posted to a path, oldest first."""
        return [one.body for one in list(self.heard) if one.path == path]


@define(eq=False)
class Relay:
    """A real SMTP server on 127.0.0.1 that keeps the mails it gets, as their lines.

    `refusals` are its answers to addresses, used up one by one, before it takes them.
    """

    refusals: dict[str, list[str]] = field(factory=dict)
    mails: list[list[str]] = field(factory=list, init=False)
    #: Who got each of the mails.
    to: list[list[str]] = field(factory=list, init=False)
    _server: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        relay = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                lines: list[str] | None = None
                to: list[str] = []
                self.wfile.write(b"220 relay\r\n")
                for raw in self.rfile:
                    line = raw.decode().removesuffix("\r\n")
                    if lines is not None and line != ".":
                        lines.append(line)
                        continue
                    answer = "354 go on" if line == "DATA" else "250 ok"
                    if lines is not None:
                        relay.mails.append(lines)
                        relay.to.append(to)
                    if line.startswith("RCPT TO:"):
                        address = line.partition("<")[2].rstrip(">")
                        refusals = relay.refusals.get(address)
                        answer = refusals.pop(0) if refusals else answer
                        to += [address] if answer == "250 ok" else []
                    lines = [] if line == "DATA" else None
                    self.wfile.write(f"{answer}\r\n".encode())
                    if line == "QUIT":
                        return

        self._server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
