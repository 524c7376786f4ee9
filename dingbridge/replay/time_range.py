"""A range of time of a consumer's topics, or single records, once more to this consumer alone.

Times are Kafka's: when a record was published. A run that was interrupted goes on under its own id; what it
has copied already is read off the inbox (``history.py``).
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from dingbridge.errors import BridgeError
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topic_policy import inbox_topic, retention_days
from dingbridge.kafka.topics import existing_topics
from dingbridge.replay.copying import Copier, begun_at, command_hash, inbox_partitions, new_replay_id
from dingbridge.replay.history import Copied, copies
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
    """What is to be copied. ``topics`` are whole names; ``from_ms`` is included, ``to_ms`` is not (epoch ms);
    ``to_ms`` None: to the moment that the run begins. ``key`` is a whole key, or the ``#…`` of one."""

    consumer: str
    topics: tuple[str, ...]
    from_ms: int
    to_ms: int | None = None
    key: str | None = None
    begun: datetime | None = None
    """When a new run begins; None: now."""
    records: tuple[Position, ...] = ()
    """These alone, whenever they were published; empty: all of the range."""

    @property
    def command(self) -> str:
        """The same for the same question."""
        parts = (self.consumer, *sorted(self.topics), str(self.from_ms), str(self.to_ms), str(self.key))
        return "\n".join([*parts, *(f"{place}" for place in sorted(map(_place, self.records)))])


@dataclass(slots=True)
class RangePlan:
    """What a run would do: ``total`` records are in the range, ``done`` of them this run has copied before.

    ``resumed``: the run was begun before. ``missing``: topics that do not exist.
    """

    replay_id: str
    from_ms: int
    to_ms: int
    resumed: bool
    total: int = 0
    done: int = 0
    by_topic: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)

    @property
    def to_send(self) -> int:
        return self.total - self.done


class RangeReplay:
    """``plan``, then ``send``. Both raise ``KafkaUnavailable``; ``plan`` raises ``Deleted``."""

    def __init__(self, settings: KafkaSettings, reader: TopicReader, wanted: Range) -> None:
        self._settings, self._reader, self._range = settings, reader, wanted
        self._inbox = inbox_topic(settings, wanted.consumer)
        self._spans: dict[TopicPartition, Span] = {}
        self._copied = Copied()

    async def plan(
        self, *, resume: str | None = None, again: bool = False, skip_deleted: bool = False
    ) -> RangePlan:
        """Count. ``resume`` names the run to go on with; without it, it is the newest run of the same
        question, unless ``again``. ``skip_deleted`` takes what retention has left."""
        counts = await existing_topics(self._settings, [*self._range.topics, self._inbox])
        plan = await self._begin(counts, resume, again)
        plan.missing = sorted(set(self._range.topics) - counts.keys())
        there = {name: counts[name] for name in self._range.topics if name in counts}
        self._spans = await self._find_spans(there, plan, skip_deleted)
        async for record in self._records(plan):
            plan.total += 1
            plan.by_topic[record.topic] += 1
            plan.done += record in self._copied
        return plan

    async def send(self, plan: RangePlan, on_sent: Callable[[int], None]) -> int:
        """Copy what ``plan`` counted and this run has not copied yet; returns how many. ``on_sent`` gets
        the number of each batch that was acknowledged. The next run of that id sends what an error left."""
        partitions = await inbox_partitions(self._settings, self._range.consumer, self._range.topics)
        sent = pending = 0
        async with Copier(self._settings, self._inbox, partitions) as copier:
            async for record in self._records(plan):
                if record in self._copied:
                    continue
                await copier.add(record, plan.replay_id)
                pending += 1
                if copier.full:
                    await copier.flush()
                    on_sent(pending)
                    sent, pending = sent + pending, 0
            await copier.flush()
            on_sent(pending)
        return sent + pending

    async def _begin(self, counts: dict[str, int], resume: str | None, again: bool) -> RangePlan:
        """The run's id and its end; what it has copied is known afterwards."""
        ending = f"-{command_hash(self._range.command)}"
        plan_id, resumed = resume, resume is not None
        begun = self._range.begun
        if self._inbox in counts:
            spans = await self._reader.spans({self._inbox: counts[self._inbox]})
            found = await copies(
                self._reader, spans, lambda run, _: run == resume if resume else run.endswith(ending)
            )
            if plan_id is None and found:
                latest = max(found)
                if again:  # ids know whole seconds
                    begun = max(begun or datetime.now(UTC), begun_at(latest) + timedelta(seconds=1))
                else:
                    plan_id, resumed = latest, True
            if plan_id is not None:
                self._copied = found.get(plan_id, Copied())
        if plan_id is None:
            plan_id = new_replay_id(self._range.command, begun)
        to_ms = self._range.to_ms
        if to_ms is None:  # ids know whole seconds: that in which the run began belongs to it
            to_ms = int(begun_at(plan_id).timestamp() + 1) * 1000
        return RangePlan(plan_id, self._range.from_ms, to_ms, resumed)

    async def _find_spans(
        self, topics: dict[str, int], plan: RangePlan, skip_deleted: bool
    ) -> dict[TopicPartition, Span]:
        there = await self._reader.spans(topics)
        if self._range.records:
            return _spans_of(self._range.records, there)
        whole = {p: span for p, span in there.items() if self._holds(p, topics)}
        first = await self._reader.first_since(whole, 0)
        if not skip_deleted:
            self._check_deleted(whole, first, plan)
        begins = await self._reader.first_since(whole, plan.from_ms)
        ends = await self._reader.first_since(whole, plan.to_ms + DISORDER_MS)
        found = {}
        for partition, span in whole.items():
            begin, end = begins[partition], ends[partition]
            if begin is not None:
                found[partition] = Span(
                    max(begin[0], span.begin), min(end[0], span.end) if end is not None else span.end
                )
        return found

    def _holds(self, partition: TopicPartition, topics: dict[str, int]) -> bool:
        """Whether ``partition`` can hold the key that is asked for."""
        key = self._range.key
        if key is None or key.startswith("#"):
            return True
        everywhere = list(range(topics[partition.topic]))
        return bool(DefaultPartitioner()(key.encode(), everywhere, everywhere) == partition.partition)

    def _check_deleted(
        self,
        whole: dict[TopicPartition, Span],
        first: dict[TopicPartition, tuple[int, int] | None],
        plan: RangePlan,
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
            if at > plan.from_ms:
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

    async def _records(self, plan: RangePlan) -> AsyncGenerator[ConsumerRecord, None]:
        """The records of the range, in the order in which they are copied: by timestamp, and for each key as
        they stand in their partition."""
        key, only = self._range.key, frozenset(self._range.records)
        async for record in self._reader.read(self._spans):
            if only:
                wanted = Position(record.topic, record.partition, record.offset) in only
            else:
                wanted = plan.from_ms <= record.timestamp < plan.to_ms and (
                    key is None or _is_key(record, key)
                )
            if wanted:
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
