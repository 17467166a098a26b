"""Rows of the archive that many tests begin with."""

from __future__ import annotations

from typing import Any

from integralgit.journal import deploys
from integralgit.journal.events import Deploy, Trigger
from integralgit.journal.store import Transaction


def queued(tx: Transaction, **changes: Any) -> Deploy:
    """A push to the branch main of github.com/acme/site that waits for web1, with changes."""
    usual: dict[str, Any] = {
        "repo": "github.com/acme/site",
        "branch": "main",
        "host": "web1",
        "location": "/srv/site",
        "trigger": Trigger.PUSH,
        "now": 0.0,
    }
    return deploys.known(tx, deploys.enqueue(tx, **{**usual, **changes}))
