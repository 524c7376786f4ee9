"""Asks Kafka for pages, and waits no longer than a page may take; ``silent_since`` is for each page to show.

A broker that is frozen, or behind a network that drops packets, takes connections and never answers;
aiokafka's own time limits are tens of seconds.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from aiokafka.errors import KafkaConnectionError

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import KafkaSettings

T = TypeVar("T")

WITHIN_S: Final = 1.2
"""For so long a page waits for one answer, in s."""
SILENT_WITHIN_S: Final = 0.2
"""The same while Kafka is silent: a page may ask three times."""
LATE_S: Final = 10.0
"""For so long an answer is listened for that no page waits for any more: it ends the silence."""
MOST_LATE: Final = 8
"""Questions that are under way and nobody waits for; with so many Kafka is asked no more."""
LOOK_S: Final = 1.0
"""While something is read at length, Kafka is asked so often whether it answers, in s."""
QUIET_S: Final = 10.0
"""After so long without an answer to the feed, which asks all the time, Kafka is silent."""


class AskKafka:
    """``await ask_kafka(lambda: existing_topics(settings))``."""

    def __init__(
        self, settings: KafkaSettings, feed_answered_at: Callable[[], float | None] = lambda: None
    ) -> None:
        """``feed_answered_at``: when Kafka last answered the feed, which asks all the time (epoch s)."""
        self._settings, self._feed_answered_at = settings, feed_answered_at
        self._late: set[asyncio.Task[Any]] = set()
        self._readings: set[asyncio.Task[Any]] = set()
        self._answered_at = self._silent_at = 0.0
        self._silent_since: float | None = None

    @property
    def silent_since(self) -> float | None:
        """When Kafka last answered, or was first asked in vain (epoch s); None while it answers."""
        answered_at = self._feed_answered_at()
        if self._silent_since is not None and (answered_at is None or answered_at <= self._silent_at):
            return self._silent_since
        return answered_at if answered_at is not None and time.time() - answered_at > QUIET_S else None

    async def __call__(self, question: Callable[[], Coroutine[Any, Any, T]], within_s: float = WITHIN_S) -> T:
        """What ``question`` returns. Raises what it raises, and ``KafkaUnavailable`` where that takes longer
        than ``within_s``, or at once where too many questions are open."""
        asked_at = time.time()
        if len(self._late) >= MOST_LATE:
            raise self._silent(asked_at)
        patience = within_s if self.silent_since is None else min(within_s, SILENT_WITHIN_S)
        task = asyncio.create_task(self._answer(question, asked_at, within_s + LATE_S))
        try:
            done, _ = await asyncio.wait([task], timeout=patience)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if done:
            return self._result(task, asked_at)
        self._late.add(task)
        task.add_done_callback(self._ended)
        raise self._silent(asked_at)

    async def at_length(self, reading: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The same for what may take its time, as long as Kafka answers others meanwhile."""
        began_at, task = time.time(), asyncio.create_task(reading())
        self._readings.add(task)
        task.add_done_callback(self._ended)
        while not task.done():
            await self(lambda: existing_topics(self._settings))
            await asyncio.wait([task], timeout=LOOK_S)
        return self._result(task, began_at)

    async def stop(self) -> None:
        """Ends what is under way; waits a moment for that."""
        under_way = self._late | self._readings
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way, timeout=1)

    async def _answer(
        self, question: Callable[[], Coroutine[Any, Any, T]], asked_at: float, within_s: float
    ) -> T:
        try:
            async with asyncio.timeout(within_s):
                answer = await question()
        except KafkaUnavailable as error:
            if isinstance(error.__cause__, OSError | KafkaConnectionError):
                self._silent(asked_at)
            raise
        self._answered_at, self._silent_since = time.time(), None
        return answer

    def _result(self, task: asyncio.Task[T], asked_at: float) -> T:
        """What ``task`` ended with. aiokafka passes on cancellations of its own: nobody has cancelled us."""
        if task.cancelled():
            raise self._silent(asked_at)
        return task.result()

    def _silent(self, asked_at: float) -> KafkaUnavailable:
        self._silent_at = time.time()
        self._silent_since = self._silent_since or self._answered_at or asked_at
        return KafkaUnavailable(
            f"Kafka at {self._settings.kafka_bootstrap_servers} does not answer; check that its brokers run "
            "and can be reached from here"
        )

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        self._readings.discard(task)
        if not task.cancelled():
            task.exception()  # of one that nobody waits for any more
