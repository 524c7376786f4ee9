"""Puts records that cannot be handled into the consumer's dead letters, as they came.

Key, value and headers stay as they are; headers ``dingbridge-dlq-…`` say where the record stood and why it is
here. Reading and replaying dead letters is not here.
"""

import asyncio
from datetime import UTC, datetime

import structlog
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.client import discard_producer, explain, hopeless_after_s, producer, start_producer
from dingbridge.kafka.topics import dlq_topic, inbox_topic
from dingbridge.settings import KafkaSettings
from dingbridge.worker.blocked import BLOCKING_ID_HEADER, LETTER_HEADER
from dingbridge.worker.outcomes import DependencyUnavailable

log = structlog.get_logger(__name__)

HEADER = "dingbridge-dlq-"
FIRST_PLACE = (HEADER + "topic", HEADER + "partition", HEADER + "offset")
STOP_TIMEOUT_S = 5

Headers = list[tuple[str, bytes]]


class DeadLetters:
    """The producer of one consumer's dead letters; made at the first one, replaced after a failed send."""

    def __init__(self, settings: KafkaSettings, consumer: str) -> None:
        self._settings = settings
        self._topic = dlq_topic(settings, consumer)
        self._inbox = inbox_topic(settings, consumer)
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._stopping: set[asyncio.Task[None]] = set()

    async def send(self, record: ConsumerRecord, error: str, attempts: int, blocking_id: str = "") -> int:
        """Send ``record`` and return its letter's offset; all in-sync replicas have it then.

        ``error`` is an exception's type and place, ``blocking_id`` the block of its key, if any. Raises
        ``DependencyUnavailable`` when Kafka does not take it: send it again later. A second copy is then
        possible, a loss is not.
        """
        used: AIOKafkaProducer | None = None
        try:
            used = await self._running()
            async with asyncio.timeout(hopeless_after_s(self._settings)):
                sent = await used.send_and_wait(
                    self._topic,
                    value=record.value,
                    key=record.key,
                    headers=self._headers(record, error, attempts, blocking_id),
                )
            return int(sent.offset)
        except KafkaUnavailable as problem:
            raise DependencyUnavailable(f"dead letter not taken: {problem}") from problem
        except (KafkaError, OSError, TimeoutError) as problem:
            self._discard(used)
            reason = explain(problem, self._settings)
            if isinstance(problem, MessageSizeTooLargeError):
                reason = f"the record is larger than {self._topic} allows; raise its max.message.bytes"
            raise DependencyUnavailable(f"dead letter not taken: {reason}") from problem

    def _headers(self, record: ConsumerRecord, error: str, attempts: int, blocking_id: str) -> Headers:
        headers = list(record.headers or ())
        place = {"topic": record.topic, "partition": str(record.partition), "offset": str(record.offset)}
        if record.topic == self._inbox:
            # a dead letter that was replayed goes on naming the first place
            first = {name: value for name, value in headers if value and name in FIRST_PLACE}
            if len(first) == len(FIRST_PLACE):
                place = {n.removeprefix(HEADER): v.decode(errors="replace") for n, v in first.items()}
        ours = {
            **place,
            "error": error,
            "attempts": str(attempts),
            "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        fresh = {HEADER + name: text for name, text in ours.items()}
        if blocking_id:
            fresh[BLOCKING_ID_HEADER] = blocking_id
        # what an earlier burial of this record said is over
        stale = {*fresh, BLOCKING_ID_HEADER, LETTER_HEADER}
        kept = [(name, value) for name, value in headers if name not in stale]
        return kept + [(name, text.encode()) for name, text in fresh.items()]

    async def _running(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                fresh = producer(self._settings)
                await start_producer(fresh, self._settings)
                self._producer = fresh
            return self._producer

    def _discard(self, used: AIOKafkaProducer | None) -> None:
        """An idempotent producer with a failed send is finished: its sequence numbers have moved on."""
        if used is None or used is not self._producer:
            return
        self._producer = None
        log.info("dead_letters.producer_dropped")
        # stopping flushes first, which takes as long as a broker that is down is down
        task = asyncio.create_task(discard_producer(used, STOP_TIMEOUT_S))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def close(self) -> None:
        """Stop the producer; nothing is pending, since ``send`` waits."""
        if self._producer is not None:
            await discard_producer(self._producer, STOP_TIMEOUT_S)
            self._producer = None
        if self._stopping:
            await asyncio.wait(self._stopping)
