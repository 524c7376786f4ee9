"""Batch sets: what is sent to Kafka at once, at most one batch for each partition.

Kafka takes a batch as a whole or not at all, and the next one of its partition is sent only after its answer:
so no failure lets newer records of a partition overtake older ones. (With several batches under way it does:
one that expires in the client, or is refused as the first of its producer, is overtaken by its successor;
seen with aiokafka 0.14.)
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from dingbridge.errors import TopicError
from dingbridge.events import Record
from dingbridge.ingress.journal.checkpoint import Parked, ParkedKey
from dingbridge.ingress.relay.delivery import NumberedRecord, Refusal, TopicPartition, refusal
from dingbridge.ingress.relay.messages import Message, TopicRouter
from dingbridge.kafka.client import PRODUCER_MAX_REQUEST_BYTES
from dingbridge.tracing import Span, Tracer

log = structlog.get_logger(__name__)

MAX_RECORDS = 1_000
MAX_BYTES = 8 * 1024 * 1024
BATCH_BYTES = 1024 * 1024
"""A batch is closed at about this size, or less where its topic wants it; a larger record goes alone."""

_LARGEST_RECORD = PRODUCER_MAX_REQUEST_BYTES - 4096
_TOPIC_WITHIN_S = 2.0
"""How long everything waits for a topic to be made; after that, only its own records do: they are parked."""
_CACHED_KEY_BYTES = 256
_REQUESTS_REMEMBERED = 1_000


@dataclass(slots=True)
class Batch:
    """The records of one set for one partition, in the journal's order."""

    partition: TopicPartition
    builder: BatchBuilder
    size: int = 0
    records: list[NumberedRecord] = field(default_factory=list)


@dataclass(slots=True)
class PartialCallback:
    """A callback whose first ``added`` messages are in a set, or were in one before."""

    seq: int
    received_ms: int
    messages: list[Message]
    added: int = 0


