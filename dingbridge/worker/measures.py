"""What a worker shows of its book-keeping, taken now and then: lag, ages, and what holds a partition up."""

import time
from collections.abc import Iterable, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from dingbridge.worker.delivery import hash_key
from dingbridge.worker.key_queue import Item, Lanes
from dingbridge.worker.metrics import WorkerMetrics

log = structlog.get_logger(__name__)

HOLDER_NAMED_S = 10
"""From when on a record that keeps finished ones from being committed is named in the metrics, in s."""


class Measures:
    """Of one worker. ``topics`` are all that it reads; ``window`` is the bound of ``Limits``."""

    def __init__(
        self, consumer: str, topics: Sequence[str], lanes: Lanes, window: int, metrics: WorkerMetrics
    ) -> None:
        self._consumer, self._topics = consumer, topics
        self._lanes, self._window, self._metrics = lanes, window, metrics
        self._holders: dict[tuple[TopicPartition, int], tuple[float, bool]] = {}

    def take(self, kafka: AIOKafkaConsumer | None, assigned: Iterable[TopicPartition]) -> None:
        """Bring the metrics up to date. ``kafka`` is the member of the group, if it is one now."""
        lanes, metrics = self._lanes, self._metrics
        metrics.in_flight.set(lanes.in_flight)
        metrics.in_flight_bytes.set(lanes.in_flight_bytes)
        lag = dict.fromkeys(self._topics, 0)
        held = dict.fromkeys(self._topics, 0)
        oldest = dict.fromkeys(self._topics, 0.0)
        for item in lanes.oldest():
            if item.record is not None:  # else its partition is being handed over
                age = time.time() - item.record.timestamp / 1000
                oldest[item.partition.topic] = max(oldest[item.partition.topic], age)
        for partition in assigned:
            end = kafka.highwater(partition) if kafka is not None else None
            watermark = lanes.watermark(partition)
            if end is not None and watermark is not None:
                lag[partition.topic] += max(0, end - watermark)
        holders = list(lanes.holders())
        for partition, _, waiting in holders:
            held[partition.topic] += waiting
        for topic in self._topics:
            metrics.lag(topic, lag[topic], oldest[topic])
            metrics.held(topic, held[topic])
        metrics.holders(self._named(holders))

    def _named(self, holders: list[tuple[TopicPartition, Item, int]]) -> list[tuple[str, int, str, float]]:
        """Those that hold their partition for long, or have it paused. A quick one is not worth a series."""
        now, full = time.monotonic(), self._lanes.full()
        before, self._holders = self._holders, {}
        named = []
        for partition, item, waiting in holders:
            since, said = before.get((partition, item.offset), (now, False))
            key = hash_key(item.key if isinstance(item.key, bytes) else None)
            if partition in full or now - since > HOLDER_NAMED_S:
                named.append((partition.topic, partition.partition, key, now - since))
            if waiting >= self._window and not said:
                said = True
                log.warning(
                    "consumer.held_up",
                    consumer=self._consumer,
                    topic=partition.topic,
                    partition=partition.partition,
                    offset=item.offset,
                    key=key,
                    waiting=waiting,
                    meaning="the partition pauses until this record is finished or given up",
                )
            self._holders[partition, item.offset] = since, said
        return named
