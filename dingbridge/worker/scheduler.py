"""Turns fetched records into finished ones: runs the heads of key queues, retries, gives up, waits.

Knows records and partitions but does not fetch or commit: ``worker.py`` does, and asks here which partitions
to pause (``paused``) and how far to commit (``offsets``). What one attempt is: see ``executor.py``.

A failing key waits by a timer while its queue stands still, so waiting costs no runner. When something that
no event is guilty of does not work, the partition pauses: one of its records, the *probe*, is tried until it
works; the others wait for it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Sequence
from itertools import islice, takewhile
from typing import Any, cast

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.dingtalk.errors import ApiError, TicketMissing
from dingbridge.error_location import error_location
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.event import Event, NotAnEvent, Sent, decode
from dingbridge.retry import delay
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.dead_letters import DeadLetters
from dingbridge.worker.delivery import Delivery, hash_key
from dingbridge.worker.executor import Executor, Outcome
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import DependencyUnavailable, Failure, HandlerOutcome
from dingbridge.worker.queues.in_flight import Pause, describe
from dingbridge.worker.queues.key_queue import KeyQueues
from dingbridge.worker.queues.offset_tracker import OffsetTracker, QueuedRecord, State

log = structlog.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)

RECORD_OVERHEAD = 400
"""What a queued record costs in memory beside key, value and headers, in bytes (about)."""

TURN_S = 0.01
"""How long handlers that wait for nothing may run before the event loop has a turn, in s."""

CANCEL_TIMEOUT_S = 10
"""How long a cancelled handler may take to end before the handover goes on without it, in s."""

MOST_TOGETHER = 500
"""Events that are handled together, at most: their inbox rows are written in one transaction."""

CLOSE_TIMEOUT_S = 2
"""How long the runners may take to end at the stop, in s; what they run was cancelled before."""


class Scheduler:
    """Works on up to ``consumer.concurrency`` keys at the same time. ``on_flow`` is called when ``paused()``
    may have changed. ``any_sender`` are the topics whose events need not be DingTalk's."""

    def __init__(
        self,
        consumer: Consumer,
        executor: Executor,
        dead_letters: DeadLetters,
        offsets: OffsetTracker,
        metrics: WorkerMetrics,
        on_flow: Callable[[], None] = lambda: None,
        any_sender: Collection[str] = (),
    ) -> None:
        self.offsets = offsets
        self._queues = KeyQueues()
        self._consumer, self._executor, self._dead_letters = consumer, executor, dead_letters
        self._metrics, self._on_flow = metrics, on_flow
        self._any_sender = frozenset(any_sender)
        self._shares = type(consumer).fetches is not Consumer.fetches
        self._package = type(consumer).__module__.split(".")[0]
        self._ready: deque[QueuedRecord] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._runners: list[asyncio.Task[None]] = []
        self._running: dict[QueuedRecord, asyncio.Task[None]] = {}
        self._closed = False
        self._abandoned: set[QueuedRecord] = set()
        self._closing: set[TopicPartition] = set()
        self._pauses: dict[TopicPartition, Pause] = {}
        self._ended = asyncio.Event()
        self._flips = offsets.flips

    def start(self) -> None:
        for _ in range(max(1, self._consumer.concurrency)):
            self._runners.append(asyncio.create_task(self._run()))

    async def close(self) -> None:
        """End the runners; call ``revoke`` first. One whose handler does not heed that is left behind."""
        self._closed = True
        for runner in self._runners:
            runner.cancel()
        if self._runners:
            await asyncio.wait(self._runners, timeout=CLOSE_TIMEOUT_S)
        self._runners = []

    def add(self, records: Sequence[ConsumerRecord]) -> None:
        """Queue records of one partition, as fetched."""
        now = time.time()
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            size = RECORD_OVERHEAD + len(record.key or b"") + len(record.value or b"")
            for name, value in record.headers:
                size += len(name) + len(value or b"")
            key = partition if record.key is None else record.key
            queued = QueuedRecord(partition, record.offset, key, size, record, fetched_at=now)
            self.offsets.add(queued)
            head = self._queues.add(queued)
            if head is not None:
                self._put(head)
        self._flow_flips()

    def _put(self, queued: QueuedRecord) -> None:
        """``queued`` may be worked on now."""
        self._ready.append(queued)
        while self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                return

    def paused(self) -> dict[TopicPartition, str]:
        """Partitions that must not be fetched now, and why."""
        reasons = dict.fromkeys(self.offsets.full(), "full")
        reasons |= {partition: pause.reason for partition, pause in self._pauses.items()}
        return reasons

    def down(self) -> dict[TopicPartition, str]:
        """Partitions whose world is down, and the reason."""
        return {partition: pause.reason for partition, pause in self._pauses.items()}

    def down_for_s(self) -> float:
        """Since when, in s, the world has been down for the partition that waits longest; 0 if for none."""
        return max((time.monotonic() - pause.since for pause in self._pauses.values()), default=0.0)

    def in_flight(self) -> dict[str, Any]:
        """What is fetched and not finished, for a person: see ``queues/in_flight.py``."""
        return describe(self._consumer.name, self.offsets.held(), self._running, self._pauses)

    async def revoke(self, partitions: set[TopicPartition], grace_s: float) -> None:
        """Start nothing more for ``partitions``; let what runs finish within ``grace_s``, cancel the rest.

        Afterwards their committable offsets stand still: commit them, then call ``forget``.
        """
        self._closing |= partitions
        for partition in partitions:
            self._pauses.pop(partition, None)
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

    async def _run(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        ready, loop = self._ready, asyncio.get_running_loop()
        began = time.monotonic()
        while not self._closed:
            while not ready:
                idle = loop.create_future()
                self._idle.append(idle)
                await idle
                began = time.monotonic()
            if time.monotonic() - began > TURN_S:
                await asyncio.sleep(0)  # handlers that never wait would let nothing else have a turn
                began = time.monotonic()
                continue
            queued = ready.popleft()
            if queued.state is State.DROPPED or self._waits(queued):
                continue
            records = self._together(queued)
            self._running |= dict.fromkeys(records, task)
            try:
                if len(records) > 1:
                    await self._step_together(records)
                else:
                    await self._step(queued)
            except asyncio.CancelledError:
                if self._closed or self._abandoned.isdisjoint(records):
                    raise
            except Exception as error:  # a fault of ours must not end the runner, nor lose the record
                log.error(
                    "consumer.fault", **self._describe(queued), error=error_location(error, "consumers")
                )
                if len(records) == 1:
                    self._pause(queued, Outcome("unavailable", error))
            finally:
                for one in records:
                    del self._running[one]
                self._ended.set()
                self._drop_gone(records, task)
                if len(records) > 1:
                    self._advance(self._queues.head(queued.key))

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
                self._advance(head)

    def _waits(self, queued: QueuedRecord) -> bool:
        pause = self._pauses.get(queued.partition)
        if pause is None or pause.probe is queued:
            return False
        pause.waiting.append(queued)
        return True

    def _together(self, head: QueuedRecord) -> list[QueuedRecord]:
        """``head``, and those right behind it whose events share its fetch."""
        shared = self._fetch_of(head)
        if shared is None:
            return [head]
        queue = islice(self._queues.from_head(head), MOST_TOGETHER)
        return list(takewhile(lambda queued: self._fetch_of(queued) == shared, queue))

    def _fetch_of(self, queued: QueuedRecord) -> Hashable | None:
        """What is fetched for ``queued``; None for one that is handled alone."""
        if not self._shares or queued.alone or queued.failure or self._decode(queued) is not None:
            return None
        event = cast(Event, queued.event)
        if event.type == RESYNC_REQUESTED:
            return None
        try:
            shared = self._consumer.fetches(event)
        except Exception:  # what is wrong with such an event is said when it is handled
            return None
        return None if shared is None else (event.app, event.corp_id, shared)

    async def _step_together(self, records: list[QueuedRecord]) -> None:
        """Try ``records`` with one fetch. If that does not work the first of them is tried alone, and then
        what is left together."""
        records[0].alone = True
        came = [(cast(Event, queued.event), cast(Delivery, queued.delivery)) for queued in records]
        began = time.monotonic()
        outcome = await self._executor.attempt_together(came, records[0].attempts + 1)
        self._metrics.attempted(outcome.kind, time.monotonic() - began)
        if outcome.kind != "done":
            return
        self._resume(records[0])
        for queued in records:
            self._finish(queued, "done")
        self._queues.remove(records)
        self._flow_flips()

    def _finish(self, queued: QueuedRecord, ended: str) -> None:
        self._metrics.finished(queued.partition.topic, ended)
        if ended == "done":
            self._metrics.handled(cast(Event, queued.event), cast(Delivery, queued.delivery))
        self.offsets.finish(queued)

    async def _step(self, queued: QueuedRecord) -> None:
        """Try ``queued`` once, and do what its outcome asks for."""
        ended: str = "seen"
        if queued.failure is None:
            outcome = await self._try(queued)
            ended = outcome.kind
            if outcome.kind == "unavailable":
                self._pause(queued, outcome)
                return
            if outcome.kind == "given_up":
                queued.failure = outcome.failure
            elif outcome.kind not in ("done", "seen"):
                queued.attempts += outcome.counts
                if outcome.kind == "retry" and not (outcome.counts and self._was_last(queued)):
                    self._resume(queued)
                    self._later(queued, outcome)
                    return
                queued.failure = Failure.of(outcome.error, self._package, queued.attempts)
        if queued.failure is not None:  # perhaps from before: Kafka or the database did not take it then
            given_up = await self._give_up(queued, queued.failure)
            if given_up is None:
                return
            ended = given_up
        self._resume(queued)
        self._finish(queued, ended)
        self._advance(self._queues.remove([queued]))
        self._flow_flips()

    def _decode(self, queued: QueuedRecord) -> Exception | None:
        """Fill in the event of ``queued``. Returns what makes it unreadable, whatever that is."""
        record = cast(ConsumerRecord, queued.record)
        if queued.delivery is None:
            queued.delivery = Delivery.of(record)
        if queued.event is None:
            try:
                if record.value is None:
                    raise NotAnEvent("the record has no value")
                foreign = record.topic in self._any_sender
                queued.event = decode(record.value, Sent(record.key, record.timestamp) if foreign else None)
            except Exception as error:
                return error
        return None

    async def _try(self, queued: QueuedRecord) -> Outcome:
        if (unreadable := self._decode(queued)) is not None:
            return Outcome("not_an_event", unreadable)
        began = time.monotonic()
        event, delivery = cast(Event, queued.event), cast(Delivery, queued.delivery)
        outcome = await self._executor.attempt(event, delivery, queued.attempts + 1)
        self._metrics.attempted(outcome.kind, time.monotonic() - began)
        if outcome.kind in ("done", "seen") and _stdlib_log.isEnabledFor(logging.DEBUG):
            log.debug("consumer.handled", outcome=outcome.kind, **self._describe(queued))
        return outcome

    def _goes(self, queued: QueuedRecord) -> bool:
        """Whether its partition is being handed over, or has been while it was worked on."""
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
        queued.last_outcome, queued.last_error = outcome.kind, error_location(outcome.error, self._package)
        if outcome.counts:
            log.warning(
                "consumer.retry",
                **self._describe(queued),
                error=queued.last_error,
                reason=str(outcome.error) if isinstance(outcome.error, HandlerOutcome) else None,
                retry_in_s=round(wait, 2),
            )
        self._put_after(wait, queued)

    async def _give_up(self, queued: QueuedRecord, failure: Failure) -> str | None:
        """How it ended; None when Kafka or the database does not take it now."""
        record, delivery = cast(ConsumerRecord, queued.record), cast(Delivery, queued.delivery)
        try:
            ended = await self._dead_letters.give_up(record, queued.event, delivery, failure)
        except DependencyUnavailable as error:
            self._pause(queued, Outcome("unavailable", error, error.retry_after_s))
            return None
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

    def _pause(self, queued: QueuedRecord, outcome: Outcome) -> None:
        if self._goes(queued):
            return
        queued.last_outcome = outcome.kind
        reason = queued.last_error = error_location(outcome.error, self._package)
        if isinstance(outcome.error, DependencyUnavailable):
            reason = outcome.error.reason
        elif isinstance(outcome.error, TicketMissing):  # its words are ours, and nobody's name is in them
            reason = str(outcome.error)
        elif isinstance(outcome.error, ApiError):
            reason = f"{reason}, about the {outcome.error.about}"
        pause = self._pauses.get(queued.partition)
        if pause is None:
            pause = self._pauses[queued.partition] = Pause(queued, reason, time.monotonic())
            self._on_flow()
        elif pause.probe is not queued:
            pause.waiting.append(queued)  # it was running when the probe failed
            return
        pause.failures += 1
        pause.reason = reason
        wait = delay(pause.failures, asked_s=outcome.after)
        log.warning("consumer.paused", **self._describe(queued), reason=reason, retry_in_s=round(wait, 2))
        self._put_after(wait, queued)

    def _resume(self, queued: QueuedRecord) -> None:
        pause = self._pauses.get(queued.partition)
        if pause is None or pause.probe is not queued:
            return
        del self._pauses[queued.partition]
        log.info(
            "consumer.resumed",
            topic=queued.partition.topic,
            partition=queued.partition.partition,
            after_s=round(time.monotonic() - pause.since, 1),
        )
        for waiting in pause.waiting:
            self._put(waiting)
        self._on_flow()

    def _flow_flips(self) -> None:
        if self.offsets.flips != self._flips:
            self._flips = self.offsets.flips
            self._on_flow()

    def _advance(self, head: QueuedRecord | None) -> None:
        if head is not None:
            self._put(head)

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
            "event_id": event.id if event else None,
            "event_type": event.event_type if event else None,
            "key": hash_key(queued.key if isinstance(queued.key, bytes) else None),
            "topic": queued.partition.topic,
            "partition": queued.partition.partition,
            "offset": queued.offset,
            "attempt": queued.attempts,
        }
