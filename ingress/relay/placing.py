"""Where each record of a callback goes: into its partition's batch of a wave, or aside, and why.

Responsible for: that a topic exists before the first record for it, the limits that refusals have taught, and
which records are parked. Not responsible for sending, nor for the cursor.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError

from dingbridge.errors import TopicError
from dingbridge.kafka.client import PRODUCER_MAX_REQUEST_BYTES
from ingress.journal.checkpoint import Parked
from ingress.relay.batches import BATCH_BYTES, Batch, Pending, Place, Wave
from ingress.relay.parked import NO_TOPIC, ParkingLot
from ingress.relay.partitions import partition_of
from ingress.relay.refusals import (
    BLOCKING,
    DAMAGED,
    TOO_LARGE,
    TOPIC_MISSING,
    UNEXPLAINED,
    refusal,
    unexplained,
)
from ingress.relay.topics import TopicRouter

log = structlog.get_logger(__name__)

_LARGEST_RECORD = PRODUCER_MAX_REQUEST_BYTES - 4096
_UNEXPLAINED_S = 30.0
"""For so long an error that says nothing is taken for the world's, and everything waits."""


@dataclass(frozen=True, slots=True)
class _Topic:
    """One that exists and takes records: how many partitions, and how large a batch may be, bytes."""

    partitions: int
    batch_bytes: int


class Placer:
    """Fills waves for one producer at a time."""

    def __init__(self, router: TopicRouter, parking: ParkingLot) -> None:
        self._router, self._parking = router, parking
        self._producer: AIOKafkaProducer | None = None
        self._topics: dict[str, _Topic] = {}
        self._batch_bytes: dict[str, int] = {}
        self._searched: set[str] = set()  # smaller only to find the record that is refused
        self._unexplained: dict[Place, float] = {}  # since when
        self._refused: dict[tuple[int, int], str] = {}

    def use(self, producer: AIOKafkaProducer | None) -> None:
        """Fill batches for this one from now on; what the one before knew of topics is asked anew."""
        self._producer = producer
        self._topics.clear()

    def enter(self) -> None:
        """Another journal file: its numbers are others."""
        self._refused.clear()

    async def place(self, journal: str, wave: Wave, pending: Pending) -> bool:
        """Put a callback's records into their batches; ``False`` when the wave has no more room for them."""
        seq = pending.seq
        if pending.damaged:
            pending.parked.append(self._park(journal, seq, 0, NO_TOPIC, DAMAGED))
        for number in range(pending.placed, len(pending.records)):
            record = pending.records[number]
            name = self._router.topic(record)
            too_large = len(record.value) + len(record.key) > _LARGEST_RECORD
            topic: _Topic | str | None = self._topics.get(name)
            if topic is None or too_large or self._refused:
                reason = self._parking.blocked.get(name) or self._refused.get((seq, number))
                topic = reason or (TOO_LARGE if too_large else topic) or await self._look_up(name)
            if isinstance(topic, str):
                pending.parked.append(self._park(journal, seq, number, name, topic))
            else:
                batch = self._batch(wave, name, partition_of(record.key, topic.partitions))
                if not wave.add(batch, seq, number, record, topic.batch_bytes):
                    return False
            pending.placed = number + 1
        return True

    async def _look_up(self, name: str) -> _Topic | str:
        """The topic, which is made if it is missing; or why that is refused."""
        assert self._producer is not None  # noqa: S101 - connected before
        try:
            await self._router.ensure(name)
        except TopicError as error:
            log.warning("publisher.topic_refused", topic=name, words=str(error))
            return refusal(error) or TOPIC_MISSING
        partitions = len(await self._producer.partitions_for(name))
        topic = self._topics[name] = _Topic(partitions, self._batch_bytes.get(name, BATCH_BYTES))
        return topic

    def _batch(self, wave: Wave, topic: str, partition: int) -> Batch:
        place = topic, partition
        batch = wave.batches.get(place)
        if batch is None:
            assert self._producer is not None  # noqa: S101 - connected before
            batch = wave.batches[place] = Batch(place, self._producer.create_batch())
        return batch

    def _park(self, journal: str, seq: int, number: int, topic: str, reason: str) -> Parked:
        if reason in BLOCKING:
            self._block(topic, reason, seq)
        else:
            log.error("publisher.parked", topic=topic, reason=reason, seq=seq)
        return Parked(journal, seq, number, topic, reason, int(time.time() * 1000))

    def _block(self, topic: str, reason: str, seq: int) -> None:
        self._topics.pop(topic, None)
        if topic not in self._parking.blocked:
            self._parking.blocked[topic] = reason
            log.error("publisher.topic_blocked", topic=topic, reason=reason, seq=seq)

    def learn(self, batch: Batch, error: BaseException) -> None:
        """What the refusal of a batch says about what may be sent next time."""
        reason, topic = refusal(error), batch.place[0]
        if isinstance(error, UnknownTopicOrPartitionError):
            self._router.forget(topic)
        if reason is None and unexplained(error):
            since = self._unexplained.setdefault(batch.place, time.monotonic())
            if time.monotonic() - since >= _UNEXPLAINED_S:
                reason = UNEXPLAINED
                del self._unexplained[batch.place]
        if reason is None:
            return
        seq, number, _ = batch.records[0]
        if reason in BLOCKING:
            self._block(topic, reason, seq)
        elif len(batch.records) > 1:
            # the topic's limit counts whole batches: halve them until they fit, or one record stands alone
            self._batch_bytes[topic] = batch.size // 2
            if reason != TOO_LARGE:
                self._searched.add(topic)
        else:
            self._refused[seq, number] = reason

    def acknowledged(self, places: Collection[Place], *, clean: bool) -> None:
        """Kafka has taken these batches of a wave, and, if it was ``clean``, all of it."""
        for place in places:
            self._unexplained.pop(place, None)
        for topic in self._searched & {topic for topic, _ in places} if clean else ():
            self._topics.pop(topic, None)
            self._batch_bytes[topic] = min(2 * self._batch_bytes[topic], BATCH_BYTES)
            if self._batch_bytes[topic] == BATCH_BYTES:
                self._searched.discard(topic)

    def passed(self, parked: Parked) -> None:
        """It lies behind the cursor: no need to know of its refusal any more."""
        self._refused.pop((parked.seq, parked.record), None)
