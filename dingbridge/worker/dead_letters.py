"""Gives a record up: notes it in the consumer's database, and writes its copy to the dead-letter queue.

The steps: one transaction writes the record's inbox row and its row in the outbox; the dead letter is sent;
the outbox row is removed. A process may die, freeze or lose the partition between any two steps, and each
step finds what was done before. So a dead letter may be doubled, which its replay sees; none is lost, and no
event is both applied and given up. Without a database there is the dead letter alone. docs/decisions/0081 has
the reasons.

Reading and replaying dead letters is not here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeVar

import structlog
from aiokafka import ConsumerRecord

from dingbridge.error_location import error_location
from dingbridge.errors import KafkaUnavailable, RecordTooLarge
from dingbridge.events.event import Event, NotAnEvent
from dingbridge.kafka.client import PRODUCER_MAX_REQUEST_BYTES
from dingbridge.kafka.topic_policy import dlq_topic, inbox_topic
from dingbridge.kafka.writer import RecordWriter
from dingbridge.logging import excerpt
from dingbridge.settings import KafkaSettings
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.delivery import REPLAY_HEADER, Delivery, identity
from dingbridge.worker.outcomes import Conflict, DependencyUnavailable, Failure
from dingbridge.worker.store import inbox, outbox
from dingbridge.worker.store.database import ANSWER_TIMEOUT_S, Database
from dingbridge.worker.store.errors import answered
from dingbridge.worker.store.transaction import Transaction

log = structlog.get_logger(__name__)
T = TypeVar("T")

HEADER = "dingbridge-dlq-"
"""The prefix of the headers with the record's place and the failure: ``topic``, ``partition``, ``offset``,
``error``, ``reason``, ``frames``, ``attempts``, ``at``, and of some ``value``."""

FIRST_PLACE = (HEADER + "topic", HEADER + "partition", HEADER + "offset")

IN_PLACE = (HEADER + "value", b"in-place")
"""The header of a letter without its value, which is in Kafka only, at the record's place."""

SMALL_BYTES = 4096
"""The largest key or header that a letter without its value keeps, in bytes."""

_KEPT = frozenset((*FIRST_PLACE, "dingbridge-type", "dingbridge-corp", "dingbridge-id", REPLAY_HEADER))

LARGEST_BYTES = PRODUCER_MAX_REQUEST_BYTES
"""The largest record that is handled: key, value and headers, unpacked, in bytes."""

TOO_LARGE = Failure.of(
    NotAnEvent(
        f"the record is larger than {LARGEST_BYTES >> 20} MiB, which no producer of the bridge "
        "writes; it is in Kafka only, at its place"
    ),
    "dingbridge",
    1,
)

CONFLICTS = 10
"""Transactions that the database rolls back because of others, in a row, before we wait."""

Headers = list[tuple[str, bytes]]


class Writer(Protocol):
    """Writes dead letters: ``DeadLetterWriter``, or a test's own."""

    async def write(self, record: ConsumerRecord, failure: Failure) -> None: ...


