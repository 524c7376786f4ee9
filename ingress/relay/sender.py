"""Sends records to Kafka: batches, acknowledgements, and what a refusal is about.

Kafka takes a batch as a whole or not at all. The next batch of a partition is sent only after Kafka has
answered for the one before. So no failure lets newer records of a partition overtake older ones. With several
batches under way, a batch that expires in the client is overtaken by its successor. The same happens to the
first batch of a producer when Kafka refuses it (seen with aiokafka 0.14).

Refusals are read by Kafka's list of error codes (kafka.apache.org/protocol, "Error Codes") and by what
brokers answer for a partition of a produce request. A retriable error never gets here: an idempotent producer
sends again without end, and without a word. So when nothing is acknowledged for a while, the reason is looked
for here, too.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import BrokerResponseError, kafka_errors

from dingbridge.errors import KafkaUnavailable, TopicError, TopicForbidden, TopicLeaderless
from dingbridge.ingress.journal.rows import DAMAGED
from dingbridge.ingress.relay.status import CallbackRecord, RelayStatus
from dingbridge.kafka.client import (
    PRODUCER_MAX_REQUEST_BYTES,
    discard_producer,
    producer,
    start_producer,
)
from dingbridge.settings import IngressSettings

Place = tuple[str, int]
"""Topic and partition."""
UP: Final = "Kafka takes records"

BATCH_BYTES: Final = 1024 * 1024
"""A batch is closed at about this size; a larger record goes alone."""
LARGEST_RECORD_BYTES: Final = PRODUCER_MAX_REQUEST_BYTES - 4096

_SILENT_S: Final = 0.5
"""After so long without an answer Kafka's metadata is asked which partitions have no leader."""
ANSWER_WITHIN_S: Final = 10.0
"""A partition that has not answered by then, while a broker returns metadata, takes nothing: its topic is
blocked, and tried again. So no partition holds up others, and nothing has to be known of the others."""
_METADATA_WITHIN_S: Final = 3.0


class Refusal(StrEnum):
    """Why Kafka refuses a record though it is up: the reason for which its callback is parked."""

    TOO_LARGE = "too_large"
    POLICY = "policy"
    INVALID_RECORD = "invalid_record"
    RIGHTS = "rights"
    INVALID_TOPIC = "invalid_topic"
    TOPIC_MISSING = "topic_missing"
    NO_LEADER = "no_leader"
    FORMAT = "format"
    TIMESTAMP = "timestamp"
    """The time of sending, which is every record's: so the topic takes none now."""
    UNEXPLAINED = "unexplained"
    """A fault in the broker, a code that is not listed here, bytes that have changed on the way."""


_OF_A_RECORD = frozenset({Refusal.TOO_LARGE, Refusal.POLICY, Refusal.INVALID_RECORD})
BLOCKING = frozenset(Refusal) - _OF_A_RECORD
"""The reasons about a topic as a whole: while one lasts, all later records are parked, too."""
NOT_BY_HAND = frozenset({*BLOCKING, DAMAGED})
"""When an operator asks, a callback is tried that is parked for any other reason, also for one that only
another release knows. It is tried at no other time."""


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc]  # aiokafka has no types
    """A check of the broker does not let the record pass; that of a schema, say."""

    errno = 87
    message = "INVALID_RECORD"


# aiokafka 0.14 does not know the code, and would raise the same error as for one that blocks the topic
kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)

_REFUSALS = {
    -1: Refusal.UNEXPLAINED,  # UNKNOWN_SERVER_ERROR, also for codes that aiokafka does not know
    2: Refusal.UNEXPLAINED,  # CORRUPT_MESSAGE
    10: Refusal.TOO_LARGE,  # MESSAGE_TOO_LARGE
    17: Refusal.INVALID_TOPIC,  # INVALID_TOPIC_EXCEPTION
    18: Refusal.TOO_LARGE,  # RECORD_LIST_TOO_LARGE
    29: Refusal.RIGHTS,  # TOPIC_AUTHORIZATION_FAILED
    32: Refusal.TIMESTAMP,  # INVALID_TIMESTAMP
    43: Refusal.FORMAT,  # UNSUPPORTED_FOR_MESSAGE_FORMAT
    44: Refusal.POLICY,  # POLICY_VIOLATION
    87: Refusal.INVALID_RECORD,
}


def refusal(error: BaseException) -> Refusal | None:
    """Why Kafka refuses this record or its topic; ``None`` for an error that is about neither."""
    match error:
        case BrokerResponseError():
            return _REFUSALS.get(error.errno)
        case TopicForbidden():
            return Refusal.RIGHTS
        case TopicLeaderless():
            return Refusal.NO_LEADER
        case TopicError():
            return Refusal.TOPIC_MISSING
    return None


Refused = dict[tuple[int, str], Refusal]
"""Why, by ``seq`` and topic. A reason about the topic is kept before one about a record."""


