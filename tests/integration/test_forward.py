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
from dingbridge.consumers.forward.consumer import consumer_of
from dingbridge.consumers.forward.deliveries import read_delivery
from dingbridge.consumers.forward.settings import ForwardSettings, load_systems
from dingbridge.events.envelope import Record
from dingbridge.events.event import decode
from dingbridge.kafka.client import producer
from dingbridge.kafka.topic_policy import control_topic, dlq_topic, event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import ConsumerSettings, KafkaSettings
from dingbridge.ssrf import AddressGuard
from dingbridge.worker.delivery import REPLAY_HEADER
from dingbridge.worker.queues import pauses
from dingbridge.worker.service import ConsumerService
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


EACH = sized(50, 100)
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


async def test_a_system_that_writes_to_dingtalk_gets_peoples_changes_and_no_echo_of_its_own(
    start: Start, settings: ConsumerSettings, a: str, system_a: Receiver
) -> None:
    change = {"specversion": "1.0", "source": "/dingbridge/outbound", "type": "com.dingbridge.change"}
    kinds = {"c1": "user", "c2": "department", "c3": "user"}
    changes = [
        Record(None, False, b"k", orjson.dumps({**change, "id": name, "data": {"kind": kind}}), (), name)
        for name, kind in kinds.items()
    ]
    await publish(settings, records(5))
    async with start(a, url=system_a.url, skip_own_changes=True):
        await publish(settings, changes, control_topic(settings, "changes"))
        await eventually(lambda: len(system_a.taken) == 2)
    assert [got.json() for got in system_a.taken] == [
        {**change, "id": name, "data": {"kind": "user"}} for name in ("c1", "c3")
    ]
    assert control_topic(settings, "changes") in await committed(settings, f"forward-{a}")
    assert len(system_a.got) == 2


async def test_each_event_arrives_signed_in_order_and_nothing_is_kept(
    a: str, start: Start, settings: ConsumerSettings, system_a: Receiver, tmp_path: Path
) -> None:
    await publish(settings, records(100))
    async with start(a, url=system_a.url):
        await eventually(lambda: len(system_a.taken) == 100)
        await all_committed(settings, f"forward-{a}", 100)
    assert sorted(system_a.ids()) == [f"e{n:04}" for n in range(100)]
    assert in_order_per_user(system_a.taken)
    assert not (tmp_path / "never-made.db").exists()


async def dead(system: Receiver) -> None:
    await system.stop()


async def hangs(system: Receiver) -> None:
    system.answer = system.hang


async def fails(system: Receiver) -> None:
    system.answer = lambda got: 500


async def refuses_us(system: Receiver) -> None:
    system.answer = lambda got: 401


async def is_not_found(system: Receiver) -> None:
    system.answer = lambda got: 404


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


@pytest.mark.parametrize("trouble", [dead, hangs, fails])
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


async def test_a_refused_event_goes_to_the_dead_letters_and_later_ones_go_on(
    a: str, start: Start, settings: ConsumerSettings, system_a: Receiver
) -> None:
    bad = {f"e{n:04}" for n in range(3, 60, 7)}
    system_a.answer = lambda got: 422 if got.event_id in bad else 200
    sent = records(60, users=5)
    await publish(settings, sent)
    async with start(a, url=system_a.url):
        await eventually(lambda: len(system_a.taken) == 60 - len(bad))
        await all_committed(settings, f"forward-{a}", 60)
    assert set(await letters(settings, f"forward-{a}")) == bad
    found = await read_topic(settings, dlq_topic(settings, f"forward-{a}"))
    assert {record.value for record in found} == {
        r.value for r in sent if decode(r.value).id.split("/")[0].rpartition(":")[2] in bad
    }
    assert len(system_a.got) == 60  # once each


