"""Writes single records, each acknowledged by all in-sync replicas before ``write`` returns."""

import asyncio
from collections.abc import Sequence

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from dingbridge.errors import KafkaUnavailable, RecordTooLarge
from dingbridge.kafka.client import discard_producer, explain, hopeless_after_s, producer, start_producer
from dingbridge.settings import KafkaSettings

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 5

Headers = Sequence[tuple[str, bytes]]


class RecordWriter:
    """One producer, made at the first record, replaced after a failed send. Safe to call concurrently."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def write(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Write one record to ``topic``.

        Raises ``RecordTooLarge``, and ``KafkaUnavailable`` when Kafka does not take it: write it again later.
        A second copy is then possible, a loss is not.
        """
        used: AIOKafkaProducer | None = None
        try:
            used = await self._running()
            async with asyncio.timeout(hopeless_after_s(self._settings)):
                if key is None and value is None:  # Kafka takes that, aiokafka sends neither
                    value = b""
                await used.send_and_wait(topic, value=value, key=key, headers=list(headers))
        except KafkaUnavailable:
            raise
        except (KafkaError, OSError, TimeoutError) as problem:
            if used is not None:
                await self._discard(used)
            if isinstance(problem, MessageSizeTooLargeError):
                words = f"the record is larger than {topic} allows; raise its max.message.bytes"
                raise RecordTooLarge(words) from problem
            raise KafkaUnavailable(explain(problem, self._settings)) from problem

    async def close(self) -> None:
        """Stop the producer; nothing is pending, since ``write`` waits."""
        if self._producer is not None:
            await discard_producer(self._producer, STOP_TIMEOUT_S)
            self._producer = None

    async def _running(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                fresh = producer(self._settings)
                await start_producer(fresh, self._settings)
                self._producer = fresh
            return self._producer

    async def _discard(self, used: AIOKafkaProducer) -> None:
        """An idempotent producer with a failed send is finished: its sequence numbers have moved on."""
        if used is self._producer:
            self._producer = None
            log.info("kafka.producer_dropped")
            await discard_producer(used, STOP_TIMEOUT_S)
