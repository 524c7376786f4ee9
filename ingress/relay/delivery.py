"""What becomes of a batch: waiting for Kafka's acknowledgements, and what its refusals mean.

By Kafka's list of error codes (kafka.apache.org/protocol, "Error Codes") and by what brokers answer for a
partition of a produce request. What is retriable never comes as an error: an idempotent producer sends again
without end, and does not tell. So here is also what says why nothing is acknowledged.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
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
_LOOK_EVERY_S = 0.2
_AFTER_STOP_S = 2.0


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
    """An error that says nothing, for so long that it is the topic's own."""

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
)


def refusal(error: BaseException) -> Refusal | None:
    """Why Kafka refuses the record itself; ``None`` when it would refuse any."""
    return next((reason for kind, reason in _REFUSALS if isinstance(error, kind)), None)


def unexplained(error: BaseException) -> bool:
    """Whether it may be about one topic, or about the world: a fault in the broker, a code that nobody here
    knows, bytes that have changed on the way. If it stays with one partition, it is the topic's."""
    return type(error) in (UnknownError, CorruptRecordException)


class SendFailed(Exception):
    """Sends failed: this producer is finished."""

    def __init__(self, errors: list[BaseException]) -> None:
        self.errors = errors
        super().__init__(", ".join(sorted({type(e).__name__ for e in errors})))

    @property
    def only_refusals(self) -> bool:
        """Whether all failed for the records themselves, so that Kafka as a whole is well."""
        return all(refusal(error) for error in self.errors)

    @property
    def worst(self) -> BaseException:
        """One that is not about a record, if there is one."""
        return next((error for error in self.errors if not refusal(error)), self.errors[0])


async def acknowledged(
    settings: IngressSettings,
    status: RelayStatus,
    futures: Mapping[TopicPartition, "asyncio.Future[object]"],
    stopping: Callable[[], bool],
) -> bool:
    """Wait until every batch is acknowledged or has failed; ``False`` if ``stopping`` ended that before.

    Raises ``KafkaUnavailable`` when one does neither for too long.
    """
    waiting = set(futures.values())
    began, stopped_at = time.monotonic(), None
    hopeless_s = hopeless_after_s(settings)
    telling: asyncio.Task[None] | None = None
    try:
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=_LOOK_EVERY_S)
            now = time.monotonic()
            if waiting and stopping():
                stopped_at = stopped_at or now
                if now - stopped_at > _AFTER_STOP_S:
                    return False
            elif waiting and now - began >= hopeless_s:
                words = status.words if status.state == "stalled" else _words(settings)
                raise KafkaUnavailable(f"{words}; connecting anew after {hopeless_s:g} s")
            elif waiting and telling is None and now - began >= _STALLED_S:
                silent = [partition for partition, future in futures.items() if not future.done()]
                telling = asyncio.create_task(_tell(settings, status, silent))
        return True
    finally:
        if telling is not None:
            telling.cancel()


async def _tell(settings: IngressSettings, status: RelayStatus, silent: list[TopicPartition]) -> None:
    status.stalled(_words(settings, await ailing(settings, silent)))


def _words(settings: IngressSettings, why: str | None = None) -> str:
    where = settings.kafka_bootstrap_servers
    if why is None:
        return f"Kafka at {where} has not acknowledged for {_STALLED_S:g} s; callbacks are kept meanwhile"
    return f"Kafka at {where}: {why}; callbacks are kept meanwhile"
