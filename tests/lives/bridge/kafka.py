"""Kafka for the relay: what its producer and the admin client ask of a cluster that has troubles.

It is ``MemoryBroker`` with partitions. A batch is taken whole or not at all. While the cluster is away, or a
partition has no leader, an idempotent producer sends again without end, and reports nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from tests.lives.broker import Headers, MemoryAdmin, MemoryBroker, MemoryProducer

PARTITIONS = 2
_NO_LEADER = 5
_AGAIN_S = 0.25
"""After so long a producer sends a batch again that was not taken."""

Sent = tuple[bytes, bytes, Headers]


class Cluster(MemoryBroker):
    """``made`` are the topics that exist. While the cluster ``is_away``, nothing answers. ``leaderless``
    topics take no records, and nobody may write to ``forbidden`` ones. Records above ``largest`` bytes are
    refused. A batch is taken after ``takes_s``, and answered ``answers_s`` later."""

    def __init__(self, answered: Callable[[], Awaitable[None]]) -> None:
        super().__init__(answered)
        self.made: set[str] = set()
        self.leaderless: set[str] = set()
        self.forbidden: set[str] = set()
        self.heal()

    def heal(self) -> None:
        self.is_away = False
        self.leaderless.clear()
        self.forbidden.clear()
        self.largest = 1 << 30
        self.takes_s = self.answers_s = 0.001

    async def reached(self) -> None:
        """Raises ``KafkaConnectionError`` when there is nobody."""
        await self.answered()
        if self.is_away:
            raise KafkaConnectionError("no broker answers")

    async def take(self, topic: str, partition: int, batch: Sequence[Sent]) -> None:
        """Append ``batch``, and answer. Raises Kafka's refusal."""
        while True:
            await self.answered()
            await asyncio.sleep(self.takes_s)
            if not self.is_away and topic not in self.leaderless:
                break
            await asyncio.sleep(_AGAIN_S)
        if topic not in self.made:
            raise UnknownTopicOrPartitionError
        if topic in self.forbidden:
            raise TopicAuthorizationFailedError(topic)
        if any(len(value) > self.largest for _, value, _ in batch):
            raise MessageSizeTooLargeError
        for key, value, headers in batch:
            self._append(topic, partition, key, value, headers)
        await asyncio.sleep(self.answers_s)
        await self.answered()

    def _append(self, topic: str, partition: int, key: bytes, value: bytes, headers: Headers) -> None:
        records, now_ms = self.topics[topic], int(time.time() * 1000)
        sizes = len(key), len(value)
        records.append(
            ConsumerRecord(
                topic, partition, len(records), now_ms, 0, key, value, None, *sizes, tuple(headers)
            )
        )

    def producer(self, **_: Any) -> "Producer":
        return Producer(self)

    def admin(self, **_: Any) -> "Admin":
        return Admin(self)


class Batch:
    """Stands for ``BatchBuilder``."""

    def __init__(self) -> None:
        self.records: list[Sent] = []
        self._bytes = 0

    def append(self, *, timestamp: int | None, key: bytes, value: bytes, headers: Headers) -> object:
        self.records.append((key, value, headers))
        self._bytes += len(key) + len(value)
        return self

    def size(self) -> int:
        return self._bytes


class Producer(MemoryProducer):
    """Once a send has failed it is finished."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._cluster = cluster
        self._sends: set[asyncio.Task[None]] = set()
        self._finished = False
        self.client: Any = SimpleNamespace(
            cluster=SimpleNamespace(
                brokers=lambda: set() if cluster.is_away else {1},
                leader_for_partition=lambda place: -1 if place.topic in cluster.leaderless else 1,
            ),
            close=self._close,
            force_metadata_update=self._is_there,
        )
        # what ``discard_producer`` looks for once a stop took too long
        self._sender = SimpleNamespace(sender_task=None)
        self._message_accumulator = SimpleNamespace(_batches={}, _pending_batches=())

    async def start(self) -> None:
        await self._cluster.reached()

    async def stop(self) -> None:
        """Flush, for as long as that takes."""
        await asyncio.gather(*self._sends, return_exceptions=True)

    async def _close(self) -> None:
        for send in self._sends:
            send.cancel()

    async def _is_there(self) -> bool:
        await self._cluster.answered()
        return not self._cluster.is_away

    async def partitions_for(self, topic: str) -> set[int]:
        await self._cluster.reached()
        return set(range(PARTITIONS))

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> "asyncio.Future[None]":
        sent = asyncio.ensure_future(self._send(batch, topic, partition))
        self._sends.add(sent)
        sent.add_done_callback(self._sends.discard)
        return sent

    async def _send(self, batch: Batch, topic: str, partition: int) -> None:
        if self._finished:
            raise OutOfOrderSequenceNumber
        try:
            await self._cluster.take(topic, partition, batch.records)
        except Exception:
            self._finished = True
            raise


class Admin(MemoryAdmin):
    """Answers what is asked about topics."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._cluster = cluster

    async def start(self) -> None:
        await self._cluster.reached()

    async def list_topics(self) -> list[str]:
        await self._cluster.reached()
        return sorted(self._cluster.made)

    async def describe_cluster(self) -> dict[str, Any]:
        await self._cluster.reached()
        return {"brokers": [1]}

    async def describe_topics(self, topics: Iterable[str]) -> list[dict[str, Any]]:
        await self._cluster.reached()
        return [self._described(topic) for topic in topics]

    def _described(self, topic: str) -> dict[str, Any]:
        if topic not in self._cluster.made:
            return {"topic": topic, "error_code": UnknownTopicOrPartitionError.errno, "partitions": []}
        leader, error = (-1, _NO_LEADER) if topic in self._cluster.leaderless else (1, 0)
        each = {"leader": leader, "error_code": error, "replicas": [1], "isr": [1]}
        partitions = [{"partition": number, **each} for number in range(PARTITIONS)]
        return {"topic": topic, "error_code": 0, "partitions": partitions}

    async def create_topics(self, topics: Iterable[Any]) -> Any:
        await self._cluster.reached()
        self._cluster.made |= (names := {topic.name for topic in topics})
        return SimpleNamespace(topic_errors=[(name, 0, None) for name in sorted(names)])
