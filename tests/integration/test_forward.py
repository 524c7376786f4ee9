"""forward on a real Kafka, to real receivers: systems are independent, only an event that itself causes
the failure is given up, and nobody waits for somebody else's system."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.errors import KafkaError

from dingbridge import availability
from dingbridge.console.access.users import Role
from dingbridge.console.index import feed
from dingbridge.console.life.facts import facts_of
from dingbridge.console.life.outcome import outcome_of, replays_of
from dingbridge.consumers.forward.consumer import consumer_of
from dingbridge.consumers.forward.settings import ForwardSettings, load_systems
from dingbridge.events.envelope import Received, Record, to_records
from dingbridge.events.event import decode
from dingbridge.kafka.client import producer
from dingbridge.kafka.topic_policy import dlq_topic, event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import ConsumerSettings, KafkaSettings
from dingbridge.ssrf import AddressGuard
from dingbridge.worker.queues import breaker
from dingbridge.worker.service import ConsumerService
from tests.integration.console_support import console_at
from tests.integration.forward_support import Got, Receiver, forward_file, receiver
from tests.integration.worker_support import (
    committed,
    consumer_settings,
    event_record,
    given_id,
    publish,
    serving,
)
from tests.support.kafka_reader import read_topic
from tests.support.sizes import sized
from tests.support.waiting import eventually

TOPIC = "user_modify_org"


def records(count: int, users: int = 20, first: int = 0) -> list[Record]:
    return [event_record(f"e{n:04}", f"u{n % users}") for n in range(first, first + count)]


def in_order_per_user(taken: list[Got]) -> bool:
    """Whether each user's events arrived in order, repeats aside."""
    last: dict[str, str] = {}
    seen: set[str] = set()
    for got in taken:
        envelope = got.json()
        if envelope["id"] not in seen:
            seen.add(envelope["id"])
            if last.get(envelope["subject"], "") > envelope["id"]:
                return False
            last[envelope["subject"]] = envelope["id"]
    return True


@pytest.fixture
def a() -> str:
    """A system's name, and so a consumer group, of this test alone."""
    return f"a-{secrets.token_hex(4)}"


@pytest.fixture
async def system_a() -> AsyncIterator[Receiver]:
    async with receiver() as running:
        yield running


@pytest.fixture
async def system_b() -> AsyncIterator[Receiver]:
    async with receiver() as running:
        yield running


@pytest.fixture
def settings(kafka_env: dict[str, str], tmp_path: Path) -> ConsumerSettings:
    return consumer_settings(kafka_env, f"sqlite:///{tmp_path / 'never-made.db'}", topic_partitions=2)


EACH = sized(50, 100, quick=20)
"""Events of one round of a test that compares rounds."""

Start = Callable[..., Any]


