"""Answers as bytes: JSON, the headers that every page carries, and the one HTTP error."""

from __future__ import annotations

from collections.abc import Coroutine
from html import escape
from typing import Any

import msgspec
from twisted.web.server import NOT_DONE_YET, Request

from integralgit.background import Background

#: Nothing but our own script and style, nothing inline, in nobody's frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept, Cookie",
}


class HTTPError(Exception):
    """An answer other than success: its status, and a sentence for the reader."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def set_headers(request: Request, content_type: str) -> None:
    """The headers of every page and every piece of data."""
    request.setHeader("Content-Type", content_type)
    for name, value in _HEADERS.items():
        request.setHeader(name, value)


def json_bytes(request: Request, value: Any, status: int = 200) -> bytes:
    """The value as the JSON body of the answer."""
    request.setResponseCode(status)
    set_headers(request, "application/json")
    return msgspec.json.encode(value) + b"\n"


def bare_error(request: Request, status: int, text: str) -> bytes:
    """An error of what answers before the pages do: in a browser a page without our style, else JSON."""
    if b"text/html" not in b",".join(request.requestHeaders.getRawHeaders(b"accept", [])):
        return json_bytes(request, {"error": text}, status)
    request.setResponseCode(status)
    set_headers(request, "text/html; charset=utf-8")
    head = f'<!doctype html><html lang="en"><title>{status} – IntegralGit</title>'
    return f"{head}<h1>{status}</h1><p>{escape(text)}</p>\n".encode()


def is_gone(request: Request) -> bool:
    """Whether the client has hung up before its answer, so that nothing may be sent to it any more."""
    return request.channel is None


def answer_later(
    request: Request, answer: Coroutine[Any, Any, bytes], background: Background
) -> int:
    """Send a body when it is there, to who still waits for it; what `render` gives meanwhile."""

    async def send() -> None:
        body = await answer
        if not is_gone(request):
            request.setHeader("Content-Length", str(len(body)))
            request.write(body)
            request.finish()

    background.spawn(send())
    return NOT_DONE_YET


def wants_json(request: Request) -> bool:
    """Whether the reader is a program."""
    accept = b",".join(request.requestHeaders.getRawHeaders(b"accept", []))
    return b"application/json" in accept and b"text/html" not in accept
