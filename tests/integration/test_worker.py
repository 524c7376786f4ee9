"""The worker on a real Kafka: its members and groups, its limits, and what it says of itself."""

import asyncio
import time
from collections import defaultdict
from typing import Any

import pytest
from structlog.testing import capture_logs

from dingbridge import Context, Event, Transaction
from dingbridge.events.control import resync_requested
from dingbridge.events.envelope import Record
from dingbridge.kafka.group_start import begin_at_end
from dingbridge.kafka.topic_policy import control_topic, event_topic, inbox_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from dingbridge.worker.membership import blocked_loop
from tests.integration.worker_support import (
    TYPE,
    EffectConsumer,
    committed,
    consumer_settings,
    event_record,
    has_rows,
    has_rows_at_least,
    named,
    publish,
    rows,
    serving,
)
from tests.support.sizes import on_one_database, sized
from tests.support.waiting import eventually


@on_one_database
async def test_members_that_come_and_go_lose_and_repeat_no_effect(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, database_url: str
) -> None:
    class Slow(EffectConsumer):
        concurrency = 4

        async def prepare(self, event: Event, ctx: Context) -> None:
            await asyncio.sleep(sized(0.002, 0.002, quick=0.01))

    base = named(Slow, topics=(TYPE, "user_add_org"))
    first, second, third = base(), base(), base()
    settings = consumer_settings(kafka_env, database_url, topic_partitions=4)
    total = sized(600, 600, quick=240)
    records = [
        event_record(f"e{n}", f"u{n % 30}", TYPE if (n // 30) % 2 else "user_add_org") for n in range(total)
    ]
    await publish(settings, records)
    async with serving(first, settings):
        await eventually(lambda: has_rows_at_least(database_url, total // 12))
        async with serving(second, settings) as service:
            await eventually(lambda: service.worker.state()[1]["partitions"])
            partitions = service.worker._assigned
            numbers = {
                topic: {p.partition for p in partitions if p.topic == topic} for topic, _ in partitions
            }
            assert len(numbers) == 3, "both event topics and the inbox"
            assert len(set(map(frozenset, numbers.values()))) == 1, "equal partition numbers of every topic"
            await eventually(lambda: has_rows_at_least(database_url, total * 5 // 12))
        async with serving(third, settings):
            await eventually(lambda: has_rows(database_url, total), 120)
    per_topic = defaultdict(list)
    for event_id, subject in await rows(database_url):
        number = int(event_id[1:])
        per_topic[subject, (number // 30) % 2].append(number)
    assert sorted(n for numbers in per_topic.values() for n in numbers) == list(range(total))
    assert all(numbers == sorted(numbers) for numbers in per_topic.values()), "order per key and topic"
    assert sum((await committed(settings, base.name)).values()) == total


async def test_uneven_partition_counts_are_said_and_work_goes_on(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Any
) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    consumer = named(EffectConsumer, topics=(TYPE, "user_add_org"))()
    settings = consumer_settings(kafka_env, url)
    narrow = event_topic(settings, "user_add_org")
    await ensure_topics(settings, [narrow], partitions={narrow: 2})
    await publish(settings, [event_record("e1", "u1"), event_record("e2", "u1", "user_add_org")])
    with capture_logs() as logs:
        async with serving(consumer, settings) as service:
            await eventually(lambda: has_rows(url, 2))
            aligned = service.registry.get_sample_value(
                "dingbridge_consumer_key_queues_aligned", {"consumer": consumer.name}
            )
    assert aligned == 0
    assert "consumer.key_queues_not_aligned" in {entry["event"] for entry in logs}


async def test_a_handler_that_blocks_is_said(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blocking(EffectConsumer):
        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            await super().handle(event, tx, prepared)
            time.sleep(0.15)  # noqa: ASYNC251 - that is the mistake

    monkeypatch.setattr(blocked_loop, "BLOCKED_S", 0.05)
    url = f"sqlite:///{tmp_path}/test.db"
    consumer = named(Blocking)()
    settings = consumer_settings(kafka_env, url)
    await publish(settings, [event_record("e1", "u1")])
    with capture_logs() as logs:
        async with serving(consumer, settings):
            await eventually(lambda: has_rows(url, 1))
            await eventually(lambda: [e for e in logs if e["event"] == "consumer.loop_blocked"])


async def test_a_consumer_of_what_is_new_begins_at_the_end_and_skips_nothing_afterwards(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Any
) -> None:
    url = f"sqlite:///{tmp_path}/t.db"
    settings = consumer_settings(kafka_env, url)
    consumer = named(EffectConsumer, auto_offset_reset="latest")
    await publish(kafka_settings, [event_record("old", "u1")])
    inbox = inbox_topic(settings, consumer.name)
    await publish(kafka_settings, [event_record("replayed", "u2")], topic=inbox)
    async with serving(consumer(), settings):
        await eventually(lambda: has_rows(url, 1))
    await publish(kafka_settings, [event_record("while it was away", "u1")])
    async with serving(consumer(), settings):
        await eventually(lambda: has_rows(url, 2))
    assert [event_id for event_id, _ in await rows(url)] == ["replayed", "while it was away"]


async def test_a_new_group_is_not_asked_for_what_was_lost_before_it_began_and_later_misses_no_request(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Any
) -> None:
    url = f"sqlite:///{tmp_path}/t.db"
    settings = consumer_settings(kafka_env, url)
    consumer = named(EffectConsumer, control_topics=("resync",))

    async def request(id: str) -> None:
        found = resync_requested(
            id=id, app="default", corp_id="dingcorp1", now_ms=2, since_ms=1, part="all", reason="lost"
        )
        record = Record(None, False, *found, id)
        await publish(kafka_settings, [record], topic=control_topic(settings, "resync"))

    await request("from before")
    await publish(kafka_settings, [event_record("old", "u1")])
    async with serving(consumer(), settings):
        await eventually(lambda: has_rows(url, 1))
    await request("while it was away")
    async with serving(consumer(), settings):
        await eventually(lambda: has_rows(url, 2))
    assert [event_id for event_id, _ in await rows(url)] == ["old", "while it was away"]


async def test_a_first_start_that_died_before_it_read_is_not_begun_anew(
    kafka_settings: KafkaSettings,
) -> None:
    group = named(EffectConsumer).name
    await publish(kafka_settings, [event_record("old", "u1")])
    topics = await ensure_topics(kafka_settings, [event_topic(kafka_settings, TYPE)])
    await begin_at_end(kafka_settings, group, topics, topics)
    before = await committed(kafka_settings, group)
    await publish(kafka_settings, [event_record("new", "u1")])
    await begin_at_end(kafka_settings, group, topics, topics)
    assert await committed(kafka_settings, group) == before != {}
