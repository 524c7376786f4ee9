"""Retries, pauses and handovers, without Kafka: records in, finished ones out."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from structlog.testing import capture_logs

from dingbridge import Consumer, DependencyUnavailable, Event, Reject, Retry, Transaction
from dingbridge import retry as backoff_module
from dingbridge.events.control import resync_requested
from dingbridge.tasks import TaskEnded
from dingbridge.worker.attempts.executor import Delivered, Executor, Outcome
from dingbridge.worker.attempts.watchdog import Turn
from dingbridge.worker.delivery import REPLAY_HEADER, hash_key
from dingbridge.worker.outcomes import LONGEST_REASON, Failure
from dingbridge.worker.scheduling import scheduler as scheduler_module
from dingbridge.worker.store import inbox
from tests.unit.worker.harness import P0, Harness, Scripted, running, until
from tests.unit.worker.support import kafka_record, record


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_FIRST_S", 0.001)
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_MAX_S", 0.002)


async def test_a_failing_key_waits_alone_and_its_events_stay_in_order() -> None:
    again: list[Exception] = [Retry(after=0.001), ValueError()] * 10_000
    consumer = Scripted({"bad1": again})
    consumer.max_attempts = 100_000  # type: ignore[misc]
    async with running(consumer) as harness:
        harness.add(P0, ("bad1", "u1"), ("bad2", "u1"), ("a", "u2"), ("b", "u3"), ("c", "u2"))
        await until(lambda: harness.tracker.in_flight == 2)
        assert set(await harness.effects()) == {"a", "b", "c"}
        again.clear()
        await harness.idle()
        assert (await harness.effects())[3:] == ["bad1", "bad2"]
        assert harness.to_commit() == {P0: 5}
        assert harness.letters.sent == []


async def test_after_the_last_attempt_the_record_is_a_dead_letter_and_the_key_goes_on() -> None:
    consumer = Scripted({"bad": [ValueError("private"), KeyError(), ValueError("private")]})
    async with running(consumer) as harness:
        harness.add(P0, ("bad", "u1"), ("next", "u1"))
        await harness.idle()
        ((letter, error, attempts),) = harness.letters.sent
        assert (letter.offset, attempts) == (0, 3)
        assert error.startswith("ValueError at tests.unit.worker.harness:")
        assert "private" not in error
        assert await harness.effects() == ["next"]
        assert harness.to_commit() == {P0: 2}
        assert harness.count("dead_letters_total", topic="t") == 1
        assert harness.count("events_total", topic="t", outcome="dead") == 1
        assert harness.count("events_total", topic="t", outcome="done") == 1


async def test_work_in_slices_is_no_attempt_and_holds_its_key_back_alone() -> None:
    slices = [Retry("it goes on", after=0, counts=False) for _ in range(20)]
    consumer = Scripted({"long": [*slices]})
    async with running(consumer) as harness:
        harness.add(P0, ("long", "u1"), ("next", "u1"), ("other", "u2"))
        await harness.idle()
        assert harness.letters.sent == []
        assert sorted(await harness.effects()) == ["long", "next", "other"]
        assert (
            consumer.seen.index("other") < consumer.seen.index("next") == 22
        )  # after each slice, and the last


class Unprepared(Scripted):
    prepare = Consumer.prepare  # type: ignore[assignment]


async def test_behind_one_known_record_the_inbox_is_asked_for_hundreds_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A restart behind 100,000 known records takes seconds."""
    many = [(f"e{n}", f"u{n}") for n in range(1_500)]
    async with running(Unprepared()) as harness:
        harness.add(P0, *many)
        await harness.idle()
        await harness.scheduler.close()
        entering = AsyncMock(side_effect=inbox.enter)
        monkeypatch.setattr(inbox, "enter", entering)
        harness.offsets.clear()
        harness.assign()
        harness.add(P0, *many, ("new", "u1"))
        await harness.idle()
        assert (await harness.effects())[len(many) :] == ["new"]
        assert entering.await_count <= harness.consumer.concurrency + 1


