"""A producer that is replaced once a send has failed, and how the records that Kafka refuses are found."""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from dingbridge.kafka.client import (
    PRODUCER_MAX_REQUEST_BYTES,
    discard_producer,
    producer,
    start_producer,
)
from dingbridge.settings import IngressSettings
from ingress.journal.checkpoint import ParkedKey
from ingress.relay.batches import NumberedRecord
from ingress.relay.delivery import Refusal, TopicPartition, refusal
from ingress.relay.status import RelayStatus


class Sender:
    """At most one producer at a time."""

    def __init__(self, settings: IngressSettings, status: RelayStatus) -> None:
        self._settings, self._status = settings, status
        self._producer: AIOKafkaProducer | None = None

    async def connected(self) -> AIOKafkaProducer:
        """The producer, a new one if there is none. Raises ``KafkaUnavailable``."""
        if self._producer is None:
            fresh = producer(self._settings, max_batch_size=PRODUCER_MAX_REQUEST_BYTES)
            await start_producer(fresh, self._settings)
            self._producer = fresh
        return self._producer

    async def discard(self, within_s: float = 1.0) -> None:
        """Throw the producer away; for ``within_s`` it may still send what it holds."""
        dead, self._producer = self._producer, None
        if dead is not None:
            await discard_producer(dead, within_s)

    async def find_refused(
        self, partition: TopicPartition, records: Sequence[NumberedRecord], within_s: float
    ) -> dict[ParkedKey, Refusal]:
        """Send ``records`` in order, in halves of halves where Kafka refuses a batch, until each record that
        it refuses stands alone. Returns those, with the reason; all others are in Kafka.

        Raises ``KafkaError`` or ``KafkaUnavailable`` for what is not about the records, ``TimeoutError`` for
        a batch that is not answered ``within_s``; then some of them may be in Kafka."""
        refused: dict[ParkedKey, Refusal] = {}
        waiting = [records]
        while waiting:
            part = waiting.pop()
            reason = await self._send(partition, part, within_s)
            if reason is None:
                continue
            if reason.blocks_topic:
                refused |= {(seq, number): reason for rest in (part, *waiting) for seq, number, _ in rest}
                break
            if len(part) == 1:
                refused[part[0][:2]] = reason
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
        return refused

    async def _send(
        self, partition: TopicPartition, records: Sequence[NumberedRecord], within_s: float
    ) -> Refusal | None:
        """One batch; why Kafka refuses it."""
        connected = await self.connected()
        batch = connected.create_batch()
        for _, _, record in records:
            headers = list(record.headers)
            if batch.append(timestamp=None, key=record.key, value=record.value, headers=headers) is None:
                return Refusal.TOO_LARGE  # for one request
        try:
            async with asyncio.timeout(within_s):
                await (await connected.send_batch(batch, partition[0], partition=partition[1]))
        except KafkaError as error:
            await self.discard()
            if (reason := refusal(error)) is None:
                raise
            return reason
        except BaseException:
            await self.discard()
            raise
        self._status.published(record for _, _, record in records)
        return None
