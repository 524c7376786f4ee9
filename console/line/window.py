"""One reading of a process's listener, and what grew between two of them, some seconds apart. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from dingbridge.console.sources.listeners import Metrics

INGRESS: Final = "ingress"
"""The name of an ingress's listener; all others are consumers'."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer of the private listener at ``url`` at ``at`` (epoch s), or in plain words the ``problem``;
    the rest is empty then. ``details`` are of ``/readyz``, ``in_flight`` of a consumer's route."""

    name: str
    url: str
    at: float
    problem: str = ""
    ready: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=lambda: Metrics(()))
    in_flight: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Window:
    """The processes of one name: ``now``, and in ``pairs`` those that answered both times, ``seconds``
    apart."""

    now: tuple[Reading, ...]
    pairs: tuple[tuple[Metrics, Metrics], ...] = ()
    seconds: float = 0.0

    @classmethod
    def of(cls, name: str, before: Iterable[Reading], now: Iterable[Reading]) -> Self:
        latest = tuple(reading for reading in now if reading.name == name)
        earlier = {reading.url: reading for reading in before if reading.name == name and not reading.problem}
        both = [(had, r) for r in latest if not r.problem and (had := earlier.get(r.url)) and r.at > had.at]
        seconds = max((r.at - had.at for had, r in both), default=0.0)
        return cls(latest, tuple((had.metrics, r.metrics) for had, r in both), seconds)

    @property
    def answering(self) -> Sequence[Reading]:
        return [reading for reading in self.now if not reading.problem]

    @property
    def silent(self) -> Sequence[Reading]:
        return [reading for reading in self.now if reading.problem]

    def grown(self, name: str, **labels: str) -> float:
        return sum(sum(_growth(had, has, name, **labels).values()) for had, has in self.pairs)

    def rate(self, name: str, **labels: str) -> float | None:
        """A second; None before there are two readings."""
        return self.grown(name, **labels) / self.seconds if self.pairs else None

    def p99(self, name: str, **labels: str) -> float | None:
        """Of a histogram's growth; None where nothing was observed."""
        return quantile(self.buckets(name, **labels), 0.99)

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """A histogram's growth: ``{upper bound: how many up to there}``, of all its series together."""
        summed: dict[float, float] = defaultdict(float)
        for had, has in self.pairs:
            for known, value in _growth(had, has, f"{name}_bucket", **labels).items():
                summed[float(dict(known)["le"])] += value
        return summed

    def values(self, name: str, **labels: str) -> list[float]:
        """Those of all processes now."""
        return [sample.value for r in self.answering for sample in r.metrics.samples(name, **labels)]

    def most(self, name: str, **labels: str) -> float | None:
        return max(self.values(name, **labels), default=None)


def quantile(counts: Mapping[float, float], q: float) -> float | None:
    """The upper bound of the bucket in which the ``q``-th part of all lies, so no less than what was; None of
    none, ``inf`` when it is beyond the last bound."""
    bounds = sorted(counts)
    if not bounds or counts[bounds[-1]] <= 0:
        return None
    wanted = q * counts[bounds[-1]]
    return next((bound for bound in bounds if counts[bound] >= wanted), bounds[-1])


def _growth(
    before: Metrics, after: Metrics, name: str, **labels: str
) -> dict[frozenset[tuple[str, str]], float]:
    """By how much each counter of ``name`` grew. One that fell was reset by its process's start; one that was
    not there began at 0."""
    earlier = {frozenset(s.labels.items()): s.value for s in before.samples(name, **labels)}
    grown = {}
    for sample in after.samples(name, **labels):
        known = frozenset(sample.labels.items())
        had = earlier.get(known, 0.0)
        grown[known] = sample.value - had if sample.value >= had else sample.value
    return grown
