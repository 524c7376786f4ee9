"""Control topics on a real Kafka: any sender's CloudEvents, beside DingTalk's events."""

import json
from pathlib import Path
from typing import Any

import orjson

from dingbridge.events.envelope import Record
from dingbridge.kafka.client import producer
from dingbridge.kafka.reader import TopicReader
from dingbridge.kafka.topic_policy import control_topic, inbox_topic, topic_configs
from dingbridge.kafka.topics import ensure_topics, existing_topics
from dingbridge.settings import KafkaSettings
from tests.integration.worker_support import (
    EffectConsumer,
    consumer_settings,
    dead_letters,
    event_record,
    has_committed,
    has_rows,
    has_rows_at_least,
    named,
    publish,
    rows,
    serving,
)
from tests.support.processes import Processes
from tests.support.waiting import eventually


def desired(event_id: str, subject: str, **changes: Any) -> Record:
    """A record of another sender's, as a team without any of our code would write it."""
    envelope = {
        "specversion": "1.0",
        "id": event_id,
        "source": "https://oa.example.com/people",
        "type": "com.dingbridge.user.desired",
        "subject": subject,
        "data": {"corpId": "dingcorp1", "version": 1},
        **changes,
    }
    return Record(None, False, f"dingcorp1:user:{subject}".encode(), orjson.dumps(envelope), (), event_id)


async def test_any_senders_events_are_handled_once_and_what_is_none_is_a_dead_letter_with_its_reason(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    consumer = named(EffectConsumer, control_topics=("outbound",))()
    settings = consumer_settings(kafka_env, url)
    topic = control_topic(settings, "outbound")
    broken = desired("w9", "u9", specversion="0.3", data=[])
    records = [
        desired("w1", "u1"),
        desired("w1", "u1"),
        broken,
        desired("w2", "u1", time="2026-11-27T08:00:00+08:00"),
    ]
    await publish(settings, records, topic)
    await publish(settings, [event_record("e1", "u1")])
    async with serving(consumer, settings):
        (letter,) = await eventually(lambda: dead_letters(settings, consumer.name, 1))
        await eventually(lambda: has_rows(url, 3))
        await eventually(lambda: has_committed(settings, consumer.name, 5))
        again = desired("w1", "u1")
        replayed = again._replace(headers=(("dingbridge-replay-id", b"r1"),))
        await publish(settings, [replayed], inbox_topic(settings, consumer.name))
        await eventually(lambda: has_rows(url, 4))
        assert topic in await existing_topics(settings)
    applied = [event_id for event_id, _ in await rows(url)]
    assert sorted(applied) == ["e1", "w1", "w1", "w2"]
    assert applied.index("w1") < applied.index("w2"), "order per key"
    said = dict(letter.headers)["dingbridge-dlq-reason"].decode()
    assert "its specversion is not 1.0; its data is no object" in said
    assert letter.value == broken.value


async def test_what_a_transaction_aborted_is_no_event_for_any_reader(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    consumer = named(EffectConsumer, control_topics=("outbound",))()
    settings = consumer_settings(kafka_env, url)
    topic = control_topic(settings, "outbound")
    await ensure_topics(settings, [topic])
    async with producer(settings, transactional_id=consumer.name) as sender:
        for event_id, commits in (("aborted", False), ("committed", True), ("aborted2", False)):
            sent = desired(event_id, "u1")
            await sender.begin_transaction()
            await sender.send_and_wait(topic, key=sent.key, value=sent.value)
            await (sender.commit_transaction() if commits else sender.abort_transaction())
    await publish(settings, [desired("last", "u1")], topic)
    async with serving(consumer, settings):
        await eventually(lambda: has_rows_at_least(url, 2))
    assert [event_id for event_id, _ in await rows(url)] == ["committed", "last"]
    async with TopicReader(settings) as reader:
        spans = await reader.spans({topic: settings.topic_partitions})
        found = [orjson.loads(record.value)["id"] async for record in reader.read(spans)]
    assert found == ["committed", "last"]


async def test_what_systems_want_is_kept_as_long_as_dead_letters(kafka_settings: KafkaSettings) -> None:
    days = {
        name: int(topic_configs(kafka_settings, control_topic(kafka_settings, name), 1)["retention.ms"])
        // 86_400_000
        for name in ("outbound", "outbound-results", "changes")
    }
    kept, events = kafka_settings.dlq_retention_days, kafka_settings.topic_retention_days
    assert days == {"outbound": kept, "outbound-results": events, "changes": events}


async def test_the_commands_know_a_consumers_control_topics(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Path, processes: Processes
) -> None:
    systems = tmp_path / "forward.toml"
    systems.write_text(
        """
        [systems.oa]
        url = "https://oa.example.com/"
        types = ["user_add_org", "bpms_instance_change"]
        unsigned = true
        skip_own_changes = true
        """
    )
    env = kafka_env | {"FORWARD_FILE": str(systems)}
    change = desired("c1", "u1", type="com.dingbridge.change")
    await publish(kafka_settings, [change], control_topic(kafka_settings, "changes"))

    def answer(*arguments: str) -> Any:
        done = processes.run(*arguments, env=env)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    assert answer("topics", "read", "changes", "--reveal") == [json.loads(change.value)]
    (oa,) = [row for row in answer("consumers", "--json") if row["name"] == "forward-oa"]
    assert oa["events"] == ["bpms_instance_change", "changes"]
    (sent,) = answer("replay", "forward-oa", "--since", "1h", "--events", "changes", "--yes", "--json")
    assert sent["sent"] == 1
    counts = await existing_topics(kafka_settings)
    assert inbox_topic(kafka_settings, "forward-oa") in counts
