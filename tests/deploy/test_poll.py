"""Tests of what a look at the remotes makes of what is known."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.poll import compare
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal import deliveries, deploys
from integralgit.journal.store import Transaction
from integralgit.testing import MemoryStore
from tests.archive import queued

SITE = "github.com/acme/site"
OLD, NEW = "1" * 40, "2" * 40


class Comparing(SynchronousTestCase):
    def waiting(self, branch: str) -> list[str]:
        """The branches that wait at the location after a look, where a push to `branch` did."""

        def work(tx: Transaction) -> list[str]:
            deliveries.hear_of(tx, SITE, "github", 0.0)
            deliveries.see(tx, SITE, "dev", OLD)
            queued(tx, branch=branch, wanted=OLD)
            found = (Deployment("web1", "/srv/site", "dev"),)
            woken = compare(tx, SITE, found, {"dev": NEW}, {"dev": OLD}, 1.0)
            self.assertEqual(woken, ["/srv/site"])
            return [one.branch for one in deploys.all_waiting_at(tx, "/srv/site")]

        return self.successResultOf(MemoryStore().store.write(work))

    def test_what_waits_already(self) -> None:
        """What waits there brings the newest commit of its branch, and of no other."""
        self.assertEqual(self.waiting("dev"), ["dev"])
        self.assertEqual(self.waiting("main"), ["main", "dev"])
