"""Turns fetched records into finished ones: runs the heads of lanes, retries, buries, waits for the world.

Knows records and partitions but does not fetch or commit: ``worker.py`` does, and asks here which partitions
to pause (``paused``) and how far to commit (``lanes``). What one attempt is stands in ``process.py``.

A failing key waits by a timer while its lane stands still, so waiting costs no runner. When the world is down
for a partition, one of its records, the *probe*, is tried until it works; the others wait for it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.dingtalk.errors import TicketMissing
from dingbridge.error_location import error_location
from dingbridge.events.event import NotAnEvent, decode
from dingbridge.retry import delay
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.context import next_fetch_sequence
from dingbridge.worker.dead_letters import Burials, Buried
from dingbridge.worker.delivery import REPLAY_HEADER as REPLAY_HEADER
from dingbridge.worker.delivery import Delivery, hash_key
from dingbridge.worker.executor import Outcome, Processor
from dingbridge.worker.key_queue import Item, Lanes
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import DependencyUnavailable

log = structlog.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)

RECORD_OVERHEAD = 400
"""What a queued record costs in memory beside key, value and headers, in bytes (about)."""

TURN_S = 0.01
"""How long handlers that wait for nothing may run before the event loop has a turn, in s."""

CANCEL_TIMEOUT_S = 10
"""How long a cancelled handler may take to end before the handover goes on without it, in s."""

CLOSE_TIMEOUT_S = 2
"""How long the runners may take to end at the stop, in s; what they run was cancelled before."""


@dataclass(slots=True, eq=False)
class _Gate:
    """A partition whose world is down: ``probe`` is tried, ``parked`` heads of lanes wait."""

    probe: Item
    reason: str
    since: float
    failures: int = 0
    parked: list[Item] = field(default_factory=list)


class Dispatcher:
    """Works on up to ``consumer.concurrency`` keys at the same time. ``on_flow`` is called when ``paused()``
    may have changed."""

    def __init__(
        self,
        consumer: Consumer,
        processor: Processor,
        burials: Burials,
        lanes: Lanes,
        metrics: WorkerMetrics,
        on_flow: Callable[[], None] = lambda: None,
    ) -> None:
        self.lanes = lanes
        self._consumer, self._processor, self._burials = consumer, processor, burials
        self._metrics, self._on_flow = metrics, on_flow
        self._package = type(consumer).__module__.split(".")[0]
        self._ready: deque[Item] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._runners: list[asyncio.Task[None]] = []
        self._running: dict[Item, asyncio.Task[None]] = {}
        self._closed = False
        self._abandoned: set[Item] = set()
        self._closing: set[TopicPartition] = set()
        self._gates: dict[TopicPartition, _Gate] = {}
        self._ended = asyncio.Event()
        self._flips = lanes.flips

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
        sequence = next_fetch_sequence()
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            size = RECORD_OVERHEAD + len(record.key or b"") + len(record.value or b"")
            for name, value in record.headers:
                size += len(name) + len(value or b"")
            key = partition if record.key is None else record.key
            head = self.lanes.add(Item(partition, record.offset, key, size, record, fetch_sequence=sequence))
            if head is not None:
                self._put(head)
        self._flow_flips()

    def _put(self, item: Item) -> None:
        """``item`` may be worked on now."""
        self._ready.append(item)
        while self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                return

    def paused(self) -> dict[TopicPartition, str]:
        """Partitions that must not be fetched now, and why."""
        reasons = dict.fromkeys(self.lanes.full(), "full")
        reasons |= {partition: gate.reason for partition, gate in self._gates.items()}
        return reasons

    def down(self) -> dict[TopicPartition, str]:
        """Partitions whose world is down, and the reason."""
        return {partition: gate.reason for partition, gate in self._gates.items()}

    def down_for_s(self) -> float:
        """Since when, in s, the world has been down for the partition that waits longest; 0 if for none."""
        return max((time.monotonic() - gate.since for gate in self._gates.values()), default=0.0)

    async def revoke(self, partitions: set[TopicPartition], grace_s: float) -> None:
        """Start nothing more for ``partitions``; let what runs finish within ``grace_s``, cancel the rest.

        Afterwards their watermarks stand still: commit them, then call ``forget``.
        """
        self._closing |= partitions
        for partition in partitions:
            self._gates.pop(partition, None)
        for head in self.lanes.revoke(partitions, lambda item: item in self._running):
            self._put(head)
        await self._wait_ended(partitions, grace_s)
        left = [item for item in self._running if item.partition in partitions]
        for item in left:
            log.warning("consumer.abandoned", **self._describe(item), after_s=grace_s)
            self._abandoned.add(item)
            self._running[item].cancel()
        await self._wait_ended(partitions, CANCEL_TIMEOUT_S)

    def forget(self, partitions: set[TopicPartition]) -> None:
        """``partitions`` are no longer ours; they may come back at any time."""
        self.lanes.forget(partitions)
        self._closing -= partitions

    async def _wait_ended(self, partitions: set[TopicPartition], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while any(item.partition in partitions for item in self._running):
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
            item = ready.popleft()
            if item.dropped or self._parked(item):
                continue
            self._running[item] = task
            try:
                await self._step(item)
            except asyncio.CancelledError:
                if self._closed or item not in self._abandoned:
                    raise
            except Exception as error:  # a fault of ours must not end the runner, nor lose the record
                log.error("consumer.fault", **self._describe(item), error=error_location(error, "consumers"))
                self._pause(item, Outcome("unavailable", error))
            finally:
                del self._running[item]
                self._ended.set()
                if self._goes(item):
                    self._gone(item, task)

    def _gone(self, item: Item, task: asyncio.Task[None]) -> None:
        """``item``'s partition is being handed over, and no one works on it any more."""
        if item in self._abandoned:
            self._abandoned.discard(item)
            while task.cancelling():
                task.uncancel()
        if not item.finished:
            self._advance(self.lanes.abandon(item))

    def _parked(self, item: Item) -> bool:
        gate = self._gates.get(item.partition)
        if gate is None or gate.probe is item:
            return False
        gate.parked.append(item)
        return True

    async def _step(self, item: Item) -> None:
        """Try ``item`` once, and do what its outcome asks for."""
        ended = "dead"
        if item.burial is None:
            outcome = await self._try(item)
            if outcome.kind == "unavailable":
                self._pause(item, outcome)
                return
            if outcome.kind == "blocked":
                item.burial, item.block = "its key is blocked", outcome.block
            elif outcome.owed is not None:
                item.burial, item.attempts = outcome.owed.reason, outcome.owed.attempts
            elif outcome.kind not in ("done", "seen"):
                item.attempts += outcome.counts
                if outcome.kind == "retry" and (
                    not outcome.counts or item.attempts < self._consumer.max_attempts
                ):
                    self._resume(item)
                    self._later(item, outcome)
                    return
                item.burial = error_location(outcome.error, self._package)
            ended = outcome.kind
        if item.burial is not None:  # decided, perhaps before: Kafka or the database did not take it then
            buried = await self._bury(item, item.burial)
            if buried is None:
                return
            if buried == "again":
                item.burial = item.block = None
                self._resume(item)
                self._put(item)
                return
            ended = buried
        self._resume(item)
        self._metrics.finished(item.partition.topic, ended)
        self._advance(self.lanes.finish(item))
        self._flow_flips()

    async def _try(self, item: Item) -> Outcome:
        record: ConsumerRecord = item.record
        if item.delivery is None:
            item.delivery = Delivery.of(record, item.fetch_sequence)
        if item.event is None:
            try:
                if record.value is None:
                    raise NotAnEvent("the record has no value")
                item.event = decode(record.value)
            except Exception as error:  # whatever it is that makes it unreadable
                return Outcome("not_an_event", error)
        began = time.monotonic()
        outcome = await self._processor.attempt(item.event, item.delivery, item.attempts + 1)
        self._metrics.attempted(outcome.kind, time.monotonic() - began)
        if outcome.kind in ("done", "seen") and _stdlib_log.isEnabledFor(logging.DEBUG):
            log.debug("consumer.handled", outcome=outcome.kind, **self._describe(item))
        return outcome

    def _goes(self, item: Item) -> bool:
        """Whether its partition is being handed over, or has been while it was worked on."""
        return item.partition in self._closing or item in self._abandoned

    def _later(self, item: Item, outcome: Outcome) -> None:
        if self._goes(item):
            return
        consumer = self._consumer
        wait = outcome.after
        if wait is None:
            wait = delay(item.attempts, consumer.retry_first_s, consumer.retry_max_s)
        if outcome.counts:
            log.warning(
                "consumer.retry",
                **self._describe(item),
                error=error_location(outcome.error, self._package),
                retry_in_s=round(wait, 2),
            )
        self._put_after(wait, item)

    async def _bury(self, item: Item, reason: str) -> Buried | None:
        """What became of it; None when the world is down for it."""
        try:
            buried = await self._burials.bury(
                item.record, item.event, item.delivery, reason, item.attempts, item.block
            )
        except DependencyUnavailable as error:
            self._pause(item, Outcome("unavailable", error, error.retry_after_s))
            return None
        if buried in ("dead", "blocked"):
            self._metrics.buried(item.partition.topic)
        if buried == "dead":
            log.error("consumer.dead_letter", **self._describe(item), error=reason)
        elif buried == "replay_failed":
            log.error("consumer.replay_failed", **self._describe(item), error=reason)
        elif buried == "blocked":
            log.warning("consumer.followed_its_key", **self._describe(item), error=reason)
        return buried

    def _pause(self, item: Item, outcome: Outcome) -> None:
        if self._goes(item):
            return
        reason = error_location(outcome.error, self._package)
        if isinstance(outcome.error, DependencyUnavailable):
            reason = outcome.error.reason
        elif isinstance(outcome.error, TicketMissing):  # its words are ours, and nobody's name is in them
            reason = str(outcome.error)
        gate = self._gates.get(item.partition)
        if gate is None:
            gate = self._gates[item.partition] = _Gate(item, reason, time.monotonic())
            self._on_flow()
        elif gate.probe is not item:
            gate.parked.append(item)  # it was running when the probe failed
            return
        gate.failures += 1
        gate.reason = reason
        wait = delay(gate.failures, asked_s=outcome.after)
        log.warning("consumer.paused", **self._describe(item), reason=reason, retry_in_s=round(wait, 2))
        self._put_after(wait, item)

    def _resume(self, item: Item) -> None:
        gate = self._gates.get(item.partition)
        if gate is None or gate.probe is not item:
            return
        del self._gates[item.partition]
        log.info(
            "consumer.resumed",
            topic=item.partition.topic,
            partition=item.partition.partition,
            after_s=round(time.monotonic() - gate.since, 1),
        )
        for parked in gate.parked:
            self._put(parked)
        self._on_flow()

    def _flow_flips(self) -> None:
        if self.lanes.flips != self._flips:
            self._flips = self.lanes.flips
            self._on_flow()

    def _advance(self, head: Item | None) -> None:
        if head is not None:
            self._put(head)

    def _put_after(self, wait_s: float, item: Item) -> None:
        asyncio.get_running_loop().call_later(wait_s, self._put, item)

    def _describe(self, item: Item) -> dict[str, str | int | None]:
        """What may stand in a log about a record: ids and types, no values."""
        event = item.event
        return {
            "consumer": self._consumer.name,
            "event_id": event.id if event else None,
            "event_type": event.event_type if event else None,
            "key": hash_key(item.key if isinstance(item.key, bytes) else None),
            "topic": item.partition.topic,
            "partition": item.partition.partition,
            "offset": item.offset,
            "attempt": item.attempts,
        }
