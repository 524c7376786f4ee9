"""What outbound measures beside what every consumer does. Labels are fixed words."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge


class OutboundMetrics:
    """Metrics on ``registry``, by default on an unused one: a command has no listener."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._results = Counter(
            "dingbridge_outbound_results",
            "Results: done, unchanged, pending, superseded, refused, conflict",
            ("result",),
            registry=registry,
        )
        self._echoes = Counter(
            "dingbridge_outbound_echoes",
            "Events that reported nothing but our own writes",
            registry=registry,
        )
        self._changes = Counter(
            "dingbridge_outbound_changes",
            "Changes by people in DingTalk: accepted, written-back, reported",
            ("verdict",),
            registry=registry,
        )
        self._entities = Gauge(
            "dingbridge_outbound_entities",
            "By state: pending, conflict, refused, adopted, removal, update; and requests",
            ("state",),
            registry=registry,
        )
        self._oldest_pending = Gauge(
            "dingbridge_outbound_oldest_pending_seconds",
            "How long what is pending has been so, at most; what waits for the grace days does not count",
            registry=registry,
        )

    def result(self, result: str) -> None:
        self._results.labels(result).inc()

    def change(self, verdict: str) -> None:
        self._changes.labels(verdict).inc()

    def echo(self) -> None:
        self._echoes.inc()

    def entities(self, by_state: Mapping[str, int], oldest_pending_s: float) -> None:
        """How things stand now."""
        for state, count in by_state.items():
            self._entities.labels(state).set(count)
        self._oldest_pending.set(oldest_pending_s)
