"""Tests of what people may do, and what cannot be done as things stand."""

from __future__ import annotations

import json
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy import acts
from integralgit.deploy.acts import Conflict
from integralgit.journal import deploys, repositories
from integralgit.journal.events import Deploy, State
from integralgit.journal.store import Transaction, Work
from integralgit.testing import MemoryStore
from tests.archive import queued

T = TypeVar("T")
SITE = "github.com/acme/site"


class RollBack(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = MemoryStore()
        self.write(lambda tx: repositories.hear_of(tx, SITE, "github", 0.0))

    def write(self, work: Work[T]) -> T:
        """The result of work that writes."""
        return self.successResultOf(self.memory.store.write(work))

    def known(self, number: int) -> Deploy:
        """The deploy of that number."""
        return self.write(lambda tx: deploys.known(tx, number))

    def configure(self, *locations: str) -> None:
        """The config in use has these locations, one for each name of this host."""
        configs = {f"web{n}": {"location": one} for n, one in enumerate(locations)}
        text = json.dumps({"configs": configs})
        self.write(lambda tx: repositories.set_config(tx, SITE, "c" * 40, text, None, 0.0))

    def deployed(self) -> Deploy:
        """A deploy that has succeeded in /srv/site."""

        def work(tx: Transaction) -> Deploy:
            number = queued(tx).id
            deploys.note(tx, number, commit="1" * 40)
            deploys.end(tx, number, State.SUCCEEDED, 1.0)
            return deploys.known(tx, number)

        return self.write(work)

    def roll_back(self, deploy: Deploy) -> Deferred[list[int]]:
        """Roll back to a deploy."""
        names = ("web0", "web1")
        return self.memory.store.write(lambda tx: acts.roll_back(tx, deploy, names, 2.0))

    def test_to_where_it_went(self) -> None:
        """The commit goes where it was, also while no config is in use."""
        deploy = self.deployed()
        for locations in ((), ("/srv/site",), ("/srv/other", "/srv/site")):
            if locations:
                self.configure(*locations)
            (number,) = self.successResultOf(self.roll_back(deploy))
            back = self.known(number)
            self.assertEqual((back.location, back.wanted), ("/srv/site", "1" * 40))

    def test_a_location_that_the_config_has_left(self) -> None:
        """It is not brought to another location, and the answer says where there is something now."""
        deploy = self.deployed()
        self.configure("/srv/a", "/srv/b")
        error = self.failureResultOf(self.roll_back(deploy), Conflict).value
        self.assertIn("nothing for /srv/site any more, but for /srv/a and /srv/b", str(error))
