"""What queries have in common."""

from typing import Final

KNOWN: Final = '{outcome=~"kept|duplicate"}'
"""Callbacks that were answered success."""
ONE: Final = '{consumer=~"$consumer"}'


def rate(metric: str, *by: str, where: str = "") -> str:
    """Per second, summed by labels."""
    return f"sum{_by(by)} (rate({metric}{where}[$__rate_interval]))"


def quantile(share: float, histogram: str, *by: str, where: str = "") -> str:
    """The value below which ``share`` of what was measured lies."""
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', 'le', *by, where=where)})"


def quantiles(histogram: str) -> dict[str, str]:
    """Median and the slow end of one histogram."""
    return {"p50": quantile(0.5, histogram), "p99": quantile(0.99, histogram)}


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
