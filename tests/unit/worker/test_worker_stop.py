"""A stop that comes at the very moment at which Kafka answers."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from dingbridge import Consumer
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.executor import Executor
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.queues.offset_tracker import QueuedRecord
from dingbridge.worker.worker import Worker, WorkerOptions

P0 = TopicPartition("t", 0)


class Idle(Consumer):
    name = "idle"
    topics = ("user_modify_org",)
    uses_database = False

    async def handle(self, event, tx, prepared): ...


class _Kafka:
    """Commits when told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.asked.set()
        await self.answer.wait()

    def highwater(self, partition: TopicPartition) -> int | None:
        return None


@pytest.mark.parametrize("turns", range(8))
async def test_a_commit_that_is_acknowledged_as_the_stop_comes_does_not_swallow_the_stop(
    turns: int, tmp_path: Path
) -> None:
    settings = ConsumerSettings.load(data_dir=tmp_path, kafka_bootstrap_servers="localhost:1")
    consumer = Idle()
    options = WorkerOptions(commit_interval_s=0)
    worker = Worker(
        consumer,
        settings,
        Executor(consumer, None),
        WorkerMetrics(consumer.name, CollectorRegistry()),
        options,
    )
    kafka = _Kafka()
    offsets = worker._scheduler.offsets
    await worker.on_partitions_assigned({P0})
    queued = QueuedRecord(P0, 0, b"k", 1)
    offsets.add(queued)
    offsets.finish(queued)
    worker._kafka = cast("Any", kafka)

    committing = asyncio.create_task(worker._commit_regularly())
    await kafka.asked.wait()
    kafka.answer.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    committing.cancel()
    done, _ = await asyncio.wait([committing], timeout=5)
    if not done:
        committing.cancel()
    assert done, "the stop was lost"
