"""A head start: where a push is expected to be deployed, the fetch begins while it is written down.

A fetch brings commits and changes nothing else, so it may go wrong, or turn out
to be in vain: the deploy does without it then. What is deployed is decided as
ever, by what the archive has. Where a fetch was in vain, the next push has no
head start, so that deliveries that are sent again and again cost no fetch each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred

from integralgit.deploy import leftovers
from integralgit.deploy.bounds import check_place
from integralgit.deploy.checkout import Checkout, Tips, Verified, open_location, try_lock
from integralgit.deploy.git import Git, GitError
from integralgit.deploy.plan import Refused
from integralgit.deploy.source import Source
from integralgit.hooks.delivery import Delivery
from integralgit.hostconfig.resolve import Deployment
from integralgit.names import Repository
from integralgit.settings import Settings


class Place(msgspec.Struct, frozen=True):
    """What is deployed where, and where it is fetched from."""

    repo: Repository
    deployment: Deployment
    source: Source

    @property
    def location(self) -> str:
        """The folder of the checkout."""
        return self.deployment.location

    @property
    def git_folder(self) -> Path:
        """Where notes are left about the work in the checkout."""
        return Path(self.location, ".git")

    def checkout(
        self, git: Git, verified: Verified, lock: int, tell: Callable[[bytes], object]
    ) -> Checkout:
        """The checkout there; its git holds the lock, and its errors are told."""
        here = git.within(self.location, descriptors={9: lock}, tell=tell, owner=self.location)
        allowing = here.allowing(self.source.protocols)
        return Checkout(allowing, self.location, self.deployment.remote, self.source, verified)


@define
class HeadStart:
    """A fetch that was begun for a place; `lock` is the location's, held, until it is handed over."""

    place: Place
    lock: int | None
    said: list[bytes] = field(factory=list, init=False)
    fetching: Deferred[Tips] = field(factory=Deferred, init=False)

    async def tips(self) -> Tips | None:
        """What the fetch has brought; None where it has failed."""
        try:
            return await self.fetching
        except (GitError, Refused, OSError) as error:
            if not (isinstance(error, GitError) and error.was_ended):
                leftovers.end(self.place.git_folder)
        return None

    def hand_over(self) -> int:
        """The lock, which whoever asks for it closes."""
        assert self.lock is not None
        lock, self.lock = self.lock, None
        return lock

    async def leave(self) -> None:
        """Nobody needs it, or nobody but whom it was handed over to: the lock is let go."""
        if self.lock is not None:
            lock = self.hand_over()
            if await self.tips() is not None:
                leftovers.end(self.place.git_folder)
            os.close(lock)


@define
class HeadStarts:
    """The places where all went well the last time, and so a fetch may begin at once."""

    _settings: Settings
    _git: Git
    _verified: Verified
    _places: dict[Repository, dict[str, Place]] = field(factory=dict, init=False)

    def remember(self, place: Place) -> None:
        """A deploy has gone well there."""
        self._places.setdefault(place.repo, {})[place.location] = place

    def forget(self, place: Place) -> None:
        """The next one there begins as any, until one has gone well."""
        self._places.get(place.repo, {}).pop(place.location, None)

    def expected(self, delivery: Delivery) -> list[Place]:
        """The places where a delivery is likely to be deployed."""
        refs = {push.ref for push in delivery.pushes if not push.deleted}
        known = self._places.get(delivery.repo, {}) if delivery.repo and refs else {}
        return [one for one in known.values() if f"refs/heads/{one.deployment.branch}" in refs]

    def begin(self, place: Place) -> HeadStart | None:
        """A fetch there, or None where it would have to wait, or to look closer first."""
        try:
            check_place(place.deployment, self._settings.trusts_for(place.repo))
            lock = open_location(place.location)
        except (Refused, OSError):
            return None
        start = HeadStart(place, lock)
        checkout = place.checkout(self._git, self._verified, lock, start.said.append)
        if leftovers.may_be_in(place.git_folder) or not (checkout.is_verified() and try_lock(lock)):
            os.close(lock)
            return None
        leftovers.begin(place.git_folder)
        start.fetching = Deferred.fromCoroutine(checkout.fetch(place.deployment.branch))
        return start