@pytest.mark.parametrize("status", sized([503, 404], [500, 503, 401, 404]))
async def test_a_poisonous_event_waits_alone_and_is_given_up_in_the_end(
    a: str,
    start: Start,
    settings: ConsumerSettings,
    system_a: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr(pauses, "own_delay_s", lambda failures: 0.05)
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


@pytest.mark.parametrize("trouble", [dead, refuses_us, is_not_found])
async def test_a_system_that_takes_nothing_is_paused_until_it_does(
    a: str, start: Start, settings: ConsumerSettings, system_a: Receiver, trouble: Trouble
) -> None:
    await trouble(system_a)
    await publish(settings, records(100, users=50))
    async with start(a, url=system_a.url) as service:
        gauge = ("dingbridge_forward_paused", {"system": a})
        await eventually(lambda: service.registry.get_sample_value(*gauge) == 1)

        async def says_why() -> bool:
            ready, details = await service._ready()
            return not ready and f"system {a}: " in str(details["unavailable"])

        await eventually(says_why)
        while_down = len(system_a.got)
        if system_a._runner is None:
            await system_a.start()
        system_a.answer = lambda got: 200
        await eventually(lambda: len(set(system_a.ids())) == 100, 180)
        await all_committed(settings, f"forward-{a}", 100)
        assert service.registry.get_sample_value(*gauge) == 0
    assert while_down < 50  # of 100 events: first those under way, then one of each partition now and then
    assert await letters(settings, f"forward-{a}") == []
    assert in_order_per_user(system_a.taken)


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
    recorded = await read_topic(consumers, control_topic(consumers, "deliveries"))
    deliveries = [read_delivery(record.value) for record in recorded]
    taken = {given_id(one.event_id) for one in deliveries if one is not None and one.outcome == "taken"}
    assert taken == set(system_a.ids()), "what is committed is recorded, whenever the process dies"
    by_event: dict[str, set[str]] = {}
    for got in system_a.taken:
        by_event.setdefault(got.event_id, set()).add(got.id)
    assert all(len(ids) == 1 for ids in by_event.values())
    assert len({i for ids in by_event.values() for i in ids}) == 300


async def test_what_is_replayed_to_one_system_comes_under_the_id_that_it_had(
    a: str, start: Start, settings: ConsumerSettings, system_a: Receiver
) -> None:
    from dingbridge.kafka.topic_policy import inbox_topic

    [record] = records(1)
    async with start(a, url=system_a.url):
        await publish(settings, [record])
        await eventually(lambda: len(system_a.taken) == 1)
        replayed = record._replace(headers=(*record.headers, (REPLAY_HEADER, b"20261201T000000Z-1")))
        await publish(settings, [replayed], inbox_topic(settings, f"forward-{a}"))
        await eventually(lambda: len(system_a.taken) == 2)
    assert system_a.taken[0].id == system_a.taken[1].id
    assert system_a.taken[0].body == system_a.taken[1].body
    replay_ids = [got.headers.get("dingbridge-replay-id") for got in system_a.taken]
    assert replay_ids == [None, "20261201T000000Z-1"]


async def test_the_metrics_of_a_system_are_served(
    a: str, processes: Any, kafka_env: dict[str, str], kafka_settings: Any, tmp_path: Path, system_a: Receiver
) -> None:
    import aiohttp

    from dev.servers import free_port

    port = free_port()
    env = {**kafka_env, **forward_file(tmp_path, {a: {"url": system_a.url}}), "ADMIN_PORT": str(port)}
    await publish(kafka_settings, records(5))
    processes.start("consume", f"forward-{a}", env=env)
    await eventually(lambda: len(system_a.taken) == 5)
    wanted = [
        f'dingbridge_forward_deliveries_total{{outcome="taken",status="2xx",system="{a}"}} 5.0',
        f'dingbridge_forward_paused{{system="{a}"}} 0.0',
        f'dingbridge_consumer_events_total{{consumer="forward-{a}"',
    ]
    async with aiohttp.ClientSession() as session:

        async def shown() -> bool:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                text = await response.text()
            return all(line in text for line in wanted)

        await eventually(shown)  # the receiver has taken the last one before the sender has counted it


def test_all_mistakes_are_told_and_nothing_is_started(a: str, processes: Any, tmp_path: Path) -> None:
    env = forward_file(tmp_path, {a: {"url": "http://10.0.0.1/", "typs": ["x"]}, "b": {"url": "nonsense"}})
    done = processes.run("consume", f"forward-{a}", env=env)
    assert done.returncode == 2
    for words in (f"systems.{a}.typs: is no setting; types is", "systems.b.url: must be an http(s) address"):
        assert words in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_slow_answer_is_waited_for(
    a: str, start: Start, settings: ConsumerSettings, system_a: Receiver
) -> None:
    free = asyncio.Event()

    async def slow(got: Got) -> int:
        await free.wait()
        return 200

    system_a.answer = slow
    await publish(settings, records(8, users=8))
    async with start(a, url=system_a.url):
        await eventually(lambda: len(system_a.got) == 8)  # at once, since they are of different users
        free.set()
        await all_committed(settings, f"forward-{a}", 8)
    assert len(system_a.got) == 8


async def test_what_a_mended_receiver_had_refused_is_sent_back(
    a: str, processes: Any, kafka_env: dict[str, str], kafka_settings: Any, tmp_path: Path, system_a: Receiver
) -> None:
    env = {**kafka_env, **forward_file(tmp_path, {a: {"url": system_a.url}})}
    bad = {"e0001", "e0004"}
    system_a.answer = lambda got: 400 if got.event_id in bad else 200
    await publish(kafka_settings, records(6))
    processes.start("consume", f"forward-{a}", env=env)
    settings = consumer_settings(kafka_env, "sqlite:///none.db")
    await all_committed(settings, f"forward-{a}", 6)

    async def run(*arguments: str) -> str:
        done = await asyncio.to_thread(processes.run, *arguments, env=env)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    listed = await run("dlq", "list", f"forward-{a}", "--json")
    assert len(listed.splitlines()) == 2
    assert "Reject" in listed
    system_a.answer = lambda got: 200
    await run("dlq", "replay", f"forward-{a}", "--yes")
    await eventually(lambda: sorted(system_a.ids()) == [f"e{n:04}" for n in range(6)])
    ids = [got.id for got in system_a.got if got.event_id == "e0001"]
    assert len(ids) == 2
    assert len(set(ids)) == 1
