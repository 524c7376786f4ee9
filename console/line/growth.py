"""What two readings of one process's metrics say together. Pure."""

from collections.abc import Mapping

from console.sources.listeners import Metrics

Labels = frozenset[tuple[str, str]]


def growth(before: Metrics, after: Metrics, name: str, **labels: str) -> dict[Labels, float]:
    """By how much each counter of ``name`` grew. One that fell began anew with its process; one that was not
    there began at 0."""
    earlier = {frozenset(s.labels.items()): s.value for s in before.samples(name, **labels)}
    grown = {}
    for sample in after.samples(name, **labels):
        known = frozenset(sample.labels.items())
        had = earlier.get(known, 0.0)
        grown[known] = sample.value - had if sample.value >= had else sample.value
    return grown


def buckets(before: Metrics, after: Metrics, name: str, **labels: str) -> dict[float, float]:
    """A histogram's growth: ``{upper bound: how many up to there}``, of all its series together."""
    summed: dict[float, float] = {}
    for known, value in growth(before, after, f"{name}_bucket", **labels).items():
        bound = float(dict(known)["le"])
        summed[bound] = summed.get(bound, 0.0) + value
    return summed


def quantile(counts: Mapping[float, float], q: float) -> float | None:
    """The upper bound of the bucket in which the ``q``-th part of all lies, so no less than what was; None of
    none, ``inf`` when it is beyond the last bound."""
    bounds = sorted(counts)
    if not bounds or counts[bounds[-1]] <= 0:
        return None
    wanted = q * counts[bounds[-1]]
    return next((bound for bound in bounds if counts[bound] >= wanted), bounds[-1])