class DeadLetters:
    """Gives up the records of one consumer. ``database`` is None for a consumer that uses none."""

    def __init__(self, consumer: Consumer, database: Database | None, writer: Writer) -> None:
        self._name, self._database, self._writer = consumer.name, database, writer
        self._consumer = consumer
        self._has_hook = type(consumer).dead_lettered is not Consumer.dead_lettered
        # another process may handle the same record; if it is frozen, the server ends its transaction
        self._step_within_s = consumer.handler_timeout_s + ANSWER_TIMEOUT_S

    async def give_up(
        self, record: ConsumerRecord, event: Event | None, delivery: Delivery, failure: Failure
    ) -> Literal["dead", "seen"]:
        """Give ``record`` up for ``failure``; ``seen`` when another process has settled it.

        Raises ``DependencyUnavailable`` when Kafka or the database does not take it: call it again.
        """
        database, known_as = self._database, identity(record, event)
        if database is None:
            await self._writer.write(record, failure)
            await self._notify(event, failure)
            return "dead"

        async def note(tx: Transaction) -> Failure | None:
            hash_ = inbox.hash_of(self._name, known_as, delivery.replay_id)
            if not await inbox.enter(tx, [(hash_, None)]):
                return await outbox.find(tx, self._name, delivery.position)
            await outbox.add(tx, self._name, delivery.position, failure)
            return failure

        async def remove(tx: Transaction) -> None:
            await outbox.remove(tx, self._name, delivery.position)

        noted = await self._in_transaction(database, note)
        if noted is None:
            return "seen"
        await self._writer.write(record, noted)
        await self._notify(event, noted)  # before the row is deleted: after a crash here it is called again
        await self._in_transaction(database, remove)
        return "dead"

    async def _notify(self, event: Event | None, failure: Failure) -> None:
        """``Consumer.dead_lettered``; whatever happens in it, the record is a dead letter."""
        if not self._has_hook:
            return
        # as a task of its own: it may cancel the one that it runs in, and need not heed its own cancellation
        hook = asyncio.create_task(self._consumer.dead_lettered(event, failure))
        try:
            await asyncio.wait((hook,), timeout=self._consumer.handler_timeout_s)
        finally:
            if not hook.done():
                hook.cancel()
                hook.add_done_callback(lambda task: task.cancelled() or task.exception())
        error = None if hook.cancelled() or not hook.done() else hook.exception()
        if error is not None or hook.cancelled() or not hook.done():
            package = type(self._consumer).__module__.split(".")[0]
            log.error(
                "consumer.dead_lettered_failed",
                consumer=self._name,
                event_id=excerpt(event.id) if event else None,
                error=error_location(error or TimeoutError(), package),
            )

    async def _in_transaction(self, database: Database, step: Callable[[Transaction], Awaitable[T]]) -> T:
        for _ in range(CONFLICTS):
            try:
                async with database.transaction() as tx, answered(self._step_within_s):
                    return await step(tx)
            except Conflict:
                continue
        raise DependencyUnavailable("the database rolls back again and again because of other transactions")


class DeadLetterWriter:
    """Writes the dead letters of one consumer."""

    def __init__(self, settings: KafkaSettings, consumer: str) -> None:
        self._topic = dlq_topic(settings, consumer)
        self._inbox = inbox_topic(settings, consumer)
        self._writer = RecordWriter(settings)

    async def write(self, record: ConsumerRecord, failure: Failure) -> None:
        """Write ``record`` as it came, with headers that say why; all in-sync replicas have it then. One that
        is too large for the topic is written as ``in_place`` returns it.

        Raises ``DependencyUnavailable`` when Kafka does not take it: write it again later. A second copy is
        then possible, a loss is not.
        """
        try:
            try:
                await self._write(record, failure)
            except RecordTooLarge:
                await self._write(in_place(record), failure)
        except KafkaUnavailable as problem:
            raise DependencyUnavailable(f"dead letter not taken: {problem}") from problem

    async def _write(self, record: ConsumerRecord, failure: Failure) -> None:
        headers = dead_letter_headers(record, failure, self._inbox)
        await self._writer.write(self._topic, record.key, record.value, headers)

    async def close(self) -> None:
        """Stop the producer; nothing is pending, since ``write`` waits."""
        await self._writer.close()


def in_place(record: ConsumerRecord) -> ConsumerRecord:
    """``record`` without its value, and without a key or headers that may be large."""
    key = record.key if len(record.key or b"") <= SMALL_BYTES else None
    headers = {n: v for n, v in record.headers if n in _KEPT and len(v or b"") <= SMALL_BYTES}
    return replace(record, key=key, value=None, headers=(*headers.items(), IN_PLACE))


def record_size(record: ConsumerRecord) -> int:
    """The bytes of key, value and headers."""
    size = len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += len(name) + len(value or b"")
    return size


def dead_letter_headers(record: ConsumerRecord, failure: Failure, inbox_topic: str) -> Headers:
    """The headers of ``record``, with those of an earlier failure replaced by this one's. A dead letter that
    was replayed, so that it came from ``inbox_topic``, goes on naming the first place."""
    headers = list(record.headers or ())
    place = {"topic": record.topic, "partition": str(record.partition), "offset": str(record.offset)}
    if record.topic == inbox_topic:
        first = {name: value for name, value in headers if value and name in FIRST_PLACE}
        if len(first) == len(FIRST_PLACE):
            place = {n.removeprefix(HEADER): v.decode(errors="replace") for n, v in first.items()}
    ours = {
        **place,
        "error": failure.error,
        "reason": failure.reason,
        "frames": failure.frames,
        "attempts": str(failure.attempts),
        "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    stale = {HEADER + name for name in ours}
    kept = [(name, value) for name, value in headers if name not in stale]
    return kept + [(HEADER + name, text.encode()) for name, text in ours.items() if text]
