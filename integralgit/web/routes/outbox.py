"""The page of the outbox: what others are yet to be told, what was given up, what was told."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.web.server import Request

from integralgit.journal import outbox
from integralgit.journal.events import Item, ItemState
from integralgit.journal.store import Transaction
from integralgit.quantities import timestamp
from integralgit.web.app import Pages
from integralgit.web.guards import limits, reading
from integralgit.web.pages import Json


class _Said(msgspec.Struct):
    """What is read of something in the outbox: a message has a title, a status a description."""

    title: str = ""
    description: str = ""

    @property
    def line(self) -> str:
        """It in one line."""
        return self.title or self.description


def item_json(item: Item) -> Json:
    """Something in the outbox, with a line of what it says; the rest is for its receiver."""
    kind, _, subject = item.subject.partition(" ")
    return {
        "id": item.id,
        "receiver": item.receiver,
        "kind": kind,
        "subject": subject,
        "said": msgspec.json.decode(item.wanted, type=_Said).line,
        "repo": item.repo,
        "deploy": item.deploy,
        "state": item.state,
        "tries": item.tries,
        "problem": item.problem,
        "wanted_at": timestamp(item.created),
        "next_try_at": timestamp(item.next_try or None)
        if item.state is ItemState.WAITING
        else None,
        "finished_at": timestamp(item.finished),
    }


def outbox_json(tx: Transaction, limit: int, now: float) -> dict[str, Any]:
    """Everything that the page shows, each list with `limit` entries at most."""
    return {
        "paused": [
            {"receiver": one.receiver, "until": timestamp(one.until), "problem": one.problem}
            for one in outbox.pauses(tx, now)
        ],
        "waiting": [item_json(one) for one in outbox.waiting(tx, limit)],
        "given_up": [item_json(one) for one in outbox.done(tx, ItemState.GIVEN_UP, limit)],
        "sent": [item_json(one) for one in outbox.done(tx, ItemState.SENT, limit)],
    }


@Pages.app.route("/-/outbox", methods=["GET"])
@reading
async def outbox_page(web: Pages, request: Request) -> Any:
    """What git hosts and people are yet to be told, and how far that has come."""
    limit, _ = limits(request)
    now = web.now()
    found = await web.store.read(lambda tx: outbox_json(tx, limit, now))
    return web.show(request, "outbox.html", found)
