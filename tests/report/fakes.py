"""Stand-ins for the world outside: receivers that answer what the test says, and an archive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from attrs import define, field, frozen

from integralgit.journal.events import Item, ItemState
from integralgit.report.answers import Answer, NoAnswer, Told
from integralgit.report.http import MOST
from integralgit.report.outbox import Line


@frozen
class Asked:
    """One request that was made."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any
    allow_http: bool
    most: int


@define
class FakeHttp:
    """Answers in the order that the test says, and remembers what it was asked."""

    answers: list[Told]
    asked: list[Asked] = field(factory=list, init=False)

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        allow_http: bool = False,
        timeout: float = 1.0,
        most: int = MOST,
    ) -> Told:
        decoded = None if body is None else msgspec.json.decode(body)
        self.asked.append(Asked(method, url, headers, decoded, allow_http, most))
        return self.answers.pop(0)


@define
class FakeLine:
    """A line whose pace and memory the test sees."""

    paced: int = 0
    given_back: list[str] = field(factory=list)

    def line(self) -> Line:
        """The line for a receiver."""

        async def pace() -> None:
            self.paced += 1

        async def give_back(name: str) -> None:
            self.given_back.append(name)

        return Line(pace, give_back)


@define
class FakeReceiver:
    """A receiver that does what `respond` says, and remembers what it was told, and when."""

    name: str
    respond: Callable[[Item], Awaitable[Told]]
    spacing: float = 0.0
    in_order: bool = True
    secrets: tuple[str, ...] = ()
    question: str = "is it set up right?"
    told: list[tuple[str, str]] = field(factory=list)

    async def tell(self, item: Item, line: Line) -> Told:
        await line.pace()
        self.told.append((item.subject, item.wanted))
        return await self.respond(item)


def item(**more: Any) -> Item:
    """Something in the outbox."""
    values: dict[str, Any] = {
        "id": 1,
        "receiver": "forge github.com",
        "subject": "status github.com/acme/site c integralgit/web1",
        "repo": "github.com/acme/site",
        "deploy": 7,
        "wanted": "{}",
        "version": 1,
        "created": 1000.0,
        "state": ItemState.WAITING,
        "tries": 0,
        "doubt": False,
        "next_try": 0.0,
        "problem": None,
        "given_back": None,
        "finished": None,
    }
    return Item(**{**values, **more})


def answer(status: int = 200, body: Any = None, **headers: str) -> Answer:
    """An answer with a JSON body; `_` in the names of headers stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, b"" if body is None else msgspec.json.encode(body))


CUT = NoAnswer("the connection was cut before the answer", heard=True)
REFUSED = NoAnswer("there is no connection: connection refused", heard=False)
