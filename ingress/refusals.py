"""What Kafka's errors mean for one record: refused for itself, or is the world down? Pure."""

from aiokafka.errors import (
    InvalidTopicError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)

from bridge.errors import TopicError, TopicForbidden, TopicLeaderless

TOO_LARGE = "too_large"
RIGHTS = "rights"
INVALID_TOPIC = "invalid_topic"
TOPIC_MISSING = "topic_missing"
NO_LEADER = "no_leader"
POLICY = "policy"

DAMAGED = "damaged"
"""Not Kafka's: the callback cannot be read from the journal as it was kept, so it is not published."""

MISSING = "missing"
"""Nor this: the file of its journal is not in the folder, or cannot be opened."""

ANEW = "anew"
"""Nothing is known against it any more: it can be read again, and is sent at the next try."""

LOST = frozenset({DAMAGED, MISSING})
"""No try will ever help, unless somebody finds it again: only what is lost may be given up."""

BLOCKING = frozenset({RIGHTS, INVALID_TOPIC, TOPIC_MISSING, NO_LEADER})
"""Reasons that hold for a topic as a whole: while they last, its later records park behind, in order."""

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
)


def refusal(error: BaseException) -> str | None:
    """Why Kafka refuses the record itself (a reason to park it); ``None`` when it would refuse any."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return None
