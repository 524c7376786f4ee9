"""The ledger in Kafka: notes go to its one partition, and are read back in the order in which it has them.

A note counts once it has been read back, folded behind all that came before it. Nothing of it stands on this
machine: every poller, of whatever instance or run by hand, begins by reading all that Kafka keeps.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.client import (
    connection,
    discard_producer,
    explain,
    hopeless_after_s,
    producer,
    start_producer,
)
from dingbridge.kafka.topics import ensure_topics, recovery_topic
from dingbridge.settings import KafkaSettings
from ingress.recovery.ledger import Ledger, Note, decode

NOTE_BYTES: Final = 512 * 1024
"""A page is noted in parts of about this size; the topic takes 6 MiB."""
_CLOSE_S: Final = 2.0


class Log(Protocol):
    """The ledger as a poller sees it."""

    ledger: Ledger

    async def write(self, note: Note) -> None:
        """Note it; when this returns it is durable, and folded into ``ledger`` with all before it."""
        ...

    async def send(self, topic: str, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        """Write a record elsewhere; durable when this returns."""
        ...


class LedgerTopic:
    """The ledger of one app. Raises ``KafkaUnavailable``, ``TopicError``."""

    def __init__(self, settings: KafkaSettings, app: str) -> None:
        self.ledger = Ledger()
        self._settings, self._app = settings, app.encode()
        self._topic = recovery_topic(settings)
        self._part = TopicPartition(self._topic, 0)
        self._next = 0
        self._producer: AIOKafkaProducer
        self._consumer: AIOKafkaConsumer

    async def open(self) -> None:
        """Connect, and fold all that is there."""
        settings = self._settings
        await ensure_topics(settings, [self._topic], partitions={self._topic: 1})
        timeout_ms = round(settings.kafka_request_timeout_s * 1000)
        self._producer = producer(settings, request_timeout_ms=timeout_ms, linger_ms=0)
        await start_producer(self._producer, settings)
        self._consumer = AIOKafkaConsumer(
            **connection(settings), enable_auto_commit=False, auto_offset_reset="earliest"
        )
        async with self._in_time():
            await self._consumer.start()
            self._consumer.assign([self._part])
            self._next = (await self._consumer.beginning_offsets([self._part]))[self._part]
            self._consumer.seek(self._part, self._next)
            await self._catch_up((await self._consumer.end_offsets([self._part]))[self._part] - 1)

    async def close(self) -> None:
        """Leave it, within seconds whatever Kafka does."""
        if hasattr(self, "_consumer"):
            with suppress(TimeoutError):  # it only reads: nothing of it is missed
                async with asyncio.timeout(_CLOSE_S):
                    await self._consumer.stop()
        if hasattr(self, "_producer"):
            await discard_producer(self._producer, _CLOSE_S)

    async def write(self, note: Note) -> None:
        for part in parts(note):
            async with self._in_time():
                sent = await self._producer.send_and_wait(
                    self._topic, key=self._app, value=part.encode(), partition=0
                )
                await self._catch_up(sent.offset)

    async def send(self, topic: str, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        await ensure_topics(self._settings, [topic])
        async with self._in_time():
            await self._producer.send_and_wait(topic, key=key, value=value, headers=list(headers))

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Neither an idempotent producer nor a consumer that waits for more would ever give up."""
        try:
            async with asyncio.timeout(hopeless_after_s(self._settings)):
                yield
        except (KafkaError, OSError) as error:
            raise KafkaUnavailable(explain(error, self._settings)) from error

    async def _catch_up(self, offset: int) -> None:
        while self._next <= offset:
            # transactions are not used here, so every offset up to the end is a record that comes
            for record in (await self._consumer.getmany(self._part, timeout_ms=1000)).get(self._part, []):
                self._next = record.offset + 1
                if record.key == self._app and (note := decode(record.value)) is not None:
                    self.ledger.apply(note, record.timestamp)


def parts(note: Note) -> list[Note]:
    """``note`` in parts that Kafka takes, the last of them of its own kind."""
    found: list[list[Any]] = [[]]
    size = 0
    for item in note.items:
        length = len(Note("items", "", items=[item]).encode())
        if found[-1] and size + length > NOTE_BYTES:
            found.append([])
            size = 0
        found[-1].append(item)
        size += length
    heads = [Note("items", note.poller, note.lease_ms, note.intent, items) for items in found[:-1]]
    return [*heads, Note(note.kind, note.poller, note.lease_ms, note.intent, found[-1], note.more)]


@asynccontextmanager
async def opened(settings: KafkaSettings, app: str) -> AsyncIterator[LedgerTopic]:
    """The ledger, connected and read."""
    log = LedgerTopic(settings, app)
    try:
        await log.open()
        yield log
    finally:
        await log.close()
