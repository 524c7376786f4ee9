"""Sends batches: waits for Kafka's acknowledgements, interprets its refusals, and finds which records of a
batch it refuses.

By Kafka's list of error codes (kafka.apache.org/protocol, "Error Codes") and by what brokers answer for a
partition of a produce request. A retriable error never gets here: an idempotent producer sends again without
end, and without a word. So when nothing is acknowledged for a while, the reason is looked for here, too.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum

from aiokafka import AIOKafkaProducer
from aiokafka.errors import BrokerResponseError, kafka_errors

from dingbridge.errors import KafkaUnavailable, TopicError, TopicForbidden, TopicLeaderless
from dingbridge.events import Record
from dingbridge.ingress.journal.checkpoint import ParkedKey
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.kafka.client import (
    PRODUCER_MAX_REQUEST_BYTES,
    discard_producer,
    hopeless_after_s,
    producer,
    start_producer,
)
from dingbridge.kafka.health import ailing
from dingbridge.settings import IngressSettings

TopicPartition = tuple[str, int]
NumberedRecord = tuple[int, int, Record]
"""``(seq, number, record)``: of the callback ``seq``, the message with this number, from 0."""

_STALLED_S = 5.0
_SEARCH_S = 10.0
"""Each refusal takes some 10 ms, and nothing else is published meanwhile."""


class Refusal(StrEnum):
    """Why Kafka refuses a record though it is up: the reason for which the record is parked."""

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

    @property
    def blocks_topic(self) -> bool:
        """Whether it is about the topic as a whole: while it lasts, all later records are parked, too."""
        return self in BLOCKING


BLOCKING = frozenset(Refusal) - {Refusal.TOO_LARGE, Refusal.POLICY, Refusal.INVALID_RECORD}


class UnsupportedCompressionError(BrokerResponseError):  # type: ignore[misc]  # aiokafka has no types
    """The topic's ``compression.type`` is one that this broker cannot apply."""

    errno = 76
    message = "UNSUPPORTED_COMPRESSION_TYPE"


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc]
    """A check of the broker does not let the record pass; that of a schema, say."""

    errno = 87
    message = "INVALID_RECORD"


# aiokafka 0.14 knows neither code, and raises the same error for both
for _kind in (UnsupportedCompressionError, InvalidRecordError):
    kafka_errors.setdefault(_kind.errno, _kind)

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
    76: Refusal.FORMAT,
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


async def failures(
    settings: IngressSettings,
    status: RelayStatus,
    futures: Mapping[TopicPartition, "asyncio.Future[object]"],
) -> dict[TopicPartition, BaseException]:
    """Wait until every batch is acknowledged or has failed; returns the errors of those that failed. Before
    one does neither in time, the status becomes ``stalled``. Then it gets ``TopicLeaderless`` if Kafka has
    answered for another one, and ``KafkaUnavailable`` if it has answered for none."""
    errors: dict[TopicPartition, BaseException] = {}
    if not futures:
        return errors
    limit_s = hopeless_after_s(settings)
    await asyncio.wait(futures.values(), timeout=_STALLED_S)
    if unanswered := [partition for partition, future in futures.items() if not future.done()]:
        why = await ailing(settings, unanswered) or f"it has not acknowledged for {_STALLED_S:g} s"
        words = f"Kafka at {settings.kafka_bootstrap_servers}: {why}; callbacks are kept meanwhile"
        status.turn("stalled", words)
        await asyncio.wait(futures.values(), timeout=limit_s - _STALLED_S)
    for partition, future in futures.items():
        if future.done() and (error := future.exception()) is not None:
            errors[partition] = error
    answered = any(future.done() for future in futures.values()) and all(map(refusal, errors.values()))
    for partition, future in futures.items():
        if not future.done():
            words = f"{status.words}; no answer after {limit_s:g} s"
            errors[partition] = TopicLeaderless(words) if answered else KafkaUnavailable(words)
    return errors


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

    async def find_refused(
        self, partition: TopicPartition, records: Sequence[NumberedRecord], within_s: float
    ) -> dict[ParkedKey, Refusal]:
        """Send ``records`` in order; a batch that Kafka refuses is halved, and each half sent again, down to
        single records. After ``_SEARCH_S`` nothing is halved any more: a refused half counts as refused
        records. Returns the refused ones, with the reason; all others are in Kafka.

        Raises ``KafkaError`` or ``KafkaUnavailable`` for an error that is not about the records, and
        ``TimeoutError`` for a batch that is not answered ``within_s``; then some may be in Kafka."""
        refused: dict[ParkedKey, Refusal] = {}
        waiting, search_until = [records], time.monotonic() + _SEARCH_S
        while waiting:
            part = waiting.pop()
            reason = await self._send(partition, part, within_s)
            if reason is None:
                continue
            if reason.blocks_topic:
                refused |= {(seq, number): reason for rest in (part, *waiting) for seq, number, _ in rest}
                break
            if len(part) == 1 or time.monotonic() > search_until:
                refused |= {(seq, number): reason for seq, number, _ in part}
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
        return refused

    async def _send(
        self, partition: TopicPartition, records: Sequence[NumberedRecord], within_s: float
    ) -> Refusal | None:
        """Send one batch. Returns why Kafka refuses it; ``None``: it is acknowledged."""
        connected = await self.connected()
        batch = connected.create_batch()
        for _, _, record in records:
            headers = list(record.headers)
            if batch.append(timestamp=None, key=record.key, value=record.value, headers=headers) is None:
                return Refusal.TOO_LARGE  # for one request
        try:
            async with asyncio.timeout(within_s):
                await (await connected.send_batch(batch, partition[0], partition=partition[1]))
        except BaseException as error:
            await self.discard()
            if (reason := refusal(error)) is None:
                raise
            return reason
        self._status.published(record for _, _, record in records)
        return None
