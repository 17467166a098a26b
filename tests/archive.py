"""Rows of the archive that many tests begin with."""

from __future__ import annotations

from typing import Any

from integralgit.hooks.delivery import Delivery
from integralgit.journal import deliveries, deploys
from integralgit.journal.deliveries import Change, Decided
from integralgit.journal.deploys import Entry
from integralgit.journal.events import Deploy, Trigger
from integralgit.journal.store import Transaction


def stored(
    tx: Transaction,
    delivery: Delivery,
    *changes: Change,
    outcome: str = "ignored",
    reason: str = "",
    at: float = 0.0,
) -> int:
    """Store a delivery with what was decided about it; its number."""
    (kept,) = deliveries.add(tx, [Decided(delivery, outcome, reason, changes)], at)
    return kept.number


def queued(tx: Transaction, now: float = 0.0, **changes: Any) -> Deploy:
    """A push to the branch main of github.com/acme/site that waits for web1, with changes."""
    usual: dict[str, Any] = {
        "repo": "github.com/acme/site",
        "branch": "main",
        "host": "web1",
        "location": "/srv/site",
        "trigger": Trigger.PUSH,
    }
    return deploys.known(tx, deploys.enqueue(tx, Entry(**{**usual, **changes}), now))
