"""The consumers' groups in Kafka: what they have committed, whether they have members, and where to set them
back to."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import CoordinatorNotAvailableError, NotCoordinatorError, for_code

from dingbridge.backup.manifest import Committed
from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.admin import admin_client
from dingbridge.kafka.group_offsets import committed_offsets
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topics import existing_topics
from dingbridge.kafka.wire import describe_groups
from dingbridge.settings import KafkaSettings
from dingbridge.worker.store.restored import Ends

_NOT_THE_COORDINATOR: Final = (0, CoordinatorNotAvailableError.errno, NotCoordinatorError.errno)
"""A group is described by its own broker; the others answer that they are not its coordinator."""

CLOCKS_MS: Final = 300_000
"""How far the clocks of those who write may be apart, and how long a back-up may take to read the ends."""


async def cluster_id(settings: KafkaSettings) -> str:
    """Kafka's name of this cluster. Raises ``KafkaUnavailable``."""
    async with admin_client(settings) as admin:
        return str((await admin.describe_cluster()).get("cluster_id") or "")


async def committed(settings: KafkaSettings, groups: Iterable[str]) -> dict[str, list[Committed]]:
    """What each of ``groups`` has committed, with the ends of those partitions as they are after that. Raises
    ``KafkaUnavailable``."""
    offsets = {group: await committed_offsets(settings, group) for group in groups}
    spans, _ = await _spans(settings, {p.topic for found in offsets.values() for p in found})
    return {
        group: [
            Committed(topic=p.topic, partition=p.partition, offset=at.offset, end=spans[p].end)
            for p, at in sorted(found.items())
            if p in spans
        ]
        for group, found in offsets.items()
    }


async def with_members(settings: KafkaSettings, groups: Sequence[str]) -> list[str]:
    """Those of ``groups`` that have members. Raises ``KafkaUnavailable``, also if Kafka refuses to answer."""
    async with admin_client(settings) as admin:
        brokers = [broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]]
        described = await describe_groups(admin, groups, brokers)
    for group in described:
        if group["error_code"] not in _NOT_THE_COORDINATOR:
            fault = for_code(group["error_code"]).__name__
            raise KafkaUnavailable(f"Kafka does not report if {group['group']} has members ({fault})")
    return sorted({str(group["group"]) for group in described if group["members"]})


@dataclass(frozen=True, slots=True)
class Target:
    """Where to set a group back to. ``lost``: in words, the records that it should read again and Kafka no
    longer has; empty: none. ``ends``: of all its topics now."""

    offsets: Mapping[TopicPartition, int]
    ends: Ends
    lost: tuple[str, ...] = ()


async def target_of(
    settings: KafkaSettings,
    group: str,
    then: Sequence[Committed],
    topics: Iterable[str],
    until_ms: int | None,
) -> Target:
    """Where ``group`` goes on, which had committed ``then``, and now also reads ``topics``. A partition
    without an offset in the back-up, or whose offset Kafka no longer has, is read from its beginning.
    ``until_ms``: when the back-up was begun, epoch ms; None: that was on another cluster. Raises
    ``KafkaUnavailable``."""
    wanted = {TopicPartition(one.topic, one.partition): one for one in then}
    read = {*wanted, *await committed_offsets(settings, group)}
    spans, since = await _spans(settings, {*topics, *(p.topic for p in read)}, until_ms)
    offsets, lost = dict[TopicPartition, int](), list[str]()
    for partition in sorted(read):
        one, span = wanted.get(partition), spans.get(partition)
        if span is None:
            lost += [f"{partition.topic}-{partition.partition}: is gone"] if one is not None else []
            continue
        words = "" if one is None else _why(one, span, since.get(partition), until_ms)
        offsets[partition] = span.begin if one is None or words else one.offset
        lost += [f"{partition.topic}-{partition.partition}: {words}"] if words else []
    ends: dict[str, dict[str, int]] = {}
    for partition, span in spans.items():  # also where nothing is committed: records may be handled already
        ends.setdefault(partition.topic, {})[str(partition.partition)] = span.end
    return Target(offsets, ends, tuple(lost))


def _why(one: Committed, span: Span, since: int | None, until_ms: int | None) -> str:
    """Why the group cannot go on at ``one``; empty: it can. ``since`` is the offset of the first record that
    is newer than the back-up."""
    if until_ms is None:
        return "another Kafka than at the back-up, so its offset means nothing here"
    if span.end < one.end or (since is not None and since < one.end):
        return f"holds {span.begin} to {span.end}, and ended at {one.end} then: the topic was created again"
    if span.begin > one.offset:
        return f"begins at {span.begin}: {span.begin - one.offset} record(s) since the back-up are deleted"
    return ""


async def _spans(
    settings: KafkaSettings, topics: Collection[str], until_ms: int | None = None
) -> tuple[dict[TopicPartition, Span], dict[TopicPartition, int]]:
    """What these topics hold now, without those that are gone; and where in them the first record is that
    was surely written after ``until_ms`` (None: not asked)."""
    there = await existing_topics(settings, topics)
    async with TopicReader(settings) as reader:
        spans = await reader.spans({name: there[name] for name in topics if name in there})
        if until_ms is None:
            return spans, {}
        found = await reader.first_since(spans, until_ms + CLOCKS_MS)
    return spans, {partition: at[0] for partition, at in found.items() if at is not None}
