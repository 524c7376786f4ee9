"""What ``GET /in-flight`` tells of a worker: every record that is not finished, and no value of any."""

import asyncio

import orjson
import pytest

from dingbridge import Retry
from dingbridge import retry as backoff_module
from dingbridge.worker.delivery import hash_key
from dingbridge.worker.queues import in_flight
from dingbridge.worker.store.errors import DatabaseDown
from tests.unit.worker.harness import P0, P1, Scripted, running, until


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


async def test_a_paused_partition_says_what_it_waits_for_and_the_other_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_FIRST_S", 600)
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_MAX_S", 600)
    consumer = Scripted({"bad": [DatabaseDown("system A does not answer")]})
    async with running(consumer) as harness:
        harness.add(P0, ("bad", "u1"))
        await until(lambda: bool(harness.scheduler.down()))
        harness.add(P0, ("waits", "u2"))
        harness.add(P1, ("goes", "u3"))
        await until(lambda: harness.tracker.in_flight == 2)
        told = harness.scheduler.in_flight()
        (pause,) = told["paused"]
        assert (pause["topic"], pause["partition"], pause["offset"]) == (*P0, 1), "the next to be tried"
        assert (pause["waits_for"], pause["failures"]) == ("system A does not answer", 1)
        assert pause["since"] < pause["next_attempt_at"]
        assert [(r["state"], r["outcome"]) for r in told["records"]] == [
            ("paused", "unavailable"),
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
