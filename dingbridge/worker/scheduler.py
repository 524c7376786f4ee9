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
from typing import Any, cast

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.availability import is_given_up
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.events.event import Event, NotAnEvent
from dingbridge.logging import excerpt
from dingbridge.retry import delay
from dingbridge.worker.breaker import DATABASE, DEAD_LETTERS, HANDLER, Breakers, Dependency
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.dead_letters import LARGEST_BYTES, TOO_LARGE, DeadLetters, in_place, record_size
from dingbridge.worker.delivery import Delivery, hash_key
from dingbridge.worker.executor import Executor, Outcome, classify
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import DependencyUnavailable, Failure, own_words
from dingbridge.worker.queues.in_flight import describe
from dingbridge.worker.queues.key_queue import KeyQueues
from dingbridge.worker.queues.offset_tracker import DROPPED, WAITING, OffsetTracker, QueuedRecord
from dingbridge.worker.runners import Runners
from dingbridge.worker.together import MOST_TOGETHER, Together
from dingbridge.worker.watchdog import TooLong, Turn

log = structlog.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)

RECORD_OVERHEAD = 400
"""About how much memory a queued record takes beside key, value and headers, in bytes."""

CANCEL_TIMEOUT_S = 10
"""How long a cancelled handler may take to end before the handover goes on without it, in s."""

MOST_DEATHS = 3
"""How often a process may die while a record runs alone before the record is given up."""

