"""The hook ``dead_lettered``: who is told of what went to the dead letters, and when."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from dingbridge import Event, Failure, Reject
from dingbridge import retry as backoff_module
from tests.unit.worker.harness import P0, Scripted, running, until
from tests.unit.worker.support import kafka_record


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
        await harness.scheduler.revoke({P0}, 0.01)
        harness.scheduler.forget({P0})
        consumer.then = None
        harness.offsets.clear()
        harness.add(P0, ("bad", "u1"))
        await harness.idle()
    (_, first), (_, second) = consumer.told
    assert first == second
    assert isinstance(first.exception, Reject)
    assert second.exception is None, "it is told from what the database keeps"
