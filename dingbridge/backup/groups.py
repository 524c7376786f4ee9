"""The consumers' groups in Kafka: what they have committed, whether they have members, and where to set them
back to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition

from dingbridge.backup.manifest import Committed
from dingbridge.doctor.checks.kafka_wire import describe_groups
from dingbridge.kafka.admin import admin_client
from dingbridge.kafka.group_offsets import committed_offsets
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import KafkaSettings
from dingbridge.worker.store.restored import Ends


async def cluster_id(settings: KafkaSettings) -> str:
    """Kafka's name of this cluster. Raises ``KafkaUnavailable``."""
    async with admin_client(settings) as admin:
        return str((await admin.describe_cluster()).get("cluster_id") or "")


async def committed(settings: KafkaSettings, groups: Iterable[str]) -> dict[str, list[Committed]]:
    """What each of ``groups`` has committed, with the ends of those partitions as they are after that. Raises
    ``KafkaUnavailable``."""
    offsets = {group: await committed_offsets(settings, group) for group in groups}
    spans = await _spans(settings, {p for found in offsets.values() for p in found})
    return {
        group: [
            Committed(topic=p.topic, partition=p.partition, offset=at.offset, end=spans[p].end)
            for p, at in sorted(found.items())
            if p in spans
        ]
        for group, found in offsets.items()
    }


async def with_members(settings: KafkaSettings, groups: Sequence[str]) -> list[str]:
    """Those of ``groups`` that have members. Raises ``KafkaUnavailable``."""
    async with admin_client(settings) as admin:
        brokers = [broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]]
        described = await describe_groups(admin, groups, brokers)
    return sorted({str(group["group"]) for group in described if group["members"]})


@dataclass(frozen=True, slots=True)
class Target:
    """Where a group is to be set back to. ``lost``: in words what it has to read again and cannot, since
    Kafka has not what stood between; empty: nothing is missing. ``ends``: of its topics now."""

    offsets: Mapping[TopicPartition, int]
    ends: Ends
    lost: tuple[str, ...] = ()


async def target_of(
    settings: KafkaSettings, group: str, then: Sequence[Committed], *, same_cluster: bool
) -> Target:
    """Where ``group`` goes on that had committed ``then``. A partition without an offset of that time, and
    one in which Kafka no longer has that offset, begins at its beginning. Raises ``KafkaUnavailable``."""
    wanted = {TopicPartition(one.topic, one.partition): one.offset for one in then}
    now = await committed_offsets(settings, group)
    spans = await _spans(settings, {*wanted, *now})
    offsets, lost = dict[TopicPartition, int](), list[str]()
    for partition in sorted({*wanted, *now}):
        at, span = wanted.get(partition), spans.get(partition)
        if span is None:
            lost += [f"{partition.topic}: the topic is gone"] if at is not None else []
            continue
        if at is not None and same_cluster and span.begin <= at <= span.end:
            offsets[partition] = at
            continue
        offsets[partition] = span.begin
        if at is not None:
            lost.append(f"{partition.topic}-{partition.partition}: {_why(at, span, same_cluster)}")
    ends: dict[str, dict[str, int]] = {}
    for partition in offsets:
        ends.setdefault(partition.topic, {})[str(partition.partition)] = spans[partition].end
    return Target(offsets, ends, tuple(lost))


def _why(offset: int, span: Span, same_cluster: bool) -> str:
    if not same_cluster:
        return "another Kafka than at the back-up, so its offset means nothing here"
    if offset > span.end:
        return f"ends at {span.end}, before its offset {offset}: the topic was made again"
    return f"begins at {span.begin}: {span.begin - offset} record(s) since the back-up are deleted"


async def _spans(settings: KafkaSettings, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Span]:
    """What these partitions hold now; without those of topics that are gone."""
    wanted = set(partitions)
    names = {partition.topic for partition in wanted}
    there = await existing_topics(settings, names)
    counts = {name: there[name] for name in names if name in there}
    async with TopicReader(settings) as reader:
        spans = await reader.spans(counts)
    return {partition: span for partition, span in spans.items() if partition in wanted}
