"""The worker on a real Kafka, with SQLite and with PostgreSQL."""

import asyncio
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import aiohttp
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from sqlalchemy import select
from structlog.testing import capture_logs

from bridge.errors import BridgeError
from bridge.kafka import connection
from bridge.settings import KafkaSettings
from bridge.topics import dlq_topic, ensure_topics, event_topic, inbox_topic
from consumers.runtime import (
    Consumer,
    Event,
    Reader,
    Reject,
    Transaction,
    WorldDown,
    blocked,
    inbox,
    open_database,
    watch,
    worker,
)
from consumers.runtime.lanes import Limits
from consumers.runtime.process import key_hash
from consumers.runtime.retention import Retention, longest_retention
from consumers.runtime.service import show
from consumers.runtime.worker import WorkerOptions
from schemas.records import Record
from tests.integration.worker_support import (
    EffectConsumer,
    committed,
    consumer_settings,
    event_record,
    named,
    publish,
    rows,
    serving,
)
from tests.support.kafka_reader import read_topic
from tests.support.waiting import eventually

TYPE = "user_modify_org"


class Failing(EffectConsumer):
    """Fails on every event of user ``bad`` until ``mended``; rejects those whose id begins so."""

    mended = False

    async def prepare(self, event: Event, db: Reader) -> None:
        if event.id.startswith("reject"):
            raise Reject("as asked")
        if event.subject == "bad" and not self.mended:
            raise ValueError("private words")


async def test_a_failing_key_waits_alone_and_keeps_its_order(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, database_url: str
) -> None:
    consumer = named(Failing, max_attempts=1000)()
    settings = consumer_settings(kafka_env, database_url)
    records = [event_record(f"e{n}", "bad" if n % 4 == 0 else f"u{n % 4}") for n in range(40)]
    await publish(settings, records)
    async with serving(consumer, settings):
        await eventually(lambda: _count(database_url, 30))
        assert "bad" not in {subject for _, subject in await rows(database_url)}
        consumer.mended = True
        await eventually(lambda: _count(database_url, 40))
    assert await _per_key(database_url) == {
        user: [f"e{n}" for n in range(40) if (n % 4 == 0) == (user == "bad") and user in ("bad", f"u{n % 4}")]
        for user in ("bad", "u1", "u2", "u3")
    }
    assert await committed(settings, consumer.name) == {event_topic(settings, TYPE): 40}


async def test_dead_letters_are_the_records_as_they_came_with_their_place_and_reason(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, database_url: str
) -> None:
    consumer = named(Failing)()
    settings = consumer_settings(kafka_env, database_url)
    garbage = Record(TYPE, True, b"\xff\x00key", b"\x80 no event {", (("x", b"\xfe"), ("x", b"2")), "")
    sent = [
        event_record("e1", "bad"),
        event_record("e2", "good"),
        event_record("reject1", "good"),
        garbage,
        event_record("e3", "good"),
    ]
    await publish(settings, sent)
    topic = event_topic(settings, TYPE)
    stored = {(r.partition, r.offset): r for r in await read_topic(settings, topic)}
    async with serving(consumer, settings):
        letters = await eventually(lambda: _letters(settings, consumer.name, 3))
        await eventually(lambda: _committed_all(settings, consumer.name, 5))
    assert [event_id for event_id, _ in await rows(database_url)] == ["e2", "e3"]
    reasons = {}
    for letter in letters:
        headers = dict(letter.headers[-6:])
        place = (int(headers["dingbridge-dlq-partition"]), int(headers["dingbridge-dlq-offset"]))
        original = stored[place]
        assert headers["dingbridge-dlq-topic"].decode() == topic
        assert (letter.key, letter.value) == (original.key, original.value)
        assert letter.headers[:-6] == original.headers
        assert headers["dingbridge-dlq-at"].decode().endswith("Z")
        error = headers["dingbridge-dlq-error"].decode()
        assert "private" not in error
        reasons[letter.key] = (error.split(" ")[0], int(headers["dingbridge-dlq-attempts"]))
    assert reasons == {
        b"dingcorp1:bad": ("ValueError", 4),
        b"dingcorp1:good": ("consumers.runtime.outcomes.Reject", 1),
        b"\xff\x00key": ("schemas.event.NotAnEvent", 1),
    }


