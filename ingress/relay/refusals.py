"""What Kafka's errors mean for one record: refused for itself, or is the world down?

By Kafka's list of error codes (kafka.apache.org/protocol, "Error Codes") and by what brokers answer for a
partition of a produce request. What is retriable never comes: an idempotent producer sends again instead.
"""

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

from dingbridge.errors import TopicError, TopicForbidden, TopicLeaderless

TOO_LARGE = "too_large"
RIGHTS = "rights"
INVALID_TOPIC = "invalid_topic"
TOPIC_MISSING = "topic_missing"
NO_LEADER = "no_leader"
POLICY = "policy"
INVALID_RECORD = "invalid_record"
TIMESTAMP = "timestamp"
"""Of sending, which is now: whatever would be sent now is refused."""
FORMAT = "format"

UNEXPLAINED = "unexplained"
"""An error that says nothing, for so long that it is the topic's own."""

DAMAGED = "damaged"
"""Not Kafka's: the callback cannot be read from the journal as it was kept, so it is not published."""

MISSING = "missing"
"""Nor this: the file of its journal is not in the folder, or cannot be opened."""

ANEW = "anew"
"""Nothing is known against it any more: it can be read again, and is sent at the next try."""

LOST = frozenset({DAMAGED, MISSING})
"""No try will ever help, unless somebody finds it again: only what is lost may be given up."""

BLOCKING = frozenset({RIGHTS, INVALID_TOPIC, TOPIC_MISSING, NO_LEADER, TIMESTAMP, FORMAT, UNEXPLAINED})
"""Reasons that hold for a topic as a whole: while they last, its later records park behind, in order."""


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

_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (MessageSizeTooLargeError, TOO_LARGE),
    (RecordListTooLargeError, TOO_LARGE),
    (RecordTooLargeError, TOO_LARGE),
    (TopicAuthorizationFailedError, RIGHTS),
    (InvalidTopicError, INVALID_TOPIC),
    (TopicForbidden, RIGHTS),
    (TopicLeaderless, NO_LEADER),
    (TopicError, TOPIC_MISSING),
    (PolicyViolationError, POLICY),
    (InvalidRecordError, INVALID_RECORD),
    (InvalidTimestampError, TIMESTAMP),
    (UnsupportedForMessageFormatError, FORMAT),
    (UnsupportedCompressionError, FORMAT),
)


def refusal(error: BaseException) -> str | None:
    """Why Kafka refuses the record itself (a reason to park it); ``None`` when it would refuse any."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return None


def unexplained(error: BaseException) -> bool:
    """Whether it may be about one topic, or about the world: a fault in the broker, a code that nobody here
    knows, bytes that have changed on the way. If it stays with one partition, it is the topic's."""
    return type(error) in (UnknownError, CorruptRecordException)