ENDED_ITS_PROCESS = Failure.of(
    NotAnEvent(
        f"its process died {MOST_DEATHS} times while this record alone was handled, or did not answer Kafka "
        "any more; look for what blocks, or for too much memory"
    ),
    "dingbridge",
    MOST_DEATHS,
)


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
        self.careful_to: dict[TopicPartition, int] = {}
        """Records below this offset may have ended a process: they are tried alone first."""
        self.before_careful: Callable[[TopicPartition], Awaitable[None]] | None = None
        """Awaited before such an attempt, to note it for the next member."""
        self._queues = KeyQueues()
        self._consumer, self._executor, self._dead_letters = consumer, executor, dead_letters
        self._metrics, self._on_paused_change = metrics, on_paused_change
        self._together = Together(consumer, foreign_topics)
        self._package = type(consumer).__module__.split(".")[0]
        count = max(1, consumer.concurrency)
        self._runners = Runners(count, self._work, self._stuck, executor.watchdog)
        self._put = self._runners.put
        self._running: dict[QueuedRecord, Turn] = {}
        self._closing: set[TopicPartition] = set()
        self._breakers = Breakers(self._put, on_paused_change, self._package)
        self._ended = asyncio.Event()
        self._full_changes = offsets.full_changes
        self._answered = HANDLER if executor.database is None else HANDLER | DATABASE
        self._unasked: deque[QueuedRecord] = deque()
        self._asking: asyncio.Event | None = None

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
        """Queue records of one partition, as fetched; with ``failure``, to be given up for it. Of one that is
        larger than any of ours only its place is kept: few bytes unpack to hundreds of MiB."""
        if not records:
            return
        now, offsets, queues, put = time.time(), self.offsets, self._queues, self._put
        partition = TopicPartition(records[0].topic, records[0].partition)
        careful_to = self.careful_to.get(partition, 0)
        asks_first = self._executor.asks_inbox_first
        for record in records:
            size = record_size(record)
            key = partition if record.key is None else record.key
            queued = QueuedRecord(partition, record.offset, key, RECORD_OVERHEAD + size, record, now)
            if failure is not None or size > LARGEST_BYTES:
                self._give_up_at_once(queued, record, failure)
            offsets.add(queued)
            if record.offset < careful_to:
                self._be_careful(queued)
            if asks_first:
                self._unasked.append(queued)
            put(queues.add(queued))
        self._report_full()

    def _give_up_at_once(self, queued: QueuedRecord, record: ConsumerRecord, failure: Failure | None) -> None:
        if record_size(record) > LARGEST_BYTES:
            queued.record, failure = in_place(record), TOO_LARGE
            queued.size = RECORD_OVERHEAD + record_size(cast(ConsumerRecord, queued.record))
        queued.delivery, queued.failure = Delivery.of(record), failure

    def _be_careful(self, queued: QueuedRecord) -> None:
        if queued.trouble is not None and queued.trouble.deaths >= MOST_DEATHS:
            self._together.decode(queued)
            queued.failure = ENDED_ITS_PROCESS
        queued.careful = queued.failure is None

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
        """Start nothing more for ``partitions``; let what runs finish within ``grace_s``, cancel the rest.

        Afterwards their committable offsets stand still: commit them, then call ``forget``.
        """
        self._closing |= partitions
        self._breakers.drop(partitions)
        dropped, heads = self._queues.revoke(partitions, lambda queued: queued in self._running)
        for queued in dropped:
            self.offsets.drop(queued)
        for head in heads:
            self._put(head)
        await self._wait_ended(partitions, grace_s)
        for queued, turn in tuple(self._running.items()):
            if queued.partition in partitions:
                log.warning("consumer.abandoned", **self._describe(queued), after_s=grace_s)
                turn.cut()
        await self._wait_ended(partitions, CANCEL_TIMEOUT_S)
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

    async def _wait_ended(self, partitions: set[TopicPartition], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while any(queued.partition in partitions for queued in self._running):
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
                head.failure = self._failure(head, unreadable)
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
                await self._ask_inbox(head)
            if head.careful and not head.known:
                await self._note_attempt(head)
            if self._together.shares and head.failure is None and not head.known:
                records = self._together.first_of(self._queues.from_head(head))
                self._running.update(dict.fromkeys(records, turn))
            await (self._step(turn, head) if len(records) == 1 else self._step_together(turn, records))
        except asyncio.CancelledError:
            if turn.stuck or self._runners.closed or not (turn.revoked or head.state is DROPPED):
                raise
            turn.revoked = False
            while turn.task is not None and turn.task.cancelling():
                turn.task.uncancel()
        except Exception as error:  # a fault of ours must not end the runner, nor lose the record
            self._fault(records, error)
        finally:
            if not turn.stuck:
                self._after(records)

    def _after(self, records: list[QueuedRecord]) -> None:
        """Nobody works on ``records`` any more."""
        for one in records:
            self._running.pop(one, None)
            if one.careful and one.state is WAITING:
                one.careful = False
                one.troubled.deaths = 0
        self._ended.set()
        dropped = self._closing and self._drop([one for one in records if one.partition in self._closing])
        if dropped or len(records) > 1:
            self._put_head(records[0])

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
        self._ended.set()
        if len(records) == 1 and records[0].partition not in self._closing:
            if self._settle(records[0], classify(error)):
                self._put(records[0])
        elif records:
            self._drop([one for one in records if one.partition in self._closing])
            self._put_head(records[0])

    def _fault(self, records: list[QueuedRecord], error: Exception) -> None:
        head = records[0]
        if not isinstance(error, DependencyUnavailable):
            log.error("consumer.fault", **self._describe(head), error=error_location(error, "consumers"))
        if len(records) == 1:
            was_given_up = head.failure is not None
            self._unavailable(head, error, HANDLER, None)
            if head.failure is not None and not was_given_up:
                self._put(head)

    async def _ask_inbox(self, head: QueuedRecord) -> None:
        """Ask the inbox table, in one statement, which of the records are known that wait and were not asked
        for: a run that was published twice then costs no call."""
        while head.known is None:
            if self._asking is not None:
                await self._asking.wait()
                continue
            self._asking = asyncio.Event()
            try:
                await self._ask_inbox_for(self._next_unasked(head))
            finally:
                self._asking.set()
                self._asking = None

    def _next_unasked(self, head: QueuedRecord) -> list[QueuedRecord]:
        found = {one: None for one in self._queues.from_head(head) if one.known is None}
        while self._unasked and len(found) < MOST_TOGETHER:
            queued = self._unasked.popleft()
            if queued.state is WAITING and queued.known is None:
                found[queued] = None
        return list(found)[:MOST_TOGETHER]

    async def _ask_inbox_for(self, records: list[QueuedRecord]) -> None:
        readable = [one for one in records if self._together.decode(one) is None and one.failure is None]
        outcomes = await self._executor.known(
            [(cast(Event, one.event), cast(Delivery, one.delivery)) for one in readable]
        )
        for queued in records:
            queued.known = False
        for queued, outcome in zip(readable, outcomes, strict=True):
            queued.known = outcome is not None
            if outcome is not None and outcome.failure is not None and queued.state is WAITING:
                queued.failure = outcome.failure

    async def _note_attempt(self, head: QueuedRecord) -> None:
        """Note the attempt before it is made: if the process dies in it, the next member knows."""
        if self.before_careful is not None:
            head.troubled.deaths += 1
            await self.before_careful(head.partition)

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
        self._worked(records[0], outcome)
        for queued in records:
            self._finish(queued, outcome.kind)
        self._queues.remove(records)
        self._report_full()

    async def _step(self, turn: Turn, queued: QueuedRecord) -> None:
        """Try ``queued`` once, and do what its outcome asks for."""
        ended = "seen"
        if queued.failure is None and not queued.known:
            outcome = await self._attempt(turn, [queued])
            if not self._settle(queued, outcome):
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

    def _settle(self, queued: QueuedRecord, outcome: Outcome) -> bool:
        """Do what ``outcome`` asks for; whether ``queued`` is at its end, well or to be given up."""
        kind = outcome.kind
        if kind == "done":
            self._worked(queued, outcome)
        elif kind == "unavailable":
            self._unavailable(queued, outcome.error, outcome.asked or HANDLER, outcome.after)
        elif kind == "given_up":
            queued.failure = outcome.failure
        elif kind != "seen":
            if isinstance(outcome.error, ApiError):  # DingTalk answered
                self._breakers.worked(queued, outcome.asked)
            trouble = queued.troubled
            trouble.attempts += outcome.counts
            most = self._consumer.max_attempts
            last = outcome.counts and most is not None and trouble.attempts >= most
            if kind == "retry" and not last:
                self._later(queued, outcome)
                return False
            queued.failure = self._failure(queued, outcome.error)
        return kind != "unavailable" or queued.failure is not None

    def _worked(self, queued: QueuedRecord, outcome: Outcome) -> None:
        asked = outcome.asked | self._answered
        if queued.trouble is not None:
            asked |= queued.trouble.failed_asking
        self._breakers.worked(queued, asked)

    def _finish(self, queued: QueuedRecord, ended: str) -> None:
        if self._breakers.open:
            self._breakers.ended(queued)
        self._metrics.finished(queued.partition.topic, ended)
        if _stdlib_log.isEnabledFor(logging.DEBUG) and ended in ("done", "seen"):
            log.debug("consumer.handled", outcome=ended, **self._describe(queued))
        if ended == "done":
            self._metrics.handled(cast(Event, queued.event), cast(Delivery, queued.delivery))
        self.offsets.finish(queued)

    def _failure(self, queued: QueuedRecord, error: BaseException | None) -> Failure:
        trouble = queued.troubled
        return Failure.of(error, self._package, max(1, trouble.attempts + trouble.own_failures))

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

    def _later(self, queued: QueuedRecord, outcome: Outcome) -> None:
        if queued.partition in self._closing:
            return
        consumer, trouble = self._consumer, queued.troubled
        wait = outcome.after
        if wait is None:
            wait = delay(trouble.attempts, consumer.retry_first_s, consumer.retry_max_s)
        if outcome.counts or (outcome.error and outcome.error.__cause__):
            trouble.outcome, trouble.error = outcome.kind, error_location(outcome.error, self._package)
        else:  # it made progress, or waits as planned: nothing failed
            trouble.outcome = trouble.error = ""
        if outcome.counts:
            self._log_retry(queued, outcome.error, wait)
        self._put_after(wait, queued)
        self._breakers.ended(queued)

    async def _give_up(self, queued: QueuedRecord, failure: Failure) -> str | None:
        """How it ended; None when Kafka or the database does not take it now."""
        record, delivery = cast(ConsumerRecord, queued.record), cast(Delivery, queued.delivery)
        try:
            ended = await self._dead_letters.give_up(record, queued.event, delivery, failure)
        except DependencyUnavailable as error:
            self._unavailable(queued, error, DEAD_LETTERS, error.retry_after_s)
            return None
        if queued.state is DROPPED:
            return None
        self._breakers.worked(queued, DEAD_LETTERS)
        if ended == "dead":
            self._metrics.dead_letter(queued.partition.topic)
            log.error(
                "consumer.dead_letter",
                **self._describe(queued),
                error=failure.error,
                reason=failure.reason or None,
                frames=failure.frames.splitlines() or None,
            )
        return ended

    def _unavailable(
        self, queued: QueuedRecord, error: BaseException | None, asked: Dependency, after: float | None
    ) -> None:
        """A dependency failed, perhaps not because of ``queued``. The record waits, alone or for the
        dependency, or is given up."""
        if queued.partition in self._closing or queued.state is DROPPED:
            return
        trouble = queued.troubled
        trouble.outcome, trouble.error = "unavailable", error_location(error, self._package)
        own_before = trouble.own_failures
        wait = self._breakers.failed(queued, error, asked, after)
        if wait is None:
            return
        gives_up = trouble.own_failures > own_before and self._consumer.max_attempts is not None
        if gives_up and queued.failure is None and is_given_up(trouble.own_since, time.monotonic()):
            queued.failure = self._failure(queued, error)
            return
        self._log_retry(queued, error, wait)
        self._put_after(wait, queued)
        self._breakers.ended(queued)

    def _log_retry(self, queued: QueuedRecord, error: BaseException | None, wait_s: float) -> None:
        log.warning(
            "consumer.retry",
            **self._describe(queued),
            error=queued.troubled.error,
            reason=own_words(error) or None,
            retry_in_s=round(wait_s, 2),
        )

    def _report_full(self) -> None:
        if self.offsets.full_changes != self._full_changes:
            self._full_changes = self.offsets.full_changes
            self._on_paused_change()

    def _put_after(self, wait_s: float, queued: QueuedRecord) -> None:
        queued.troubled.next_attempt_at = time.time() + wait_s
        asyncio.get_running_loop().call_later(wait_s, self._put_again, queued)

    def _put_again(self, queued: QueuedRecord) -> None:
        queued.troubled.next_attempt_at = None
        self._put(queued)

    def _describe(self, queued: QueuedRecord) -> dict[str, str | int | None]:
        """What may stand in a log about a record: ids and types, no values."""
        event, trouble = queued.event, queued.trouble
        return {
            "consumer": self._consumer.name,
            "event_id": excerpt(event.id) if event else None,
            "event_type": excerpt(event.event_type) if event else None,
            "key": hash_key(queued.key if isinstance(queued.key, bytes) else None),
            "topic": queued.partition.topic,
            "partition": queued.partition.partition,
            "offset": queued.offset,
            "attempt": 0 if trouble is None else trouble.attempts + trouble.own_failures,
        }
