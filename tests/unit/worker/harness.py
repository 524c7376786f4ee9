"""A scheduler with everything around it but Kafka: records in, finished ones out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from dingbridge import Context, DependencyUnavailable, Event, Transaction
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.attempts.executor import Executor
from dingbridge.worker.dead_letters import DeadLetters
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import Failure
from dingbridge.worker.queues.offset_tracker import Limits, OffsetTracker
from dingbridge.worker.scheduling.scheduler import Scheduler
from tests.unit.worker.support import Recording, effects, kafka_record, record

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class Letters:
    """A writer that remembers, and that can be down."""

    def __init__(self) -> None:
        self.sent: list[tuple[ConsumerRecord[Any, Any], str, int]] = []
        self.failures: list[Failure] = []
        self.down = 0

    async def write(self, record: ConsumerRecord[Any, Any], failure: Failure) -> None:
        if self.down:
            self.down -= 1
            raise DependencyUnavailable("Kafka is down")
        self.sent.append((record, failure.error, failure.attempts))
        self.failures.append(failure)


class Scripted(Recording):
    """Does for each event id what ``script`` says: the exceptions to raise first, one an attempt."""

    def __init__(self, script: dict[str, list[Exception]] | None = None) -> None:
        self.script = script or {}
        self.seen: list[str] = []
        self.hold: dict[str, asyncio.Event] = {}
        self.began: dict[str, asyncio.Event] = {}

    async def prepare(self, event: Event, ctx: Context) -> None:
        name = event.id.split("/")[0].rpartition(":")[2]
        self.seen.append(name)
        if name in self.hold:
            self.began.setdefault(name, asyncio.Event()).set()
            await self.hold[name].wait()

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        await super().handle(event, tx, prepared)
        errors = self.script.get(event.id.split("/")[0].rpartition(":")[2])
        if errors:
            raise errors.pop(0)


class Harness:
    def __init__(self, consumer: Scripted, runtime: MemoryRuntime, limits: Limits | None) -> None:
        self.consumer, self.letters, self.limits = consumer, Letters(), limits
        self.registry = CollectorRegistry()
        self.metrics = WorkerMetrics(consumer.name, self.registry)
        self.flows = 0
        self.runtime = runtime
        self.offsets: dict[TopicPartition, int] = {}
        self.assign()

    def assign(self) -> None:
        """Begin another assignment."""
        database = self.runtime.database
        self.tracker = OffsetTracker(self.limits)
        self.scheduler = Scheduler(
            self.consumer,
            Executor(self.consumer, database),
            DeadLetters(self.consumer, database, self.letters),
            self.tracker,
            self.metrics,
            self._flow,
        )

    def _flow(self) -> None:
        self.flows += 1

    def add(self, partition: TopicPartition, *events: tuple[str, str]) -> None:
        """Add records of ``(event id, user)``."""
        records = []
        for event_id, user in events:
            made = record(event_id, user)
            offset = self.offsets.get(partition, 0)
            self.offsets[partition] = offset + 1
            records.append(
                kafka_record(*partition, offset, key=made.key, value=made.value, headers=made.headers)
            )
        self.scheduler.add(records)

    def to_commit(self, partitions: set[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """The offsets that moved."""
        chosen = self.offsets if partitions is None else partitions
        found = {p: self.tracker.committable_offset(p) for p in chosen}
        return {p: offset for p, offset in found.items() if offset}

    async def idle(self) -> None:
        await until(lambda: self.tracker.in_flight == 0)

    async def effects(self) -> list[str]:
        rows = await self.runtime.rows(select(effects.c.event_id).order_by(effects.c.n))
        return [row.event_id.split("/")[0].rpartition(":")[2] for row in rows]

    def count(self, name: str, **labels: str) -> float:
        labels = {"consumer": "recording", **labels}
        return self.registry.get_sample_value(f"dingbridge_consumer_{name}", labels) or 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the condition is nobody's event
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running(
    consumer: Scripted, limits: Limits | None = None, database_url: str = "sqlite://"
) -> AsyncIterator[Harness]:
    async with MemoryRuntime(consumer, database_url=database_url) as runtime:
        harness = Harness(consumer, runtime, limits)
        try:
            yield harness
        finally:
            await harness.scheduler.close()
