"""What the server did and does, in numbers, for Prometheus.

Counted here in plain dictionaries; prometheus_client, whose import takes a
while, is asked for only when somebody collects.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from attrs import define, field

from integralgit.background import Background
from integralgit.journal import deploys, queue
from integralgit.journal.events import Deploy, DeployChanged, Event, State
from integralgit.journal.store import Store
from integralgit.web.stream import Ticker

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

#: The upper bounds, in seconds, by which durations of deploys are counted.
BOUNDS = (1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)
#: What the answer has as its type: Prometheus' text format, version 0.0.4.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@define
class Durations:
    """How long deploys took: how many up to each bound, the last one endless, and all together."""

    counts: list[int] = field(factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


@define
class Metrics:
    """Counts since the start of the server."""

    _store: Store
    _ticker: Ticker
    _background: Background
    deliveries: Counter[str] = field(factory=Counter, init=False)
    ended: Counter[tuple[str, str]] = field(factory=Counter, init=False)
    durations: dict[str, Durations] = field(factory=dict, init=False)

    def decided(self, decision: str) -> None:
        """A delivery was accepted, ignored, refused, or could not be written."""
        self.deliveries[decision] += 1

    def heard(self, event: Event) -> None:
        """Something was written to the archive."""
        if isinstance(event, DeployChanged) and event.state.ended:
            self.ended[event.repo, event.state.value] += 1
            # A superseded one never began.
            if event.state is not State.SUPERSEDED:
                self._background.spawn(self._time(event.deploy))

    async def _time(self, number: int) -> None:
        deploy = await self._store.read(lambda tx: deploys.get(tx, number))
        if deploy is not None and deploy.started is not None and deploy.finished is not None:
            taken = max(0.0, deploy.finished - deploy.started)
            self.durations.setdefault(deploy.repo, Durations()).add(taken)

    async def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        unfinished = await self._store.read(queue.unfinished)
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Collected(lambda: self._families(unfinished)))
        return generate_latest(registry)

    def _families(self, unfinished: list[Deploy]) -> Iterator[Metric]:
        from prometheus_client.metrics_core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        deliveries = CounterMetricFamily(
            "integralgit_deliveries", "Requests at /update, by decision.", labels=["decision"]
        )
        for decision, count in self.deliveries.items():
            deliveries.add_metric([decision], count)
        ended = CounterMetricFamily(
            "integralgit_deploys", "Deploys that ended, by state.", labels=["repo", "state"]
        )
        for (repo, state), count in self.ended.items():
            ended.add_metric([repo, state], count)
        took = HistogramMetricFamily(
            "integralgit_deploy_seconds", "How long deploys took.", labels=["repo"]
        )
        for repo, durations in self.durations.items():
            passed, buckets = 0, []
            for bound, count in zip([*map(str, BOUNDS), "+Inf"], durations.counts, strict=True):
                passed += count
                buckets.append((bound, passed))
            took.add_metric([repo], buckets, durations.total)
        yield from (deliveries, ended, took)
        present = Counter((one.repo, one.state) for one in unfinished)
        for state, says in ((State.QUEUED, "wait"), (State.RUNNING, "run")):
            gauge = GaugeMetricFamily(
                f"integralgit_deploys_{state.value}", f"Deploys that {says} now.", labels=["repo"]
            )
            for (repo, found), count in present.items():
                if found is state:
                    gauge.add_metric([repo], count)
            yield gauge
        yield GaugeMetricFamily(
            "integralgit_viewers", "Open event streams.", value=self._ticker.viewers
        )


@define(eq=False)
class _Collected:
    """The families as a registry of prometheus_client asks for them."""

    collect: Callable[[], Iterator[Any]]
