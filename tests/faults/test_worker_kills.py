"""Members of a consumer's group that come and go and are killed under load, and a record that ends them."""

import asyncio
from pathlib import Path

import pytest

from dingbridge.kafka.topic_policy import dlq_topic
from dingbridge.settings import KafkaSettings
from tests.faults.outside import Outside
from tests.support.kafka_reader import read_topic
from tests.support.processes import Process, Processes
from tests.support.sizes import sized
from tests.support.waiting import eventually


@pytest.fixture
def outside(
    tmp_path: Path,
    kafka_env: dict[str, str],
    kafka_settings: KafkaSettings,
    database_url: str,
    processes: Processes,
) -> Outside:
    return Outside(tmp_path, kafka_env, kafka_settings, database_url, processes)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_third_member_comes_goes_and_is_killed(outside: Outside) -> None:
    members = [outside.start(), outside.start()]
    async with outside.load.running():
        await eventually(lambda: outside.has_effects(100))
        for goes in (outside.stop, outside.kill):
            third = outside.start()
            await asyncio.to_thread(third.wait_for_log, "consumer.assigned")
            wanted = outside.load.sent + 50
            await eventually(lambda wanted=wanted: outside.has_effects(wanted))
            await goes(third)
            wanted = outside.load.sent + 50
            await eventually(lambda wanted=wanted: outside.has_effects(wanted))
    await outside.assert_all_once()
    await outside.stop(*members)


@pytest.mark.parametrize("database_url", sized(["sqlite"], ["sqlite", "postgres"]), indirect=True)
async def test_a_record_that_ends_each_process_is_a_dead_letter_and_all_others_are_handled(
    outside: Outside,
) -> None:
    await outside.load.publish(30)
    await outside.load.publish(1, "deadly")
    await outside.load.publish(60)

    async def letters() -> list[object]:
        return await read_topic(outside.settings, dlq_topic(outside.settings, outside.group))

    deaths = 0
    while True:
        member = outside.start()

        async def ended(member: Process = member) -> bool:
            return not member.running or await outside.has_come_to(90, 91)

        await eventually(ended)
        if member.running:
            break
        assert member.poll() == 137
        deaths += 1
        assert deaths < 10
    [letter] = await letters()
    assert b":deadly30" in letter.value
    assert dict(letter.headers)["dingbridge-dlq-reason"].startswith(b"its process died 3 times")
    assert deaths == 5, "one, one more, and three of it alone"
    assert sorted(int(event_id[1:]) for event_id, _ in await outside.effects()) == [
        n for n in range(91) if n != 30
    ]
    await outside.stop(member)
