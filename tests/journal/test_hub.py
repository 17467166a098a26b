"""Tests of telling whoever watches."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from integralgit.journal.events import Event, RepositoryChanged
from integralgit.journal.hub import Hub

FIRST, SECOND = RepositoryChanged("github.com/acme/one"), RepositoryChanged("github.com/acme/two")


class Watching(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = Hub()
        self.heard: list[tuple[str, Event]] = []

    def test_everybody_hears_in_order(self) -> None:
        """Each watcher hears each event once, in the order in which the watchers came."""
        self.hub.watch(lambda event: self.heard.append(("a", event)))
        self.hub.watch(lambda event: self.heard.append(("b", event)))
        self.hub.publish(FIRST)
        self.hub.publish(SECOND)
        self.assertEqual(self.heard, [("a", FIRST), ("b", FIRST), ("a", SECOND), ("b", SECOND)])

    def test_only_what_comes_after(self) -> None:
        """A watcher does not hear of what was before it."""
        self.hub.publish(FIRST)
        self.hub.watch(lambda event: self.heard.append(("a", event)))
        self.hub.publish(SECOND)
        self.assertEqual(self.heard, [("a", SECOND)])

    def test_stop(self) -> None:
        """A watcher that stops hears nothing more, the others do, and stopping twice is harmless."""
        stop = self.hub.watch(lambda event: self.heard.append(("a", event)))
        self.hub.watch(lambda event: self.heard.append(("b", event)))
        self.hub.publish(FIRST)
        stop()
        stop()
        self.hub.publish(SECOND)
        self.assertEqual(self.heard, [("a", FIRST), ("b", FIRST), ("b", SECOND)])

    def test_the_same_watcher_twice(self) -> None:
        """Two watches of one function are two: stopping one leaves the other."""

        def watcher(event: Event) -> None:
            self.heard.append(("a", event))

        stop = self.hub.watch(watcher)
        self.hub.watch(watcher)
        self.hub.publish(FIRST)
        stop()
        self.hub.publish(SECOND)
        self.assertEqual(self.heard, [("a", FIRST), ("a", FIRST), ("a", SECOND)])

    def test_a_watcher_that_stops_while_it_hears(self) -> None:
        """A watcher may stop from within, and those after it still hear the event."""

        def once(event: Event) -> None:
            self.heard.append(("once", event))
            stop()

        stop = self.hub.watch(once)
        self.hub.watch(lambda event: self.heard.append(("b", event)))
        self.hub.publish(FIRST)
        self.hub.publish(SECOND)
        self.assertEqual(self.heard, [("once", FIRST), ("b", FIRST), ("b", SECOND)])

    def test_a_watcher_that_fails(self) -> None:
        """A watcher that fails is logged, goes on hearing, and does not harm the others."""

        def fail(event: Event) -> None:
            self.heard.append(("fail", event))
            raise LookupError("a watcher's fault")

        self.hub.watch(fail)
        self.hub.watch(lambda event: self.heard.append(("b", event)))
        self.hub.publish(FIRST)
        self.hub.publish(SECOND)
        self.assertEqual(
            self.heard, [("fail", FIRST), ("b", FIRST), ("fail", SECOND), ("b", SECOND)]
        )
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)
