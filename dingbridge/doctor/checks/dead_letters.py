"""The dead letters that wait, by consumer: read from their topics as ``dingbridge dlq`` does."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dingbridge.doctor.findings import Both, Finding, found
from dingbridge.errors import BridgeError
from dingbridge.kafka.topic_policy import dlq_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.replay.dead_letter_queue import DeadLetterQueue
from dingbridge.replay.dead_letters import DeadLetterFilter
from dingbridge.settings import KafkaSettings

_WITHIN_S: Final = 60
"""For all consumers together, in s: some 100,000 letters are read in 5."""
_SLOW: Final = Both(f"they are not read within {_WITHIN_S} s", f"{_WITHIN_S} 秒内没有读完")


@dataclass(frozen=True, slots=True)
class Seen:
    """``waiting`` letters by consumer; of those in ``unread`` why they could not be counted."""

    waiting: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, str | Both] = field(default_factory=dict)


async def look(settings: KafkaSettings, consumers: Sequence[str] | None) -> Seen:
    """Of ``consumers``, None for all that have a topic of dead letters. Kafka is there; never raises for its
    sake."""
    prefix = dlq_topic(settings, "")
    waiting: dict[str, int] = {}
    unread: dict[str, str | Both] = {}
    try:
        topics = await existing_topics(settings)
    except BridgeError as error:
        return Seen(unread={"*": str(error)})
    names = {topic.removeprefix(prefix) for topic in topics if topic.startswith(prefix)}
    left = sorted(names if consumers is None else names.intersection(consumers))
    try:
        async with asyncio.timeout(_WITHIN_S):
            while left:
                try:
                    async with DeadLetterQueue(settings, left[0]) as queue:
                        groups = await queue.groups(DeadLetterFilter())
                    waiting[left[0]] = sum(group.count for group in groups)
                except BridgeError as error:
                    unread[left[0]] = str(error)
                left.pop(0)
    except TimeoutError:
        unread |= dict.fromkeys(left, _SLOW)
    return Seen(waiting, unread)


def judge(seen: Seen) -> list[Finding]:
    """Nothing where none waits."""
    return [
        *(
            found("dead_letters.waiting", consumer=name, count=count)
            for name, count in seen.waiting.items()
            if count
        ),
        *(found("dead_letters.unread", consumer=name, reason=reason) for name, reason in seen.unread.items()),
    ]
