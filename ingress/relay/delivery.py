"""What becomes of a batch: waiting for Kafka's acknowledgements, and what its refusals mean.

By Kafka's list of error codes (kafka.apache.org/protocol, "Error Codes") and by what brokers answer for a
partition of a produce request. What is retriable never comes as an error: an idempotent producer sends again
without end, and does not tell. So here is also what says why nothing is acknowledged.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from enum import StrEnum

from aiokafka.errors import (
    BrokerResponseError,
    CorruptRecordException,
    InvalidTimestampError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
    UnknownError,
    UnsupportedForMessageFormatError,
    kafka_errors,
)

from dingbridge.errors import KafkaUnavailable, TopicError, TopicForbidden, TopicLeaderless
from dingbridge.kafka.client import hopeless_after_s
from dingbridge.kafka.health import ailing
from dingbridge.settings import IngressSettings
from ingress.relay.status import RelayStatus

TopicPartition = tuple[str, int]

_STALLED_S = 5.0


class Refusal(StrEnum):
    """Why Kafka refuses a record for itself: the reason for which it is parked."""

    TOO_LARGE = "too_large"
    POLICY = "policy"
    INVALID_RECORD = "invalid_record"
    RIGHTS = "rights"
    INVALID_TOPIC = "invalid_topic"
    TOPIC_MISSING = "topic_missing"
    NO_LEADER = "no_leader"
    FORMAT = "format"
    TIMESTAMP = "timestamp"
    """Of sending, which is now: whatever would be sent now is refused."""
    UNEXPLAINED = "unexplained"
    """A fault in the broker, a code that nobody here knows, bytes that have changed on the way."""

    @property
    def blocks_topic(self) -> bool:
        """Whether it holds for the topic as a whole: while it lasts, later records park behind, in order."""
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


# aiokafka 0.14 knows no code above 79 but makes all of them one error, from which nothing can be told
for _kind in (UnsupportedCompressionError, InvalidRecordError):
    kafka_errors.setdefault(_kind.errno, _kind)

_REFUSALS: tuple[tuple[type[BaseException], Refusal], ...] = (
    (MessageSizeTooLargeError, Refusal.TOO_LARGE),
    (RecordListTooLargeError, Refusal.TOO_LARGE),
    (RecordTooLargeError, Refusal.TOO_LARGE),
    (TopicAuthorizationFailedError, Refusal.RIGHTS),
    (InvalidTopicError, Refusal.INVALID_TOPIC),
    (TopicForbidden, Refusal.RIGHTS),
    (TopicLeaderless, Refusal.NO_LEADER),
    (TopicError, Refusal.TOPIC_MISSING),
    (PolicyViolationError, Refusal.POLICY),
    (InvalidRecordError, Refusal.INVALID_RECORD),
    (InvalidTimestampError, Refusal.TIMESTAMP),
    (UnsupportedForMessageFormatError, Refusal.FORMAT),
    (UnsupportedCompressionError, Refusal.FORMAT),
    (UnknownError, Refusal.UNEXPLAINED),
    (CorruptRecordException, Refusal.UNEXPLAINED),
)


def refusal(error: BaseException) -> Refusal | None:
    """Why Kafka refuses the record itself; ``None`` when it would refuse any."""
    return next((reason for kind, reason in _REFUSALS if isinstance(error, kind)), None)


async def failures(
    settings: IngressSettings,
    status: RelayStatus,
    futures: Mapping[TopicPartition, "asyncio.Future[object]"],
) -> dict[TopicPartition, BaseException]:
    """Wait until every batch is acknowledged or has failed; returns the errors of those that have. One that
    does neither for too long has failed with ``KafkaUnavailable``; before that the status says why."""
    began, limit_s = time.monotonic(), hopeless_after_s(settings)
    waiting = await _unanswered(futures.values(), _STALLED_S)
    if waiting:
        silent = [partition for partition, future in futures.items() if future in waiting]
        status.stalled(_words(settings, await ailing(settings, silent)))
        waiting = await _unanswered(waiting, began + limit_s - time.monotonic())
    errors: dict[TopicPartition, BaseException] = {}
    for partition, future in futures.items():
        if future in waiting:
            errors[partition] = KafkaUnavailable(f"{status.words}; connecting anew after {limit_s:g} s")
        elif (error := future.exception()) is not None:
            errors[partition] = error
    return errors


async def _unanswered(
    futures: Collection["asyncio.Future[object]"], within_s: float
) -> set["asyncio.Future[object]"]:
    return (await asyncio.wait(futures, timeout=within_s))[1] if futures else set()


def _words(settings: IngressSettings, why: str | None) -> str:
    why = why or f"it has not acknowledged for {_STALLED_S:g} s"
    return f"Kafka at {settings.kafka_bootstrap_servers}: {why}; callbacks are kept meanwhile"
