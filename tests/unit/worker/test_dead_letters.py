"""Dead letters: their content, their one copy, and the hook ``dead_lettered``."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from dingbridge import Event, Reject, Retry
from dingbridge import retry as backoff_module
from dingbridge.errors import RecordTooLarge
from dingbridge.kafka.writer import RecordWriter
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.context import Position
from dingbridge.worker.dead_letters import LARGEST_BYTES, DeadLetterWriter
from dingbridge.worker.outcomes import Failure
from dingbridge.worker.store import outbox
from tests.unit.worker.harness import P0, Harness, Scripted, running, until
from tests.unit.worker.support import Recording, kafka_record, record


class Telling(Scripted):
    """Remembers what it was told, and then does what ``then`` says."""

    def __init__(self, script: dict[str, list[Exception]] | None = None) -> None:
        super().__init__(script)
        self.told: list[tuple[str | None, Failure]] = []
        self.then: Callable[[], Awaitable[object]] | None = None

    async def dead_lettered(self, event: Event | None, failure: Failure) -> None:
        self.told.append((event.subject if event else None, failure))
        if self.then is not None:
            await self.then()


async def test_each_dead_letter_is_told_with_its_failure_and_nothing_else_is() -> None:
    wrong = ValueError("private")
    consumer = Telling({"bad": [Reject("no such template")], "wrong": [wrong] * 3, "late": [ValueError()]})
    async with running(consumer) as harness:
        harness.add(P0, ("bad", "u1"), ("wrong", "u2"), ("late", "u3"), ("good", "u4"))
        harness.scheduler.add([kafka_record("t", 0, 9, key=b"k", value=b"no event")])
        await harness.idle()
    told = dict(consumer.told)
    assert len(consumer.told) == len(told) == 3
    assert (told["u1"].reason, told["u1"].attempts) == ("no such template", 1)
    assert (told["u2"].exception, told["u2"].attempts) == (wrong, 3)
    assert "private" not in repr(told["u2"])
    assert told[None].error.startswith("dingbridge.events.event.NotAnEvent")


async def test_it_is_told_when_kafka_has_the_letter_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_FIRST_S", 0.001)
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_MAX_S", 0.002)
    consumer = Telling({"bad": [Reject("no")]})
    sent: list[int] = []
    async with running(consumer) as harness:

        async def then() -> None:
            sent.append(len(harness.letters.sent))

        consumer.then = then
        harness.letters.down = 5
        harness.add(P0, ("bad", "u1"))
        await harness.idle()
    assert sent == [1]


async def _fails() -> None:
    raise ValueError("private")


async def _is_cancelled_from_within() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("then", [_fails, _is_cancelled_from_within, asyncio.Event().wait])
async def test_what_goes_wrong_in_it_is_logged_and_changes_nothing(
    then: Callable[[], Awaitable[object]],
) -> None:
    class Hurried(Telling):
        handler_timeout_s = 2.0  # of the handler of the next one, too

    consumer = Hurried({"bad": [Reject("no")]})
    consumer.then = then
    with capture_logs() as logs:
        async with running(consumer) as harness:
            harness.add(P0, ("bad", "u1"), ("next", "u1"))
            await harness.idle()
            assert await harness.effects() == ["next"]
            assert len(harness.letters.sent) == 1
    [entry] = [entry for entry in logs if entry["event"] == "consumer.dead_lettered_failed"]
    assert "private" not in str(entry)


async def test_who_loses_the_partition_while_telling_leaves_it_to_the_next() -> None:
    consumer = Telling({"bad": [Reject("no")]})
    async with running(consumer) as harness:
        consumer.then = asyncio.Event().wait
        harness.add(P0, ("bad", "u1"))
        await until(lambda: len(consumer.told) == 1)
        await harness.scheduler.close(0.01)
        harness.assign()
        consumer.then = None
        harness.offsets.clear()
        harness.add(P0, ("bad", "u1"))
        await harness.idle()
    (_, first), (_, second) = consumer.told
    assert first == second
    assert isinstance(first.exception, Reject)
    assert second.exception is None, "it is told from what the database keeps"


# -- x


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_FIRST_S", 0.001)
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_MAX_S", 0.002)


async def test_a_dead_letter_says_what_the_handler_said_and_of_any_other_error_its_frames() -> None:
    errors: list[Exception] = [ValueError("private words")] * 3
    async with running(Scripted({"rejected": [Reject("no price")], "broken": errors})) as harness:
        with capture_logs() as logs:
            harness.add(P0, ("rejected", "u1"), ("broken", "u2"))
            await harness.idle()
        said = {failure.error.split(" ")[0]: failure for failure in harness.letters.failures}
        rejected, broken = said["dingbridge.worker.outcomes.Reject"], said["ValueError"]
        assert (rejected.reason, rejected.frames) == ("no price", "")
        assert broken.reason == ""
        *_, last = broken.frames.splitlines()
        assert last.startswith("worker/harness.py:")
        assert last.endswith(" in handle")
        told = {
            entry["error"].split(" ")[0]: entry for entry in logs if entry["event"] == "consumer.dead_letter"
        }
        assert told["dingbridge.worker.outcomes.Reject"]["reason"] == "no price"
        assert told["ValueError"]["frames"][-1] == last
        assert "private" not in repr(logs) + repr(harness.letters.failures)


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff\x00"])
async def test_what_is_no_event_is_buried_with_its_bytes(value: bytes | None) -> None:
    async with running(Scripted()) as harness:
        harness.scheduler.add([kafka_record("t", 0, 0, key=None, value=value, headers=(("h", b"\xfe"),))])
        await harness.idle()
        ((letter, error, _),) = harness.letters.sent
        assert (letter.key, letter.value, letter.headers) == (None, value, (("h", b"\xfe"),))
        assert error.startswith("dingbridge.events.event.NotAnEvent")
        assert harness.letters.failures[0].reason.startswith("the record")


@pytest.mark.parametrize("large", ["value", "key", "headers"])
async def test_of_a_record_that_is_larger_than_any_of_ours_only_its_place_is_kept(large: str) -> None:
    """A few bytes of a compressed batch unpack to hundreds of MiB, and any writer may send them."""
    much = bytes(LARGEST_BYTES)
    parts: dict[str, Any] = {"key": b"k", "value": b"{}", "headers": (("dingbridge-type", b"user_add_org"),)}
    parts[large] = (*parts["headers"], ("x", much)) if large == "headers" else much
    async with running(Scripted()) as harness:
        harness.scheduler.add([kafka_record(*P0, 0, **parts)])
        assert harness.tracker.in_flight_bytes < 10_000
        harness.offsets[P0] = 1
        harness.add(P0, ("a", "u1"))
        await harness.idle()
        assert await harness.effects() == ["a"]
        assert harness.to_commit() == {P0: 2}
    ((letter, _, _),) = harness.letters.sent
    assert (letter.key, letter.value) == (None if large == "key" else b"k", None)
    assert (*P0, 0) == (letter.topic, letter.partition, letter.offset)
    assert dict(letter.headers) == {"dingbridge-type": b"user_add_org", "dingbridge-dlq-value": b"in-place"}
    assert "larger than 8 MiB" in harness.letters.failures[0].reason


async def test_a_letter_that_is_too_large_for_its_topic_is_written_without_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = []

    async def write(_: Any, topic: str, key: bytes | None, value: bytes | None, headers: Any) -> None:
        if len(value or b"") + sum(len(content) for _, content in headers) > 1_000:
            raise RecordTooLarge("as the broker says")
        written.append((key, value, headers))

    monkeypatch.setattr(RecordWriter, "write", write)
    sent = kafka_record(*P0, 7, key=b"k", value=bytes(2_000), headers=(("x", bytes(2_000)),))
    await DeadLetterWriter(ConsumerSettings.load(), "recording").write(sent, Failure("ValueError", 8))
    ((key, value, headers),) = written
    assert (key, value) == (b"k", None)
    told = dict(headers)
    assert told["dingbridge-dlq-value"] == b"in-place"
    assert (told["dingbridge-dlq-topic"], told["dingbridge-dlq-offset"]) == (b"t", b"7")
    assert told["dingbridge-dlq-attempts"] == b"8"


async def test_a_record_counts_as_done_only_when_its_dead_letter_is_taken() -> None:
    async with running(Scripted({"bad": [Reject("no")]})) as harness:
        harness.letters.down = 3
        harness.add(P0, ("bad", "u1"))
        await harness.idle()
        assert len(harness.letters.sent) == 1
        assert harness.letters.sent[0][2] == 1
        assert harness.consumer.seen == ["bad"], "the handler is not called again for it"


class Unprepared(Scripted):
    """The transaction alone looks into the inbox."""

    prepare = Recording.prepare


async def redelivered(harness: Harness, *events: tuple[str, str]) -> None:
    """A handover, after which the partition comes again from its committed offset, its first."""
    await harness.scheduler.close(0.1)
    harness.assign()
    harness.offsets[P0] = 0
    harness.add(P0, *events)
    await harness.idle()


@pytest.mark.parametrize("base", [Scripted, Unprepared])
async def test_a_record_that_was_given_up_is_applied_by_its_letter_alone(base: type[Scripted]) -> None:
    consumer = base({"slow": [Retry(after=30)], "bad": [Reject("fixed meanwhile")]})
    async with running(consumer) as harness:
        events = [("slow", "u0"), ("bad", "u1")]
        harness.add(P0, *events)
        await until(lambda: harness.tracker.in_flight == 1)
        assert harness.to_commit() == {}, "an earlier record holds it back"
        await redelivered(harness, *events)
        assert await harness.effects() == ["slow"]
        ((letter, _, _),) = harness.letters.sent
        replayed = (*letter.headers, ("dingbridge-replay-id", b"r1"))
        harness.scheduler.add(
            [kafka_record("inbox", 0, 0, key=letter.key, value=letter.value, headers=replayed)]
        )
        await harness.idle()
        assert await harness.effects() == ["slow", "bad"]
        assert len(harness.letters.sent) == 1


@pytest.mark.parametrize("base", [Scripted, Unprepared])
async def test_a_copy_that_was_given_up_is_settled_under_its_replay_id(base: type[Scripted]) -> None:
    consumer = base({"slow": [Retry(after=30)], "bad": [Reject("fixed meanwhile")]})

    def copies(*offsets: int, replay_id: bytes = b"r1") -> None:
        for offset, name in zip(offsets, ("slow", "bad"), strict=False):
            made = record(name, name)
            headers = (*made.headers, ("dingbridge-replay-id", replay_id))
            harness.scheduler.add(
                [kafka_record("t", 0, offset, key=made.key, value=made.value, headers=headers)]
            )

    async with running(consumer) as harness:
        copies(0, 1)
        await until(lambda: harness.tracker.in_flight == 1)
        await harness.scheduler.close(0.1)
        harness.assign()
        copies(0, 1)
        await harness.idle()
        assert await harness.effects() == ["slow"]
        assert len(harness.letters.sent) == 1
        copies(2, 3)  # another operator sent them as well
        await harness.idle()
        assert await harness.effects() == ["slow"]
        copies(4, 5, replay_id=b"r2")
        await harness.idle()
        assert sorted(await harness.effects()) == ["bad", "slow", "slow"]
        assert len(harness.letters.sent) == 1


@pytest.mark.parametrize("base", [Scripted, Unprepared])
async def test_a_dead_letter_in_the_outbox_is_sent_when_the_record_comes_again(base: type[Scripted]) -> None:
    consumer = base({"bad": [Reject("fixed meanwhile")]})
    async with running(consumer) as harness:
        harness.letters.down = 10_000_000
        harness.add(P0, ("bad", "u1"))
        await until(lambda: bool(harness.scheduler.down()))
        harness.letters.down = 0
        await redelivered(harness, ("bad", "u1"), ("next", "u1"))
        ((letter, error, attempts),) = harness.letters.sent
        assert (letter.offset, error.split(" ")[0], attempts) == (0, "dingbridge.worker.outcomes.Reject", 1)
        assert await harness.effects() == ["next"]
        assert await harness.runtime.rows(select(outbox.outbox)) == []


async def test_what_is_no_event_has_one_letter_however_often_it_comes() -> None:
    async with running(Scripted()) as harness:
        for _ in range(2):
            harness.scheduler.add([kafka_record(*P0, 0, key=b"k", value=b"{}")])
            await harness.idle()
            await harness.scheduler.close(0.1)
            harness.assign()
        assert len(harness.letters.sent) == 1


async def test_the_outbox_is_pruned_of_records_that_come_no_more() -> None:
    async with running(Scripted()) as harness:
        database, why = harness.runtime.database, Failure("KeyError", 3, "why", "frames")
        for consumer in ("recording", "other"):
            async with database.transaction() as tx:
                await outbox.add(tx, consumer, Position("t", 0, 1), why)
        now = datetime.now(UTC)
        await outbox.prune(database, "recording", now - timedelta(hours=1))
        assert await outbox.find(database.reader(), "recording", Position("t", 0, 1)) == why
        await outbox.prune(database, "recording", now)
        assert [row.consumer for row in await harness.runtime.rows(select(outbox.outbox))] == ["other"]
