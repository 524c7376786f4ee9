"""What one process told, and two such readings, some seconds apart: what grew between them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from console.line.growth import buckets, growth, quantile
from console.sources.listeners import Metrics

INGRESS: Final = "ingress"
"""The name of an ingress's listener; all others are consumers'."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the private listener at ``url`` said at ``at`` (epoch s). ``problem`` is why it did not, in plain
    words; the rest is empty then. ``details`` are of ``/readyz``, ``in_flight`` of a consumer's route."""

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
        return sum(sum(growth(had, has, name, **labels).values()) for had, has in self.pairs)

    def rate(self, name: str, **labels: str) -> float | None:
        """A second; None before there are two readings."""
        return self.grown(name, **labels) / self.seconds if self.pairs else None

    def p99(self, name: str, **labels: str) -> float | None:
        """Of a histogram's growth; None where nothing was observed."""
        summed: dict[float, float] = {}
        for had, has in self.pairs:
            for bound, count in buckets(had, has, name, **labels).items():
                summed[bound] = summed.get(bound, 0.0) + count
        return quantile(summed, 0.99)

    def values(self, name: str, **labels: str) -> list[float]:
        """Those of all processes now."""
        return [sample.value for r in self.answering for sample in r.metrics.samples(name, **labels)]

    def most(self, name: str, **labels: str) -> float | None:
        return max(self.values(name, **labels), default=None)
