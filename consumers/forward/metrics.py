"""What the forwarder measures, beside what every worker does."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dingbridge.consumers.forward.policy import Answer


class ForwardMetrics:
    """Metrics of one system on ``registry``; the label ``system`` is its name."""

    def __init__(self, system: str, registry: CollectorRegistry) -> None:
        self._system = system
        self._deliveries = Counter(
            "dingbridge_forward_deliveries",
            "Requests to a system, by outcome and class of status (none: no answer); filtered: events that "
            "made none",
            ("system", "outcome", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "dingbridge_forward_seconds",
            "Time of one request, until its answer was there or it failed",
            ("system",),
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60),
        ).labels(system)
        self.paused = Gauge(
            "dingbridge_forward_paused",
            "1 while a system takes no event: several keys in a row, until the next that it takes or refuses",
            ("system",),
            registry=registry,
        ).labels(system)

    def delivered(self, answer: Answer, seconds: float) -> None:
        status = "none" if answer.status is None else f"{answer.status // 100}xx"
        self._deliveries.labels(self._system, answer.kind, status).inc()
        self._seconds.observe(seconds)

    def filtered(self) -> None:
        self._deliveries.labels(self._system, "filtered", "none").inc()
