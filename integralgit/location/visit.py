"""A visit to a location: its folder is open, its lock ours, and a note says that git is at work there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred

from integralgit.background import InThread
from integralgit.hostconfig.resolve import Deployment
from integralgit.location import leftovers, unfinished
from integralgit.location.checkout import Checkout, Tips
from integralgit.location.disks import Disks
from integralgit.location.folders import Verified, git_folder_of
from integralgit.location.git import Git, GitError
from integralgit.location.lock import lock_holder, try_lock, unlock
from integralgit.location.plan import Refused
from integralgit.location.source import Source
from integralgit.location.submodules import Incomplete
from integralgit.names import Repository


class Place(msgspec.Struct, frozen=True):
    """What is deployed where, and where it is fetched from."""

    repo: Repository
    deployment: Deployment
    source: Source

    @property
    def location(self) -> str:
        """The folder of the checkout."""
        return self.deployment.location


@define(eq=False)
class Visit:
    """Work at a place, from the opening of its folder until that is left.

    `lock` is the folder's descriptor, which bears the lock. What git says is
    kept until there is somebody to `tell`.
    """

    place: Place
    lock: int
    _git: Git
    _verified: Verified
    _disks: Disks
    checkout: Checkout = field(init=False)
    _git_folder: Path = field(init=False)
    _said: list[bytes] = field(factory=list, init=False)
    _tell: Callable[[bytes], object] = field(init=False)
    _ahead: Deferred[Tips] | None = field(default=None, init=False)
    _is_at_work: bool = field(default=False, init=False)
    _is_lent: bool = field(default=False, init=False)
    #: A git was made to end, and may have left locks.
    _was_cut_off: bool = field(default=False, init=False)
    _lost_objects: list[str] = field(factory=list, init=False)
    #: What was left behind could not be told from what somebody does there just now.
    _is_unclear: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._git_folder = git_folder_of(self.place.location)
        self._tell = self._said.append
        self.turn_to(self.place)

    def turn_to(self, place: Place) -> None:
        """Go on with another deployment at the same location."""
        location, source, remote = place.location, place.source, place.deployment.remote
        here = self._git.within(
            location, descriptors={9: self.lock}, tell=self._said_there, owner=location
        )
        self.place = place
        self.checkout = Checkout(
            here.allowing(source.protocols), location, remote, source, self._verified
        )

    def _said_there(self, said: bytes) -> None:
        self._tell(said)

    def tell(self, tell: Callable[[bytes], object]) -> None:
        """Tell this what git has said and will say."""
        for said in self._said:
            tell(said)
        self._tell = tell

    def try_lock(self) -> bool:
        """Take the lock; False where another process has it. Raises `OSError`."""
        return try_lock(self.lock)

    def lend_lock(self) -> int:
        """The lock, for a script that is to hold it as well, and may outlive us."""
        self._is_lent = True
        return self.lock

    def lock_is_back(self) -> None:
        """That script has ended."""
        self._is_lent = False

    def lock_holder(self) -> str:
        """Who holds the lock, for a person."""
        return lock_holder(self.lock)

    async def is_worked_in(self, in_thread: InThread) -> bool:
        """Whether work there was cut off, and a git that may have been part of it is still at it."""
        if not leftovers.may_be_in(self._git_folder):
            return False
        works: bool = await in_thread(leftovers.git_works_in, self.place.location)
        return works

    async def clear(self, in_thread: InThread) -> list[str]:
        """Remove what a git of ours has left there when it was cut off; the names of that.

        Objects that were lost are left to `refill`.
        """
        if not leftovers.may_be_in(self._git_folder):
            return []
        branch = self.place.deployment.branch
        left: leftovers.Left | None = await in_thread(
            leftovers.clear, self._git_folder, self.place.location, branch
        )
        if left is None:
            self._is_unclear = True
            return []
        self._lost_objects = left.lost_objects
        return left.removed

    async def refill(self) -> bool:
        """Fetch all objects anew where some were lost; whether they were."""
        if not self._lost_objects:
            return False
        await self.checkout.refill()
        for name in self._lost_objects:
            (self._git_folder / name).unlink(missing_ok=True)
        self._lost_objects = []
        return True

    def begin(self) -> None:
        """From now on, git may leave locks when it is cut off; where the folder has a git folder."""
        leftovers.begin(self._git_folder)
        self._is_at_work = True

    async def settle(self) -> None:
        """What git has written is on the disk, and with that the work is over."""
        if not self._is_at_work:
            return
        self._is_at_work = False
        if not os.path.lexists(self._git_folder):
            return
        await self._disks.settle(self.place.location, str(self._git_folder))
        unfinished.settled(self._git_folder)
        if not (self._is_unclear or self._lost_objects or self._was_cut_off):
            # The next one need not look whether something was left behind.
            leftovers.end(self._git_folder)

    def fail(self, error: Exception) -> None:
        """The work has come to that; a git that was made to end may have left something."""
        was_ended = isinstance(error, GitError) and error.was_ended
        if was_ended or isinstance(error, Incomplete):
            self._was_cut_off = True

    def fetch_ahead(self) -> bool:
        """Begin to fetch; False where that would have to wait, or to look closer first."""
        if leftovers.may_be_in(self._git_folder):
            return False
        if not (self.checkout.is_verified() and self.try_lock()):
            return False
        self.begin()
        self._ahead = Deferred.fromCoroutine(self.checkout.fetch(self.place.deployment.branch))
        return True

    async def fetched_ahead(self) -> Tips | None:
        """What the fetch that was begun has brought; None where there was none, or it has failed."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return None
        try:
            return await ahead
        except (GitError, Refused, OSError) as error:
            self.fail(error)
            self._said.clear()
            return None

    async def leave(self) -> None:
        """Let the location go, once a fetch that was begun has ended, and all is on the disk."""
        try:
            await self.fetched_ahead()
            await self.settle()
        finally:
            self.close()

    def close(self) -> None:
        """Let the location go, where nothing has begun; it may have been left before."""
        if self.lock >= 0:
            if not self._is_lent:
                unlock(self.lock)
            os.close(self.lock)
            self.lock = -1