async def test_without_a_last_attempt_a_key_waits_until_it_works() -> None:
    class Patient(Scripted):
        max_attempts = None

    consumer = Patient({"bad": [KeyError() for _ in range(20)], "never": [Reject("hopeless")]})
    async with running(consumer) as harness:
        harness.add(P0, ("bad", "u1"), ("next", "u1"), ("never", "u2"))
        await harness.idle()
        assert await harness.effects() == ["bad", "next"]
        assert [failure.reason for failure in harness.letters.failures] == ["hopeless"]


async def test_the_log_names_event_type_attempt_and_the_keys_hash_alone() -> None:
    consumer = Scripted({"bad": [ValueError("private"), KeyError("private"), ValueError("private")]})
    with capture_logs() as logs:
        async with running(consumer) as harness:
            harness.add(P0, ("bad", "u1"))
            await harness.idle()
    about = [log for log in logs if log["event"] in ("consumer.retry", "consumer.dead_letter")]
    assert [log["event"].split(".")[1] for log in about] == ["retry", "retry", "dead_letter"]
    key = record("bad").key
    for attempt, log in enumerate(about, 1):
        named = (log["consumer"], log["event_id"], log["event_type"], log["key"], log["attempt"])
        assert named == ("recording", "user_modify_org:bad/u1", "user_modify_org", hash_key(key), attempt)
        assert (log["topic"], log["partition"], log["offset"]) == ("t", 0, 0)
        assert key.decode() not in str(log)
        assert "private" not in str(log)


async def test_a_handover_lets_running_work_finish_and_starts_nothing_new() -> None:
    consumer = Scripted()
    consumer.hold["a"] = asyncio.Event()
    async with running(consumer) as harness:
        harness.add(P0, ("a", "u1"), ("b", "u1"))
        await until(lambda: "a" in consumer.began)
        handover = asyncio.create_task(harness.scheduler.close(10))
        await asyncio.sleep(0)
        consumer.hold["a"].set()
        await handover
        assert harness.to_commit({P0}) == {P0: 1}
        assert consumer.seen == ["a"]


async def test_a_handover_finishes_what_others_have_overtaken_so_that_nobody_repeats_these() -> None:
    """The next member may have another database, which does not know what was done out of turn."""
    consumer = Scripted()
    consumer.hold["a"] = asyncio.Event()
    async with running(consumer) as harness:
        harness.add(P0, ("a", "u1"), ("b", "u1"), ("c", "u1"), ("d", "u2"), ("e", "u1"))
        await until(lambda: "a" in consumer.began and harness.tracker.in_flight == 4)
        handover = asyncio.create_task(harness.scheduler.close(10))
        await asyncio.sleep(0)
        consumer.hold["a"].set()
        await handover
        assert harness.to_commit({P0}) == {P0: 4}
        assert await harness.effects() == ["d", "a", "b", "c"]


async def test_a_handover_does_not_wait_for_what_waits_itself() -> None:
    consumer = Scripted({"a": [Retry(after=3600)]})
    async with running(consumer) as harness:
        harness.add(P0, ("a", "u1"), ("b", "u1"), ("c", "u2"))
        await until(lambda: harness.tracker.in_flight == 2 and not consumer.script["a"])
        await until(lambda: not harness.scheduler._running())
        async with asyncio.timeout(30):
            await harness.scheduler.close(3600)
        assert harness.to_commit({P0}) == {}
        assert await harness.effects() == ["c"]


async def test_a_handover_cuts_off_what_does_not_finish_and_the_runner_lives_on() -> None:
    consumer = Scripted()
    consumer.hold["a"] = asyncio.Event()
    consumer.concurrency = 1  # type: ignore[misc]
    async with running(consumer) as harness:
        harness.add(P0, ("a", "u1"), ("b", "u2"))
        await until(lambda: "a" in consumer.began)
        await harness.scheduler.close(0.01)
        assert harness.to_commit({P0}) == {}
        harness.assign()
        consumer.hold.clear()
        harness.offsets.clear()
        harness.add(P0, ("a", "u1"), ("b", "u2"))  # the partition comes back, from its committed offset
        await harness.idle()
        assert await harness.effects() == ["a", "b"]
        assert harness.to_commit() == {P0: 2}


