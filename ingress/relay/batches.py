"""What is sent to Kafka at once, and which topics take nothing just now."""

import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import structlog
from aiokafka.partitioner import murmur2

from dingbridge.ingress.journal.rows import Parked, now_ms
from dingbridge.ingress.relay.sender import Place, Refusal, Refused
from dingbridge.ingress.relay.status import NumberedRecord

log = structlog.get_logger(__name__)

MAX_RECORDS: Final = 1_000
MAX_BYTES: Final = 8 * 1024 * 1024
PAGE: Final = 500
"""How many parked callbacks of a topic are sent at once, when the first of them was taken."""
RETRY_EVERY_S: Final = (1.0, 60.0)
"""The pause before a blocked topic is tried: the first, and the longest."""
_CACHED_KEY_BYTES: Final = 256


@dataclass(slots=True)
class BatchSet:
    """Records by partition, of the callbacks up to ``last``. When all of them are acknowledged, or their
    callbacks ``parked``, Kafka has answered for all callbacks up to there."""

    last: int
    records: dict[Place, list[NumberedRecord]] = field(default_factory=dict)
    parked: dict[tuple[int, str], Parked] = field(default_factory=dict)
    since_ms: int | None = None  # receipt of its first callback
    callbacks: int = 0
    count: int = 0
    bytes: int = 0

    @property
    def full(self) -> bool:
        return self.count + len(self.parked) >= MAX_RECORDS or self.bytes >= MAX_BYTES

    def add(self, partition: Place, record: NumberedRecord) -> None:
        """Add a record behind those of its partition."""
        of_partition = self.records.get(partition)
        if of_partition is None:
            of_partition = self.records[partition] = []
        of_partition.append(record)
        self.count += 1
        self.bytes += len(record[2].value)

    def park(self, seq: int, topic: str, reason: str, numbers: tuple[int, ...] = ()) -> None:
        """Park the callback ``seq`` for ``topic``; ``numbers``: only these records of it. Once all are
        parked, that stays so."""
        before = self.parked.get((seq, topic))
        if before is not None and not before.records:
            return
        if before is not None and numbers:
            numbers = *before.records, *numbers
        self.parked[seq, topic] = Parked(seq, topic, reason, now_ms(), numbers)

    def refuse(self, refused: Refused) -> None:
        """Park what Kafka has refused of it."""
        for (seq, topic), (reason, numbers) in refused.items():
            self.park(seq, topic, reason.value, numbers)


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


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of ``key``, from 0, in a topic with so many: by murmur2, as Java's producers do."""
    hashed = _cached_murmur2(key) if len(key) <= _CACHED_KEY_BYTES else murmur2(key)
    return (hashed & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=10_000)  # 8 µs each in pure Python, and events of one approval or user come together
def _cached_murmur2(key: bytes) -> int:
    return int(murmur2(key))
