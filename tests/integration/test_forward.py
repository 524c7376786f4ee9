"""forward on a real Kafka, to real receivers: systems are independent, nothing is lost by a kill, and what is
sent back comes under its id."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from dingbridge.console.access.users import Role
from dingbridge.console.index import feed
from dingbridge.console.life.facts import facts_of
from dingbridge.console.life.outcome import outcome_of, replays_of
from dingbridge.events.envelope import Received, Record, to_records
from dingbridge.events.event import decode
from tests.integration.console_support import console_at
from tests.integration.forward_support import Receiver, forward_file, receiver
from tests.integration.worker_support import (
    consumer_settings,
    dead_letters,
    event_record,
    given_id,
    has_committed,
    publish,
)
from tests.support.sizes import sized
from tests.support.waiting import eventually


def records(count: int, first: int = 0) -> list[Record]:
    return [event_record(f"e{n:04}", f"u{n % 20}") for n in range(first, first + count)]


@pytest.fixture
def a() -> str:
    """A system's name, and so a consumer group, of this test alone."""
    return f"a-{secrets.token_hex(4)}"


@pytest.fixture
async def system_a() -> AsyncIterator[Receiver]:
    async with receiver() as running:
        yield running


def hangs(system: Receiver) -> None:
    system.answer = system.hang


def fails(system: Receiver) -> None:
    system.answer = lambda got: 500


@pytest.mark.parametrize("trouble", [Receiver.stop, hangs, *sized([fails], [fails], quick=[])])
async def test_a_system_in_trouble_changes_nothing_for_the_other(
    a: str,
    processes: Any,
    kafka_env: dict[str, str],
    kafka_settings: Any,
    tmp_path: Path,
    system_a: Receiver,
    trouble: Callable[[Receiver], Any],
) -> None:
    """Both as processes, as an operator runs them. b gets every event before a gets one: a request that
    hangs at a may take longer than this test waits for b."""
    each = sized(50, 100, quick=20)
    async with receiver() as system_b:
        of_a, of_b = {"url": system_a.url, "timeout_s": 300.0}, {"url": system_b.url, "rate": 1000}
        declared: dict[str, dict[str, Any]] = {a: of_a, f"b-{a}": of_b}
        env = {**kafka_env, **forward_file(tmp_path, declared), "TOPIC_PARTITIONS": "2"}
        for name in declared:
            processes.start("consume", f"forward-{name}", env=env)
        await publish(kafka_settings, records(each))
        for system in (system_a, system_b):  # both are there, and well
            await eventually(lambda system=system: len(set(system.ids())) == each, 120)
        if asyncio.iscoroutine(begun := trouble(system_a)):
            await begun
        await publish(kafka_settings, records(each, first=each))
        await eventually(lambda: len(set(system_b.ids())) == 2 * each, 120)
    assert len(set(system_a.ids())) == each, "a took something, so it was not in trouble"

    await system_a.stop()  # ends what hangs
    await system_a.start()
    system_a.answer = lambda got: 200
    await eventually(lambda: len(set(system_a.ids())) == 2 * each, 180)
    for name in declared:
        assert not await dead_letters(kafka_settings, f"forward-{name}", 1)


async def test_killed_at_any_time_each_event_still_arrives_under_one_id(
    a: str, processes: Any, kafka_env: dict[str, str], kafka_settings: Any, tmp_path: Path, system_a: Receiver
) -> None:
    env = {**kafka_env, **forward_file(tmp_path, {a: {"url": system_a.url, "rate": 300}})}
    await publish(kafka_settings, records(300))
    for goal in sized((100,), (50, 150)):
        process = processes.start("consume", f"forward-{a}", env=env)
        await eventually(lambda goal=goal: len(system_a.taken) >= goal)
        process.kill()
    processes.start("consume", f"forward-{a}", env=env)
    await eventually(lambda: has_committed(kafka_settings, f"forward-{a}", 300), 120)
    ids = {(got.event_id, got.id) for got in system_a.taken}
    assert len(ids) == len(dict(ids)) == len({id_ for _, id_ in ids}) == 300


def approval(code: str) -> Record:
    body = {"EventType": "bpms_instance_change", "eventId": "e3", "corpId": "dingcorp1", "type": "finish"}
    body |= {"processInstanceId": "pi", "processCode": code}
    return to_records(Received(1, "j1", 1_700_000_000_500, "default", "http", orjson.dumps(body)))[0]


async def test_what_is_sent_back_comes_under_its_id_and_the_console_says_what_became_of_each(
    a: str,
    processes: Any,
    kafka_env: dict[str, str],
    tmp_path: Path,
    system_a: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kafka's offsets, the dead letters and the inbox say it: forward keeps nothing."""
    monkeypatch.setattr(feed, "REFRESH_S", 0.2)
    system_a.answer = lambda got: 422 if got.event_id == "e2" else 200
    declared = {"types": ["user_modify_org", "bpms_instance_change"], "process_codes": ["PROC-1"]}
    env = {**kafka_env, **forward_file(tmp_path, {a: {"url": system_a.url, **declared}})}
    settings = consumer_settings(kafka_env, "sqlite:///none.db")
    await publish(settings, [*records(1), event_record("e2", "u2"), approval("PROC-2")])
    processes.start("consume", f"forward-{a}", env=env)
    async with console_at(tmp_path, env, monkeypatch, Role.VIEWER) as who:
        await eventually(lambda: has_committed(settings, f"forward-{a}", 3))
        [letter] = await dead_letters(settings, f"forward-{a}", 1)
        assert given_id(decode(letter.value).id) == "e2"
        system_a.answer = lambda got: 200
        again = "dlq", "replay", f"forward-{a}", "--yes"
        await asyncio.to_thread(processes.run, *again, env=kafka_env)
        await eventually(lambda: sorted(system_a.ids()) == ["e0000", "e2"])
        refused, taken = (got for got in system_a.got if got.event_id == "e2")
        assert (refused.id, refused.body) == (taken.id, taken.body)
        sent = ["dingbridge-replay-id" in got.headers for got in (refused, taken)]
        assert sent == [False, True]

        async def states() -> dict[str, list[str]]:
            found = {}
            for event in (await who.console.search.find("")).events:
                known = await facts_of(who.console, [event])
                [facts] = [one for one in known if one.consumer == f"forward-{a}"]
                replayed = [one.outcome.state for one in replays_of(event.place, facts)]
                found[given_id(event.id)] = [outcome_of(event.place, facts).state, *replayed]
            return found

        expected = {"e0000": ["committed"], "e2": ["dead_settled", "committed"], "e3": ["committed"]}

        async def told() -> bool:
            return await states() == expected

        await who.console.feed.start()
        try:
            await eventually(told, what=f"{expected}")
        finally:
            await who.console.feed.stop()