@pytest.fixture
def start(settings: ConsumerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs the consumer of one system in this process: ``async with start(a, url=…) as service``."""

    @asynccontextmanager
    async def start(name: str, **declared: Any) -> AsyncIterator[ConsumerService]:
        for variable, value in forward_file(tmp_path, {name: declared}).items():
            monkeypatch.setenv(variable, value)
        own = ForwardSettings.load()
        system = load_systems(own)[name]
        async with serving(consumer_of(name, system, AddressGuard(own.allowed))(), settings) as service:
            yield service

    return start


async def letters(settings: ConsumerSettings, name: str) -> list[str]:
    """Event ids in the dead letters of ``name``."""
    found = await read_topic(settings, dlq_topic(settings, name))
    return [decode(record.value or b"").id.split("/")[0].rpartition(":")[2] for record in found]


async def all_committed(settings: ConsumerSettings, name: str, count: int) -> None:
    async def done() -> bool:
        try:
            return sum((await committed(settings, name)).values()) == count
        except KafkaError as error:  # a broker under load may lose sight of itself for a moment
            if not error.retriable:
                raise
            return False

    await eventually(done, what=f"{name} has committed {count} records")


async def dead(system: Receiver) -> None:
    await system.stop()


async def hangs(system: Receiver) -> None:
    system.answer = system.hang


async def fails(system: Receiver) -> None:
    system.answer = lambda got: 500


Trouble = Callable[[Receiver], Awaitable[None]]


async def publish_each(settings: KafkaSettings, first: int) -> None:
    topic = event_topic(settings, TOPIC)
    await ensure_topics(settings, [topic])
    sender = producer(settings)
    await sender.start()
    try:
        for record in records(EACH, first=first):
            await sender.send_and_wait(topic, record.value, key=record.key, headers=list(record.headers))
    finally:
        await sender.stop()


@pytest.mark.parametrize("trouble", sized([dead, hangs, fails], [dead, hangs, fails], quick=[dead, hangs]))
async def test_a_system_in_trouble_changes_nothing_for_the_other(
    a: str,
    processes: Any,
    kafka_env: dict[str, str],
    kafka_settings: Any,
    tmp_path: Path,
    system_a: Receiver,
    system_b: Receiver,
    trouble: Trouble,
) -> None:
    """Both as processes, as an operator runs them. b gets every event before a gets one: a request that
    hangs at a may take longer than this test waits for b."""
    declared: dict[str, dict[str, Any]] = {
        a: {"url": system_a.url, "timeout_s": 300.0},
        f"b-{a}": {"url": system_b.url, "rate": 1000},
    }
    env = {**kafka_env, **forward_file(tmp_path, declared), "TOPIC_PARTITIONS": "2"}
    for name in declared:
        processes.start("consume", f"forward-{name}", env=env)
    await publish_each(kafka_settings, 0)
    for system in (system_a, system_b):  # both are there, and well
        await eventually(lambda system=system: len(set(system.ids())) == EACH, 120)
    await trouble(system_a)
    await publish_each(kafka_settings, EACH)
    await eventually(lambda: len(set(system_b.ids())) == 2 * EACH, 120)
    assert len(set(system_a.ids())) == EACH, "a took something, so it was not in trouble"

    await system_a.stop()  # ends what hangs
    await system_a.start()
    system_a.answer = lambda got: 200
    await eventually(lambda: len(set(system_a.ids())) == 2 * EACH, 180)
    for system in (system_a, system_b):
        assert in_order_per_user(system.taken)
    consumers = consumer_settings(kafka_env, "sqlite:///none.db")
    for name in declared:
        assert await letters(consumers, f"forward-{name}") == []


@pytest.mark.parametrize("status", sized([503, 404], [500, 503, 401, 404], quick=[503]))
async def test_a_poisonous_event_waits_alone_and_is_given_up_in_the_end(
    a: str,
    start: Start,
    settings: ConsumerSettings,
    system_a: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr(breaker, "own_delay_s", lambda failures: 0.05)
    system_a.answer = lambda got: status if got.event_id == "e0000" else 200
    await publish(settings, records(1))
    async with start(a, url=system_a.url):
        await eventually(lambda: len(system_a.got) >= 1)
        await publish(settings, records(20, first=1))
        await eventually(lambda: len(system_a.taken) == 19)  # u0's later event waits behind its first
        assert await letters(settings, f"forward-{a}") == []
        monkeypatch.setattr(availability, "GIVE_UP_AFTER_S", 0)
        await publish(settings, records(1, first=21))  # its own failure is one while another is taken
        await all_committed(settings, f"forward-{a}", 22)
        assert await letters(settings, f"forward-{a}") == ["e0000"]


async def test_killed_at_any_time_each_event_still_arrives_under_one_id(
    a: str, processes: Any, kafka_env: dict[str, str], kafka_settings: Any, tmp_path: Path, system_a: Receiver
) -> None:
    env = {**kafka_env, **forward_file(tmp_path, {a: {"url": system_a.url, "rate": 300}})}
    await publish(kafka_settings, records(300))
    for goal in sized((100,), (50, 150)):

        def reached(goal: int = goal) -> bool:
            return len(system_a.taken) >= goal

        process = processes.start("consume", f"forward-{a}", env=env)
        await eventually(reached)
        process.kill()
    processes.start("consume", f"forward-{a}", env=env)
    await eventually(lambda: len(set(system_a.ids())) == 300, 120)
    consumers = consumer_settings(kafka_env, "sqlite:///none.db")
    await all_committed(consumers, f"forward-{a}", 300)
    by_event: dict[str, set[str]] = {}
    for got in system_a.taken:
        by_event.setdefault(got.event_id, set()).add(got.id)
    assert all(len(ids) == 1 for ids in by_event.values())
    assert len({i for ids in by_event.values() for i in ids}) == 300


def approval(code: str) -> Record:
    body = {"EventType": "bpms_instance_change", "eventId": "e3", "corpId": "dingcorp1", "type": "finish"}
    body |= {"processInstanceId": "pi", "processCode": code}
    return to_records(Received(1, "j1", 1_700_000_000_500, "default", "http", orjson.dumps(body)))[0]


async def test_what_is_sent_back_comes_under_its_id_and_the_console_says_what_became_of_each(
    a: str,
    start: Start,
    processes: Any,
    kafka_env: dict[str, str],
    settings: ConsumerSettings,
    tmp_path: Path,
    system_a: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kafka's offsets, the dead letters and the inbox say it: forward keeps nothing."""
    monkeypatch.setattr(feed, "REFRESH_S", 0.2)
    system_a.answer = lambda got: 422 if got.event_id == "e2" else 200
    types = ["user_modify_org", "bpms_instance_change"]
    await publish(settings, [*records(1), event_record("e2", "u2"), approval("PROC-2")])
    async with (
        start(a, url=system_a.url, types=types, process_codes=["PROC-1"]),
        console_at(tmp_path, kafka_env, monkeypatch, Role.VIEWER) as who,
    ):
        await all_committed(settings, f"forward-{a}", 3)
        assert await letters(settings, f"forward-{a}") == ["e2"]
        system_a.answer = lambda got: 200
        again = "dlq", "replay", f"forward-{a}", "--yes"
        await asyncio.to_thread(processes.run, *again, env=kafka_env)
        await eventually(lambda: sorted(system_a.ids()) == ["e0000", "e2"])
        refused, taken = (got for got in system_a.got if got.event_id == "e2")
        assert (refused.id, refused.body) == (taken.id, taken.body)
        assert "dingbridge-replay-id" not in refused.headers
        assert "dingbridge-replay-id" in taken.headers

        async def states() -> dict[str, list[str]]:
            found = {}
            for event in (await who.console.search.find("")).events:
                known = await facts_of(who.console, [event])
                [facts] = [one for one in known if one.consumer == f"forward-{a}"]
                replayed = [one.outcome.state for one in replays_of(event.place, facts)]
                found[given_id(event.id)] = [outcome_of(event.place, facts).state, *replayed]
            return found

        expected = {"e0000": ["committed"], "e2": ["dead_settled", "committed"], "e3": ["committed"]}
        await who.console.feed.start()
        try:

            async def told() -> bool:
                return await states() == expected

            await eventually(told, what=f"{expected}")
        finally:
            await who.console.feed.stop()
