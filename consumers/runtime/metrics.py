"""What a worker measures. Labels hold the consumer's own topics and fixed words: series are bounded."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class WorkerMetrics:
    """Metrics of one consumer on ``registry``; each has the label ``consumer``."""

    def __init__(self, consumer: str, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"dingbridge_consumer_{name}", text, ("consumer", *labels), registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"dingbridge_consumer_{name}", text, ("consumer", *labels), registry=registry)

        self._name = consumer
        self._events = counter("events", "Records finished, by how they ended", "topic", "outcome")
        self._attempts = counter("attempts", "Attempts to handle an event, by outcome", "outcome")
        self._dead_letters = counter("dead_letters", "Records sent to the dead letters", "topic")
        self._paused = gauge("paused_partitions", "Partitions not fetched now, by reason", "reason")
        self._held = gauge("held_offsets", "Offsets finished but held back by an earlier one", "topic")
        self._lag = gauge("lag", "Records in Kafka above the watermark", "topic")
        self._seconds = Histogram(
            "dingbridge_consumer_handler_seconds",
            "Time of one attempt: prepare, transaction and handle",
            ("consumer",),
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        ).labels(consumer)
        self.lanes_aligned = gauge(
            "lanes_aligned",
            "1: the consumer's topics have equal partition counts, so order holds across them",
        ).labels(consumer)
        self.joined = gauge("joined", "1 while it takes part in its group").labels(consumer)
        self.paused_seconds = gauge(
            "paused_seconds", "For how long the world has been down for the partition paused longest"
        ).labels(consumer)
        self.in_flight = gauge("in_flight", "Records fetched and not finished").labels(consumer)
        self.in_flight_bytes = gauge("in_flight_bytes", "Bytes of these records").labels(consumer)

    def attempted(self, outcome: str, seconds: float) -> None:
        self._attempts.labels(self._name, outcome).inc()
        self._seconds.observe(seconds)

    def finished(self, topic: str, outcome: str) -> None:
        self._events.labels(self._name, topic, outcome).inc()

    def buried(self, topic: str) -> None:
        self._dead_letters.labels(self._name, topic).inc()

    def paused(self, *, world: int, full: int) -> None:
        self._paused.labels(self._name, "world_down").set(world)
        self._paused.labels(self._name, "full").set(full)

    def lag(self, topic: str, records: int) -> None:
        self._lag.labels(self._name, topic).set(records)

    def held(self, topic: str, offsets: int) -> None:
        self._held.labels(self._name, topic).set(offsets)
