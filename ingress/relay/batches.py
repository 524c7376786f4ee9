"""Makes batch sets of callbacks. Here are the topics: which exist, how many partitions each has, and which
take nothing just now.

A topic is blocked while callbacks are parked for a reason about the topic as a whole. New callbacks are
parked behind the old ones, so that the order stays; ``parked.py`` tries them again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Final

import structlog
from aiokafka.cluster import ClusterMetadata
from aiokafka.partitioner import murmur2

from dingbridge.apps.company import Companies
from dingbridge.errors import TopicError
from dingbridge.ingress.journal.rows import DAMAGED, FAULT, NO_TOPIC, Parked, StoredCallback, now_ms
from dingbridge.ingress.relay.reading import JournalReader, callbacks_behind
from dingbridge.ingress.relay.records import RecordBuilder
from dingbridge.ingress.relay.sender import (
    BLOCKING,
    LARGEST_RECORD_BYTES,
    Place,
    Refusal,
    Refused,
    refusal,
)
from dingbridge.ingress.relay.status import CallbackRecord
from dingbridge.ingress.relay.topics import TopicRouter
from dingbridge.kafka.topics import topics_in
from dingbridge.logging import place_of
from dingbridge.settings import IngressSettings

log = structlog.get_logger(__name__)

MAX_RECORDS: Final = 1_000
MAX_BYTES: Final = 8 * 1024 * 1024
RETRY_EVERY_S: Final = (1.0, 60.0)
"""The pause before a blocked topic is tried: the first, and the longest."""
_CACHED_KEY_BYTES: Final = 256
_YIELD_EVERY_ROWS: Final = 32
"""So that callbacks are answered, and the set before goes out, while a set is built."""


@dataclass(slots=True)
class BatchSet:
    """Records by partition, of the callbacks up to ``last``. When all of them are acknowledged, or their
    callbacks ``parked``, Kafka has answered for all callbacks up to there."""

    last: int
    records: dict[Place, list[CallbackRecord]] = field(default_factory=dict)
    parked: dict[tuple[int, str], Parked] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)  # the topics that take nothing
    since_ms: int | None = None  # receipt of its first callback
    callbacks: int = 0
    count: int = 0
    bytes: int = 0

    @property
    def full(self) -> bool:
        return self.count + len(self.parked) >= MAX_RECORDS or self.bytes >= MAX_BYTES

    def add(self, partition: Place, record: CallbackRecord) -> None:
        """Add a record behind those of its partition."""
        of_partition = self.records.get(partition)
        if of_partition is None:
            of_partition = self.records[partition] = []
        of_partition.append(record)
        self.count += 1
        self.bytes += len(record[1].value)

    def park(self, seq: int, topic: str, reason: str) -> None:
        """Park the callback ``seq`` for ``topic``. A reason about the topic stays."""
        before = self.parked.get((seq, topic))
        if before is None or before.reason not in BLOCKING:
            self.parked[seq, topic] = Parked(seq, topic, reason, now_ms())
        if reason in BLOCKING:
            self.refused[topic] = Refusal(reason)

    def refuse(self, refused: Refused) -> None:
        """Park what Kafka has refused of it."""
        for (seq, topic), reason in refused.items():
            self.park(seq, topic, reason.value)


@dataclass(slots=True)
class _Blocked:
    reason: Refusal
    due_at: float
    pause_s: float = RETRY_EVERY_S[0]


class BlockedTopics:
    """The topics whose callbacks are all parked, and when each is tried again."""

    def __init__(self) -> None:
        self._topics: dict[str, _Blocked] = {}

    def reason(self, topic: str) -> Refusal | None:
        """Why ``topic`` takes nothing; ``None`` if it may take records."""
        blocked = self._topics.get(topic)
        return None if blocked is None else blocked.reason

    def block(self, topic: str, reason: Refusal) -> None:
        """Park all callbacks of ``topic`` from now on; one that is blocked already is tried later again."""
        now = time.monotonic()
        if (blocked := self._topics.get(topic)) is None:
            self._topics[topic] = _Blocked(reason, now + RETRY_EVERY_S[0])
            log.error("relay.topic_blocked", topic=topic, reason=reason)
            return
        blocked.pause_s = min(2 * blocked.pause_s, RETRY_EVERY_S[1])
        blocked.reason, blocked.due_at = reason, now + blocked.pause_s
        log.warning("relay.still_parked", topic=topic, reason=reason)

    def unblock(self, topic: str) -> None:
        """Nothing is parked for ``topic`` any more."""
        del self._topics[topic]
        log.info("relay.topic_unblocked", topic=topic)

    def any(self) -> bool:
        """Return whether any topic takes nothing."""
        return bool(self._topics)

    def due(self) -> list[str]:
        """The topics to try now."""
        now = time.monotonic()
        return sorted(topic for topic, blocked in self._topics.items() if blocked.due_at <= now)

    def ask(self) -> None:
        """Try all of them now, not when their time comes."""
        for blocked in self._topics.values():
            blocked.due_at = 0.0


class BatchSetBuilder:
    """Builds for one ``Publisher``."""

    def __init__(
        self,
        settings: IngressSettings,
        companies: Callable[[], Companies],
        reader: JournalReader,
    ) -> None:
        self._settings, self._reader = settings, reader
        self.records = RecordBuilder(settings, companies)
        self._router = TopicRouter(settings, settings.unknown_topics_max)
        self.blocked = BlockedTopics()
        self._backlog: deque[StoredCallback] = deque()  # read, and not in a batch set yet
        self._read = 0

    def begin(self, acked: int) -> None:
        """Read the journal behind ``acked``: all up to there is in Kafka, or parked."""
        self._backlog.clear()
        self._read = acked

    def load(self, metadata: ClusterMetadata) -> None:
        """Take from Kafka's ``metadata`` which topics there are."""
        self._router.load(*topics_in(metadata, self._settings))

    async def build(self, batches: BatchSet | None = None) -> BatchSet | None:
        """Fill a set with the next callbacks; ``None`` if there is none. Raises as ``JournalReader``, and
        ``KafkaError`` or ``KafkaUnavailable`` where a topic is new."""
        batches = batches or BatchSet(self._read - len(self._backlog))
        while not batches.full:
            if not self._backlog:
                if not (rows := await self._reader.read(partial(callbacks_behind, after_seq=self._read))):
                    break
                self._backlog.extend(rows)
                self._read = rows[-1].seq
            row = self._backlog[0]
            await self.add(batches, row)
            self._backlog.popleft()
            batches.last = row.seq
            batches.callbacks += 1
            if batches.since_ms is None and row.intact:
                batches.since_ms = row.received_ms
            if batches.callbacks % _YIELD_EVERY_ROWS == 0:
                await asyncio.sleep(0)
        return batches if batches.callbacks else None

    async def add(self, batches: BatchSet, row: StoredCallback, parked_for: str | None = None) -> None:
        """Add the records of ``row``, or park it. ``parked_for``: the topic that it was parked for, whose
        records alone are sent now; what cannot be sent stays parked."""
        if not row.intact:
            batches.park(row.seq, NO_TOPIC, DAMAGED)
        try:
            records = [(self._router.topic(record), record) for record in self.records.of(row)]
        except Exception as error:  # a fault of ours concerns this callback alone
            log.error("relay.fault", seq=row.seq, error=type(error).__name__, place=place_of(error))
            batches.park(row.seq, NO_TOPIC, FAULT)
            return
        if parked_for is not None:
            # another release may make other records of this callback: then send all; readers drop known ones
            records = [one for one in records if one[0] == parked_for] or records
        for topic, record in records:
            # Invariant 3: while older callbacks of a topic are parked, newer ones are parked behind
            blocked = None if topic == parked_for else self.blocked.reason(topic)
            target = (
                batches.refused.get(topic)
                or blocked
                or self._router.partitions.get(topic)
                or await self._look_up(topic)
            )
            if isinstance(target, Refusal):
                batches.park(row.seq, topic, target.value)
            elif len(record.value) + len(record.key) > LARGEST_RECORD_BYTES:
                batches.park(row.seq, topic, Refusal.TOO_LARGE.value)
            else:
                batches.add((topic, partition_of(record.key, target)), (row.seq, record))

    async def _look_up(self, topic: str) -> int | Refusal:
        """How many partitions ``topic`` has, which is made if it is missing; or why it is refused."""
        try:
            return await self._router.ensure(topic)
        except TopicError as error:
            log.warning("relay.topic_refused", topic=topic, words=str(error))
            reason = refusal(error) or Refusal.TOPIC_MISSING
            if self.blocked.reason(topic) is None:
                self.blocked.block(topic, reason)
            return reason


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of ``key``, from 0, in a topic with so many: by murmur2, as Java's producers do."""
    hashed = _cached_murmur2(key) if len(key) <= _CACHED_KEY_BYTES else murmur2(key)
    return (hashed & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=10_000)  # 8 µs each in pure Python, and events of one approval or user come together
def _cached_murmur2(key: bytes) -> int:
    return int(murmur2(key))
