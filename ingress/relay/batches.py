"""Makes batch sets: of the callbacks that come next in the journal, and of those that are parked.

Here are the topics: which exist, how many partitions each has, and which take nothing just now. A topic is
blocked while callbacks are parked for a reason about the topic as a whole. New callbacks are parked behind
the old ones, so that the order stays.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import structlog
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from dingbridge.apps.company import Companies
from dingbridge.errors import KafkaUnavailable, TopicError
from dingbridge.ingress.journal.rows import (
    DAMAGED,
    FAULT,
    NO_TOPIC,
    UNREADABLE,
    Parked,
    StoredCallback,
    now_ms,
)
from dingbridge.ingress.relay.reading import JournalReader
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
from dingbridge.logging import place_of
from dingbridge.settings import IngressSettings

log = structlog.get_logger(__name__)

MAX_RECORDS: Final = 1_000
MAX_BYTES: Final = 8 * 1024 * 1024
PAGE: Final = 500
"""How many parked callbacks of a topic are sent at once, when the first of them was taken."""
RETRY_EVERY_S: Final = (1.0, 60.0)
"""The pause before a blocked topic is tried: the first, and the longest."""
_CACHED_KEY_BYTES: Final = 256
_YIELD_EVERY_ROWS: Final = 32
"""So that callbacks are answered, and the set before goes out, while a set is built."""

_PARKED_READ: Final = 16
"""So many parked callbacks are read at once: the records of one may take 64 MiB."""

Page = tuple[Iterable[str], int, int]
"""``(reasons, limit, after_seq)``: so many of the callbacks that are parked for one of these reasons; for any
other, where no topic is named."""


@dataclass(slots=True)
class BatchSet:
    """Records by partition, of the callbacks up to ``last``. When all of them are acknowledged, or their
    callbacks ``parked``, Kafka has answered for all callbacks up to there."""

    last: int
    records: dict[Place, list[CallbackRecord]] = field(default_factory=dict)
    parked: dict[tuple[int, str], Parked] = field(default_factory=dict)
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

    def refuse(self, refused: Refused) -> None:
        """Park what Kafka has refused of it."""
        for (seq, topic), reason in refused.items():
            self.park(seq, topic, reason.value)


@dataclass(slots=True)
class _Blocked:
    """``page``: how many callbacks are tried next."""

    reason: Refusal
    due_at: float
    pause_s: float = RETRY_EVERY_S[0]
    page: int = 1


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
        if blocked.page == 1:
            blocked.pause_s = min(2 * blocked.pause_s, RETRY_EVERY_S[1])
            log.warning("relay.still_parked", topic=topic, reason=reason)
        blocked.reason, blocked.page, blocked.due_at = reason, 1, now + blocked.pause_s

    def taken(self, topic: str, *, all_of_it: bool) -> None:
        """Kafka has taken what was tried of ``topic``; with ``all_of_it`` nothing is parked for it any
        more."""
        if all_of_it:
            del self._topics[topic]
            log.info("relay.topic_unblocked", topic=topic)
        else:
            self._topics[topic].page, self._topics[topic].due_at = PAGE, 0.0

    def any(self) -> bool:
        """Return whether any topic takes nothing."""
        return bool(self._topics)

    def page(self, topic: str) -> int:
        """How many parked callbacks of ``topic`` are tried next."""
        return self._topics[topic].page

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
        self._reader = reader
        self.records = RecordBuilder(settings, companies)
        self._router = TopicRouter(settings, settings.unknown_topics_max)
        self.blocked = BlockedTopics()
        self._backlog: deque[StoredCallback] = deque()  # read, and not in a batch set yet
        self._read = 0

    def begin(self, acked: int) -> None:
        """Read the journal behind ``acked``: all up to there is in Kafka, or parked."""
        self._backlog.clear()
        self._read = acked

    async def connect(self) -> None:
        """Ask Kafka for its topics. Raises ``KafkaUnavailable``."""
        await self._router.load()

    async def build(self, batches: BatchSet | None = None) -> BatchSet | None:
        """Fill a set with the next callbacks; ``None`` if there is none. Raises as ``JournalReader``, and
        ``KafkaError`` or ``KafkaUnavailable`` where a topic is new."""
        batches = batches or BatchSet(self._read - len(self._backlog))
        while not batches.full:
            if not self._backlog:
                if not (rows := await self._reader.read(self._read)):
                    break
                self._backlog.extend(rows)
                self._read = rows[-1].seq
            row = self._backlog[0]
            await self._add(batches, row)
            self._backlog.popleft()
            batches.last = row.seq
            batches.callbacks += 1
            if batches.since_ms is None and row.intact:
                batches.since_ms = row.received_ms
            if batches.callbacks % _YIELD_EVERY_ROWS == 0:
                await asyncio.sleep(0)
        return batches if batches.callbacks else None

    async def _add(self, batches: BatchSet, row: StoredCallback) -> None:
        """Add the records of ``row``, or park it."""
        if not row.intact:
            batches.park(row.seq, NO_TOPIC, DAMAGED)
        try:
            records = self.records.of(row)
        except Exception as error:  # a fault of ours concerns this callback alone
            log.error("relay.fault", seq=row.seq, error=type(error).__name__, place=place_of(error))
            batches.park(row.seq, NO_TOPIC, FAULT)
            return
        for record in records:
            topic = self._router.topic(record)
            # Invariant 3: while older callbacks of a topic are parked, newer ones are parked behind
            found = self.blocked.reason(topic) or self._router.partitions.get(topic)
            _place(batches, (row.seq, record), topic, found or await self._look_up(topic))

    async def _look_up(self, topic: str) -> int | Refusal:
        """How many partitions ``topic`` has, which is made if it is missing; or why it is refused."""
        try:
            return await self._router.ensure(topic)
        except TopicError as error:
            log.warning("relay.topic_refused", topic=topic, words=str(error))
            reason = refusal(error) or Refusal.TOPIC_MISSING
            self.blocked.block(topic, reason)
            return reason

    # -- parked callbacks

    async def ready(self, topics: Iterable[str]) -> list[str]:
        """Those of the blocked ``topics`` that may take records, by Kafka's metadata; others are due
        later."""
        ready = []
        try:
            await self._router.load()
            for topic in topics:
                try:
                    await self._router.ensure(topic)
                    ready.append(topic)
                except TopicError as error:
                    self.blocked.block(topic, refusal(error) or Refusal.TOPIC_MISSING)
        except (KafkaError, KafkaUnavailable):  # what is new will show it
            for topic in topics:
                self.blocked.block(topic, self.blocked.reason(topic) or Refusal.NO_LEADER)
            return []
        return ready

    async def build_parked(
        self, wanted: Mapping[str | None, Page], acked: int
    ) -> tuple[BatchSet, list[Parked], dict[str | None, int]]:
        """A set of a page of the parked callbacks of each topic, or of all (None). Returns it, what it is
        made of, and the last ``seq`` of each that may have more."""
        batches, tried, more = BatchSet(acked), list[Parked](), dict[str | None, int]()
        for topic, (reasons, limit, after_seq) in wanted.items():
            count = 0
            async for parked, row in self._parked(topic, reasons, after_seq):
                if parked.reason == UNREADABLE:  # of which topic it was parked is lost
                    continue
                if count == limit or (count and batches.full):
                    more[topic] = tried[-1].seq
                    break
                tried.append(parked)
                await self._add_parked(batches, parked, row)
                count += 1
        return batches, tried, more

    async def _parked(
        self, topic: str | None, reasons: Iterable[str], after_seq: int
    ) -> AsyncIterator[tuple[Parked, StoredCallback]]:
        while page := await self._reader.parked(topic, reasons, after_seq, _PARKED_READ):
            for one in page:
                yield one
            after_seq = page[-1][0].seq

    async def _add_parked(self, batches: BatchSet, parked: Parked, row: StoredCallback) -> None:
        """Add what is parked of ``row``; what cannot be sent stays parked."""
        try:
            records = self.records.of(row)
        except Exception as error:
            log.error("relay.fault", seq=row.seq, error=type(error).__name__, place=place_of(error))
            batches.park(row.seq, parked.topic, FAULT)
            return
        of_topic = [one for one in records if self._router.topic(one) == parked.topic]
        if not row.intact and not of_topic:  # its records are resync requests, which go to another topic
            batches.park(row.seq, parked.topic, DAMAGED)
        # another release may make other records of this callback: then send all; readers drop the known ones
        for record in of_topic or records:
            topic = self._router.topic(record)
            blocked = None if topic == parked.topic else self.blocked.reason(topic)
            _place(batches, (row.seq, record), topic, blocked or await self._look_up(topic))


def _place(batches: BatchSet, one: CallbackRecord, topic: str, found: int | Refusal) -> None:
    """Add a record to the batch of its partition, of which ``topic`` has so many, or park its callback."""
    seq, record = one
    if isinstance(found, Refusal):
        batches.park(seq, topic, found.value)
    elif len(record.value) + len(record.key) > LARGEST_RECORD_BYTES:
        batches.park(seq, topic, Refusal.TOO_LARGE.value)
    else:
        batches.add((topic, partition_of(record.key, found)), one)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of ``key``, from 0, in a topic with so many: by murmur2, as Java's producers do."""
    hashed = _cached_murmur2(key) if len(key) <= _CACHED_KEY_BYTES else murmur2(key)
    return (hashed & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=10_000)  # 8 µs each in pure Python, and events of one approval or user come together
def _cached_murmur2(key: bytes) -> int:
    return int(murmur2(key))
