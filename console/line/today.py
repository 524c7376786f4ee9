"""Today's share of answers that DingTalk counts as good, as far as the console has seen. Pure.

DingTalk counts what takes longer than 1.5 s as failed, and wants 98.99 % (selfcheck-dingtalk-app). What was
answered while the console did not run is not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from dingbridge.console.line.window import INGRESS, Reading, Window, quantile

WITHIN_S: Final = 1.5
GOAL: Final = 0.9899
FRESHNESS: Final = "dingbridge_consumer_freshness_seconds"


@dataclass(slots=True)
class Today:
    """``since`` is the first reading of this day (UTC), epoch s. ``fresh`` has a consumer's histogram of the
    time from receipt to handled."""

    day: date | None = None
    since: float | None = None
    answered: float = 0
    good: float = 0
    fresh: dict[str, dict[float, float]] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """Of all answers; None before there is one."""
        return self.good / self.answered if self.answered else None

    def freshness_p99(self, consumer: str) -> float | None:
        return quantile(self.fresh.get(consumer, {}), 0.99)

    def add(self, before: Sequence[Reading], now: Sequence[Reading]) -> None:
        """Count what happened between two readings, one after the other."""
        at = max((reading.at for reading in now), default=None)
        if at is None:
            return
        if (day := datetime.fromtimestamp(at, UTC).date()) != self.day:
            self.day, self.since, self.answered, self.good, self.fresh = day, at, 0, 0, {}
            return  # what lies between may be of yesterday
        ingress = Window.of(INGRESS, before, now)
        counts = ingress.buckets("dingbridge_answer_seconds")
        succeeded = counts.get(float("inf"), 0.0)
        failed = ingress.grown("dingbridge_callbacks_total", outcome="unavailable", via="http")
        self.answered += succeeded + failed
        self.good += counts.get(WITHIN_S, succeeded)
        for consumer in {reading.name for reading in now} - {INGRESS}:
            summed = self.fresh.setdefault(consumer, {})
            grown = Window.of(consumer, before, now).buckets(FRESHNESS, consumer=consumer)
            for bound, count in grown.items():
                summed[bound] = summed.get(bound, 0.0) + count
