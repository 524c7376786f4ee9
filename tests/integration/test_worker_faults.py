"""The worker when something dies: itself, Kafka, the database. All deaths are real ones."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from dev.servers import KafkaServer, PostgresServer, start_postgres
from dev.servers.postgres import EnvironmentPostgres
from dingbridge import Context, Event, Reject
from dingbridge.kafka.topic_policy import dlq_topic, event_topic
from dingbridge.settings import KafkaSettings
from tests.integration.worker_support import (
    TYPE,
    EffectConsumer,
    committed,
    consumer_settings,
    dead_letters,
    event_record,
    has_committed,
    has_rows,
    installed,
    named,
    publish,
    rows,
    serving,
)
from tests.support.kafka_reader import read_topic
from tests.support.processes import Processes
from tests.support.sizes import on_one_database, sized
from tests.support.waiting import eventually


@pytest.fixture
def breakable_postgres(postgres: PostgresServer, tmp_path: Any) -> Iterator[tuple[PostgresServer, str]]:
    """A server that may be stopped, and the URL of an empty database in it: the run's own, or one for this
    test where the run's is somebody else's."""
    with ExitStack() as stack:
        server = postgres
        if isinstance(server, EnvironmentPostgres):
            server = stack.enter_context(start_postgres(tmp_path, how="wheel"))
        name = f"dingbridge_test_{secrets.token_hex(4)}"
        url = server.create_database(name)
        stack.callback(server.drop_database, name)
        yield server, url


@on_one_database
async def test_killed_before_and_after_the_effect_is_committed_it_happens_once(
    kafka_env: dict[str, str],
    kafka_settings: KafkaSettings,
    database_url: str,
    processes: Processes,
    tmp_path: Any,
) -> None:
    group = f"t-{kafka_settings.topic_prefix.strip('.')}"
    # e4 dies with its row written and not committed; at e8 all before it is committed, their offsets are not
    env = {
        **kafka_env,
        **installed(tmp_path, group),
        "DATABASE_URL": database_url,
        "DIE_AT": "e4:handle,e8:prepare",
        "LOG_LEVEL": "DEBUG",
    }
    await publish(kafka_settings, [event_record(f"e{n}", "u1") for n in range(12)])
    for _ in range(2):
        doomed = processes.start("consume", group, env=env)
        assert await asyncio.to_thread(doomed.wait, 120) == -9
    before = await rows(database_url)
    assert [event_id for event_id, _ in before] == [f"e{n}" for n in range(8)]
    assert (await committed(kafka_settings, group)).get(event_topic(kafka_settings, TYPE), 0) < 8

    last = processes.start("consume", group, env=env)
    await eventually(lambda: has_rows(database_url, 12), 120)
    last.terminate()
    assert await asyncio.to_thread(last.wait, 90) == 0
    assert [event_id for event_id, _ in await rows(database_url)] == [f"e{n}" for n in range(12)]
    assert await committed(kafka_settings, group) == {event_topic(kafka_settings, TYPE): 12}
    assert '"outcome": "seen"' in last.log_text(), "the redelivered ones were recognised"
    assert await read_topic(kafka_settings, dlq_topic(kafka_settings, group)) == []


@pytest.mark.parametrize("half", sized(["handle"], ["prepare", "handle"]))
async def test_a_member_that_froze_past_its_session_and_thaws_repeats_and_loses_nothing(
    kafka_env: dict[str, str],
    kafka_settings: KafkaSettings,
    postgres_url: str,
    processes: Processes,
    tmp_path: Any,
    half: str,
) -> None:
    """In ``handle`` it holds a transaction with the inbox row, for which the other has to wait; the server
    ends it, as it says nothing any more."""
    group = f"t-{kafka_settings.topic_prefix.strip('.')}"
    env = {**kafka_env, **installed(tmp_path, group), "DATABASE_URL": postgres_url}
    await publish(kafka_settings, [event_record(f"e{n}", "u1") for n in range(8)])
    frozen = processes.start("consume", group, env={**env, "FREEZE_AT": f"e3:{half}"})
    await eventually((processes.folder / f"at-e3:{half}").exists, 120)
    other = processes.start("consume", group, env=env, name="other")
    await eventually(lambda: has_rows(postgres_url, 8), 180)
    frozen.resume()
    await publish(kafka_settings, [event_record(f"f{n}", f"u{n}") for n in range(8)])
    await eventually(lambda: has_rows(postgres_url, 16), 120)
    # both take part again: it has noticed that its partitions were another's
    await eventually(lambda: frozen.log_text().count("consumer.assigned") > 1, 120)
    for process in (frozen, other):
        process.terminate()
        assert await asyncio.to_thread(process.wait, 90) == 0
    applied = [event_id for event_id, _ in await rows(postgres_url)]
    assert applied[:8] == [f"e{n}" for n in range(8)]
    assert sorted(applied[8:]) == [f"f{n}" for n in range(8)]
    assert await committed(kafka_settings, group) == {event_topic(kafka_settings, TYPE): 16}
    assert await read_topic(kafka_settings, dlq_topic(kafka_settings, group)) == []


async def test_the_command_runs_a_consumer_shows_its_tables_and_ends_cleanly(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, processes: Processes, tmp_path: Any
) -> None:
    group = f"t-{kafka_settings.topic_prefix.strip('.')}"
    env = {**kafka_env, **installed(tmp_path, group), "DATA_DIR": str(tmp_path / "data")}
    none_yet = processes.run("consume", group, "--show", env=env)
    assert (none_yet.returncode, none_yet.stdout) == (1, "")
    assert f"start it first: dingbridge consume {group}" in none_yet.stderr

    url = f"sqlite:///{tmp_path}/data/{group}.db"
    await publish(kafka_settings, [event_record("e0", "u1"), event_record("reject1", "u1")])
    running = processes.start("consume", group, env=env)
    await eventually(lambda: (tmp_path / "data" / f"{group}.db").exists() and has_rows(url, 1), 120)
    await asyncio.to_thread(running.wait_for_log, "consumer.dead_letter")
    shown = processes.run("consume", group, "--show", env=env)
    assert shown.stdout == "# effects\nn\tevent_id\n1\tuser_modify_org:e0/u1\n"
    running.terminate()
    assert await asyncio.to_thread(running.wait, 90) == 0
    assert await committed(kafka_settings, group) == {event_topic(kafka_settings, TYPE): 2}
    log = running.log_text()
    assert "consumer.stopped" in log
    assert '"reason": "as asked"' in log

    unknown = processes.run("consume", "biling", env=env)
    assert unknown.returncode == 2
    assert "known: address-sync, approval, " in unknown.stderr
    assert group in unknown.stderr
    mistaken = processes.run("consume", group, env={**env, "TOPIC_PARTITIONS": "0", "LOG_LEVEL": "LOUD"})
    assert mistaken.returncode == 2
    assert "TOPIC_PARTITIONS" in mistaken.stderr
    assert "LOG_LEVEL" in mistaken.stderr


async def test_postgres_goes_away_and_comes_back(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, breakable_postgres: tuple[PostgresServer, str]
) -> None:
    class Once(EffectConsumer):
        max_attempts = 1

    postgres, postgres_url = breakable_postgres
    consumer = named(Once)()
    settings = consumer_settings(kafka_env, postgres_url)
    await publish(settings, [event_record(f"e{n}", f"u{n}") for n in range(5)])
    async with serving(consumer, settings) as service:
        await eventually(lambda: has_rows(postgres_url, 5))
        await asyncio.to_thread(postgres.stop_server)
        try:
            await publish(settings, [event_record(f"f{n}", f"u{n}") for n in range(5)])
            down = await eventually(lambda: service.worker.state()[1]["unavailable"])
            assert all("database" in reason for reason in down.values())
            for name in ("paused_seconds", "unavailable_dependencies"):
                metric = f"dingbridge_consumer_{name}"
                assert service.registry.get_sample_value(metric, {"consumer": consumer.name})
        finally:
            await asyncio.to_thread(postgres.start_server)
        await eventually(lambda: has_rows(postgres_url, 10), 120)
    assert await read_topic(settings, dlq_topic(settings, consumer.name)) == []


async def test_a_member_that_leaves_while_postgres_is_away_makes_the_group_settle_only_once_or_twice(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, breakable_postgres: tuple[PostgresServer, str]
) -> None:
    postgres, postgres_url = breakable_postgres
    made = named(EffectConsumer)
    settings = consumer_settings(kafka_env, postgres_url)
    await publish(settings, [event_record(f"e{n}", f"u{n}") for n in range(5)])
    async with serving(made(), settings) as one, serving(made(), settings) as two:
        async with serving(made(), settings) as leaves:
            members = [service.worker for service in (one, two, leaves)]
            await eventually(lambda: all(member.state()[1]["partitions"] for member in members))
            await eventually(lambda: has_rows(postgres_url, 5))
            await asyncio.to_thread(postgres.stop_server)
        try:
            with capture_logs() as logs:

                def waits() -> list[float]:
                    return [entry["retry_in_s"] for entry in logs if entry["event"] == "consumer.waiting"]

                await eventually(lambda: len([wait_s for wait_s in waits() if wait_s > 3]) >= 2)
                assert [entry["event"] for entry in logs].count("consumer.assigned") <= 5
            assert all("database" in member.state()[1]["unavailable"] for member in members[:2])
        finally:
            await asyncio.to_thread(postgres.start_server)
        await publish(settings, [event_record(f"f{n}", f"u{n}") for n in range(5)])
        await eventually(lambda: has_rows(postgres_url, 10), 120)
        await eventually(lambda: all(member.state()[0] for member in members[:2]))


async def test_it_starts_before_kafka_does_and_survives_its_restart(
    breakable_kafka: KafkaServer, kafka_env: dict[str, str], tmp_path: Any
) -> None:
    class Burying(EffectConsumer):
        began = False
        go = asyncio.Event()

        async def prepare(self, event: Event, ctx: Context) -> None:
            if ":reject" in event.id:
                Burying.began = True
                await Burying.go.wait()
                raise Reject("as asked")

    env = {**kafka_env, "KAFKA_BOOTSTRAP_SERVERS": breakable_kafka.bootstrap}
    url = f"sqlite:///{tmp_path}/test.db"
    consumer = named(Burying)()
    settings = consumer_settings(env, url, kafka_request_timeout_s=2)
    await asyncio.to_thread(breakable_kafka.kill)
    with capture_logs() as logs:
        async with serving(consumer, settings):
            await eventually(lambda: [e for e in logs if e["event"] == "kafka.unavailable"])
            await asyncio.to_thread(breakable_kafka.start)
            await publish(settings, [event_record("e1", "u1"), event_record("reject1", "u2")])
            await eventually(lambda: has_rows(url, 1), 120)
            await eventually(lambda: Burying.began)
            await asyncio.to_thread(breakable_kafka.kill)
            Burying.go.set()  # its dead letter finds no broker
            await asyncio.to_thread(breakable_kafka.start)
            await publish(settings, [event_record("e2", "u1")])
            await eventually(lambda: has_rows(url, 2), 180)
            await eventually(lambda: dead_letters(settings, consumer.name, 1), 180)
            await eventually(lambda: has_committed(settings, consumer.name, 3), 120)
    assert [event_id for event_id, _ in await rows(url)] == ["e1", "e2"]