class Sender:
    """Sends with one producer at a time, which is replaced once a send has failed."""

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
        """Close the producer; for ``within_s`` it may still send what it holds."""
        discarded, self._producer = self._producer, None
        if discarded is not None:
            await discard_producer(discarded, within_s)

    async def ensure_answers(self, within_s: float) -> None:
        """Raises ``KafkaUnavailable`` unless one of the brokers answers the producer's client."""
        client = (await self.connected()).client
        try:
            async with asyncio.timeout(within_s):
                answered = await client.force_metadata_update()
        except TimeoutError:
            answered = False
        if not answered:
            where = self._settings.kafka_bootstrap_servers
            raise KafkaUnavailable(f"Kafka at {where} does not answer; callbacks are kept meanwhile")

    async def send(
        self, records: Mapping[Place, Sequence[CallbackRecord]], within_s: float | None = None
    ) -> Refused:
        """Send the records of each partition in order, and wait until each is acknowledged or refused.
        Returns what is refused; of a partition that does not answer ``within_s``, all. With ``within_s``
        it is known already that one may not, and the status stays as it is.

        Raises ``KafkaError`` or ``KafkaUnavailable`` for an error that is not about a record or a topic; then
        some may be in Kafka."""
        refused: Refused = {}
        waiting = {partition: deque(of) for partition, of in records.items()}
        while waiting:
            sent = await self._send_batches(waiting)
            errors = await self._errors({one: future for one, (_, future) in sent.items()}, within_s)
            for error in errors.values():
                if refusal(error) is None:
                    raise error
                self._status.error(error)
            for partition in sent.keys() - errors.keys():
                self._status.published(sent[partition][0])
                self._status.turn("up", UP)
            if errors:
                # a producer is not used again after a failed send; what it still holds has been given up here
                await self.discard(0.1)
            for partition, error in errors.items():
                batch, later = sent[partition][0], waiting[partition]
                reason = refusal(error)
                if reason is not None and reason not in BLOCKING and len(batch) > 1:
                    reason = await self._one_by_one(partition, batch, refused, within_s)
                if reason in BLOCKING:
                    batch = [*batch, *later]
                    later.clear()
                if reason is not None:
                    _refuse(refused, partition[0], batch, reason)
            waiting = {partition: of for partition, of in waiting.items() if of}
        return refused

    async def _send_batches(
        self, waiting: Mapping[Place, deque[CallbackRecord]]
    ) -> "dict[Place, tuple[list[CallbackRecord], asyncio.Future[object]]]":
        """Send the first batch of each partition, and take its records out of ``waiting``."""
        connected = await self.connected()
        sent = {}
        for partition, records in waiting.items():
            builder, batch, size = connected.create_batch(), list[CallbackRecord](), 0
            while records and (not batch or size + len(records[0][1].value) <= BATCH_BYTES):
                record = records[0][1]
                headers = list(record.headers)
                if (
                    builder.append(timestamp=None, key=record.key, value=record.value, headers=headers)
                    is None
                ):
                    break
                size += len(record.value)
                batch.append(records.popleft())
            # Invariant 3: one batch a partition, in the journal's order
            future = await connected.send_batch(builder, partition[0], partition=partition[1])
            sent[partition] = (batch, future)
        return sent

    async def _one_by_one(
        self,
        partition: Place,
        batch: Sequence[CallbackRecord],
        refused: Refused,
        within_s: float | None,
    ) -> Refusal | None:
        """Send each record of a refused batch alone, and add those that are refused for themselves to
        ``refused``. Returns a reason about the topic, which ends it. Raises as ``send``."""
        for one in batch:
            for reason in (await self.send({partition: [one]}, within_s)).values():
                if reason in BLOCKING:
                    return reason
                _refuse(refused, partition[0], [one], reason)
        return None

    async def _leaderless(self, partitions: Iterable[Place]) -> list[Place]:
        """Those of ``partitions`` that have no leader by Kafka's metadata; none if nobody answers in time."""
        client = (await self.connected()).client
        with suppress(TimeoutError):
            async with asyncio.timeout(_METADATA_WITHIN_S):
                await client.force_metadata_update()
        return [one for one in partitions if client.cluster.leader_for_partition(TopicPartition(*one)) == -1]

    async def _errors(
        self, futures: "Mapping[Place, asyncio.Future[object]]", within_s: float | None
    ) -> dict[Place, BaseException]:
        """Wait until every batch is acknowledged or has failed. Return the errors of the failed batches: of
        one that has no leader by Kafka's metadata, or no answer ``within_s``, a ``TopicLeaderless``.

        Raises ``KafkaUnavailable`` if one has no answer and no broker returns the metadata either."""
        errors: dict[Place, BaseException] = {}
        limit_s = within_s or ANSWER_WITHIN_S
        silent = await _unanswered(futures, _SILENT_S)
        if silent:
            for partition in await self._leaderless(silent):
                errors[partition] = TopicLeaderless(f"{partition[0]}/{partition[1]} has no leader")
                del silent[partition]
            silent = await _unanswered(silent, limit_s - _SILENT_S)
        if silent:
            await self.ensure_answers(_METADATA_WITHIN_S)
            for topic, number in silent:
                words = (
                    f"{topic}/{number} has not acknowledged for {limit_s:g} s: too few replicas in sync, say"
                )
                errors[topic, number] = TopicLeaderless(words)
                if len(silent) == len(futures) and within_s is None:
                    self._status.turn("stalled", f"Kafka answers, but {words}; callbacks are kept meanwhile")
        failed = {place: future.exception() for place, future in futures.items() if future.done()}
        return errors | {place: error for place, error in failed.items() if error is not None}


async def _unanswered(
    futures: "Mapping[Place, asyncio.Future[object]]", within_s: float
) -> "dict[Place, asyncio.Future[object]]":
    """Those of ``futures`` that are not done ``within_s``."""
    if futures:
        await asyncio.wait(futures.values(), timeout=within_s)
    return {partition: future for partition, future in futures.items() if not future.done()}


def _refuse(refused: Refused, topic: str, records: Sequence[CallbackRecord], reason: Refusal) -> None:
    """Add the callbacks of ``records`` to ``refused``."""
    for seq, _ in records:
        if refused.get((seq, topic)) not in BLOCKING:
            refused[seq, topic] = reason
