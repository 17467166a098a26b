"""What is next at a location, taken out of the queue together with what is known for it."""

from __future__ import annotations

from math import inf

import msgspec

from integralgit.journal import deliveries, deploys, freezes, history, queue, repositories
from integralgit.journal.events import Deploy, Freeze, RepositoryRecord
from integralgit.journal.store import Transaction


class Turn(msgspec.Struct, frozen=True):
    """A deploy that runs from now on, what is known of its repository's config, and what was
    deployed at its location before: remote commits, newest first.

    `told` is from where to where its push went, if the deploy's commits are all those.
    """

    deploy: Deploy
    known: RepositoryRecord
    deployed: tuple[str, ...]
    told: tuple[str, str] | None


def take(tx: Transaction, location: str, now: float) -> Turn | Freeze | None:
    """Begin with what waits first for a location, and is not held back by a freeze; or None for nothing.

    What brings the last good commit back goes before all else, which would be
    taken back by it. Where all that waits is held back, the freeze that ends first.
    """
    found = [(one, freezes.holding(tx, one, now)) for one in queue.all_waiting_at(tx, location)]
    free = [one for one, freeze in found if freeze is None]
    if not free:
        held = [freeze for _, freeze in found if freeze is not None]
        return min(held, key=lambda one: inf if one.until is None else one.until, default=None)
    waiting = min(free, key=lambda one: one.rolls_back is None)
    begun = deploys.begin(tx, waiting, now)
    known = repositories.known(tx, waiting.repo)
    deployed = tuple(history.commits_deployed_at(tx, location))
    return Turn(begun, known, deployed, deliveries.told_whole(tx, begun.push))
