"""A range of time of a consumer's topics, or single records, once more to this consumer alone.

Times are Kafka's: when a record was published. A run keeps no state: its replay id is a hash of the question,
and the consumer's inbox drops what was applied under that id. So a run that was interrupted is run again.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson
from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.errors import BridgeError
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topic_policy import inbox_topic, retention_days
from dingbridge.kafka.topics import existing_topics
from dingbridge.replay.copying import Copier, inbox_partitions
from dingbridge.settings import KafkaSettings
from dingbridge.worker.context import Position
from dingbridge.worker.delivery import hash_key

DISORDER_MS = 600_000
"""How far timestamps within a partition may be out of order, in ms: clocks of several publishers differ."""

_DAY_MS = 86_400_000


class Deleted(BridgeError):
    """Retention has deleted records of the range, or may have."""


@dataclass(frozen=True, slots=True)
class Range:
    """The question: what is to be copied. ``topics`` are whole names; ``from_ms`` is included, ``to_ms`` is
    not (epoch ms); ``to_ms`` None: all that is there. ``key`` is a whole key, or the ``#…`` of one."""

    consumer: str
    topics: tuple[str, ...]
    from_ms: int
    to_ms: int | None = None
    key: str | None = None
    records: frozenset[Position] = frozenset()
    """These alone, whenever they were published; empty: all of the range."""
    run: str = ""
    """A name that the operator gives: another name makes another question of the same range."""

    @property
    def replay_id(self) -> str:
        """The same for the same question, whoever asks it and however often."""
        records = sorted(map(_place, self.records))
        parts = [self.consumer, sorted(self.topics), self.from_ms, self.to_ms, self.key, records, self.run]
        return f"range-{hashlib.blake2b(orjson.dumps(parts), digest_size=16).hexdigest()}"

    def admits(self, record: ConsumerRecord) -> bool:
        if self.records:
            return Position(record.topic, record.partition, record.offset) in self.records
        if record.timestamp < self.from_ms or (self.to_ms is not None and record.timestamp >= self.to_ms):
            return False
        return self.key is None or _is_key(record, self.key)


@dataclass(slots=True)
class RangePlan:
    """What a run would send: ``by_topic`` counts the records. ``missing``: topics that do not exist."""

    by_topic: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)

    @property
    def to_send(self) -> int:
        return self.by_topic.total()


class RangeReplay:
    """``plan``, then ``send``. Both raise ``KafkaUnavailable``; ``plan`` raises ``Deleted``."""

    def __init__(self, settings: KafkaSettings, reader: TopicReader, wanted: Range) -> None:
        self._settings, self._reader, self._range = settings, reader, wanted
        self._inbox = inbox_topic(settings, wanted.consumer)
        self._spans: dict[TopicPartition, Span] = {}

    async def plan(self, *, skip_deleted: bool = False) -> RangePlan:
        """Count. ``skip_deleted`` takes what retention has left."""
        existing = await existing_topics(self._settings, self._range.topics)
        counts = {name: existing[name] for name in self._range.topics if name in existing}
        plan = RangePlan(missing=sorted(set(self._range.topics) - counts.keys()))
        self._spans = await self._find_spans(counts, skip_deleted)
        async for record in self._records():
            plan.by_topic[record.topic] += 1
        return plan

    async def send(self, on_sent: Callable[[int], None]) -> None:
        """Copy what ``plan`` counted. ``on_sent`` gets the number of each batch that was acknowledged."""
        partitions = await inbox_partitions(self._settings, self._range.consumer, self._range.topics)
        pending = 0
        async with Copier(self._settings, self._inbox, partitions) as copier:
            async for record in self._records():
                await copier.add(record, self._range.replay_id)
                pending += 1
                if copier.full:
                    await copier.flush()
                    on_sent(pending)
                    pending = 0
            await copier.flush()
            on_sent(pending)

    async def _find_spans(self, topics: dict[str, int], skip_deleted: bool) -> dict[TopicPartition, Span]:
        there = await self._reader.spans(topics)
        if self._range.records:
            return _spans_of(self._range.records, there)
        first = await self._reader.first_since(there, 0)
        if not skip_deleted:
            self._check_deleted(there, first)
        begins = await self._reader.first_since(there, self._range.from_ms)
        to_ms = self._range.to_ms
        ends = await self._reader.first_since(there, to_ms + DISORDER_MS) if to_ms is not None else {}
        found = {}
        for partition, span in there.items():
            begin, end = begins[partition], ends.get(partition)
            if begin is not None:
                found[partition] = Span(
                    max(begin[0], span.begin), min(end[0], span.end) if end is not None else span.end
                )
        return found

    def _check_deleted(
        self,
        whole: dict[TopicPartition, Span],
        first: dict[TopicPartition, tuple[int, int] | None],
    ) -> None:
        """Raises ``Deleted`` if a partition has lost its first records, and has none as old as the range."""
        there_from: dict[str, int] = {}
        for partition, span in whole.items():
            if span.begin == 0:
                continue
            oldest = first[partition]
            if oldest is not None:
                at = oldest[1]
            else:  # nothing is left: only what retention still covers is known to be complete
                kept_ms = retention_days(self._settings, partition.topic) * _DAY_MS
                at = int(datetime.now(UTC).timestamp() * 1000) - kept_ms
            if at > self._range.from_ms:
                there_from[partition.topic] = max(at, there_from.get(partition.topic, 0))
        if there_from:
            latest = moment_text(max(there_from.values()) + 999)
            listed = "; ".join(
                f"{topic}: from {moment_text(at + 999)} on" for topic, at in sorted(there_from.items())
            )
            raise Deleted(
                f"retention has deleted records of this range, or may have. They are there of {listed}. Say "
                f"--since {latest}, or --skip-deleted to copy what is left"
            )

    async def _records(self) -> AsyncGenerator[ConsumerRecord, None]:
        """The records of the range, in the order in which they are copied: by timestamp, and for each key as
        they stand in their partition."""
        async for record in self._reader.read(self._spans):
            if self._range.admits(record):
                yield record


def _spans_of(
    records: Iterable[Position], there: Mapping[TopicPartition, Span]
) -> dict[TopicPartition, Span]:
    """What is to be read for ``records``. Raises ``Deleted`` if one is not there."""
    found: dict[TopicPartition, Span] = {}
    for record in records:
        partition = TopicPartition(record.topic, record.partition)
        span = there.get(partition)
        if span is None or not span.begin <= record.offset < span.end:
            kept = f"offsets {span.begin} to {span.end - 1}" if span and span.begin < span.end else "nothing"
            raise Deleted(
                f"there is no record {_place(record)}: retention has deleted it, or it never was; that "
                f"partition holds {kept}"
            )
        before = found.get(partition, Span(record.offset, record.offset))
        found[partition] = Span(min(before.begin, record.offset), max(before.end, record.offset + 1))
    return found


def _place(record: Position) -> str:
    return ":".join(map(str, record))


def _is_key(record: ConsumerRecord, key: str) -> bool:
    if record.key is None:
        return False
    return bool(record.key == key.encode()) or f"#{hash_key(record.key)}" == key


def moment_text(epoch_ms: int) -> str:
    """UTC, whole seconds."""
    return datetime.fromtimestamp(epoch_ms // 1000, UTC).isoformat().replace("+00:00", "Z")