async def test_a_replayed_dead_letter_is_applied_and_if_it_dies_again_names_its_first_place(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Any
) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    consumer = named(Failing)()
    settings = consumer_settings(kafka_env, url)
    await publish(settings, [event_record("e1", "bad"), event_record("e2", "good")])
    inbox = inbox_topic(settings, consumer.name)
    async with serving(consumer, settings):
        (first,) = await eventually(lambda: _letters(settings, consumer.name, 1))
        again = [("dingbridge-replay-id", b"r1")]
        replayed = Record(None, True, first.key, first.value, (*first.headers, *again), "")
        await publish(settings, [replayed], inbox)
        _, second = await eventually(lambda: _letters(settings, consumer.name, 2))
        consumer.mended = True
        await publish(settings, [replayed, replayed], inbox)
        await eventually(lambda: _count(url, 2))
        await eventually(lambda: _committed_all(settings, consumer.name, 5))
    assert [event_id for event_id, _ in await rows(url)] == ["e2", "e1"]
    places = [
        {
            n: v
            for n, v in letter.headers
            if n.removeprefix("dingbridge-dlq-") in ("topic", "partition", "offset")
        }
        for letter in (first, second)
    ]
    assert places[0] == places[1]
    assert len([n for n, _ in second.headers if n == "dingbridge-dlq-error"]) == 1


async def test_when_the_world_is_down_nothing_is_buried_and_work_goes_on_when_it_is_up(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, database_url: str
) -> None:
    class Dependent(EffectConsumer):
        down = True
        max_attempts = 1

        async def prepare(self, event: Event, db: Reader) -> None:
            if self.down:
                raise WorldDown("system A does not answer")

    consumer = named(Dependent)()
    settings = consumer_settings(kafka_env, database_url)
    await publish(settings, [event_record(f"e{n}", f"u{n}") for n in range(20)])
    async with serving(consumer, settings) as service:
        await eventually(lambda: service.worker.state()[1]["world_down"])
        ready, details = service.worker.state()
        assert not ready
        assert set(details["world_down"].values()) == {"system A does not answer"}
        paused = {"consumer": consumer.name, "reason": "world_down"}
        assert service.registry.get_sample_value("dingbridge_consumer_paused_partitions", paused)
        mine = {"consumer": consumer.name}
        assert service.registry.get_sample_value("dingbridge_consumer_paused_seconds", mine) > 0
        assert service.registry.get_sample_value("dingbridge_consumer_joined", mine) == 1
        consumer.down = False
        await eventually(lambda: _count(database_url, 20))
        # the last row is committed before the worker hears of it
        await eventually(lambda: service.worker.state()[1]["world_down"] == {})
        assert service.registry.get_sample_value("dingbridge_consumer_paused_seconds", mine) == 0
    assert await read_topic(settings, dlq_topic(settings, consumer.name)) == []
    assert await committed(settings, consumer.name) == {event_topic(settings, TYPE): 20}


async def test_two_consumers_have_groups_of_their_own_and_one_stops_without_the_other_noticing(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Any
) -> None:
    urls = [f"sqlite:///{tmp_path}/{n}.db" for n in range(2)]
    one, two = named(EffectConsumer)(), named(EffectConsumer)()
    with capture_logs() as logs:
        async with serving(one, consumer_settings(kafka_env, urls[0])):
            async with serving(two, consumer_settings(kafka_env, urls[1])):
                await publish(kafka_settings, [event_record(f"e{n}", "u") for n in range(5)])
                for url in urls:
                    await eventually(lambda url=url: _count(url, 5))
            await publish(kafka_settings, [event_record(f"f{n}", "u") for n in range(5)])
            await eventually(lambda: _count(urls[0], 10))
            assert len(await rows(urls[1])) == 5
    assignments = [e for e in logs if e["event"] == "consumer.assigned" and e["consumer"] == one.name]
    assert len(assignments) == 1, "the other consumer's end was no rebalance for this one"


