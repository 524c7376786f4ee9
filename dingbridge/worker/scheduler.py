"""Works on fetched records until they are finished: runs the heads of key queues, retries, gives up, waits.

Knows records and partitions but does not fetch or commit: ``worker.py`` does, and asks here which partitions
to pause (``paused``) and how far to commit (``offsets``). What one attempt is: see ``executor.py``.

A failing key waits by a timer while its queue stands still, so waiting costs no runner. When a dependency is
down, the partition pauses (``queues/pauses.py``).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.availability import is_given_up
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.events.event import Event
from dingbridge.logging import excerpt
from dingbridge.retry import delay
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.dead_letters import LARGEST_BYTES, TOO_LARGE, DeadLetters, in_place, record_size
from dingbridge.worker.delivery import Delivery, hash_key
from dingbridge.worker.executor import Executor, Outcome
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import DependencyUnavailable, Failure, own_words
from dingbridge.worker.queues.in_flight import describe
from dingbridge.worker.queues.key_queue import KeyQueues
from dingbridge.worker.queues.offset_tracker import OffsetTracker, QueuedRecord, State
from dingbridge.worker.queues.pauses import DEAD_LETTERS, HANDLER, Asked, Pauses
from dingbridge.worker.runners import Runners
from dingbridge.worker.together import Together

log = structlog.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)

RECORD_OVERHEAD = 400
"""About how much memory a queued record takes beside key, value and headers, in bytes."""

CANCEL_TIMEOUT_S = 10
"""How long a cancelled handler may take to end before the handover goes on without it, in s."""


class Scheduler:
    """Works on up to ``consumer.concurrency`` keys at the same time. ``on_paused_change`` is called when
    ``paused()`` may have changed. Programs other than the bridge write to ``foreign_topics``."""

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
        self._queues = KeyQueues()
        self._consumer, self._executor, self._dead_letters = consumer, executor, dead_letters
        self._metrics, self._on_paused_change = metrics, on_paused_change
        self._together = Together(consumer, foreign_topics)
        self._package = type(consumer).__module__.split(".")[0]
        self._runners = Runners(max(1, consumer.concurrency), self._work)
        self._put = self._runners.put
        self._running: dict[QueuedRecord, asyncio.Task[None]] = {}
        self._abandoned: set[QueuedRecord] = set()
        self._closing: set[TopicPartition] = set()
        self._pauses = Pauses(self._put, on_paused_change, self._package)
        self._ended = asyncio.Event()
        self._full_changes = offsets.full_changes

    def start(self) -> None:
        self._runners.start()

    async def watch(self) -> None:
        """Raises ``TaskEnded`` when a runner has ended before ``close``."""
        await self._runners.watch()

    async def close(self) -> None:
        """End the runners; call ``revoke`` first. One whose handler does not heed that is left behind."""
        await self._runners.close()

    def add(self, records: Sequence[ConsumerRecord], failure: Failure | None = None) -> None:
        """Queue records of one partition, as fetched; with ``failure``, to be given up for it. Of one that is
        larger than any of ours only its place is kept: few bytes unpack to hundreds of MiB."""
        now = time.time()
        for fetched in records:
            record, why = fetched, failure
            if record_size(record) > LARGEST_BYTES:
                record, why = in_place(record), TOO_LARGE
            partition = TopicPartition(record.topic, record.partition)
            key = partition if record.key is None else record.key
            size = RECORD_OVERHEAD + record_size(record)
            queued = QueuedRecord(partition, record.offset, key, size, record, fetched_at=now)
            if why is not None:
                queued.delivery, queued.failure = Delivery.of(record), why
            self.offsets.add(queued)
            self._put(self._queues.add(queued))
        self._report_full()

    def paused(self) -> dict[TopicPartition, str]:
        """Partitions that must not be fetched now, and why."""
        reasons = dict.fromkeys(self.offsets.full(), "full")
        return reasons | self._pauses.not_to_fetch()

    def down(self) -> dict[TopicPartition, str]:
        """Partitions that wait since a dependency is down, and the reason."""
        return self._pauses.down()

    def down_for_s(self) -> float:
        """For how long, in s, the partition has waited that waits longest; 0 if none does."""
        return self._pauses.down_for_s()

    def in_flight(self) -> dict[str, Any]:
        """What is fetched and not finished, for a person: see ``queues/in_flight.py``."""
        return describe(self._consumer.name, self.offsets.unfinished(), self._running, self._pauses.of)

    async def revoke(self, partitions: set[TopicPartition], grace_s: float) -> None:
        """Start nothing more for ``partitions``; let what runs finish within ``grace_s``, cancel the rest.

        Afterwards their committable offsets stand still: commit them, then call ``forget``.
        """
        self._closing |= partitions
        self._pauses.drop(partitions)
        dropped, heads = self._queues.revoke(partitions, lambda queued: queued in self._running)
        for queued in dropped:
            self.offsets.drop(queued)
        for head in heads:
            self._put(head)
        await self._wait_ended(partitions, grace_s)
        left = [queued for queued in self._running if queued.partition in partitions]
        for queued in left:
            log.warning("consumer.abandoned", **self._describe(queued), after_s=grace_s)
            self._abandoned.add(queued)
        for task in {self._running[queued] for queued in left}:
            task.cancel()
        await self._wait_ended(partitions, CANCEL_TIMEOUT_S)

    def forget(self, partitions: set[TopicPartition]) -> None:
        """``partitions`` are no longer ours; they may come back at any time."""
        self.offsets.forget(partitions)
        self._closing -= partitions

    async def _wait_ended(self, partitions: set[TopicPartition], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while any(queued.partition in partitions for queued in self._running):
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            return

    async def _work(self, queued: QueuedRecord) -> None:
        if queued.state is State.DROPPED or self._pauses.must_wait(queued):
            return
        records = self._together.first_of(self._queues.from_head(queued))
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._running |= dict.fromkeys(records, task)
        try:
            if len(records) > 1:
                await self._step_together(records)
            else:
                await self._step(queued)
        except asyncio.CancelledError:
            if self._runners.closed or self._abandoned.isdisjoint(records):
                raise
        except Exception as error:  # a fault of ours must not end the runner, nor lose the record
            log.error("consumer.fault", **self._describe(queued), error=error_location(error, "consumers"))
            if len(records) == 1:
                was_given_up = queued.failure is not None
                self._unavailable(queued, error, HANDLER, None)
                if queued.failure is not None and not was_given_up:
                    self._put(queued)
        finally:
            for one in records:
                del self._running[one]
            self._ended.set()
            self._drop_gone(records, task)
            if len(records) > 1:
                self._put(self._queues.head(queued.key))

    def _drop_gone(self, records: list[QueuedRecord], task: asyncio.Task[None]) -> None:
        """Drop those of ``records`` whose partitions are being handed over; no one works on them any more."""
        gone = [one for one in records if self._goes(one)]
        if not self._abandoned.isdisjoint(gone):
            self._abandoned -= set(gone)
            while task.cancelling():
                task.uncancel()
        gone = [one for one in gone if one.state is State.WAITING]
        for one in gone:
            self.offsets.drop(one)
        if gone:
            head = self._queues.remove(gone)
            if len(records) == 1:
                self._put(head)

    async def _step_together(self, records: list[QueuedRecord]) -> None:
        """Try ``records`` with one fetch. If that fails, try the first of them alone, then the rest
        together."""
        records[0].alone = True
        outcome = await self._attempt(records)
        if outcome.kind != "done":
            return
        self._pauses.worked(records[0], outcome.asked | HANDLER | records[0].failed_asking)
        for queued in records:
            self._finish(queued, "done")
        self._queues.remove(records)
        self._report_full()

    async def _step(self, queued: QueuedRecord) -> None:
        """Try ``queued`` once, and do what its outcome asks for."""
        ended: str = "seen"
        if queued.failure is None:
            outcome = await self._try(queued)
            ended = outcome.kind
            if ended == "unavailable":
                self._unavailable(queued, outcome.error, outcome.asked or HANDLER, outcome.after)
            elif ended == "given_up":
                queued.failure = outcome.failure
            elif ended == "done":
                self._pauses.worked(queued, outcome.asked | HANDLER | queued.failed_asking)
            elif ended != "seen":
                if isinstance(outcome.error, ApiError):  # DingTalk answered
                    self._pauses.worked(queued, outcome.asked)
                queued.attempts += outcome.counts
                if ended == "retry" and not (outcome.counts and self._was_last(queued)):
                    self._later(queued, outcome)
                    return
                queued.failure = self._failure(queued, outcome.error)
            if ended == "unavailable" and queued.failure is None:
                return
        if queued.failure is not None:  # decided before, but Kafka or the database was down then
            given_up = await self._give_up(queued, queued.failure)
            if given_up is None:
                return
            ended = given_up
        self._finish(queued, ended)
        self._put(self._queues.remove([queued]))
        self._report_full()

    def _finish(self, queued: QueuedRecord, ended: str) -> None:
        self._pauses.ended(queued)
        self._metrics.finished(queued.partition.topic, ended)
        if ended == "done":
            self._metrics.handled(cast(Event, queued.event), cast(Delivery, queued.delivery))
        self.offsets.finish(queued)

    def _failure(self, queued: QueuedRecord, error: BaseException | None) -> Failure:
        return Failure.of(error, self._package, queued.attempts + queued.own_failures)

    async def _try(self, queued: QueuedRecord) -> Outcome:
        if (unreadable := self._together.decode(queued)) is not None:
            return Outcome("not_an_event", unreadable)
        outcome = await self._attempt([queued])
        if outcome.kind in ("done", "seen") and _stdlib_log.isEnabledFor(logging.DEBUG):
            log.debug("consumer.handled", outcome=outcome.kind, **self._describe(queued))
        return outcome

    async def _attempt(self, records: Sequence[QueuedRecord]) -> Outcome:
        """One attempt of the executor. A handler that uses no database runs in this very task, and may cancel
        it: that is an outcome of its own, and the runner goes on."""
        came = [(cast(Event, queued.event), cast(Delivery, queued.delivery)) for queued in records]
        task = cast("asyncio.Task[None]", asyncio.current_task())
        outcome: Outcome | None = None
        began = time.monotonic()
        try:
            outcome = await self._executor.attempt_together(came, records[0].attempts + 1)
            if task.cancelling() and self._abandoned.isdisjoint(records):
                await asyncio.sleep(0)  # where it is raised, if it was not yet
        except asyncio.CancelledError as error:
            if self._runners.closed or not self._abandoned.isdisjoint(records):
                raise
            while task.cancelling():
                task.uncancel()
            outcome = outcome or Outcome("retry", error)
        self._metrics.attempted(outcome.kind, time.monotonic() - began)
        if outcome.kind not in ("done", "seen"):
            for queued in records:
                queued.event = None
                self._together.decode(queued)  # the handler may have changed the event's data
        return outcome

    def _goes(self, queued: QueuedRecord) -> bool:
        """Whether its partition is being handed over, or was handed over meanwhile."""
        return queued.partition in self._closing or queued in self._abandoned

    def _was_last(self, queued: QueuedRecord) -> bool:
        most = self._consumer.max_attempts
        return most is not None and queued.attempts >= most

    def _later(self, queued: QueuedRecord, outcome: Outcome) -> None:
        if self._goes(queued):
            return
        consumer = self._consumer
        wait = outcome.after
        if wait is None:
            wait = delay(queued.attempts, consumer.retry_first_s, consumer.retry_max_s)
        if outcome.counts or (outcome.error and outcome.error.__cause__):
            queued.last_outcome = outcome.kind
            queued.last_error = error_location(outcome.error, self._package)
        else:  # it made progress, or waits as planned: nothing failed
            queued.last_outcome = queued.last_error = ""
        if outcome.counts:
            log.warning(
                "consumer.retry",
                **self._describe(queued),
                error=queued.last_error,
                reason=own_words(outcome.error) or None,
                retry_in_s=round(wait, 2),
            )
        self._put_after(wait, queued)
        self._pauses.ended(queued)

    async def _give_up(self, queued: QueuedRecord, failure: Failure) -> str | None:
        """How it ended; None when Kafka or the database does not take it now."""
        record, delivery = cast(ConsumerRecord, queued.record), cast(Delivery, queued.delivery)
        try:
            ended = await self._dead_letters.give_up(record, queued.event, delivery, failure)
        except DependencyUnavailable as error:
            self._unavailable(queued, error, DEAD_LETTERS, error.retry_after_s)
            return None
        self._pauses.worked(queued, DEAD_LETTERS)
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
        self, queued: QueuedRecord, error: BaseException | None, asked: Asked, after: float | None
    ) -> None:
        """A dependency failed, perhaps not because of ``queued``. The record waits, alone or with its
        partition, or is given up."""
        if self._goes(queued):
            return
        queued.last_outcome, queued.last_error = "unavailable", error_location(error, self._package)
        own_before = queued.own_failures
        wait = self._pauses.failed(queued, error, asked, after)
        if wait is None:
            return
        gives_up = queued.own_failures > own_before and self._consumer.max_attempts is not None
        if gives_up and queued.failure is None and is_given_up(queued.own_since, time.time()):
            queued.failure = self._failure(queued, error)
            return
        log.warning(
            "consumer.retry",
            **self._describe(queued),
            error=queued.last_error,
            reason=own_words(error) or None,
            retry_in_s=round(wait, 2),
        )
        self._put_after(wait, queued)
        self._pauses.ended(queued)

    def _report_full(self) -> None:
        if self.offsets.full_changes != self._full_changes:
            self._full_changes = self.offsets.full_changes
            self._on_paused_change()

    def _put_after(self, wait_s: float, queued: QueuedRecord) -> None:
        queued.next_attempt_at = time.time() + wait_s
        asyncio.get_running_loop().call_later(wait_s, self._put_again, queued)

    def _put_again(self, queued: QueuedRecord) -> None:
        queued.next_attempt_at = None
        self._put(queued)

    def _describe(self, queued: QueuedRecord) -> dict[str, str | int | None]:
        """What may stand in a log about a record: ids and types, no values."""
        event = queued.event
        return {
            "consumer": self._consumer.name,
            "event_id": excerpt(event.id) if event else None,
            "event_type": excerpt(event.event_type) if event else None,
            "key": hash_key(queued.key if isinstance(queued.key, bytes) else None),
            "topic": queued.partition.topic,
            "partition": queued.partition.partition,
            "offset": queued.offset,
            "attempt": queued.attempts + queued.own_failures,
        }
