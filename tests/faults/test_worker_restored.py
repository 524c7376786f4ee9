"""A consumer's database that is restarted, frozen and put back to an earlier copy, under load."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.servers.postgres_wheel import WheelPostgres
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.settings import KafkaSettings
from tests.faults.outside import EVENT_TYPE, Outside, copy_data, frozen, put_back, reset_offsets
from tests.support.processes import Processes
from tests.support.waiting import eventually


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[WheelPostgres]:
    """A server whose files a test may exchange."""
    with WheelPostgres(tmp_path, because="") as server:
        yield server


@pytest.fixture
def outside(
    tmp_path: Path,
    kafka_env: dict[str, str],
    kafka_settings: KafkaSettings,
    postgres: WheelPostgres,
    processes: Processes,
) -> Outside:
    return Outside(tmp_path, kafka_env, kafka_settings, postgres.create_database("theirs"), processes)


async def test_postgres_is_put_back_under_members_that_run(
    outside: Outside, postgres: WheelPostgres, tmp_path: Path
) -> None:
    members = [outside.start(), outside.start()]
    async with outside.load.running():
        await eventually(lambda: outside.has_effects(200))
        await asyncio.to_thread(postgres.stop_server)
        copy_data(postgres, tmp_path / "copy")
        await asyncio.to_thread(postgres.start_server)
        await outside.does_what_was_sent()
        before = len(await outside.effects())
        await asyncio.to_thread(postgres.stop_server)
        put_back(postgres, tmp_path / "copy")
        await asyncio.to_thread(postgres.start_server)
        assert len(await outside.effects()) < before
        await eventually(lambda: outside.has_effects(before))
    await outside.assert_all_once()
    assert await outside.times_told()
    await outside.stop(*members)


async def test_postgres_freezes_and_goes_on(outside: Outside, postgres: WheelPostgres) -> None:
    members = [outside.start(), outside.start()]
    async with outside.load.running():
        await asyncio.to_thread(members[1].wait_for_log, "consumer.assigned")
        await eventually(lambda: outside.has_effects(200))
        with frozen(postgres):
            for member in members:
                await asyncio.to_thread(member.wait_for_log, "the database does not")
        await outside.does_what_was_sent()
    await outside.assert_all_once()
    assert not await outside.times_told()
    await outside.stop(*members)


async def test_a_sqlite_file_is_put_back_while_no_member_runs(
    tmp_path: Path, kafka_env: dict[str, str], kafka_settings: KafkaSettings, processes: Processes
) -> None:
    file, copy = tmp_path / "theirs.db", tmp_path / "copy.db"
    outside = Outside(tmp_path, kafka_env, kafka_settings, f"sqlite:///{file}", processes)
    member = outside.start()
    await outside.load.publish(100)
    await outside.assert_all_once()
    await outside.stop(member)
    shutil.copy(file, copy)
    member = outside.start()
    await outside.load.publish(100)
    await outside.assert_all_once()
    await outside.stop(member)
    shutil.copy(copy, file)
    member = outside.start()
    await outside.load.publish(20)
    await outside.assert_all_once()
    assert await outside.times_told()
    await outside.stop(member)


async def test_members_with_a_file_each_exchange_partitions_and_repeat_nothing(
    tmp_path: Path, kafka_env: dict[str, str], kafka_settings: KafkaSettings, processes: Processes
) -> None:
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("one", "two")]
    outside = Outside(tmp_path, kafka_env, kafka_settings, urls[0], processes)

    async def effects() -> list[str]:
        return [event_id for url in urls for event_id, _ in await outside.effects(url)]

    async def has_done_all() -> bool:
        return len(await effects()) >= outside.load.sent and await outside.has_come_to(0, outside.load.sent)

    stays = outside.start(DATABASE_URL=urls[0])
    async with outside.load.running():
        for _ in range(2):
            moves = outside.start(DATABASE_URL=urls[1])
            before = len(await outside.effects(urls[1]))
            await eventually(lambda before=before: outside.has_effects(before + 50, urls[1]))
            await outside.stop(moves)
            before = outside.load.sent
            await eventually(lambda before=before: outside.has_effects(before // 2, urls[0]))
    await eventually(has_done_all)
    assert sorted(await effects()) == sorted(f"e{n}" for n in range(outside.load.sent))
    assert [await outside.times_told(url) for url in urls] == [0, 0]
    assert "consumer.other_database" in stays.log_text()
    await outside.stop(stays)


async def test_offsets_that_an_operator_resets_are_obeyed(
    tmp_path: Path, kafka_env: dict[str, str], kafka_settings: KafkaSettings, processes: Processes
) -> None:
    outside = Outside(tmp_path, kafka_env, kafka_settings, f"sqlite:///{tmp_path}/theirs.db", processes)
    topic = event_topic(kafka_settings, EVENT_TYPE)
    member = outside.start(LOG_LEVEL="DEBUG")
    await outside.load.publish(60)
    await outside.assert_all_once()
    await outside.stop(member)

    await reset_offsets(kafka_settings, outside.group, topic, to_latest=False)
    member = outside.start(LOG_LEVEL="DEBUG")
    await eventually(outside.has_caught_up)
    assert member.log_text().count('"outcome": "seen"') == 60
    await outside.stop(member)
    await outside.load.publish(40)
    await reset_offsets(kafka_settings, outside.group, topic, to_latest=True)
    member = outside.start()
    await outside.load.publish(40)
    await eventually(lambda: outside.has_come_to(100, 140))
    await outside.stop(member)
    assert sorted(int(e[1:]) for e, _ in await outside.effects()) == [*range(60), *range(100, 140)]
    assert not await outside.times_told()
