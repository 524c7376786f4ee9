"""What a worker measures. Labels hold the consumer's own topics and fixed words, and the hash of a key for as
long as that key holds its partition up: series are bounded.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dingbridge.events.catalogue import family_of
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.event import Event
from dingbridge.worker.delivery import Delivery, hash_key
from dingbridge.worker.queues.offset_tracker import OffsetTracker, QueuedRecord

log = structlog.get_logger(__name__)

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
FRESHNESS_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400)
"""Up to a day: events are that old after a broken dependency, or a weekend without the consumer."""

PREFIX = "dingbridge_consumer_"


class WorkerMetrics:
    """Metrics of one consumer on ``registry``; each has the label ``consumer``."""

    def __init__(self, consumer: str, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(PREFIX + name, text, ("consumer", *labels), registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(PREFIX + name, text, ("consumer", *labels), registry=registry)

        self._name = consumer
        self.fresh_from: datetime | None = None
        """When the consumer started; events received before do not count as its delay."""
        # looked up once: finding a series takes as long as counting in it
        self._series = cache(lambda metric, *labels: metric.labels(consumer, *labels))
        self._events = counter("events", "Records finished, by how they ended", "topic", "outcome")
        self._attempts = counter("attempts", "Attempts to handle an event, by outcome", "outcome")
        self._handler_seconds = Histogram(
            PREFIX + "handler_seconds",
            "Time of one attempt: prepare, transaction and handle",
            ("consumer",),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._series(self._handler_seconds)  # shown from the start
        self._freshness = Histogram(
            PREFIX + "freshness_seconds",
            "Time from the bridge's receipt of an event to the end of its handling; replays, resync requests "
            "and what came before the consumer began do not count",
            ("consumer", "family"),
            buckets=FRESHNESS_BUCKETS_S,
            registry=registry,
        )
        self._dead_letters = counter("dead_letters", "Records sent to the dead letters", "topic")
        self._paused = gauge("paused_partitions", "Partitions not fetched now, by reason", "reason")
        self._uncommittable = gauge(
            "uncommittable_offsets",
            "Records finished behind one that is not, so not committed",
            "topic",
        )
        self._lag = gauge("lag", "Records in Kafka above the committable offset", "topic")
        self._oldest = gauge("oldest_seconds", "Age, in Kafka, of the oldest record that waits", "topic")
        self._holder = gauge(
            "holder_seconds",
            "For how long the named record has kept finished ones from being committed",
            "topic",
            "partition",
            "key",
        )
        self._calls = Gauge(
            "dingbridge_api_calls",
            "Open API calls of this month, by all processes of this host",
            ("priority",),
            registry=registry,
        )
        self._calls_left = Gauge(
            "dingbridge_api_calls_left",
            "Calls that are left in this month's budget",
            ("priority",),
            registry=registry,
        )
        self.key_queues_aligned = gauge(
            "key_queues_aligned",
            "1: the consumer's topics have equal partition counts, so order holds across them",
        ).labels(consumer)
        self.joined = gauge("joined", "1 while it takes part in its group").labels(consumer)
        self.paused_seconds = gauge(
            "paused_seconds", "For how long the partition paused longest has waited for something to work"
        ).labels(consumer)
        self.in_flight = gauge("in_flight", "Records fetched and not finished").labels(consumer)
        self.in_flight_bytes = gauge("in_flight_bytes", "Bytes of these records").labels(consumer)

    def attempted(self, outcome: str, seconds: float) -> None:
        self._series(self._attempts, outcome).inc()
        self._series(self._handler_seconds).observe(seconds)

    def finished(self, topic: str, outcome: str) -> None:
        self._series(self._events, topic, outcome).inc()

    def handled(self, event: Event, delivery: Delivery) -> None:
        """``event`` has just been handled. Replays, resync requests and events from before the consumer's
        start are expected to be old; events of other senders have no time of receipt."""
        if not event.via or event.type == RESYNC_REQUESTED or delivery.replay_id:
            return
        received = event.received_time
        if self.fresh_from is None or received >= self.fresh_from:
            age_s = time.time() - received.timestamp()
            self._series(self._freshness, family_of(event.event_type)).observe(max(0.0, age_s))

    def dead_letter(self, topic: str) -> None:
        self._dead_letters.labels(self._name, topic).inc()

    def paused(self, *, unavailable: int, full: int) -> None:
        self._paused.labels(self._name, "unavailable").set(unavailable)
        self._paused.labels(self._name, "full").set(full)

    def lag(self, topic: str, records: int, oldest_s: float) -> None:
        self._lag.labels(self._name, topic).set(records)
        self._oldest.labels(self._name, topic).set(oldest_s)

    def holders(self, found: Iterable[tuple[str, int, str, float]]) -> None:
        """``(topic, partition, hash of the key, seconds)`` of each record worth naming, and of no other."""
        self._holder.clear()
        for topic, partition, key, seconds in found:
            self._holder.labels(self._name, topic, str(partition), key).set(seconds)

    def api_calls(self, made: Mapping[str, int], left: Mapping[str, int] | None) -> None:
        """By priority; ``left`` is None where there is no budget."""
        for priority, calls in made.items():
            self._calls.labels(priority).set(calls)
        for priority, calls in (left or {}).items():
            self._calls_left.labels(priority).set(calls)

    def uncommittable(self, topic: str, offsets: int) -> None:
        self._uncommittable.labels(self._name, topic).set(offsets)


def full_comparison(consumer: str, registry: CollectorRegistry) -> Gauge:
    """To be set to the end of the last comparison of everything with DingTalk, epoch s, by a consumer that
    makes such."""
    return Gauge(
        PREFIX + "full_comparison_timestamp_seconds",
        "When the last comparison of everything with DingTalk ended well, epoch s; 0: none is known",
        ("consumer",),
        registry=registry,
    ).labels(consumer)


HOLDER_NAMED_S = 10
"""From when on a record that keeps finished ones from being committed is named in the metrics, in s."""


class Measures:
    """Samples of one worker's book-keeping: lag, ages, records that block commits. ``topics`` are all that it
    reads; ``window`` is the bound of ``Limits``."""

    def __init__(
        self,
        consumer: str,
        topics: Sequence[str],
        offsets: OffsetTracker,
        window: int,
        metrics: WorkerMetrics,
    ) -> None:
        self._consumer, self._topics = consumer, topics
        self._offsets, self._window, self._metrics = offsets, window, metrics
        self._holders: dict[tuple[TopicPartition, int], tuple[float, bool]] = {}

    def take(self, kafka: AIOKafkaConsumer | None, assigned: Iterable[TopicPartition]) -> None:
        """Bring the metrics up to date. ``kafka`` is the member of the group, if it is one now."""
        offsets, metrics = self._offsets, self._metrics
        metrics.in_flight.set(offsets.in_flight)
        metrics.in_flight_bytes.set(offsets.in_flight_bytes)
        lag = dict.fromkeys(self._topics, 0)
        uncommittable = dict.fromkeys(self._topics, 0)
        oldest = dict.fromkeys(self._topics, 0.0)
        for queued in offsets.oldest():
            if queued.record is not None:  # else its partition is being handed over
                age = time.time() - queued.record.timestamp / 1000
                oldest[queued.partition.topic] = max(oldest[queued.partition.topic], age)
        for partition in assigned:
            end = kafka.highwater(partition) if kafka is not None else None
            committable = offsets.committable_offset(partition)
            if end is not None and committable is not None:
                lag[partition.topic] += max(0, end - committable)
        holders = list(offsets.holders())
        for partition, _, waiting in holders:
            uncommittable[partition.topic] += waiting
        for topic in self._topics:
            metrics.lag(topic, lag[topic], oldest[topic])
            metrics.uncommittable(topic, uncommittable[topic])
        metrics.holders(self._named(holders))

    def _named(
        self, holders: list[tuple[TopicPartition, QueuedRecord, int]]
    ) -> list[tuple[str, int, str, float]]:
        """Records that have blocked commits for long, or paused the partition; a short time gets no
        series."""
        now, full = time.monotonic(), self._offsets.full()
        before, self._holders = self._holders, {}
        named = []
        for partition, queued, waiting in holders:
            since, logged = before.get((partition, queued.offset), (now, False))
            key = hash_key(queued.key if isinstance(queued.key, bytes) else None)
            if partition in full or now - since > HOLDER_NAMED_S:
                named.append((partition.topic, partition.partition, key, now - since))
            if waiting >= self._window and not logged:
                logged = True
                log.warning(
                    "consumer.commits_blocked",
                    consumer=self._consumer,
                    topic=partition.topic,
                    partition=partition.partition,
                    offset=queued.offset,
                    key=key,
                    waiting=waiting,
                    meaning="the partition pauses until this record is finished or given up",
                )
            self._holders[partition, queued.offset] = since, logged
        return named
