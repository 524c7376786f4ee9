"""How a worker fetches past a record that aiokafka cannot decode."""

from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from dingbridge.kafka.undecodable import stand_in
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.executor import Executor
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.queues.offset_tracker import QueuedRecord
from dingbridge.worker.worker import Worker
from tests.unit.worker.test_worker_stop import Idle

GOOD, BAD = TopicPartition("good", 0), TopicPartition("bad", 0)


class Kafka:
    """aiokafka after a ``getmany`` that has taken all of ``GOOD``, and has failed at offset 3 of ``BAD``."""

    def __init__(self, worker: Worker, begins: dict[TopicPartition, int], again: bool) -> None:
        self.worker, self.begins, self.again = worker, begins, again
        self.positions = {GOOD: 9, BAD: begins[BAD]}

    async def committed(self, partition: TopicPartition) -> int:
        if self.again:  # the group settles anew meanwhile
            self.positions = dict(self.begins)
            await self.worker.on_partitions_assigned({GOOD, BAD})
        return self.begins[partition]

    async def position(self, partition: TopicPartition) -> int:
        return self.positions[partition]

    def highwater(self, partition: TopicPartition) -> int:
        return 9

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    async def getmany(self, partition: TopicPartition, **_: Any) -> dict[TopicPartition, list[Any]]:
        at = self.positions[partition]
        if (partition, at) == (BAD, 3):
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "")
        self.positions[partition] += 1
        return {partition: [stand_in(partition, at)]}


async def fetched(
    tmp_path: Path, fetched_before: bool, again: bool = False
) -> dict[TopicPartition, list[int]]:
    consumer = Idle()
    settings = ConsumerSettings.load(data_dir=tmp_path, kafka_bootstrap_servers="localhost:1")
    metrics = WorkerMetrics(consumer.name, CollectorRegistry())
    worker = Worker(consumer, settings, Executor(consumer, None), metrics)
    await worker.on_partitions_assigned({GOOD, BAD})
    begins = {GOOD: 5, BAD: 1}
    offsets = worker._scheduler.offsets
    if fetched_before:
        for partition, begin in begins.items():
            offsets.add(QueuedRecord(partition, begin - 1, b"k", 1))
    await worker._fetch_one_by_one(Kafka(worker, begins, again))
    found: dict[TopicPartition, list[int]] = {GOOD: [], BAD: []}
    given_up = []
    for queued in offsets.unfinished():
        if queued.offset >= begins[queued.partition]:
            found[queued.partition].append(queued.offset)
            given_up += [(queued.partition, queued.offset)] if queued.failure else []
    assert given_up in ([], [(BAD, 3)])
    assert bool(given_up) is not again
    return found


async def test_what_was_taken_from_other_partitions_is_taken_again(tmp_path: Path) -> None:
    for fetched_before in (True, False):
        found = await fetched(tmp_path, fetched_before)
        assert found == {GOOD: [5, 6, 7, 8], BAD: [1, 2, 3, 4, 5, 6, 7, 8]}


async def test_nothing_is_moved_once_the_group_has_settled_anew(tmp_path: Path) -> None:
    assert await fetched(tmp_path, fetched_before=False, again=True) == {GOOD: [], BAD: []}