async def test_members_that_come_and_go_lose_and_repeat_no_effect(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, database_url: str
) -> None:
    class Slow(EffectConsumer):
        concurrency = 4

        async def prepare(self, event: Event, db: Reader) -> None:
            await asyncio.sleep(0.002)

    base = named(Slow, topics=(TYPE, "user_add_org"))
    first, second, third = base(), base(), base()
    second.member, third.member = "two", "three"
    settings = consumer_settings(kafka_env, database_url, topic_partitions=4)
    total = 600
    records = [
        event_record(f"e{n}", f"u{n % 30}", TYPE if (n // 30) % 2 else "user_add_org") for n in range(total)
    ]
    await publish(settings, records)
    async with serving(first, settings):
        await eventually(lambda: _count_at_least(database_url, 50))
        async with serving(second, settings) as service:
            await eventually(lambda: service.worker.state()[1]["partitions"])
            partitions = service.worker._assigned
            numbers = {
                topic: {p.partition for p in partitions if p.topic == topic} for topic, _ in partitions
            }
            assert len(numbers) == 3, "both event topics and the inbox"
            assert len(set(map(frozenset, numbers.values()))) == 1, "equal partition numbers of every topic"
            await eventually(lambda: _count_at_least(database_url, 250))
        async with serving(third, settings):
            await eventually(lambda: _count(database_url, total), 120)
    per_topic = defaultdict(list)
    for event_id, subject in await rows(database_url):
        number = int(event_id[1:])
        per_topic[subject, (number // 30) % 2].append(number)
    assert sorted(n for numbers in per_topic.values() for n in numbers) == list(range(total))
    assert all(numbers == sorted(numbers) for numbers in per_topic.values()), "order per key and topic"
    assert sum((await committed(settings, base.name)).values()) == total


async def test_a_backlog_beyond_the_limits_pauses_resumes_and_comes_through_whole(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, database_url: str
) -> None:
    class Counting(EffectConsumer):
        most = 0

        async def prepare(self, event: Event, db: Reader) -> None:
            Counting.most = max(Counting.most, service.worker._dispatcher.lanes.in_flight)

    consumer = named(Counting)()
    settings = consumer_settings(kafka_env, database_url, topic_partitions=2)
    total = 500
    await publish(settings, [event_record(f"e{n}", f"u{n % 7}") for n in range(total)])
    small = WorkerOptions(
        commit_interval_s=0.05, poll_records=10, limits=Limits(records=40, records_floor=1, window=20)
    )
    async with serving(consumer, settings, small) as service:
        await eventually(lambda: _count(database_url, total), 120)
        await eventually(lambda: _committed_all(settings, consumer.name, total))
    per_key = await _per_key(database_url)
    assert all(ids == sorted(ids, key=lambda text: int(text[1:])) for ids in per_key.values())
    assert sum(map(len, per_key.values())) == total
    assert Counting.most <= 40 + 4 * 10, "the limit, and a fetch of each partition on top at most"


async def test_a_key_that_holds_its_partition_up_is_bounded_and_named(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Any
) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    consumer = named(Failing, max_attempts=100_000)()
    settings = consumer_settings(kafka_env, url, topic_partitions=1)
    total = 200
    bad = event_record("first", "bad")
    await publish(settings, [bad, *(event_record(f"e{n}", f"u{n % 7}") for n in range(total))])
    limits = Limits(records=20, records_floor=1, window=50)
    small = WorkerOptions(commit_interval_s=0.05, poll_records=10, limits=limits)
    topic = event_topic(settings, TYPE)
    labels = {"consumer": consumer.name, "topic": topic}
    holder = {**labels, "partition": "0", "key": key_hash(bad.key)}
    with capture_logs() as logs:
        async with serving(consumer, settings, small) as service:

            def sample(name: str, where: dict[str, str]) -> float | None:
                return service.registry.get_sample_value(f"dingbridge_consumer_{name}", where)

            await eventually(lambda: sample("holder_seconds", holder) is not None)
            mine = {"consumer": consumer.name}
            await eventually(
                lambda: sample("in_flight", mine) == 1 and (sample("held_offsets", labels) or 0) >= 50,
                what="all that was fetched before the bound is done",
            )
            done = len(await rows(url))
            assert 50 <= done <= 50 + 2 * 10, "the bound, and what was in flight by then"
            assert sample("held_offsets", labels) == done
            assert (sample("oldest_seconds", labels) or 0) > 0
            full = {"consumer": consumer.name, "reason": "full"}
            assert sample("paused_partitions", full) == 1
            consumer.mended = True
            await eventually(lambda: _count(url, total + 1))
            await eventually(lambda: sample("holder_seconds", holder) is None)
            await eventually(lambda: sample("oldest_seconds", labels) == 0)
    (said,) = [entry for entry in logs if entry["event"] == "consumer.held_up"]
    assert (said["topic"], said["partition"], said["offset"], said["key"]) == (topic, 0, 0, key_hash(bad.key))
    assert await committed(settings, consumer.name) == {topic: total + 1}


async def test_without_a_database_events_come_at_least_once_and_bad_ones_are_dead_letters(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Any
) -> None:
    class Telling(Consumer):
        topics = (TYPE,)
        uses_database = False
        told: ClassVar[list[str]] = []

        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            if event.subject == "bad":
                raise Reject("as asked")
            self.told.append(event.id)

    consumer = named(Telling)()
    settings = consumer_settings(kafka_env, f"sqlite:///{tmp_path}/none.db")
    await publish(settings, [event_record("e1", "u1"), event_record("x", "bad"), event_record("e2", "u1")])
    async with serving(consumer, settings) as service:
        await eventually(lambda: len(Telling.told) == 2)
        (letter,) = await eventually(lambda: _letters(settings, consumer.name, 1))
        await eventually(lambda: _committed_all(settings, consumer.name, 3))
        assert (await service._ready())[0]
    assert Telling.told == ["e1/u1", "e2/u1"]
    assert letter.key == b"dingcorp1:bad"
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(BridgeError, match="uses no database"):
        await show(consumer, settings)


async def test_blocked_keys_are_counted_until_they_are_free(
    kafka_env: dict[str, str],
    kafka_settings: KafkaSettings,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.05)
    consumer = named(Failing, on_dead_letter="block")()
    settings = consumer_settings(kafka_env, database_url)
    await publish(settings, [event_record("e1", "bad"), event_record("e2", "bad"), event_record("e3", "u1")])
    mine = {"consumer": consumer.name}
    async with serving(consumer, settings) as service:

        def keys() -> float | None:
            return service.registry.get_sample_value("dingbridge_consumer_blocked_keys", mine)

        letters = await eventually(lambda: _letters(settings, consumer.name, 2))
        await eventually(lambda: keys() == 1)
        assert service.registry.get_sample_value("dingbridge_consumer_blocked_seconds", mine) > 0
        ids = {dict(letter.headers)[blocked.BLOCKING_ID_HEADER] for letter in letters}
        assert len(ids) == 1
        await eventually(lambda: _count_at_least(database_url, 1))
        assert [event_id for event_id, _ in await rows(database_url)] == ["e3"]
        async with service.database.transaction() as tx:
            assert await blocked.unblock(tx, consumer.name, letters[0].key)
        await eventually(lambda: keys() == 0)
        consumer.mended = True
        await publish(settings, [event_record("e4", "bad")])
        await eventually(lambda: _count(database_url, 2))


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
            await eventually(lambda: _count(url, 2))
            aligned = service.registry.get_sample_value(
                "dingbridge_consumer_lanes_aligned", {"consumer": consumer.name}
            )
    assert aligned == 0
    assert "consumer.lanes_not_aligned" in {entry["event"] for entry in logs}


async def test_a_handler_that_blocks_and_a_misspelt_event_type_are_said(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blocking(EffectConsumer):
        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            await super().handle(event, tx, prepared)
            time.sleep(0.15)  # noqa: ASYNC251 - that is the mistake

    monkeypatch.setattr(worker, "BLOCKED_S", 0.05)
    url = f"sqlite:///{tmp_path}/test.db"
    consumer = named(Blocking, topics=(TYPE, "user_ad_org"))()
    settings = consumer_settings(kafka_env, url)
    await publish(settings, [event_record("e1", "u1")])
    with capture_logs() as logs:
        async with serving(consumer, settings):
            await eventually(lambda: _count(url, 1))
            await eventually(lambda: [e for e in logs if e["event"] == "consumer.loop_blocked"])
    unknown = [(e["event_type"], e["near"]) for e in logs if e["event"] == "consumer.unknown_event_type"]
    assert unknown == [("user_ad_org", ["user_add_org"])]


async def test_the_private_listener_says_how_the_consumer_is(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Any
) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    consumer = named(EffectConsumer)()
    settings = consumer_settings(kafka_env, url, admin_port=0)
    await publish(settings, [event_record("e1", "u1")])
    with capture_logs() as logs:
        async with serving(consumer, settings), aiohttp.ClientSession() as session:
            await eventually(lambda: _count(url, 1))
            port = next(e["port"] for e in logs if e["event"] == "consumer.admin_listening")
            base = f"http://127.0.0.1:{port}"
            ready = await session.get(f"{base}/readyz")
            assert (ready.status, (await ready.json())["kafka"]) == (200, "joined")
            labels = f'consumer="{consumer.name}",outcome="done",topic="{event_topic(settings, TYPE)}"'
            counted = f"dingbridge_consumer_events_total{{{labels}}} 1.0"

            async def counting() -> str:
                text = await (await session.get(f"{base}/metrics")).text()
                return text if counted in text else ""

            metrics = await eventually(counting)  # the row is there before its record is counted
    for name in ("attempts_total", "handler_seconds_count", "lanes_aligned", "in_flight", "lag"):
        assert f"dingbridge_consumer_{name}" in metrics


async def test_the_longest_retention_is_read_from_kafka(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings
) -> None:
    topics = [event_topic(kafka_settings, TYPE), dlq_topic(kafka_settings, "x")]
    await ensure_topics(kafka_settings, topics)
    elsewhere = KafkaSettings.load(
        **{**{n.lower(): v for n, v in kafka_env.items()}, "topic_retention_days": 1, "dlq_retention_days": 2}
    )
    told = Retention(timedelta(days=90), ())
    assert await longest_retention(elsewhere, topics) == told, "as created, not as the settings say now"
    missing = event_topic(kafka_settings, "not_made_yet")
    assert await longest_retention(elsewhere, [topics[0], missing]) == Retention(timedelta(days=14), ())
    # a record lives as long as the segment that it stands in
    day_ms = 86_400_000
    long = {"retention.ms": str(14 * day_ms), "segment.ms": str(200 * day_ms)}
    await _alter(kafka_settings, topics[0], long)
    await eventually(lambda: _kept_for(kafka_settings, topics, timedelta(days=14 + 200 - 7)))
    for config in ({"retention.ms": "-1"}, {"cleanup.policy": "compact"}):
        await _alter(kafka_settings, topics[0], config)
        await eventually(lambda: _kept_for(kafka_settings, topics, None))
        await _alter(kafka_settings, topics[0], {"retention.ms": "1000"})
        await eventually(lambda: _kept_for(kafka_settings, topics, timedelta(days=90)))


async def test_inbox_rows_outlive_the_longest_retention_and_the_start_says_for_how_long(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, database_url: str
) -> None:
    consumer = named(EffectConsumer)()
    settings = consumer_settings(kafka_env, database_url)
    longer = consumer_settings(kafka_env, database_url, topic_retention_days=60)
    await ensure_topics(longer, [event_topic(settings, TYPE)])  # longer than our settings say now
    database = open_database(database_url)
    try:
        await database.create_tables(inbox.metadata)
        now, mine = datetime.now(UTC), {"consumer": consumer.name, "source": "s", "replay_id": ""}
        async with database.transaction() as tx:
            for days in (67, 69):
                values = {**mine, "id": f"{days} days old", "at": now - timedelta(days=days)}
                await tx.execute(inbox.inbox.insert().values(values))
        with capture_logs() as logs:
            async with serving(consumer, settings):
                await eventually(lambda: [e for e in logs if e["event"] == "consumer.inbox_pruned"])
        left = await database.reader().execute(select(inbox.inbox.c.id))
    finally:
        await database.close()
    assert [row.id for row in left] == ["67 days old"]
    assert [e["days"] for e in logs if e["event"] == "consumer.inbox_kept"] == [60 + 8]


async def _alter(settings: KafkaSettings, topic: str, config: dict[str, str]) -> None:
    """These are then the topic's own settings, the rest are the broker's."""
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=config)])
    finally:
        await admin.close()


async def _kept_for(settings: KafkaSettings, topics: list[str], longest: timedelta | None) -> bool:
    return (await longest_retention(settings, topics)).longest == longest


async def _count(database_url: str, expected: int) -> bool:
    return len(await rows(database_url)) == expected


async def _count_at_least(database_url: str, expected: int) -> bool:
    return len(await rows(database_url)) >= expected


async def _per_key(database_url: str) -> dict[str, list[str]]:
    found = defaultdict(list)
    for event_id, subject in await rows(database_url):
        found[subject].append(event_id)
    return found


async def _letters(settings: KafkaSettings, consumer: str, count: int) -> list[Any]:
    letters = await read_topic(settings, dlq_topic(settings, consumer))
    letters.sort(key=lambda r: r.timestamp)
    return letters if len(letters) >= count else []


async def _committed_all(settings: KafkaSettings, group: str, count: int) -> bool:
    return sum((await committed(settings, group)).values()) == count
