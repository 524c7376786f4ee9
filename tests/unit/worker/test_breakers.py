"""One entity that fails is not a dependency that is down."""

import asyncio
import time
from typing import Any

import pytest

from dingbridge import Context, DependencyUnavailable, Event, Reject, Retry, availability, retry
from dingbridge.dingtalk.error_codes import error_for
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.errors import SettingsError
from dingbridge.events.event import decode
from dingbridge.worker.queues import breaker
from dingbridge.worker.queues.note import Attempts
from dingbridge.worker.queues.offset_tracker import QueuedRecord
from dingbridge.worker.store import inbox
from dingbridge.worker.store.errors import DatabaseDown
from tests.unit.worker.harness import P0, P1, Harness, Scripted, running, until
from tests.unit.worker.support import kafka_record, record


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "UNAVAILABLE_FIRST_S", 0.001)
    monkeypatch.setattr(retry, "UNAVAILABLE_MAX_S", 0.002)
    monkeypatch.setattr(breaker, "own_delay_s", lambda failures: 0.001)


def an_hour_is(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(availability, "GIVE_UP_AFTER_S", seconds)


class Failing(Scripted):
    """Raises ``error`` for the events in ``bad``, or for all while it is ``down``; each asked ``asks``."""

    def __init__(self, *bad: str, error: Exception | None = None, asks: str = "", down: bool = False) -> None:
        super().__init__()
        self.bad, self.asks, self.down = set(bad), asks, down
        self.error = error or DependencyUnavailable("system A is down")

    async def prepare(self, event: Event, ctx: Context) -> None:
        await super().prepare(event, ctx)
        name = self.seen[-1]
        if self.asks and not name.startswith("filtered"):
            ctx.asks(self.asks)
        if name in self.bad or (self.down and not name.startswith("filtered")):
            raise self.error


def events(count: int, prefix: str = "e") -> list[tuple[str, str]]:
    return [(f"{prefix}{n}", f"{prefix}{n}") for n in range(count)]


async def came(harness: Harness, count: int) -> None:
    await until(lambda: len([name for name in harness.consumer.seen if name.startswith("e")]) >= count)


@pytest.mark.parametrize(
    "error",
    [
        DependencyUnavailable("system A is down"),
        Unavailable("no answer", api="v2/user/get"),
        error_for("v2/user/get", -1, "system error"),
    ],
)
async def test_one_that_always_fails_holds_nobody_and_is_given_up_after_an_hour(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = Failing("bad", error=error, asks="dingtalk")
    async with running(consumer) as harness:
        harness.add(P0, ("bad", "bad"), ("behind", "bad"), *events(20))
        await came(harness, 20)
        await until(lambda: harness.tracker.in_flight == 2)
        assert harness.scheduler.down() == {}
        await until(lambda: consumer.seen.count("bad") > 5)
        assert harness.letters.sent == []
        an_hour_is(monkeypatch, 0)
        harness.add(P0, ("e20", "e20"))
        await until(lambda: len(harness.letters.sent) == 1)
        await harness.idle()
        ((letter, why, attempts),) = harness.letters.sent
        assert (letter.offset, type(error).__name__ in why) == (0, True)
        assert attempts >= 1
        assert harness.to_commit() == {P0: 23}


async def test_when_none_works_all_wait_in_turn_and_nothing_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    an_hour_is(monkeypatch, 0)
    consumer = Failing(down=True)
    consumer.concurrency = 1  # type: ignore[misc]
    async with running(consumer) as harness:
        harness.add(P0, *events(5))
        await until(lambda: harness.scheduler.down() == {"handler": "system A is down"})
        await until(lambda: all(consumer.seen.count(f"e{n}") > 2 for n in range(5)))
        assert harness.letters.sent == []
        consumer.down = False
        await harness.idle()
        assert harness.scheduler.down() == {}
        assert harness.letters.sent == []
        assert harness.to_commit() == {P0: 5}


async def test_who_asks_dingtalk_by_another_client_goes_on_after_an_outage_too() -> None:
    consumer = Failing(error=Unavailable("no answer", api="v2/user/get"), down=True)
    async with running(consumer) as harness:
        harness.add(P0, *events(5))
        await until(lambda: "dingtalk of default" in harness.scheduler.down())
        consumer.down = False
        await harness.idle()
        assert harness.scheduler.down() == {}


async def test_while_all_that_waits_was_tried_another_key_is_tried_at_once() -> None:
    """What waits may be at fault itself, and only another key can show it."""
    consumer = Failing("e0", "e1", "e2")
    async with running(consumer) as harness:
        harness.add(P0, *events(3))
        await until(lambda: "handler" in harness.scheduler.down())
        harness.add(P0, ("e3", "e3"))
        await until(lambda: harness.scheduler.down() == {})
        assert await harness.effects() == ["e3"]


async def test_events_of_a_type_that_does_not_call_what_is_down_go_on() -> None:
    consumer = Failing(asks="system A", down=True)
    async with running(consumer) as harness:
        harness.add(P0, *events(5))
        await until(lambda: "system A" in harness.scheduler.down())
        others = [record(f"filtered{n}", f"o{n}", "org_dept_create") for n in range(5)]
        harness.scheduler.add(
            [kafka_record(*P1, n, key=one.key, value=one.value) for n, one in enumerate(others)]
        )
        await until(lambda: harness.tracker.committable_offset(P1) == 5)
        assert "system A" in harness.scheduler.down()


async def test_what_asked_nothing_is_no_proof_that_a_dependency_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    an_hour_is(monkeypatch, 0)
    consumer = Failing(asks="a", down=True)
    async with running(consumer) as harness:
        for n in range(20):
            harness.add(P0, (f"e{n}", f"e{n}"), (f"filtered{n}", f"f{n}"))
            await until(lambda n=n: f"filtered{n}" in consumer.seen)  # type: ignore[misc]
        await until(lambda: all(consumer.seen.count(f"e{n}") > 1 for n in range(20)))
        assert harness.letters.sent == []
        consumer.down = False
        await harness.idle()
        assert harness.letters.sent == []


@pytest.mark.parametrize("code", ["60011", "60020", "90020", "40014"])
async def test_what_a_refusal_says_of_all_is_nobodys_own(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "ASKED_MAX_S", 0.001)
    an_hour_is(monkeypatch, 0)
    consumer = Failing("bad", error=error_for("v2/user/get", 88, "no", code))
    async with running(consumer) as harness:
        harness.add(P0, ("bad", "bad"), *events(3))
        await until(lambda: consumer.seen.count("bad") > 5)
        for n in range(3, 6):
            harness.add(P1, (f"e{n}", f"e{n}"))
        await until(lambda: consumer.seen.count("bad") > 10)
        assert harness.letters.sent == []
        consumer.bad.clear()
        await harness.idle()


async def test_who_waits_for_ever_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Patient(Failing):
        max_attempts = None

    an_hour_is(monkeypatch, 0)
    consumer = Patient("bad")
    async with running(consumer) as harness:
        harness.add(P0, ("bad", "bad"), *events(20))
        await came(harness, 20)
        for n in range(20, 25):
            harness.add(P0, (f"e{n}", f"e{n}"))
            tried = consumer.seen.count("bad")
            await until(lambda: consumer.seen.count("bad") > tried)  # noqa: B023
        assert harness.letters.sent == []
        consumer.bad.clear()
        await harness.idle()


async def test_an_hour_without_the_dependency_is_no_hour_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(breaker.time, "monotonic", lambda: now)
    bad, other = (QueuedRecord(P0, offset, b"k", 1) for offset in range(2))
    waiting = breaker.Breakers(lambda queued: None, lambda: None, "tests")
    monkeypatch.setattr(waiting, "_try_next", lambda *given: None)
    trouble = bad.troubled

    def fails() -> None:
        waiting.failed(bad, DependencyUnavailable("no answer"), breaker.HANDLER, None)

    fails()
    for own in range(1, 4):
        now += 60
        waiting.worked(other, breaker.HANDLER)
        now += 60
        fails()
        assert (trouble.own_failures, now - (trouble.own_since or 0)) == (own, 120 * own)
        assert not availability.is_given_up(trouble.own_since, now)
        for _ in range(3):  # nothing works meanwhile
            now += 3600
            fails()
        assert (trouble.own_failures, now - (trouble.own_since or 0)) == (own, 120 * own)
    now += 3600
    waiting.worked(other, breaker.HANDLER)
    fails()
    assert availability.is_given_up(trouble.own_since, now)


async def test_a_dead_letter_that_kafka_does_not_take_is_no_failure_of_its_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    an_hour_is(monkeypatch, 0)
    async with running(Scripted({"bad": [Reject("no")]})) as harness:
        harness.letters.down = 20
        harness.add(P0, ("bad", "u1"), *events(30))
        await harness.idle()
        assert [failure.reason for failure in harness.letters.failures] == ["no"]
        assert harness.letters.down == 0
        assert harness.scheduler.down() == {}


async def test_a_dead_letter_that_a_fault_of_ours_prevents_is_tried_in_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(Scripted({"bad": [Reject("no")]})) as harness:
        tries = 0
        write = harness.letters.write

        async def faulty(*given: Any) -> None:
            nonlocal tries
            tries += 1
            await asyncio.sleep(0)
            if tries < 8:
                raise ValueError
            await write(*given)

        monkeypatch.setattr(harness.letters, "write", faulty)
        harness.add(P0, ("bad", "u1"))
        await harness.idle()
        await until(lambda: harness.scheduler.down() == {})
        assert (tries, len(harness.letters.sent)) == (8, 1)
        assert harness.count("events_total", topic="t", outcome="dead") == 1


async def test_a_month_of_calls_that_fail_costs_about_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real delays
    now, waits = time.monotonic(), list[float]()
    monkeypatch.setattr(breaker.time, "monotonic", lambda: now)
    monkeypatch.setattr(breaker.time, "time", lambda: now)
    kept = breaker.Breakers(lambda queued: None, lambda: None, "tests")
    monkeypatch.setattr(kept, "_try_next", lambda pause, wait_s: waits.append(wait_s))
    queued = QueuedRecord(P0, 0, b"a", 1, None)
    ends = now + 30 * 86_400
    while now < ends:
        now += kept.failed(queued, Unavailable("no answer", api="a"), breaker.HANDLER, None) or waits[-1]
        for opened in kept.open:
            opened.tried.clear()
            opened.probe = queued
    assert 500 < len(waits) < 1500


@pytest.mark.parametrize("then", [Reject("no"), Retry(after=0.05), Retry(after=0.05, counts=False)])
async def test_a_pause_ends_with_the_last_record_that_waited_for_it(then: Exception) -> None:
    """Nothing more is fetched meanwhile, so nobody else would end it."""
    async with running(Scripted({"e0": [DatabaseDown("gone"), then]})) as harness:
        harness.add(P0, ("e0", "e0"))
        await harness.idle()
        await until(lambda: harness.scheduler.down() == {})
        harness.add(P0, ("e1", "e1"))
        await harness.idle()


async def test_a_pause_ends_when_its_record_was_done_before() -> None:
    """The database did not say that it had committed."""
    consumer = Scripted({"e0": [DatabaseDown("gone")]})
    first, second = asyncio.Event(), asyncio.Event()
    consumer.hold["e0"] = first
    async with running(consumer) as harness:
        harness.add(P0, ("e0", "e0"))
        await until(lambda: "e0" in consumer.began)
        consumer.hold["e0"] = second
        first.set()
        await until(lambda: "database" in harness.scheduler.down())
        async with harness.runtime.database.transaction() as tx:
            event = decode(record("e0", "e0").value)
            known = inbox.hash_of("recording", (event.source, event.id), "")
            assert await inbox.enter(tx, [(known, 1)])
        second.set()
        await harness.idle()
        await until(lambda: harness.scheduler.down() == {})


async def test_the_first_failure_after_a_rebalance_gives_nobody_up() -> None:
    """Whether it is the record's own is not known yet: nothing else has worked here."""
    consumer = Failing("bad", "e0", "e1", "e2")
    async with running(consumer) as harness:
        harness.tracker.recall(P0, {0: Attempts(0, 5, 1)})
        harness.add(P0, ("bad", "bad"), *events(3))
        await until(lambda: consumer.seen.count("bad") > 3)
        assert harness.letters.sent == []
        consumer.bad = {"bad"}
        await until(lambda: len(harness.letters.sent) == 1)


async def test_a_right_that_is_missing_for_a_month_costs_less_and_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()  # the real delays
    now = began = 1_000.0
    monkeypatch.setattr(breaker.time, "time", lambda: now)
    kept = breaker.Breakers(lambda queued: None, lambda: None, "tests")
    queued, error = QueuedRecord(P0, 0, b"a", 1, fetched_at=now), error_for("v2/user/get", 88, "no", "60011")
    calls = 0
    while now < began + 30 * 86_400:
        now += kept.failed(queued, error, breaker.HANDLER, error.retry_after_s) or 0
        calls += 1
    assert calls < 1500


async def test_settings_that_are_missing_are_named_while_the_partition_waits() -> None:
    consumer = Failing(error=SettingsError(["DINGTALK_APP_KEY must be set"]), down=True)
    async with running(consumer) as harness:
        harness.add(P0, *events(1))
        await until(lambda: harness.scheduler.down() == {"settings": "DINGTALK_APP_KEY must be set"})


async def test_settings_that_were_mended_let_all_go_on_and_hold_no_type_that_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer = Failing(error=SettingsError(["DINGTALK_APP_KEY must be set"]), down=True)
    async with running(consumer) as harness, asyncio.timeout(10):
        harness.add(P0, *events(5))
        await until(lambda: "settings" in harness.scheduler.down())
        other = record("filtered0", "o0", "org_dept_create")
        harness.scheduler.add([kafka_record(*P1, 0, key=other.key, value=other.value)])
        await until(lambda: harness.tracker.committable_offset(P1) == 1)
        assert "settings" in harness.scheduler.down()
        consumer.down = False
        monkeypatch.setattr(breaker, "delay", lambda *given, **asked: 60)
        await harness.idle()
        assert harness.scheduler.down() == {}


async def test_a_probe_that_fails_for_another_dependency_leaves_its_breaker_to_the_next() -> None:
    put: list[QueuedRecord] = []
    kept = breaker.Breakers(put.append, lambda: None, "tests")
    records = [QueuedRecord(P0, offset, offset, 1) for offset in range(3)]
    for queued in records:
        kept.failed(queued, DependencyUnavailable("a is down"), frozenset({"a"}), None)
    kept.failed(records[0], DependencyUnavailable("a is down"), frozenset({"a"}), None)
    await until(lambda: bool(put))
    assert kept.failed(put[0], DependencyUnavailable("b is down"), breaker.DEAD_LETTERS, None) is None
    await until(lambda: any(queued is not put[0] for queued in put))
