"""Works on the records of one assignment until they are finished: runs the heads of key queues, retries,
gives up, waits. A rebalance closes the scheduler, and the next assignment begins with a new one.

Knows records and partitions but does not fetch or commit: ``worker.py`` and ``commits.py`` do, and ask here
which partitions to pause (``paused``) and how far to commit (``offsets``). What one attempt is: see
``executor.py``.

The state of a record is kept once. It waits in its key's queue; as the head of that it is ready, running
(``_turns``), waiting for its next attempt (``QueuedRecord.timer``), or held by a breaker (``breaker.py``);
then it is ``finished``. Waiting costs no task.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any, Final, cast

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.error_location import error_location
from dingbridge.events.event import Event, NotAnEvent
from dingbridge.tasks import raise_ended
from dingbridge.worker.attempts.executor import Executor, Outcome, classify
from dingbridge.worker.attempts.watchdog import CANCEL_GRACE_S, TooLong, Turn
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.dead_letters import LARGEST_BYTES, TOO_LARGE, DeadLetters, in_place, record_size
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import DependencyUnavailable, Failure
from dingbridge.worker.queues.breaker import DEAD_LETTERS, HANDLER, Breakers
from dingbridge.worker.queues.in_flight import describe, words_of
from dingbridge.worker.queues.key_queue import KeyQueues
from dingbridge.worker.queues.offset_tracker import OffsetTracker, QueuedRecord
from dingbridge.worker.scheduling.inbox_lookup import InboxLookup
from dingbridge.worker.scheduling.retries import Retries
from dingbridge.worker.scheduling.together import Together

log = structlog.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)

CANCEL_TIMEOUT_S: Final = CANCEL_GRACE_S + 1
"""How long a cancelled handler may take to end before the handover goes on without it, in s."""

TURN_S: Final = 0.01
"""How long handlers that wait for nothing may run before the event loop has a turn, in s."""

RECORD_OVERHEAD: Final = 400
"""About how much memory a queued record takes beside key, value and headers, in bytes."""

MOST_DEATHS: Final = 3
"""How often a process may die while a record runs alone before the record is given up."""

ENDED_ITS_PROCESS: Final = Failure.of(
    NotAnEvent(
        f"its process died {MOST_DEATHS} times while this record alone was handled, or did not answer Kafka "
        "any more; look for what blocks, or for too much memory"
    ),
    "dingbridge",
    MOST_DEATHS,
)


class Scheduler:
    """Works on up to ``consumer.concurrency`` keys at the same time.

    ``on_change`` is called when ``paused()`` or ``down()`` may have changed, or ``raise_fault`` would raise.
    Programs other than the bridge write to ``foreign_topics``.
    """

    def __init__(
        self,
        consumer: Consumer,
        executor: Executor,
        dead_letters: DeadLetters,
        offsets: OffsetTracker,
        metrics: WorkerMetrics,
        on_change: Callable[[], None] = lambda: None,
        foreign_topics: Collection[str] = (),
    ) -> None:
        self.offsets = offsets
        self.before_careful: Callable[[TopicPartition], Awaitable[None]] | None = None
        """Awaited before such an attempt, to note it for the next member."""
        self._queues = KeyQueues()
        self._consumer, self._executor, self._dead_letters = consumer, executor, dead_letters
        self._metrics, self._on_change = metrics, on_change
        self._together = Together(consumer, foreign_topics)
        self._words = partial(words_of, consumer.name)
        self._count = max(1, consumer.concurrency)
        self._ready: deque[QueuedRecord] = deque()
        self._careful: deque[QueuedRecord] = deque()  # ready, too: each runs alone, before all others
        self._turns: dict[Turn, list[QueuedRecord]] = {}  # what each task works on now
        self._alone = False  # a careful one runs
        self._last: set[QueuedRecord] | None = None  # at a handover: what may still be begun
        self._closed = False
        self._ended: asyncio.Task[Any] | None = None  # the task that ended by a fault of ours
        package = type(consumer).__module__.split(".")[0]
        self._breakers = Breakers(self._put, on_change, package)
        self._retries = Retries(consumer, self._breakers, self._put)
        self._full_changes = offsets.full_changes
        self._lookup = InboxLookup(executor, self._together, self._queues, self._heads)

    def raise_fault(self) -> None:
        """Raises ``TaskEnded`` when a task has ended by itself: its record would wait for ever."""
        if self._ended is not None:
            raise_ended(self._ended)

    def add(self, records: Sequence[ConsumerRecord], failure: Failure | None = None) -> None:
        """Queue records of one partition, as fetched; with ``failure``, to be given up for it. Of one that is
        larger than any of ours only its place is kept: few bytes unpack to hundreds of MiB."""
        if not records:
            return
        now, offsets, queues = time.time(), self.offsets, self._queues
        partition = TopicPartition(records[0].topic, records[0].partition)
        careful_to = offsets.careful_to.get(partition, 0)
        for record in records:
            size = record_size(record)
            key = partition if record.key is None else record.key
            queued = QueuedRecord(partition, record.offset, key, RECORD_OVERHEAD + size, record, now)
            if failure is not None or size > LARGEST_BYTES:
                queued.delivery, queued.failure = Delivery.of(record), failure
                if size > LARGEST_BYTES:
                    queued.record, queued.failure = in_place(record), TOO_LARGE
                    queued.size = RECORD_OVERHEAD + record_size(queued.record)
            offsets.add(queued)
            if record.offset < careful_to:
                self._be_careful(queued)
            if queues.add(queued) is not None:
                self._put(queued)
        self._report_full()

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
        return describe(self._consumer.name, self.offsets.unfinished(), self._running(), self._breakers.open)

    def _heads(self) -> Iterator[QueuedRecord]:
        return chain((records[0] for records in self._turns.values() if records), self._ready)

    def _running(self) -> set[QueuedRecord]:
        return {queued for records in self._turns.values() for queued in records}

    async def close(self, grace_s: float = 0) -> None:
        """Let finish within ``grace_s`` what runs and what waits before it; begin nothing else. Afterwards
        the committable offsets stand still. A task is left behind if its handler ignores being cancelled."""
        running = self._running()
        # while a dependency is down, what waits would not finish
        overtaken = () if self._breakers.open else self.offsets.overtaken(running)
        self._last = running.union(overtaken)
        self._ready = deque(filter(self._last.__contains__, self._ready))
        self._careful = deque(filter(self._last.__contains__, self._careful))
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while tasks := self._tasks():
                    await asyncio.wait(tasks)
        self._closed = True
        self._breakers.close()
        for queued in self.offsets.unfinished():
            if queued.timer is not None:
                queued.timer.cancel()
        for turn, records in self._turns.items():
            for queued in records:
                log.warning("consumer.abandoned", **self._words(queued), after_s=grace_s)
            turn.cut()
        if tasks := self._tasks():
            await asyncio.wait(tasks, timeout=CANCEL_TIMEOUT_S)

    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [turn.task for turn in self._turns if turn.task is not None]

    def _put(self, queued: QueuedRecord | None) -> None:
        """``queued``, if any, may be worked on now."""
        if queued is None or self._closed or (self._last is not None and queued not in self._last):
            return
        (self._careful if queued.careful else self._ready).append(queued)
        if len(self._turns) < self._count:
            self._begin_turns()

    def _may_begin(self) -> int:
        """How many records may be begun now."""
        if self._closed or self._alone:
            return 0
        if self._careful:
            return not any(self._turns.values())
        return len(self._ready)

    def _begin_turns(self) -> None:
        for _ in range(min(self._count - len(self._turns), self._may_begin())):
            turn = Turn(self._executor.watchdog, self._stuck)
            turn.task = asyncio.create_task(self._run(turn), name="that works on events")
            turn.task.add_done_callback(partial(self._turn_ended, turn))
            self._turns[turn] = []
            self._executor.watchdog.turns.add(turn)

    async def _run(self, turn: Turn) -> None:
        """Work on one record after the other while any is ready."""
        began = time.monotonic()
        while self._may_begin():
            if time.monotonic() - began > TURN_S:
                await asyncio.sleep(0)  # handlers that never wait would let nothing else have a turn
                began = time.monotonic()
                continue
            head = (self._careful or self._ready).popleft()
            self._alone = head.careful
            await self._work(turn, head)
            if self._alone:
                self._alone = False
                self._begin_turns()

    def _turn_ended(self, turn: Turn, task: asyncio.Task[Any]) -> None:
        self._executor.watchdog.turns.discard(turn)
        failed = task.cancelled() or task.exception() is not None
        if self._turns.pop(turn, None) is None or self._closed:
            return
        if failed:
            self._ended = task
            self._on_change()
        self._begin_turns()

    def _stuck(self, turn: Turn) -> None:
        """The handler of ``turn`` ignores being cancelled: go on with its records without it."""
        records = self._turns.pop(turn, [])
        if not records or self._closed:
            return
        self._alone = False
        for queued in records:
            self._survived(queued)
        error = TooLong(turn.half, self._consumer.handler_timeout_s)
        if len(records) > 1 or self._retries.settle(records[0], classify(error)):
            self._put(records[0])
        self._begin_turns()

    async def _work(self, turn: Turn, head: QueuedRecord) -> None:
        """Make one attempt at ``head``, with the records behind it that share its fetch."""
        if head.finished:
            return
        if head.event is None and head.failure is None:
            unreadable = self._together.decode(head)
            if unreadable is not None:
                head.failure = self._retries.failure(head, unreadable)
        if self._breakers.open and self._breakers.must_wait(head):
            return
        records = self._turns[turn] = [head]
        try:
            if head.failure is None:
                if self._lookup.needed(head):
                    await self._lookup.ask(head)
                if head.careful and not head.known:
                    await self._note_attempt(head)
                if self._together.shares and not head.known and self._last is None:
                    records[:] = self._together.first_of(self._queues.from_head(head))
            await (self._step(turn, head) if len(records) == 1 else self._step_together(turn, records))
        except Exception as error:  # a fault of ours must not end the task, nor lose the record
            if not self._closed:
                self._fault(records, error)
        finally:
            if turn in self._turns and not self._closed:
                turn.restore()
                self._turns[turn] = []
                for queued in records:
                    self._survived(queued)

    def _survived(self, queued: QueuedRecord) -> None:
        """The process did not die in the attempt that was noted."""
        if queued.noted and not queued.finished:
            queued.careful = queued.noted = False
            queued.troubled.deaths = 0

    def _fault(self, records: list[QueuedRecord], error: Exception) -> None:
        head = records[0]
        if not isinstance(error, DependencyUnavailable):
            log.error("consumer.fault", **self._words(head), error=error_location(error, "consumers"))
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
        elif outcome.kind not in ("done", "seen"):
            records[0].alone = True
        else:
            self._finish_together(records, outcome)
            return
        self._put(records[0])

    def _finish_together(self, records: list[QueuedRecord], outcome: Outcome) -> None:
        self._retries.worked(records[0], outcome)
        for queued in records:
            self._finish(queued, outcome.kind)
        self._put(self._queues.remove(records))
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
        if turn.stuck or self._closed:  # others go on without it
            raise asyncio.CancelledError
        self._metrics.attempted(outcome.kind, time.monotonic() - began)
        self._lookup.repeats = self._lookup.repeats or outcome.kind == "seen"
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
        if self._closed:
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
            self._on_change()
