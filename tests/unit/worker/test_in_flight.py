"""What ``GET /in-flight`` tells of a worker: every record that is not finished, and no value of any."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from dingbridge import Retry
from dingbridge import retry as backoff_module
from dingbridge.kafka.undecodable import stand_in
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.attempts.executor import Executor
from dingbridge.worker.delivery import hash_key
from dingbridge.worker.membership.undecodable import fetch_one_by_one
from dingbridge.worker.membership.worker import Worker
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.queues import in_flight
from dingbridge.worker.queues.offset_tracker import QueuedRecord
from dingbridge.worker.store.errors import DatabaseDown
from tests.unit.worker.harness import P0, P1, Scripted, running, until
from tests.unit.worker.test_rebalance import Idle


async def test_each_record_is_told_with_its_state_and_attempts() -> None:
    consumer = Scripted({"bad": [ValueError("private words")]})
    consumer.retry_first_s = consumer.retry_max_s = 600  # type: ignore[misc]
    consumer.hold["slow"] = asyncio.Event()
    async with running(consumer) as harness:
        harness.add(P0, ("bad", "u1"), ("behind", "u1"), ("slow", "u2"), ("done", "u3"))
        await until(lambda: harness.tracker.in_flight == 3)
        await until(lambda: consumer.seen.count("slow") == 1)
        await until(lambda: harness.scheduler.in_flight()["records"][0]["next_attempt_at"])
        told = harness.scheduler.in_flight()
        states = {r["event_id"].split("/")[0].rpartition(":")[2]: r["state"] for r in told["records"]}
        assert states == {"bad": "retrying", "behind": "queued", "slow": "running"}
        first = told["records"][0]
        assert (first["topic"], first["partition"], first["offset"]) == (*P0, 0)
        assert (first["attempts"], first["outcome"], first["key"]) == (1, "retry", hash_key(b"dingcorp1:u1"))
        assert first["error"].startswith("ValueError at tests.unit.worker.harness:")
        assert first["since"] < first["next_attempt_at"]
        assert "private" not in orjson.dumps(told).decode()
        consumer.hold["slow"].set()
        await until(lambda: harness.tracker.in_flight == 2)
        assert harness.scheduler.in_flight()["total"] == 2


async def test_work_that_goes_on_later_is_no_failure() -> None:
    denied = Retry("full sync: no right", after=600, counts=False)
    denied.__cause__ = ValueError()
    consumer = Scripted({"listing": [Retry("it goes on", after=600, counts=False)], "denied": [denied]})
    async with running(consumer) as harness:
        harness.add(P0, ("listing", "u1"), ("denied", "u2"))
        await until(lambda: all(r["next_attempt_at"] for r in harness.scheduler.in_flight()["records"]))
        told = harness.scheduler.in_flight()["records"]
        assert [(r["outcome"], bool(r["error"])) for r in told] == [("retry", True), (None, False)]


async def test_what_waits_for_a_dependency_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_FIRST_S", 600)
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_MAX_S", 600)
    consumer = Scripted({"bad": [DatabaseDown("system A does not answer")]})
    async with running(consumer) as harness:
        harness.add(P0, ("bad", "u1"))
        await until(lambda: bool(harness.scheduler.down()))
        harness.add(P0, ("waits", "u2"))
        harness.add(P1, ("waits too", "u3"))
        await until(lambda: harness.scheduler.in_flight()["paused"][0]["records"] == 3)
        told = harness.scheduler.in_flight()
        (pause,) = told["paused"]
        assert (pause["dependency"], pause["records"]) == ("database", 3)
        assert (pause["waits_for"], pause["failures"]) == ("system A does not answer", 1)
        assert pause["since"] < pause["next_attempt_at"]
        assert [(r["state"], r["outcome"]) for r in told["records"]] == [
            ("paused", "unavailable"),
            ("paused", None),
            ("paused", None),
        ]


async def test_one_answer_is_bounded_and_names_what_failed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "MOST_SHOWN", 3)
    consumer = Scripted({"bad": [ValueError()]})
    consumer.concurrency = 1  # type: ignore[misc]
    consumer.retry_first_s = consumer.retry_max_s = 600  # type: ignore[misc]
    consumer.hold["first"] = asyncio.Event()
    async with running(consumer) as harness:
        harness.add(P1, ("bad", "u0"))
        await until(lambda: bool(harness.scheduler.in_flight()["records"][0]["attempts"]))
        harness.add(P0, ("first", "u1"), *((f"e{n}", f"v{n}") for n in range(9)))
        await until(lambda: consumer.seen.count("first") == 1)
        told = harness.scheduler.in_flight()
        assert told["total"] == 11
        assert [record["event_id"].split("/")[0].rpartition(":")[2] for record in told["records"]] == [
            "bad",
            "first",
            "e0",
        ]
        consumer.hold["first"].set()


# -- How a worker fetches past a record that aiokafka cannot decode


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
    worker._scheduler._begin_turns = lambda: None  # type: ignore[method-assign]
    assigned = worker._assigned
    kafka = Kafka(worker, begins, again)

    async def noted(*_: object) -> bool:
        return worker._assigned is assigned

    await fetch_one_by_one(kafka, worker._scheduler, assigned, 500, noted)
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
