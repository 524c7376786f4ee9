"""What a worker measures. Labels hold the consumer's own topics and fixed words, and the hash of a key for as
long as that key holds its partition up: series are bounded.

Numbers stand in plain dicts, since a worker counts five for each event; a scrape makes metrics of them.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

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

_COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "events": ("Records finished, by how they ended", ("topic", "outcome")),
    "attempts": ("Attempts to handle an event, by outcome", ("outcome",)),
    "dead_letters": ("Records sent to the dead letters", ("topic",)),
    "skipped_offsets": ("Records that Kafka had deleted before they were read", ("topic",)),
}
_GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "paused_partitions": ("Partitions not fetched now, since they hold so much that is not finished", ()),
    "unavailable_dependencies": ("Dependencies that are down, so that records wait for them", ()),
    "paused_seconds": ("For how long records have waited for the dependency that is down longest", ()),
    "uncommittable_offsets": ("Records finished behind one that is not, so not committed", ("topic",)),
    "lag": ("Records in Kafka above the committable offset", ("topic",)),
    "oldest_seconds": ("Age, in Kafka, of the oldest record that waits", ("topic",)),
    "holder_seconds": (
        "For how long the named record has kept finished ones from being committed",
        ("topic", "partition", "key"),
    ),
    "key_queues_aligned": (
        "1: the consumer's topics have equal partition counts, so one member has all records of a key",
        (),
    ),
    "joined": ("1 while it takes part in its group", ()),
    "in_flight": ("Records fetched and not finished", ()),
    "in_flight_bytes": ("Bytes of these records", ()),
}


class _Histogram:
    """Numbers of observations by bucket, the last without a bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """As prometheus_client wants them: cumulative, by their upper bounds."""
        total, found = 0, []
        for bound, count in zip((*map(float, self.bounds), float("inf")), self.counts, strict=True):
            total += count
            found.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return found


class WorkerMetrics(Collector):
    """Metrics of one consumer on ``registry``; each has the label ``consumer``."""

    def __init__(self, consumer: str, registry: CollectorRegistry) -> None:
        self._name = consumer
        self.fresh_from: datetime | None = None
        """When the consumer started; events received before do not count as its delay."""
        self._counters: dict[str, defaultdict[tuple[str, ...], int]] = {
            name: defaultdict(int) for name in _COUNTERS
        }
        self._gauges: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in _GAUGES}
        self._events, self._attempts = self._counters["events"], self._counters["attempts"]
        self._handler_seconds = _Histogram(BUCKETS_S)
        self._freshness: dict[str, _Histogram] = {}
        registry.register(self)
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

    def collect(self) -> Iterator[Metric]:
        """All as they are now, for a scrape."""
        for name, (text, labels) in _COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + name, text, labels=("consumer", *labels))
            for values, count in tuple(self._counters[name].items()):
                counter.add_metric((self._name, *values), count)
            yield counter
        for name, (text, labels) in _GAUGES.items():
            gauge = GaugeMetricFamily(PREFIX + name, text, labels=("consumer", *labels))
            for values, number in tuple(self._gauges[name].items()):
                gauge.add_metric((self._name, *values), number)
            yield gauge
        seconds = HistogramMetricFamily(
            PREFIX + "handler_seconds",
            "Time of one attempt: prepare, transaction and handle",
            labels=("consumer",),
        )
        seconds.add_metric((self._name,), self._handler_seconds.buckets(), self._handler_seconds.sum)
        yield seconds
        freshness = HistogramMetricFamily(
            PREFIX + "freshness_seconds",
            "Time from the bridge's receipt of an event to the end of its handling; replays, resync requests "
            "and what came before the consumer began do not count",
            labels=("consumer", "family"),
        )
        for family, histogram in tuple(self._freshness.items()):
            freshness.add_metric((self._name, family), histogram.buckets(), histogram.sum)
        yield freshness

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge, by its name without the prefix."""
        self._gauges[name][labels] = value

    def attempted(self, outcome: str, seconds: float) -> None:
        self._attempts[(outcome,)] += 1
        self._handler_seconds.observe(seconds)

    def finished(self, topic: str, outcome: str) -> None:
        self._events[topic, outcome] += 1

    def handled(self, event: Event, delivery: Delivery) -> None:
        """``event`` has just been handled. Replays, resync requests and events from before the consumer's
        start are expected to be old; events of other senders have no time of receipt."""
        if not event.via or event.type == RESYNC_REQUESTED or delivery.replay_id:
            return
        received = event.received_time
        if self.fresh_from is None or received >= self.fresh_from:
            family = family_of(event.event_type)
            if family not in self._freshness:
                self._freshness[family] = _Histogram(FRESHNESS_BUCKETS_S)
            self._freshness[family].observe(max(0.0, time.time() - received.timestamp()))

    def dead_letter(self, topic: str) -> None:
        self._counters["dead_letters"][(topic,)] += 1

    def skipped(self, topic: str, records: int) -> None:
        self._counters["skipped_offsets"][(topic,)] += records

    def paused(self, *, unavailable: int, full: int) -> None:
        self.set("unavailable_dependencies", unavailable)
        self.set("paused_partitions", full)

    def holders(self, found: Iterable[tuple[str, int, str, float]]) -> None:
        """``(topic, partition, hash of the key, seconds)`` of each record worth naming, and of no other."""
        self._gauges["holder_seconds"] = {
            (topic, str(partition), key): seconds for topic, partition, key, seconds in found
        }

    def api_calls(self, made: Mapping[str, int], left: Mapping[str, int] | None) -> None:
        """By priority; ``left`` is None where there is no budget."""
        for priority, calls in made.items():
            self._calls.labels(priority).set(calls)
        for priority, calls in (left or {}).items():
            self._calls_left.labels(priority).set(calls)


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
        window: int,
        metrics: WorkerMetrics,
    ) -> None:
        self._consumer, self._topics = consumer, topics
        self._window, self._metrics = window, metrics
        self._holders: dict[tuple[TopicPartition, int], tuple[float, bool]] = {}
        for topic in topics:  # an increase is seen only of a series that was there before
            metrics.skipped(topic, 0)

    def take(
        self, kafka: AIOKafkaConsumer | None, assigned: Iterable[TopicPartition], offsets: OffsetTracker
    ) -> None:
        """Bring the metrics up to date. ``kafka`` is the member of the group, if it is one now."""
        metrics = self._metrics
        metrics.set("in_flight", offsets.in_flight)
        metrics.set("in_flight_bytes", offsets.in_flight_bytes)
        lag = dict.fromkeys(self._topics, 0)
        uncommittable = dict.fromkeys(self._topics, 0)
        oldest = dict.fromkeys(self._topics, 0.0)
        for queued in offsets.oldest():
            if queued.record is not None:
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
            metrics.set("lag", lag[topic], topic)
            metrics.set("oldest_seconds", oldest[topic], topic)
            metrics.set("uncommittable_offsets", uncommittable[topic], topic)
        metrics.holders(self._named(holders, offsets.full()))

    def _named(
        self, holders: list[tuple[TopicPartition, QueuedRecord, int]], full: set[TopicPartition]
    ) -> list[tuple[str, int, str, float]]:
        """Records that have blocked commits for long, or paused the partition; a short time gets no
        series."""
        now = time.monotonic()
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
