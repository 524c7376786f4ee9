"""Reading topics from the beginning to the end, without a consumer group and without our own consumers.

Every record of an event topic is held against its schema on the way (``validation``).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from dingbridge.kafka.client import connection
from dingbridge.settings import KafkaSettings
from tests.support.validation import validate

T = TypeVar("T")
Record: TypeAlias = ConsumerRecord[bytes, bytes]


async def topics(settings: KafkaSettings, prefix: str | None = None) -> list[str]:
    """Names of all topics that begin with ``prefix`` (``TOPIC_PREFIX`` unless given), sorted."""
    wanted = settings.topic_prefix if prefix is None else prefix
    async with _started(AIOKafkaAdminClient(**connection(settings))) as admin:
        return sorted(name for name in await admin.list_topics() if name.startswith(wanted))


async def read_topic(settings: KafkaSettings, topic: str) -> list[Record]:
    """All records of one topic, by partition and offset; empty if there is no such topic."""
    return (await read_topics(settings, [topic])).get(topic, [])


async def read_all(settings: KafkaSettings, prefix: str | None = None) -> dict[str, list[Record]]:
    """All records of all topics that begin with ``prefix`` (``TOPIC_PREFIX`` unless given)."""
    return await read_topics(settings, await _patiently(lambda: topics(settings, prefix)))


async def read_topics(settings: KafkaSettings, names: Iterable[str]) -> dict[str, list[Record]]:
    """All records that these topics hold when this is called, from their beginning, by topic.

    The end is taken at the start, so that a topic that is being written to has one. A broker that was just
    killed or frozen is given time to come back to its clients.
    """
    chosen = list(names)
    return await _patiently(lambda: _read(settings, chosen))


async def _read(settings: KafkaSettings, names: list[str]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {name: [] for name in names}
    existing = set(await topics(settings, "")) & set(found)
    partitions = await _partitions(settings, existing)
    if not partitions:
        return found
    consumer = AIOKafkaConsumer(
        **connection(settings), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    async with _started(consumer):
        consumer.assign(partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, begins[partition])
        missing = {partition for partition in partitions if ends[partition] > begins[partition]}
        while missing:
            batches = await consumer.getmany(*missing, timeout_ms=1000)
            for partition, records in batches.items():
                found[partition.topic] += [r for r in records if r.offset < ends[partition]]
            for partition in list(missing):
                if await consumer.position(partition) >= ends[partition]:
                    missing.discard(partition)
    for name, records in found.items():
        records.sort(key=lambda record: (record.partition, record.offset))
        if name.startswith(settings.topic_prefix) and not name.startswith(settings.control_prefix):
            for record in records:
                validate(record, name.removeprefix(settings.topic_prefix))
    return found


async def delete_topics(settings: KafkaSettings, prefixes: Iterable[str]) -> None:
    """Deletes all topics that begin with one of ``prefixes``."""
    chosen = [name for prefix in prefixes for name in await topics(settings, prefix)]
    if chosen:
        async with _started(AIOKafkaAdminClient(**connection(settings))) as admin:
            await admin.delete_topics(chosen)


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    deadline = time.monotonic() + 30
    while True:
        try:
            return await attempt()
        except KafkaError as error:
            # aiokafka says a plain KafkaError of a broker that knows of none, itself included: one that was
            # frozen is fenced until its controller has heard of it again
            passing = error.retriable or type(error) is KafkaError
            if not passing or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


async def _partitions(settings: KafkaSettings, names: set[str]) -> list[TopicPartition]:
    async with _started(AIOKafkaAdminClient(**connection(settings))) as admin:
        told = await admin.describe_topics([*names]) if names else []
    return [TopicPartition(topic["topic"], one["partition"]) for topic in told for one in topic["partitions"]]


class _started:
    """Starts an aiokafka client, and stops it whatever happens."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def __aenter__(self) -> Any:
        await self.client.start()
        return self.client

    async def __aexit__(self, *_: object) -> None:
        stop = getattr(self.client, "close", None) or self.client.stop
        await stop()
