"""What the worker does with events that fail, on a real Kafka: order is kept, dead letters tell all, and
nothing is buried while a dependency is down.
"""

from asyncio import to_thread
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import MessageSizeTooLargeError

from dingbridge.events.envelope import Record
from dingbridge.kafka.admin import admin_client
from dingbridge.kafka.client import producer
from dingbridge.kafka.topic_policy import control_topic, dlq_topic, event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from tests.integration.worker_support import (
    TYPE,
    EffectConsumer,
    Failing,
    committed,
    consumer_settings,
    dead_letters,
    event_record,
    has_committed,
    has_rows,
    named,
    publish,
    rows,
    rows_per_key,
    serving,
)
from tests.support.hostile_records import UNDECODABLE, send_batch
from tests.support.kafka_reader import read_topic
from tests.support.sizes import on_one_database
from tests.support.waiting import eventually


@on_one_database
async def test_a_failing_key_waits_alone_and_keeps_its_order(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, database_url: str
) -> None:
    consumer = named(Failing, max_attempts=1000)()
    settings = consumer_settings(kafka_env, database_url)
    records = [event_record(f"e{n}", "bad" if n % 4 == 0 else f"u{n % 4}") for n in range(40)]
    await publish(settings, records)
    async with serving(consumer, settings):
        await eventually(lambda: has_rows(database_url, 30))
        assert "bad" not in {subject for _, subject in await rows(database_url)}
        consumer.fixed = True
        await eventually(lambda: has_rows(database_url, 40))
    assert await rows_per_key(database_url) == {
        user: [f"e{n}" for n in range(40) if (n % 4 == 0) == (user == "bad") and user in ("bad", f"u{n % 4}")]
        for user in ("bad", "u1", "u2", "u3")
    }
    assert await committed(settings, consumer.name) == {event_topic(settings, TYPE): 40}


@on_one_database
async def test_records_that_aiokafka_cannot_decode_are_passed_and_lose_nothing_beside_them(
    kafka_env: dict[str, str],
    kafka_settings: KafkaSettings,
    database_url: str,
) -> None:
    consumer = named(EffectConsumer)()
    settings = consumer_settings(kafka_env, database_url)
    topic = event_topic(settings, TYPE)
    await ensure_topics(settings, [topic], partitions={topic: 3})
    [decoded, beside] = [event_record(name, name) for name in ("decoded", "beside")]
    around = [(one.key, one.value, list(one.headers)) for one in (decoded, beside)]
    batches = ((UNDECODABLE,), (around[0], UNDECODABLE, around[1]), (UNDECODABLE,))
    finished = {"consumer": consumer.name, "topic": topic, "outcome": "dead"}
    # one partition after the other: in some round aiokafka has taken from others before it comes to this
    for number, (rows_then, offsets_then) in enumerate(((24, 25), (49, 52), (73, 77))):
        events = [event_record(f"{number}-{n}", f"u{n % 8}") for n in range(24)]
        await publish(settings, events[: 12 * number])  # in the first round it stands before all, then last
        await send_batch(settings, topic, *batches[number], partition=number)
        await publish(settings, events[12 * number :])
        async with serving(consumer, settings) as service:
            await eventually(lambda most=rows_then: has_rows(database_url, most), 60)
            await eventually(lambda most=offsets_then: has_committed(settings, consumer.name, most), 60)
            assert service.registry.get_sample_value("dingbridge_consumer_events_total", finished)
    letters = await dead_letters(settings, consumer.name, 4)
    told = [dict(letter.headers) for letter in letters]
    places = sorted((one["dingbridge-dlq-partition"], int(one["dingbridge-dlq-offset"])) for one in told)
    assert places[0] == (b"0", 0)
    assert [partition for partition, _ in places] == [b"0", b"1", b"1", b"2"]
    assert all(b"is no UTF-8" in one["dingbridge-dlq-reason"] for one in told)
    assert await rows_per_key(database_url) == {
        "decoded": ["decoded"],
        **{f"u{n}": [f"{i}-{m}" for i in range(3) for m in range(n, 24, 8)] for n in range(8)},
    }


def resident_mib() -> int:
    """How much memory this process has now."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


async def test_a_few_bytes_that_unpack_to_much_stop_nobody_and_their_memory_comes_back(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    consumer = named(EffectConsumer, control_topics=("outbound",))()
    settings = consumer_settings(kafka_env, url)
    topics = [event_topic(settings, TYPE), control_topic(settings, "outbound")]
    async with admin_client(settings) as admin:  # as others make them: the broker unpacks nothing
        await admin.create_topics([NewTopic(topic, 1, 1) for topic in topics])
    much = {"compression_type": "zstd", "max_request_size": 1 << 30}
    for topic in topics:
        async with producer(settings, **much) as sender:
            await sender.send_and_wait(topic, key=b"k", value=bytes(100 << 20))
    await publish(settings, [event_record("e1", "u1")])
    before = resident_mib()
    async with serving(consumer, settings) as service:
        await eventually(lambda: has_rows(url, 1))
        letters = await eventually(lambda: dead_letters(settings, consumer.name, 2))
        await eventually(lambda: has_committed(settings, consumer.name, 3))
        assert service.worker.state()[0]
        await eventually(lambda: to_thread(lambda: resident_mib() < before + 60))
    assert {(letter.key, letter.value) for letter in letters} == {(b"k", None)}
    told = [dict(letter.headers) for letter in letters]
    assert sorted(one["dingbridge-dlq-topic"].decode() for one in told) == sorted(topics)
    assert {one["dingbridge-dlq-value"] for one in told} == {b"in-place"}
    await ensure_topics(settings, [dlq_topic(settings, "other")])
    with pytest.raises(MessageSizeTooLargeError):  # the broker unpacks for topics that we make
        async with producer(settings, **much) as sender:
            await sender.send_and_wait(dlq_topic(settings, "other"), bytes(20 << 20))


@on_one_database
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
        letters = await eventually(lambda: dead_letters(settings, consumer.name, 3))
        await eventually(lambda: has_committed(settings, consumer.name, 5))
    assert [event_id for event_id, _ in await rows(database_url)] == ["e2", "e3"]
    reasons = {}
    said_of_garbage = "the record's value is no JSON that can be read (not-json)"
    for letter in letters:
        ours = [header for header in letter.headers if header[0].startswith("dingbridge-dlq-")]
        headers = dict(ours)
        place = (int(headers["dingbridge-dlq-partition"]), int(headers["dingbridge-dlq-offset"]))
        original = stored[place]
        assert headers["dingbridge-dlq-topic"].decode() == topic
        assert (letter.key, letter.value) == (original.key, original.value)
        assert letter.headers[: -len(ours)] == original.headers
        assert headers["dingbridge-dlq-at"].decode().endswith("Z")
        error = headers["dingbridge-dlq-error"].decode()
        assert "private" not in error
        said = headers.get("dingbridge-dlq-reason", b"").decode()
        assert bool(headers.get("dingbridge-dlq-frames")) is not bool(said)
        reasons[letter.key] = (error.split(" ")[0], int(headers["dingbridge-dlq-attempts"]), said)
    assert reasons == {
        b"dingcorp1:bad": ("ValueError", 4, ""),
        b"dingcorp1:good": ("dingbridge.worker.outcomes.Reject", 1, "as asked"),
        b"\xff\x00key": ("dingbridge.events.event.NotAnEvent", 1, said_of_garbage),
    }
