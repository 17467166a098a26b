"""Visits to the locations, and the head start that some have: a fetch that begins before its deploy.

Where a push is expected to be deployed, the fetch begins while it is written
down. It brings commits and changes nothing else, so it may go wrong, or turn out
to be in vain: the deploy does without it then. What is deployed is decided as
ever, by what the archive has. Where a fetch was in vain, the next push has no
head start, so that deliveries that are sent again and again cost no fetch each.
"""

from __future__ import annotations

from contextlib import suppress

from attrs import define, field

from integralgit.hooks.delivery import Delivery
from integralgit.location.bounds import check_apart, check_place
from integralgit.location.disks import Disks
from integralgit.location.folders import Verified, open_location
from integralgit.location.git import Git
from integralgit.location.plan import Refused
from integralgit.location.visit import Place, Visit
from integralgit.names import Repository
from integralgit.settings import Settings


@define
class Visits:
    """Opens locations; knows which were in order, and where a fetch may begin at once."""

    _settings: Settings
    _git: Git
    _disks: Disks
    _verified: Verified = field(factory=Verified, init=False)
    #: Where all went well the last time, by repository and location.
    _places: dict[Repository, dict[str, Place]] = field(factory=dict, init=False)

    def to(self, place: Place) -> Visit:
        """A visit, which whoever asks for it leaves; raises `Refused`."""
        check_apart(place.location, self._settings.state)
        lock = open_location(place.location)
        return Visit(place, lock, self._git, self._verified, self._disks)

    async def settle(self, location: str) -> None:
        """What was written at a location without a visit is on the disk."""
        await self._disks.settle(location)

    def ahead_to(self, place: Place) -> Visit | None:
        """A visit that has begun to fetch; None where that would have to wait, or to look closer.

        Whoever asks for it leaves it.
        """
        with suppress(Refused, OSError):
            check_place(place.deployment, self._settings.trusts_for(place.repo))
            visit = self.to(place)
            with suppress(OSError):
                if visit.fetch_ahead():
                    return visit
            visit.close()
        return None

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
