"""Consumers' groups in Kafka: members, and how far each is behind, in records and in seconds.

So the lag is known also of a consumer that is down. It joins no group and commits nothing.
"""

import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.client import connection, explain
from dingbridge.kafka.group_offsets import committed_by
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topics import existing_topics
from dingbridge.kafka.wire import describe_groups
from dingbridge.settings import KafkaSettings

_REQUEST_MS: Final = 5_000
_MOST_READ: Final = 256
"""Partitions of which the oldest record that waits is read; of others only the lag in records is known."""


@dataclass(frozen=True, slots=True)
class TopicLag:
    """How far a group is behind in one topic. ``oldest_s`` is the age of the oldest record that waits, in s;
    None where none waits, or its age is not known."""

    records: int
    oldest_s: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """One consumer group. ``topics`` has the topics that it reads, and other topics with a committed offset.
    ``began``: the group has a committed offset."""

    members: int
    state: str = ""
    topics: Mapping[str, TopicLag] = field(default_factory=dict)
    began: bool = True

    @property
    def lag(self) -> int:
        return sum(topic.records for topic in self.topics.values())

    @property
    def oldest_s(self) -> float | None:
        return max((t.oldest_s for t in self.topics.values() if t.oldest_s is not None), default=None)


async def look(settings: KafkaSettings, topics: Mapping[str, Collection[str]]) -> dict[str, Group]:
    """The groups of these consumers by name, with the ``topics`` that each reads. A partition of these counts
    from its start where nothing is committed. Raises ``KafkaUnavailable``."""
    names = list(topics)
    async with _admin(settings) as admin:
        members = await _members(admin, names)
        committed = {name: await _committed(admin, settings, name) for name in names}
    there = await existing_topics(settings)
    counts = {topic: there[topic] for topic in there.keys() & {t for read in topics.values() for t in read}}
    for partition in {p for offsets in committed.values() for p in offsets}:
        counts[partition.topic] = max(counts.get(partition.topic, 0), partition.partition + 1)
    async with TopicReader(settings) as reader:
        spans = await reader.spans(counts)
        offsets = {name: {p: 0 for p in spans if p.topic in topics[name]} | committed[name] for name in names}
        waiting = {
            name: {
                p: Span(max(offset, spans[p].begin), spans[p].end)
                for p, offset in places.items()
                if spans[p].end > max(offset, spans[p].begin)
            }
            for name, places in offsets.items()
        }
        ages = await _ages(reader, waiting)
    return {
        name: Group(
            *members.get(name, (0, "")),
            topics=_by_topic(offsets[name], waiting[name], ages),
            began=bool(committed[name]),
        )
        for name in names
    }


async def committed_offsets(
    settings: KafkaSettings, names: Sequence[str]
) -> dict[str, dict[TopicPartition, int]]:
    """What each of these groups has committed. Raises ``KafkaUnavailable``."""
    async with _admin(settings) as admin:
        return {name: await _committed(admin, settings, name) for name in names}


@asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Raises ``KafkaUnavailable``, also for what is asked of it."""
    try:
        admin = AIOKafkaAdminClient(**connection(settings), request_timeout_ms=_REQUEST_MS)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(explain(error, settings)) from error


async def _members(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, tuple[int, str]]:
    cluster = await admin.describe_cluster()
    found: dict[str, tuple[int, str]] = {}
    for group in await describe_groups(admin, names, [broker["node_id"] for broker in cluster["brokers"]]):
        if group["error_code"] == 0:
            found[str(group["group"])] = (len(group["members"]), str(group["state"]))
    return found


async def _committed(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, name: str
) -> dict[TopicPartition, int]:
    return {p: found.offset for p, found in (await committed_by(admin, settings, name)).items()}


async def _ages(
    reader: TopicReader, waiting: Mapping[str, Mapping[TopicPartition, Span]]
) -> dict[tuple[TopicPartition, int], float]:
    """The age in s of the first record that each group waits for, by position."""
    ages: dict[tuple[TopicPartition, int], float] = {}
    left = _MOST_READ
    for spans in waiting.values():
        firsts = {p: Span(s.begin, s.begin + 1) for p, s in spans.items() if (p, s.begin) not in ages}
        chosen = dict(list(firsts.items())[:left])
        left -= len(chosen)
        async for record in reader.read(chosen):
            at = TopicPartition(record.topic, record.partition), record.offset
            ages[at] = max(0.0, time.time() - record.timestamp / 1000)
    return ages


def _by_topic(
    places: Collection[TopicPartition],
    waiting: Mapping[TopicPartition, Span],
    ages: Mapping[tuple[TopicPartition, int], float],
) -> dict[str, TopicLag]:
    found = {partition.topic: TopicLag(0) for partition in sorted(places)}
    for partition, span in waiting.items():
        had = found[partition.topic]
        known = [age for age in (had.oldest_s, ages.get((partition, span.begin))) if age is not None]
        found[partition.topic] = TopicLag(had.records + span.end - span.begin, max(known, default=None))
    return found
