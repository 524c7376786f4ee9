"""A member of a group that settles anew: handlers end, attempts are recalled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from prometheus_client import CollectorRegistry

import dingbridge.worker.membership.commits as commits_module
from dingbridge import Consumer, Event, Transaction
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.attempts.executor import Executor
from dingbridge.worker.membership.worker import Worker, WorkerOptions
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.queues.note import NO_NOTE
from dingbridge.worker.queues.offset_tracker import QueuedRecord
from tests.lives.clock import jumping
from tests.unit.worker.support import kafka_record, record

PLACE = TopicPartition("dingtalk.user_modify_org", 0)


class Waiting(Consumer):
    """Waits for longer than any rebalance may take; notes the number of each attempt."""

    name = "waiting"
    topics = ("user_modify_org",)
    uses_database = False
    handler_timeout_s = 3600

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.began, self.cancelled = asyncio.Event(), False

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        self.attempts.append(tx.ctx.attempt)
        self.began.set()
        try:
            await asyncio.sleep(self.handler_timeout_s - 1)
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@asynccontextmanager
async def member(consumer: Consumer, data_dir: Path) -> AsyncIterator[Worker]:
    settings = ConsumerSettings.load(data_dir=data_dir, kafka_bootstrap_servers="localhost:1")
    metrics = WorkerMetrics(consumer.name, CollectorRegistry())
    consumer.settings = settings
    worker = Worker(consumer, settings, Executor(consumer, None), metrics)
    try:
        yield worker
    finally:
        await worker._scheduler.close()


def fetched() -> Any:
    made = record()
    return kafka_record(*PLACE, 0, key=made.key, value=made.value, headers=made.headers)


def test_a_handler_has_five_seconds_at_a_rebalance_whatever_its_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rebalance() -> tuple[float, bool]:
        consumer = Waiting()
        async with member(consumer, tmp_path) as worker:
            await worker.on_partitions_assigned({PLACE})
            worker._scheduler.add([fetched()])
            await consumer.began.wait()
            began = asyncio.get_running_loop().time()
            await worker.on_partitions_revoked({PLACE})
            return asyncio.get_running_loop().time() - began, consumer.cancelled

    with jumping() as loop:
        assert loop.run_until_complete(rebalance()) == (5, True)


class Kafka:
    """Has one record, and waits for more as aiokafka does."""

    def __init__(self) -> None:
        self.asked, self.arrived = asyncio.Event(), asyncio.Event()
        self.records = [fetched()]

    async def getmany(self, *_: object, **__: object) -> dict[TopicPartition, list[Any]]:
        self.asked.set()
        await self.arrived.wait()
        return {PLACE: [self.records.pop()]} if self.records else await asyncio.Future()

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def commit(self, offsets: dict[TopicPartition, Any]) -> None: ...


@pytest.mark.parametrize("fetches", ["before the rebalance", "after it"])
async def test_nothing_is_fetched_before_it_is_decided_where_to_begin(
    fetches: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka, consumer = Kafka(), Waiting()
    asked, recalled = asyncio.Event(), asyncio.Event()

    async def seven_failed(*_: object) -> dict[TopicPartition, OffsetAndMetadata]:
        asked.set()
        await recalled.wait()
        return {PLACE: OffsetAndMetadata(0, '{"f":[[0,7,0,0,0]]}')}

    monkeypatch.setattr(commits_module, "committed_offsets", seven_failed)
    async with member(consumer, tmp_path) as worker:
        await worker.on_partitions_assigned(set())
        fetching = None
        if fetches == "before the rebalance":
            fetching = asyncio.create_task(worker._fetch(cast("Any", kafka)))
            await kafka.asked.wait()
        await worker.on_partitions_revoked(set())
        await worker.on_partitions_assigned({PLACE})
        fetching = fetching or asyncio.create_task(worker._fetch(cast("Any", kafka)))
        await asked.wait()
        kafka.arrived.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert consumer.attempts == []
        recalled.set()
        await consumer.began.wait()
        assert consumer.attempts == [8]
        fetching.cancel()


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_what_comes_while_the_partitions_go_is_not_worked_on(one_by_one: bool, tmp_path: Path) -> None:
    consumer = Waiting()

    class Late(Kafka):
        async def getmany(self, *_: object, **__: object) -> dict[TopicPartition, list[Any]]:
            if not self.records:
                return {}
            await worker.on_partitions_revoked({PLACE})
            if one_by_one:
                await worker.on_partitions_assigned({PLACE})
            return {PLACE: [self.records.pop()]}

        async def committed(self, partition: TopicPartition) -> int | None:
            return None

        async def position(self, partition: TopicPartition) -> int:
            return 0

        def highwater(self, partition: TopicPartition) -> int:
            return 5

        def seek(self, partition: TopicPartition, offset: int) -> None: ...

    async with member(consumer, tmp_path) as worker:
        await worker.on_partitions_assigned({PLACE})
        late = cast("Any", Late())
        if one_by_one:
            await worker._fetch_past_undecodable(late)
        else:
            await worker._fetch_once(late)
        assert worker._scheduler.offsets.in_flight == 0


async def test_a_partition_that_was_handed_over_with_a_fault_of_ours_comes_back_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with member(Waiting(), tmp_path) as worker:
        await worker.on_partitions_assigned({PLACE})
        worker._kafka = cast("Any", Kafka())
        monkeypatch.setattr(worker._commits, "commit", _fault)
        with pytest.raises(ValueError, match="a fault of ours"):
            await worker.on_partitions_revoked({PLACE})
        assert worker._assigned == set()
        assert worker._scheduler.offsets.in_flight == 0


async def _fault(*_: object, **__: object) -> None:
    raise ValueError("a fault of ours")


async def test_records_beyond_the_note_wait_for_it_again_when_it_was_not_committed(tmp_path: Path) -> None:
    async with member(Waiting(), tmp_path) as worker:
        commits = worker._commits
        commits._tracker = worker._scheduler.offsets
        commits._begin(PLACE, 0, 0, NO_NOTE, used=True)
        end = {PLACE: commits_module.LEAST_AHEAD + 1}
        assert commits.beyond(end)
        assert commits.beyond(end), "a rebalance, or a pause, has cancelled the commit"
        worker._scheduler.offsets.add(QueuedRecord(PLACE, 0, b"k", 1))
        await commits.commit(cast("Any", Kafka()), end)
        assert not commits.beyond(end)


# -- A stop that comes at the very moment at which Kafka answers


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
    worker._taken_over = worker._scheduler
    worker._commits._tracker = offsets
    worker._commits._begin(P0, 0, 0, NO_NOTE, used=True)
    committing = asyncio.create_task(worker._commit_regularly(cast("Any", kafka)))
    await kafka.asked.wait()
    kafka.answer.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    committing.cancel()
    done, _ = await asyncio.wait([committing], timeout=5)
    if not done:
        committing.cancel()
    assert done, "the stop was lost"