class SelfCancelling(Scripted):
    """Cancels the task that it runs in: within an await, or so that it is raised after the handler's end."""

    uses_database, metadata = False, None

    def __init__(self, *, waits: bool) -> None:
        super().__init__()
        self.waits = waits

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        if "bad" in event.id:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if self.waits:
                await asyncio.sleep(0)

    async def dead_lettered(self, event: Event | None, failure: Failure) -> None:
        await self.handle(cast(Event, event), None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("uses_database", [True, False])
async def test_a_handler_that_cancels_itself_does_not_end_its_runner(
    waits: bool, uses_database: bool
) -> None:
    consumer = SelfCancelling(waits=waits)
    consumer.concurrency = 1  # type: ignore[misc]
    async with running(consumer) as harness:
        if not uses_database:
            harness.scheduler._executor = Executor(consumer, None)
        for n in range(3):
            harness.add(P0, (f"bad{n}", "u1"), (f"good{n}", "u1"), (f"other{n}", "u2"))
            await harness.idle()
        assert harness.to_commit() == {P0: 9}
        assert len(harness.letters.sent) == 3


@pytest.mark.parametrize("error", [KeyError(), asyncio.CancelledError()])
async def test_a_runner_that_ends_by_itself_is_noticed(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(Scripted()) as harness:
        monkeypatch.setattr(harness.scheduler, "_work", AsyncMock(side_effect=error))
        harness.add(P0, ("a", "u1"))
        await until(lambda: harness.flows > 0)
        with pytest.raises(TaskEnded, match="works on events"):
            harness.scheduler.raise_fault()


class Lasting(Executor):
    """What is cut off here does not end before ``then`` has."""

    then: Callable[[], Awaitable[Outcome]]

    async def attempt_together(self, delivered: Sequence[Delivered], number: int, turn: Turn) -> Outcome:
        try:
            return await super().attempt_together(delivered, number, turn)
        except asyncio.CancelledError:
            return await self.then()


def last(harness: Harness, consumer: Scripted, then: Callable[[], Awaitable[Outcome]]) -> None:
    processor = harness.scheduler._executor = Lasting(consumer, harness.runtime.database)
    processor.then = then


async def test_the_stop_ends_though_a_handler_was_cut_off_and_has_not_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rollback that the server does not answer, or a handler that cleans up for long."""
    monkeypatch.setattr(scheduler_module, "CANCEL_TIMEOUT_S", 0.01)
    enough = asyncio.Event()

    async def then() -> Outcome:
        while not enough.is_set():
            with suppress(asyncio.CancelledError):
                await enough.wait()
        raise asyncio.CancelledError

    consumer = Scripted()
    consumer.hold["a"] = asyncio.Event()
    async with asyncio.timeout(60):
        async with running(consumer) as harness:
            last(harness, consumer, then)
            harness.add(P0, ("a", "u1"))
            await until(lambda: "a" in consumer.began)
            runners = [cast(asyncio.Task[None], turn.task) for turn in harness.scheduler._turns]
            await harness.scheduler.close(0.01)
            assert sum(not runner.done() for runner in runners) == 1
            enough.set()
            await asyncio.wait(runners)


async def test_what_ends_after_its_partition_has_gone_pauses_it_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler_module, "CANCEL_TIMEOUT_S", 0.01)
    enough = asyncio.Event()

    async def then() -> Outcome:
        await enough.wait()
        return Outcome("unavailable", DependencyUnavailable("as seen then"))

    consumer = Scripted()
    consumer.hold["a"] = asyncio.Event()
    async with running(consumer) as harness:
        last(harness, consumer, then)
        harness.add(P0, ("a", "u1"), ("b", "u2"))
        # b is done: cut off within its transaction it would take the only connection to this database along
        await until(lambda: "a" in consumer.began and harness.tracker.in_flight == 1)
        await harness.scheduler.close(0.01)
        harness.assign()
        enough.set()
        await until(lambda: not harness.scheduler._running())
        assert harness.scheduler.down() == {}
        consumer.hold.clear()
        harness.offsets.clear()
        harness.add(P0, ("a", "u1"), ("b", "u2"))  # the partition comes back
        await harness.idle()
        assert set(await harness.effects()) == {"a", "b"}


@pytest.mark.parametrize("waiting", [Retry(after=0.1), DependencyUnavailable("down", after=0.1)])
async def test_what_waits_when_its_partition_goes_does_not_come_back_with_a_timer(waiting: Exception) -> None:
    consumer = Scripted({"a": [waiting]})
    async with running(consumer) as harness:
        harness.add(P0, ("a", "u1"), ("b", "u1"))
        await until(lambda: harness.consumer.seen == ["a"] and not harness.consumer.script["a"])
        await harness.scheduler.close(1)
        harness.assign()
        assert harness.tracker.in_flight == 0
        harness.offsets.clear()
        harness.add(P0, ("a", "u1"), ("b", "u1"))
        await harness.idle()
        await asyncio.sleep(0.11)  # past the first life's timer
        assert await harness.effects() == ["a", "b"]
        assert consumer.seen == ["a", "a", "b"]


async def test_freshness_is_from_receipt_to_the_end_of_handling_of_what_came_by_itself() -> None:
    """Not of what is given up, replayed, or a resync request: these are old by intent."""
    consumer = Scripted({"bad": [Reject("no")], "late": [Retry(after=0.001)]})
    consumer.hold["late"] = asyncio.Event()
    order = resync_requested(
        id="o", app="default", corp_id="c", now_ms=1, since_ms=1, part="all", reason="test"
    )
    replayed, other = record("again", "u3"), record("e9", "u4", "a_new_type")
    async with running(consumer) as harness:
        harness.add(P0, ("a", "u1"), ("bad", "u2"), ("late", "u1"))
        harness.scheduler.add(
            [
                kafka_record("t", 1, 0, key=order.key, value=order.value),
                kafka_record(
                    "t",
                    1,
                    1,
                    key=replayed.key,
                    value=replayed.value,
                    headers=(*replayed.headers, (REPLAY_HEADER, b"r1")),
                ),
                kafka_record("t", 1, 2, key=other.key, value=other.value),
            ]
        )
        await until(lambda: harness.tracker.in_flight == 1)
        count = partial(harness.count, "freshness_seconds_count")
        assert (count(family="contact"), count(family="other")) == (1, 1)
        consumer.hold["late"].set()
        await harness.idle()
        assert count(family="contact") == 2
        since = datetime.fromtimestamp(1_700_000_000.5, UTC)  # when these were received
        most = 2 * (datetime.now(UTC) - since).total_seconds()
        assert most - 600 < harness.count("freshness_seconds_sum", family="contact") <= most
        assert harness.count("freshness_seconds_bucket", family="contact", le="86400.0") == 0
        families = {
            sample.labels["family"]
            for metric in harness.registry.collect()
            for sample in metric.samples
            if "family" in sample.labels
        }
        assert families == {"contact", "other"}


async def test_a_request_that_is_not_due_holds_nothing_but_its_offset_and_goes_with_its_partition() -> None:
    due_ms = int(datetime.now(UTC).timestamp() * 1000) + 600_000
    request = resync_requested(
        id="r1", app="default", corp_id="c", now_ms=due_ms, since_ms=0, part="contacts", reason="test"
    )
    async with running(Scripted()) as harness:
        harness.scheduler.add([kafka_record(*P0, 0, key=request.key, value=request.value)])
        harness.offsets[P0] = 1
        harness.add(P0, ("a", "u1"), ("b", "u2"))
        await until(lambda: harness.tracker.in_flight == 1)
        assert set(await harness.effects()) == {"a", "b"}
        assert (harness.to_commit().get(P0, 0), harness.scheduler.down()) == (0, {})
        await harness.scheduler.close(60)
        assert harness.to_commit().get(P0, 0) == 0
        harness.assign()
        assert harness.tracker.in_flight == 0
        assert harness.letters.sent == []


async def test_of_a_records_own_texts_a_log_holds_200_characters_escaped() -> None:
    id_ = "\n" + "x" * 400_000
    consumer = Scripted({id_: [Retry("y" * 400_000, after=0.001), Reject("y" * 400_000)]})
    with capture_logs() as logs:
        async with running(consumer) as harness:
            harness.add(P0, (id_, "u1"))
            await harness.idle()
    about = [log for log in logs if log["event"] in ("consumer.retry", "consumer.dead_letter")]
    assert len(about) == 2
    for log in about:
        assert log["event_id"] == f"user_modify_org:\\n{'x' * 181}…"
        assert log["reason"] == "y" * LONGEST_REASON
