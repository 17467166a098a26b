"""What git hosts are told, whichever kind they are, and the shape of a request to one.  Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from attrs import field, frozen

from integralgit.journal.events import State
from integralgit.report.answers import Answer


@frozen
class Status:
    """How it stands with a commit, for whoever looks at it at the git host.

    `name` is the full name of its repository there; `context` tells apart the
    servers that speak of one commit.
    """

    name: str
    commit: str
    context: str
    state: State
    description: str
    url: str


@frozen
class Shipment:
    """A deploy as a git host shows it that knows of deployments: a commit on its way to a host."""

    name: str
    commit: str
    environment: str
    state: State
    description: str
    url: str


@frozen
class Request:
    """What to ask an API; the path is below its address, and has its query with it."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(factory=dict)

    def encoded(self) -> bytes | None:
        """The body as it is sent."""
        return None if self.body is None else msgspec.json.encode(self.body)


def _nobody_knows(status: Status, answer: Answer) -> bool:  # noqa: ARG001 - it takes any
    return False


@frozen
class Kind:
    """How one kind of git host is spoken to.

    `authorize` gives the headers that a token needs; `tell` the request for a
    status. `is_known` says whether an answer means that it has that status
    already. Where telling twice would show twice, `look` asks what it has,
    and `has` says whether that status is the newest of its context there.
    `spacing` is the least time between two requests that write, in seconds.
    """

    authorize: Callable[[str], dict[str, str]]
    tell: Callable[[Status], Request]
    is_known: Callable[[Status, Answer], bool] = _nobody_knows
    look: Callable[[Status], Request] | None = None
    has: Callable[[Status, Any], bool] | None = None
    spacing: float = 0.0


def shorten(text: str, limit: int) -> str:
    """The text within that many characters, on one line."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def path_of(name: str) -> str:
    """A full name as a part of a path."""
    return "/".join(quote(part, safe="~") for part in name.split("/"))


def bearer_or_basic(token: str) -> dict[str, str]:
    """A bearer token, or where a name and a password stand in the file, basic authentication."""
    if ":" in token:
        return {"Authorization": f"Basic {base64.b64encode(token.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"}
