"""The consumers' dead letters, read from their topics when a page asks; nothing is kept between two pages.

A queue of 100,000 takes some seconds to read, so each reading has a thread and an event loop of its own: the
console goes on meanwhile.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from dingbridge.errors import BridgeError
from dingbridge.kafka.topic_policy import CONSUMER_RE, dlq_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.replay.dead_letter_queue import DeadLetterGroup, DeadLetterQueue
from dingbridge.replay.dead_letters import DeadLetter, DeadLetterFilter
from dingbridge.settings import KafkaSettings

T = TypeVar("T")

_AT_ONCE = 4
_READINGS = 2
"""Consumers that one page reads at the same time, and pages that read: threads are few, and the audit, the
login and the index need some of them."""


@dataclass(frozen=True, slots=True)
class ConsumerGroups:
    """What waits of one consumer, by reason; or the ``problem``."""

    consumer: str
    groups: tuple[DeadLetterGroup, ...] = ()
    problem: BridgeError | None = None

    @property
    def count(self) -> int:
        return sum(group.count for group in self.groups)


class DeadLetters:
    """The dead letters of every consumer. Every method raises ``KafkaUnavailable``."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._turn = asyncio.Semaphore(_READINGS)

    async def overview(self) -> list[ConsumerGroups]:
        """Of each consumer that has a topic of dead letters, by name."""
        return await self._apart(self._overview)

    async def listed(
        self, consumer: str, wanted: DeadLetterFilter, *, after: int, limit: int
    ) -> tuple[list[DeadLetter], bool]:
        """``limit`` of those that match and wait, the oldest first, behind the first ``after`` of them; and
        whether there are more. Raises ``TopicError`` where the consumer has none."""
        return await self._apart(lambda: self._listed(consumer, wanted, after, limit))

    async def _apart(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._turn:
            return await asyncio.to_thread(lambda: asyncio.run(work()))

    async def _overview(self) -> list[ConsumerGroups]:
        prefix = dlq_topic(self._settings, "")
        topics = await existing_topics(self._settings)
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(consumer: str) -> ConsumerGroups:
            async with turn:
                try:
                    return ConsumerGroups(consumer, tuple(await self._groups(consumer, DeadLetterFilter())))
                except BridgeError as error:
                    return ConsumerGroups(consumer, problem=error)

        named = {name.removeprefix(prefix) for name in topics if name.startswith(prefix)}
        names = sorted(filter(CONSUMER_RE.fullmatch, named))
        return await asyncio.gather(*map(one, names))

    async def _listed(
        self, consumer: str, wanted: DeadLetterFilter, after: int, limit: int
    ) -> tuple[list[DeadLetter], bool]:
        found: list[DeadLetter] = []
        async with (
            DeadLetterQueue(self._settings, consumer) as queue,
            aclosing(queue.waiting(wanted)) as letters,
        ):
            async for letter in letters:
                if after:
                    after -= 1
                elif len(found) == limit:
                    return found, True
                else:
                    found.append(letter)
        return found, False

    async def _groups(self, consumer: str, wanted: DeadLetterFilter) -> list[DeadLetterGroup]:
        async with DeadLetterQueue(self._settings, consumer) as queue:
            return await queue.groups(wanted)
