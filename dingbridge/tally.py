"""A histogram for what is measured with every event: plain numbers, put into Prometheus' form when it asks.

Prometheus' own takes a lock each time, which costs more than the worker's book-keeping.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Counted = dict[tuple[str, ...], tuple[list[int], float]]
"""By the values of the labels: how many fell into each bucket (the last has no bound), and the sum."""


class Histogram(Collector):
    """Of values that one thread observes. ``buckets`` are the upper bounds, ascending."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        buckets: Sequence[float],
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Without ``registry`` nobody reads it but ``take``."""
        self._name, self._text, self._labels, self._bounds = name, text, tuple(labels), tuple(buckets)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        if registry is not None:
            registry.register(self)

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count ``value`` under these values of the labels."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def take(self) -> Counted:
        """What was counted since the last call."""
        taken: Counted = {labels: (counts, self._sums[labels]) for labels, counts in self._counts.items()}
        self._counts, self._sums = {}, {}
        return taken

    def add(self, labels: tuple[str, ...], counts: Sequence[int], total: float) -> None:
        """Count what another process has taken from the same histogram of its own."""
        before = self._counts.get(labels, [0] * (len(self._bounds) + 1))
        self._counts[labels] = [a + b for a, b in zip(before, counts, strict=True)]
        self._sums[labels] = self._sums.get(labels, 0.0) + total

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, counts in list(self._counts.items()):
            total, buckets = 0, []
            for bound, number in zip(bounds, counts, strict=True):
                total += number
                buckets.append((bound, float(total)))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family
