"""Works on fetched records until they are finished: runs the heads of key queues, retries, gives up, waits.

Knows records and partitions but does not fetch or commit: ``worker.py`` and ``commits.py`` do, and ask here
which partitions to pause (``paused``) and how far to commit (``offsets``). What one attempt is: see
``executor.py``.

A failing key waits by a timer while its queue stands still, so waiting costs no runner. While a dependency is
down, records wait at its breaker (``breaker.py``).
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, cast

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.error_location import error_location
from dingbridge.events.event import Event
from dingbridge.worker.attempts.executor import Executor, Outcome, classify
from dingbridge.worker.attempts.watchdog import TooLong, Turn
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.dead_letters import DeadLetters
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import DependencyUnavailable, Failure
from dingbridge.worker.queues.breaker import DEAD_LETTERS, HANDLER, Breakers
from dingbridge.worker.queues.in_flight import describe, words_of
from dingbridge.worker.queues.key_queue import KeyQueues
from dingbridge.worker.queues.offset_tracker import DROPPED, WAITING, OffsetTracker, QueuedRecord
from dingbridge.worker.scheduling.inbox_lookup import InboxLookup
from dingbridge.worker.scheduling.intake import Intake
from dingbridge.worker.scheduling.retries import Retries
from dingbridge.worker.scheduling.runners import Runners
from dingbridge.worker.scheduling.together import Together

log = structlog.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)

CANCEL_TIMEOUT_S = 10
"""How long a cancelled handler may take to end before the handover goes on without it, in s."""


class Scheduler:
    """Works on up to ``consumer.concurrency`` keys at the same time. ``on_paused_change`` is called when
    ``paused()`` or ``down()`` may have changed. Programs other than the bridge write to
    ``foreign_topics``."""

    def __init__(
        self,
        consumer: Consumer,
        executor: Executor,
        dead_letters: DeadLetters,
        offsets: OffsetTracker,
        metrics: WorkerMetrics,
        on_paused_change: Callable[[], None] = lambda: None,
        foreign_topics: Collection[str] = (),
    ) -> None:
        self.offsets = offsets
        self.before_careful: Callable[[TopicPartition], Awaitable[None]] | None = None
        """Awaited before such an attempt, to note it for the next member."""
        self._queues = KeyQueues()
        self._consumer, self._executor, self._dead_letters = consumer, executor, dead_letters
        self._metrics, self._on_paused_change = metrics, on_paused_change
        self._together = Together(consumer, foreign_topics)
        self._package = type(consumer).__module__.split(".")[0]
        self._words = partial(words_of, consumer.name)
        count = max(1, consumer.concurrency)
        self._runners = Runners(count, self._work, self._stuck, executor.watchdog)
        self._put = self._runners.put
        self._running: dict[QueuedRecord, Turn] = {}
        self._closing: set[TopicPartition] = set()
        self._breakers = Breakers(self._put, on_paused_change, self._package)
        self._retries = Retries(consumer, self._breakers, self._put, self._closing)
        self._ended = asyncio.Event()
        self._full_changes = offsets.full_changes
        self._lookup = InboxLookup(executor, self._together, self._queues)
        lookup = self._lookup if executor.asks_inbox_first else None
        self._intake = Intake(offsets, self._queues, self._together, self._put, lookup)
        self.careful_to = self._intake.careful_to

    def start(self) -> None:
        self._runners.start()

    async def watch(self) -> None:
        """Raises ``TaskEnded`` when a runner has ended before ``close``."""
        await self._runners.watch()

    async def close(self) -> None:
        """End the runners; call ``revoke`` first. A runner is left behind if its handler ignores being
        cancelled."""
        await self._runners.close()
        await self._executor.close()

    def add(self, records: Sequence[ConsumerRecord], failure: Failure | None = None) -> None:
        """Queue records of one partition, as fetched; with ``failure``, to be given up for it."""
        self._intake.add(records, failure)
        self._report_full()

    def paused(self) -> set[TopicPartition]:
        """Partitions that must not be fetched now, since they hold so much."""
        return self.offsets.full()

    def down(self) -> dict[str, str]:
        """The dependencies that are down, and why."""
        return self._breakers.down()

    def down_for_s(self) -> float:
        """For how long, in s, records have waited for the dependency that is down longest; 0 if none is."""
        return self._breakers.down_for_s()

    def in_flight(self) -> dict[str, Any]:
        """What is fetched and not finished, for a person: see ``queues/in_flight.py``."""
        return describe(self._consumer.name, self.offsets.unfinished(), self._running, self._breakers.open)

    async def revoke(self, partitions: set[TopicPartition], grace_s: float) -> None:
        """Let finish within ``grace_s`` what runs for ``partitions`` and what waits before it; drop the rest.

        Afterwards their committable offsets stand still: commit them, then call ``forget``.
        """
        self._closing |= partitions
        # while a dependency is down, what waits would not finish
        overtaken = deque(
            queued
            for partition in (() if self._breakers.open else partitions)
            for queued in self.offsets.overtaken(partition, self._running)
        )
        self._breakers.drop(partitions)
        stays = {*overtaken, *self._running}
        dropped, heads = self._queues.revoke(partitions, stays.__contains__)
        for queued in dropped:
            self.offsets.drop(queued)
        for head in heads:
            self._put(head)
        await self._wait_ended(partitions, grace_s, overtaken)
        for queued in overtaken:
            if queued not in self._running and self._drop([queued]):
                self._put_head(queued)
        for queued, turn in tuple(self._running.items()):
            if queued.partition in partitions:
                log.warning("consumer.abandoned", **self._words(queued), after_s=grace_s)
                turn.cut()
        await self._wait_ended(partitions, CANCEL_TIMEOUT_S, deque())
        for queued in [one for one in self._running if one.partition in partitions]:
            self._running.pop(queued)
            self._drop([queued])
            self._put_head(queued)

    def forget(self, partitions: set[TopicPartition]) -> None:
        """``partitions`` are no longer ours; they may come back at any time."""
        self.offsets.forget(partitions)
        self._closing -= partitions
        for partition in partitions:
            self.careful_to.pop(partition, None)

    async def _wait_ended(
        self, partitions: set[TopicPartition], timeout_s: float, waiting: deque[QueuedRecord]
    ) -> None:
        """Wait until nothing runs for ``partitions``, and ``waiting``, which shrinks, is finished."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    while waiting and waiting[0].state is not WAITING:
                        waiting.popleft()
                    if not waiting and all(one.partition not in partitions for one in self._running):
                        return
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            return

    async def _work(self, turn: Turn, head: QueuedRecord) -> None:
        """Make one attempt at ``head``, with the records behind it that share its fetch."""
        if head.state is not WAITING:
            return
        if head.event is None and head.failure is None:
            unreadable = self._together.decode(head)
            if unreadable is not None:
                head.failure = self._retries.failure(head, unreadable)
        if self._breakers.open and self._breakers.must_wait(head):
            return
        records = [head]
        self._running[head] = turn
        try:
            if (
                head.known is None
                and head.failure is None
                and (self._executor.asks_inbox_first or head.careful)
            ):
                await self._lookup.ask(head)
            if head.careful and not head.known:
                await self._note_attempt(head)
            if self._together.shares and head.failure is None and not head.known:
                records = self._together.first_of(self._queues.from_head(head))
                self._running.update(dict.fromkeys(records, turn))
            await (self._step(turn, head) if len(records) == 1 else self._step_together(turn, records))
        except asyncio.CancelledError:
            if turn.stuck or self._runners.closed or not (turn.revoked or head.state is DROPPED):
                raise
        except Exception as error:  # a fault of ours must not end the runner, nor lose the record
            self._fault(records, error)
        finally:
            if not turn.stuck:
                turn.restore()
                self._after(records)

    def _after(self, records: list[QueuedRecord]) -> None:
        """``records`` are not worked on any more; a rebalance may have gone on without some before."""
        records = [one for one in records if self._running.pop(one, None) is not None]
        for one in records:
            self._survived(one)
        self._ended.set()
        dropped = self._closing and self._drop([one for one in records if one.partition in self._closing])
        if dropped or len(records) > 1:
            self._put_head(records[0])

    def _survived(self, queued: QueuedRecord) -> None:
        """The process did not die in the attempt that was noted."""
        if queued.noted and queued.state is WAITING:
            queued.careful = queued.noted = False
            queued.troubled.deaths = 0

    def _drop(self, records: list[QueuedRecord]) -> bool:
        """Drop those of ``records`` that are not finished: their partitions are being handed over."""
        gone = [one for one in records if one.state is WAITING]
        for one in gone:
            self.offsets.drop(one)
        if gone:
            self._queues.remove(gone)
        return bool(gone)

    def _put_head(self, of_key: QueuedRecord) -> None:
        head = self._queues.head(of_key.key)
        if head is not None and head not in self._running:
            self._put(head)

    def _stuck(self, turn: Turn) -> None:
        """The handler of ``turn`` ignores being cancelled: go on with its records without it."""
        records = [queued for queued, runs in self._running.items() if runs is turn]
        error = TooLong(turn.half, self._consumer.handler_timeout_s)
        for queued in records:
            del self._running[queued]
            self._survived(queued)
        self._ended.set()
        if len(records) == 1 and records[0].partition not in self._closing:
            if self._retries.settle(records[0], classify(error)):
                self._put(records[0])
        elif records:
            self._drop([one for one in records if one.partition in self._closing])
            self._put_head(records[0])

    def _fault(self, records: list[QueuedRecord], error: Exception) -> None:
        head = records[0]
        if not isinstance(error, DependencyUnavailable):
            log.error("consumer.fault", **self._words(head), error=error_location(error, "consumers"))
        if len(records) == 1:
            was_given_up = head.failure is not None
            self._retries.unavailable(head, error, HANDLER, None)
            if head.failure is not None and not was_given_up:
                self._put(head)

    async def _note_attempt(self, head: QueuedRecord) -> None:
        """Note the attempt before it is made: if the process dies in it, the next member knows."""
        head.troubled.deaths += 1
        try:
            if self.before_careful is not None:
                await self.before_careful(head.partition)
        except BaseException:
            head.troubled.deaths -= 1
            raise
        head.noted = True

    async def _step_together(self, turn: Turn, records: list[QueuedRecord]) -> None:
        """Try ``records`` with one fetch. If that fails, try the first of them alone, then the rest
        together."""
        outcome = await self._attempt(turn, records)
        if outcome.kind == "partly":
            for queued in records:
                queued.known = None
            return
        if outcome.kind not in ("done", "seen"):
            records[0].alone = True
            return
        self._retries.worked(records[0], outcome)
        for queued in records:
            self._finish(queued, outcome.kind)
        self._queues.remove(records)
        self._report_full()

    async def _step(self, turn: Turn, queued: QueuedRecord) -> None:
        """Try ``queued`` once, and do what its outcome asks for."""
        ended = "seen"
        if queued.failure is None and not queued.known:
            outcome = await self._attempt(turn, [queued])
            if not self._retries.settle(queued, outcome):
                return
            ended = outcome.kind
        if queued.failure is not None:  # it may have been decided before, when Kafka or the database was down
            given_up = await self._give_up(queued, queued.failure)
            if given_up is None:
                return
            ended = given_up
        self._finish(queued, ended)
        self._put(self._queues.remove((queued,)))
        self._report_full()

    def _finish(self, queued: QueuedRecord, ended: str) -> None:
        if self._breakers.open:
            self._breakers.ended(queued)
        self._metrics.finished(queued.partition.topic, ended)
        if _stdlib_log.isEnabledFor(logging.DEBUG) and ended in ("done", "seen"):
            log.debug("consumer.handled", outcome=ended, **self._words(queued))
        if ended == "done":
            self._metrics.handled(cast(Event, queued.event), cast(Delivery, queued.delivery))
        self.offsets.finish(queued)

    async def _attempt(self, turn: Turn, records: Sequence[QueuedRecord]) -> Outcome:
        first = records[0]
        number = 1 if first.trouble is None else first.trouble.attempts + 1
        delivered = [(cast(Event, one.event), cast(Delivery, one.delivery)) for one in records]
        began = time.monotonic()
        outcome = await self._executor.attempt_together(delivered, number, turn)
        if turn.stuck or first.state is DROPPED:  # others have gone on without it
            raise asyncio.CancelledError
        self._metrics.attempted(outcome.kind, time.monotonic() - began)
        if outcome.kind not in ("done", "seen"):
            for queued in records:
                queued.event = None
                self._together.decode(queued)  # the handler may have changed the event's data
        return outcome

    async def _give_up(self, queued: QueuedRecord, failure: Failure) -> str | None:
        """How it ended; None when Kafka or the database does not take it now."""
        record, delivery = cast(ConsumerRecord, queued.record), cast(Delivery, queued.delivery)
        try:
            ended = await self._dead_letters.give_up(record, queued.event, delivery, failure)
        except DependencyUnavailable as error:
            self._retries.unavailable(queued, error, DEAD_LETTERS, error.retry_after_s)
            return None
        if queued.state is DROPPED:
            return None
        self._breakers.worked(queued, DEAD_LETTERS)
        if ended == "dead":
            self._metrics.dead_letter(queued.partition.topic)
            log.error(
                "consumer.dead_letter",
                **self._words(queued),
                error=failure.error,
                reason=failure.reason or None,
                frames=failure.frames.splitlines() or None,
            )
        return ended

    def _report_full(self) -> None:
        if self.offsets.full_changes != self._full_changes:
            self._full_changes = self.offsets.full_changes
            self._on_paused_change()
