"""Copies records into a consumer's inbox topic: key, value and headers as they are, and where from, and a
replay id.

Acknowledged by all in-sync replicas before it counts. The inbox chooses the partition by the key, as
everywhere; a record without one keeps its partition's number. The copy's timestamp is the time of copying:
by the old one retention might delete it before it is read.
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from dingbridge.errors import KafkaUnavailable, TopicError
from dingbridge.kafka.client import discard_producer, explain, hopeless_after_s, producer, start_producer
from dingbridge.kafka.topic_policy import inbox_topic
from dingbridge.kafka.topics import ensure_topics, existing_topics
from dingbridge.settings import KafkaSettings
from dingbridge.worker.delivery import REPLAY_HEADER

FROM_HEADER = "dingbridge-replay-from"
"""On a copy: ``<topic>/<partition>/<offset>`` of the record that it is a copy of."""

BATCH_RECORDS = 500
BATCH_BYTES = 4 * 1024 * 1024
"""What is under way at the same time: a batch is acknowledged as a whole before the next one begins."""

STOP_S = 5

Headers = list[tuple[str, bytes]]


def place(record: ConsumerRecord) -> str:
    """``<topic>/<partition>/<offset>``; a topic's name holds no slash."""
    return f"{record.topic}/{record.partition}/{record.offset}"


async def inbox_partitions(settings: KafkaSettings, consumer: str, topics: Sequence[str]) -> int:
    """The partition count of the inbox of ``consumer``; made, if it is missing, with as many as the largest
    of ``topics`` has, as the worker would. Raises ``KafkaUnavailable`` or ``TopicError``."""
    counts = await existing_topics(settings)
    name = inbox_topic(settings, consumer)
    if name in counts:
        return counts[name]
    most = max((counts[topic] for topic in topics if topic in counts), default=settings.topic_partitions)
    return (await ensure_topics(settings, [name], partitions={name: most}))[name]


class Copier:
    """``async with Copier(settings, topic, partitions) as copier``; ``add`` and then ``flush``.

    Both raise ``KafkaUnavailable`` when Kafka does not answer, and ``TopicError`` when it refuses a copy.
    Then the run ends; copies that were acknowledged before are in the topic.
    """

    def __init__(self, settings: KafkaSettings, topic: str, partitions: int) -> None:
        self._settings, self._topic, self._partitions = settings, topic, partitions
        self._producer = producer(settings, linger_ms=5)
        self._under_way: dict[asyncio.Future[Any], str] = {}  # and the topic of each
        self._bytes = 0

    async def __aenter__(self) -> Self:
        await start_producer(self._producer, self._settings)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for future in self._under_way:
            future.cancel()
        await discard_producer(self._producer, STOP_S)

    @property
    def full(self) -> bool:
        """Whether it is time to ``flush``."""
        return len(self._under_way) >= BATCH_RECORDS or self._bytes >= BATCH_BYTES

    async def add(self, record: ConsumerRecord, replay_id: str) -> None:
        """Begin to send a copy of ``record``."""
        headers = copied_headers(record, replay_id)
        number = None if record.key is not None else record.partition % self._partitions
        await self.send(self._topic, record.key, record.value, headers, number)

    async def write(self, topic: str, partition: int, value: bytes, headers: Headers) -> None:
        """Begin to send a record of our own, without a key."""
        await self.send(topic, None, value, headers, partition)

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None = None,
    ) -> None:
        """Begin to send a record; without ``partition`` its key chooses it."""
        if key is None and value is None:  # Kafka takes that, aiokafka sends neither
            value = b""
        try:
            sent = await self._producer.send(
                topic, key=key, value=value, headers=headers, partition=partition
            )
        except (KafkaError, OSError) as error:
            raise self._words(error, topic) from error
        self._under_way[sent] = topic
        self._bytes += len(key or b"") + len(value or b"")

    async def flush(self) -> None:
        """Returns when all that was added is acknowledged."""
        under_way, self._under_way, self._bytes = self._under_way, {}, 0
        if under_way:  # a producer waits without end for a partition that has no leader
            await asyncio.wait(under_way, timeout=hopeless_after_s(self._settings))
        for sent, topic in under_way.items():
            if not sent.done():
                raise self._words(KafkaTimeoutError(), topic)
            if isinstance(error := sent.exception(), KafkaError | OSError):
                raise self._words(error, topic) from error
            sent.result()

    def _words(self, error: Exception, topic: str) -> KafkaUnavailable | TopicError:
        if isinstance(error, MessageSizeTooLargeError):
            return TopicError(
                f"a record with its headers is larger than {topic} allows; raise the topic's "
                "max.message.bytes, and run the command again"
            )
        return KafkaUnavailable(explain(error, self._settings))


def copied_headers(record: ConsumerRecord, replay_id: str) -> Headers:
    """The headers of ``record``, with an earlier replay's in them replaced by this one's."""
    ours = [(REPLAY_HEADER, replay_id.encode()), (FROM_HEADER, place(record).encode())]
    names = {name for name, _ in ours}
    return [(name, value) for name, value in record.headers if name not in names] + ours


def header(record: ConsumerRecord, name: str) -> str | None:
    """The text of a record's last header ``name``, None without one."""
    for found, value in reversed(record.headers):
        if found == name and value is not None:
            return bytes(value).decode(errors="replace")
    return None