@dataclass(slots=True)
class BatchSet:
    """Batches by partition. When all of them are acknowledged, the checkpoint may move to the last of
    ``done``: the callbacks, in order, whose messages are all in this set or in those before."""

    batches: dict[TopicPartition, Batch] = field(default_factory=dict)
    parked: list[Parked] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    partial: tuple[int, int] = (0, 0)  # the next callback, and how many of its messages are in it as well
    since_ms: int | None = None  # receipt of its first callback
    records: int = 0
    bytes: int = 0
    closed: bool = False  # a batch is full

    @property
    def full(self) -> bool:
        return self.closed or self.records >= MAX_RECORDS or self.bytes >= MAX_BYTES

    def append(self, batch: Batch, seq: int, number: int, record: Record, limit: int) -> bool:
        """Append a record to its batch; ``False`` when it must wait for the next set."""
        size = len(record.value) + len(record.key) + 200  # headers and framing
        headers = list(record.headers)
        if (batch.records and batch.size + size > limit) or (
            batch.builder.append(timestamp=None, key=record.key, value=record.value, headers=headers) is None
        ):
            self.closed = True
            return False
        batch.records.append((seq, number, record))
        batch.size += size
        self.records += 1
        self.bytes += size
        return True

    def finish(self, callback: PartialCallback) -> None:
        """All messages of the callback are in this set, or in those before."""
        if self.since_ms is None:
            self.since_ms = callback.received_ms
        self.done.append(callback.seq)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that exists and takes records: how many partitions, and how large a batch may be, bytes."""

    partitions: int
    batch_bytes: int


class RecordAccumulator:
    """Fills batch sets for one producer at a time.

    Responsible for: that a topic exists before the first record for it, how large a topic's batches may be,
    and that records for a blocked topic are parked. Not responsible for sending, nor for the checkpoint.
    """

    def __init__(self, router: TopicRouter, blocked: dict[str, Refusal]) -> None:
        """``blocked``: topics whose new records are all parked, and why; topics found to be so are added."""
        self._router, self._blocked = router, blocked
        self._producer: AIOKafkaProducer | None = None
        self._topics: dict[str, Topic] = {}
        self._batch_bytes: dict[str, int] = {}
        self._requests: set[tuple[str, bytes]] = set()  # resync requests given to this producer

    def use(self, producer: AIOKafkaProducer) -> None:
        """Fill batches for ``producer`` from now on. What is known of topics is asked again."""
        self._producer = producer
        self._topics.clear()
        self._requests.clear()

    async def add(self, batches: BatchSet, callback: PartialCallback) -> bool:
        """Put a callback's records into their batches; ``False`` when the set has no more room for them."""
        seq = callback.seq
        for number in range(callback.added, len(callback.messages)):
            record, control = callback.messages[number]
            if control is not None and self._is_repeat(control, record):
                callback.added = number + 1
                continue
            name = control or self._router.topic(record)
            topic: Topic | Refusal | None = self._topics.get(name)
            if topic is None:
                # Invariant 3: while older records of the topic are parked, newer ones are parked behind them
                topic = self._blocked.get(name) or await self._look_up(name)
            if isinstance(topic, Topic) and len(record.value) + len(record.key) > _LARGEST_RECORD:
                topic = Refusal.TOO_LARGE
            if isinstance(topic, Topic):
                batch = self._batch(batches, (name, partition_of(record.key, topic.partitions)))
                if not batches.append(batch, seq, number, record, topic.batch_bytes):
                    return False
            else:
                batches.parked.append(self._park(seq, number, name, topic))
            if control is not None:
                self._requests.add((control, record.value))
            callback.added = number + 1
        return True

    def _is_repeat(self, topic: str, record: Record) -> bool:
        """Whether this producer was given the same resync request before: all callbacks of ten minutes that
        name nobody make the same one, which is sent once. If that send fails, the producer is replaced, and
        ``use`` forgets the request."""
        if len(self._requests) > _REQUESTS_REMEMBERED:
            self._requests.clear()
        return (topic, record.value) in self._requests

    async def _look_up(self, name: str) -> Topic | Refusal:
        """The topic, which is made if it is missing; or why it is refused."""
        assert self._producer is not None  # noqa: S101 - connected before
        try:
            await self._router.ensure(name, _TOPIC_WITHIN_S)
        except TopicError as error:
            log.warning("publisher.topic_refused", topic=name, words=str(error))
            return refusal(error) or Refusal.TOPIC_MISSING
        partitions = len(await self._producer.partitions_for(name))
        topic = self._topics[name] = Topic(partitions, self._batch_bytes.get(name, BATCH_BYTES))
        return topic

    def _batch(self, batches: BatchSet, partition: TopicPartition) -> Batch:
        batch = batches.batches.get(partition)
        # Invariant 3: one batch a partition, filled in the journal's order
        if batch is None:
            assert self._producer is not None  # noqa: S101 - connected before
            batch = batches.batches[partition] = Batch(partition, self._producer.create_batch())
        return batch

    def park(self, batches: BatchSet, topic: str, refused: Mapping[ParkedKey, Refusal]) -> None:
        """Kafka refused these records of ``topic``: they are parked with the set."""
        batches.parked += [self._park(*key, topic, reason) for key, reason in refused.items()]

    def _park(self, seq: int, number: int, topic: str, reason: Refusal) -> Parked:
        if not reason.blocks_topic:
            log.error("publisher.parked", topic=topic, reason=reason, seq=seq)
        elif topic not in self._blocked:
            self._topics.pop(topic, None)
            self._blocked[topic] = reason
            log.error("publisher.topic_blocked", topic=topic, reason=reason, seq=seq)
        return Parked(seq, number, topic, reason.value, int(time.time() * 1000))

    def limit_batches(self, topic: str, size: int) -> None:
        """Kafka refused a batch of ``topic`` as too large, but takes each of its records: make batches of at
        most ``size`` bytes from now on."""
        self._topics.pop(topic, None)
        self._batch_bytes[topic] = size


def begin_span(tracer: Tracer, batch: Batch) -> "Callable[[asyncio.Future[object]], None] | None":
    """The span of ``batch`` on its way to Kafka, linked to the callbacks in it, and in a trace of its
    own. Returns what ends it with the batch; None, and no span, where no callback in it is traced."""
    traced = {one for _, _, record in batch.records if (one := record.traceparent) is not None}
    if not traced:
        return None
    return partial(_end, tracer.batch(*batch.partition, len(batch.records), traced))


def _end(span: Span, future: "asyncio.Future[object]") -> None:
    if future.cancelled():
        span.end("failed", "cancelled")
    elif (error := future.exception()) is not None:
        span.end("failed", type(error).__name__)
    else:
        span.end("acknowledged")


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of ``key``, from 0, in a topic with so many: by murmur2, as Java's producers do."""
    hashed = _cached_murmur2(key) if len(key) <= _CACHED_KEY_BYTES else murmur2(key)
    return (hashed & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=10_000)  # 8 µs each in pure Python, and events of one approval or user come together
def _cached_murmur2(key: bytes) -> int:
    return int(murmur2(key))
