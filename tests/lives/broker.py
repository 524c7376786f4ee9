"""Kafka in memory, as far as this project uses aiokafka: topics, one group's offsets, producers.

What is appended stays while the broker does, whoever dies: a consumer that comes back goes on behind what was
committed, as at a real one. Each topic has one partition and each group one member, so nothing is rebalanced.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord, OffsetAndMetadata, TopicPartition
from aiokafka.structs import RecordMetadata

Headers = Sequence[tuple[str, bytes]]


async def _at_once() -> None:
    return None


class _Cluster(NamedTuple):
    """What a producer's ``client`` shows of the cluster."""

    cluster: Any = None

    def brokers(self) -> set[Any]:
        return {1}


class MemoryBroker:
    """All topics by name, each the list of its records; ``committed`` by group and partition. ``answered`` is
    awaited before each request is carried out: a test may let it wait, fail, or never return. ``ahead_s``:
    how far the clock of its records is ahead, in s."""

    def __init__(self, answered: Callable[[], Awaitable[None]] = _at_once) -> None:
        self.topics: defaultdict[str, list[ConsumerRecord[bytes, bytes]]] = defaultdict(list)
        self.committed: dict[tuple[str, TopicPartition], OffsetAndMetadata] = {}
        self.answered = answered
        self.ahead_s = 0.0
        self._waiting: set[asyncio.Future[None]] = set()

    def append(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> int:
        """Append one record; its offset."""
        records = self.topics[topic]
        at_ms = int((time.time() + self.ahead_s) * 1000)
        sizes = (len(key or b""), len(value or b""))
        records.append(
            ConsumerRecord(topic, 0, len(records), at_ms, 0, key, value, None, *sizes, tuple(headers))
        )
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        return len(records) - 1

    def unread(self, group: str, topics: Iterable[str]) -> int:
        """Records of ``topics`` that ``group`` has not committed yet."""
        return sum(len(self.topics[topic]) - self.position(group, topic) for topic in topics)

    def position(self, group: str, topic: str) -> int:
        """The offset that ``group`` goes on from."""
        known = self.committed.get((group, TopicPartition(topic, 0)))
        return 0 if known is None else known.offset

    async def wait(self, timeout_s: float) -> None:
        """Returns when something is appended, at the latest in ``timeout_s``."""
        changed = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        try:
            await asyncio.wait([changed], timeout=timeout_s)
        finally:
            self._waiting.discard(changed)

    def consumer(self, *topics: str, group_id: str = "", **_: Any) -> "MemoryConsumer":
        """Stands for ``AIOKafkaConsumer``."""
        return MemoryConsumer(self, group_id)

    def producer(self, **_: Any) -> "MemoryProducer":
        """Stands for ``AIOKafkaProducer``."""
        return MemoryProducer(self)

    def admin(self, **_: Any) -> "MemoryAdmin":
        """Stands for ``AIOKafkaAdminClient``."""
        return MemoryAdmin(self)


class MemoryConsumer:
    """The one member of its group: it has all partitions from the start."""

    def __init__(self, broker: MemoryBroker, group: str) -> None:
        self._broker, self._group = broker, group
        self._positions: dict[TopicPartition, int] = {}
        self._topics: Sequence[str] = ()
        self._listener: Any = None

    def subscribe(self, topics: Sequence[str], *, listener: Any = None) -> None:
        self._topics, self._listener = topics, listener

    def assign(self, partitions: Iterable[TopicPartition]) -> None: ...

    async def start(self) -> None:
        await self._broker.answered()
        self._positions = {
            TopicPartition(topic, 0): self._broker.position(self._group, topic) for topic in self._topics
        }
        if self._listener is not None:
            await self._listener.on_partitions_assigned(set(self._positions))

    async def stop(self) -> None:
        self._positions = {}

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int = 500
    ) -> dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        await self._broker.answered()
        if not (found := self._fetch(partitions, max_records)):
            await self._broker.wait(timeout_ms / 1000)
            await self._broker.answered()
            found = self._fetch(partitions, max_records)
        return found

    def _fetch(
        self, partitions: Sequence[TopicPartition], most: int
    ) -> dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        found = {}
        for partition in partitions or self._positions:
            if (begin := self._positions.get(partition)) is None:
                continue
            if records := self._broker.topics[partition.topic][begin : begin + most]:
                found[partition] = records
                self._positions[partition] = begin + len(records)
        return found

    def highwater(self, partition: TopicPartition) -> int:
        return len(self._broker.topics[partition.topic])

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        await self._broker.answered()
        return {partition: self.highwater(partition) for partition in partitions}

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        await self._broker.answered()
        return dict.fromkeys(partitions, 0)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._positions[partition] = offset

    async def commit(self, offsets: Mapping[TopicPartition, Any]) -> None:
        await self._broker.answered()
        for partition, offset in offsets.items():
            kept = offset if isinstance(offset, tuple) else (offset, "")
            self._broker.committed[self._group, partition] = OffsetAndMetadata(*kept)


class MemoryProducer:
    """Whatever it is given is there when its future is done."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.client = _Cluster()

    async def start(self) -> None:
        await self._broker.answered()

    async def stop(self) -> None: ...

    async def send(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, headers: Headers = ()
    ) -> "asyncio.Future[RecordMetadata]":
        await self._broker.answered()
        offset = self._broker.append(topic, key, value, headers)
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        sent.set_result(RecordMetadata(topic, 0, TopicPartition(topic, 0), offset, 0, 0, 0))
        return sent

    async def send_and_wait(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, headers: Headers = ()
    ) -> RecordMetadata:
        return await (await self.send(topic, value, key, headers))


class MemoryAdmin:
    """Answers what the worker asks about its group."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def describe_configs(self, resources: Iterable[Any]) -> list[Any]:
        """Nothing is told of any topic, so that the settings stand in for it."""
        return []

    async def list_consumer_group_offsets(
        self, group_id: str, partitions: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        await self._broker.answered()
        wanted = None if partitions is None else set(partitions)
        return {
            partition: kept
            for (group, partition), kept in self._broker.committed.items()
            if group == group_id and (wanted is None or partition in wanted)
        }
