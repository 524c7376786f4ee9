"""How long topics keep their records, and so for how long the worker keeps its inbox rows."""

import secrets
from datetime import timedelta

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from sqlalchemy import select

from dingbridge.kafka.client import connection
from dingbridge.kafka.topic_policy import dlq_topic, event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.store.inbox import attempts_of, enter, hash_of, inbox, storable
from dingbridge.worker.store.retention import Lives, lives_of_records
from tests.integration.worker_support import TYPE
from tests.support.waiting import eventually
from tests.unit.worker.support import Recording

DAY_MS = 86_400_000


DAY = timedelta(days=1)


async def test_how_long_records_can_come_again_is_read_from_kafka(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings
) -> None:
    topics = [event_topic(kafka_settings, TYPE), dlq_topic(kafka_settings, "x")]
    await ensure_topics(kafka_settings, topics)
    elsewhere = KafkaSettings.load(
        **{**{n.lower(): v for n, v in kafka_env.items()}, "topic_retention_days": 1, "dlq_retention_days": 2}
    )
    # as created, not as the settings say now; a segment of theirs holds a day, and a day is spare
    told = Lives({topics[0]: 16 * DAY, topics[1]: 92 * DAY}, ())
    assert await lives_of_records(elsewhere, topics) == told
    missing = event_topic(kafka_settings, "not_made_yet")
    assert (await lives_of_records(elsewhere, [missing])).by_topic == {missing: (1 + 7 + 1) * DAY}
    # a record lives as long as the segment that it is in
    await _alter(
        kafka_settings, topics[0], {"retention.ms": str(14 * DAY_MS), "segment.ms": str(200 * DAY_MS)}
    )
    await eventually(lambda: _lives_for(kafka_settings, topics[0], (14 + 200 + 1) * DAY))
    for config in ({"retention.ms": "-1"}, {"cleanup.policy": "compact"}):
        await _alter(kafka_settings, topics[0], config)
        await eventually(lambda: _lives_for(kafka_settings, topics[0], None))


async def _alter(settings: KafkaSettings, topic: str, config: dict[str, str]) -> None:
    """These are then the topic's own settings, the rest are the broker's."""
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=config)])
    finally:
        await admin.close()


async def _lives_for(settings: KafkaSettings, topic: str, life: timedelta | None) -> bool:
    return (await lives_of_records(settings, [topic])).by_topic[topic] == life


# -- Ids and keys that a database cannot keep as they are, in a row or in an index: they stop nothing


LONG = secrets.token_hex(3_000)  # what can be compressed would fit


STRANGE = {"nul": "a\0b", "long": LONG, "nul-and-long": LONG + "\0", "wide": "张\U0001f600" * 300}


async def test_ids_that_differ_stay_apart(database_url: str) -> None:
    ids = [*STRANGE.values(), LONG + "x", "\ud800", "\ud801", "\ufffd", "a", "张三/u1", "x" * 512]
    async with MemoryRuntime(Recording(), database_url=database_url) as runtime:
        reader = runtime.database.reader()
        known: list[tuple[str, str]] = [("s", an_id) for an_id in ids] + [(an_id, "i") for an_id in ids]
        for event in known:
            for replay_id in ("", "r\0", LONG):
                async with runtime.database.transaction() as tx:
                    assert await enter(tx, [(hash_of("recording", event, replay_id), 1)])
                    assert not await enter(tx, [(hash_of("recording", event, replay_id), 1)])
                assert await attempts_of(reader, [hash_of("recording", event, replay_id)])
                assert not await attempts_of(reader, [hash_of("another", event, replay_id)])
        rows = await runtime.rows(select(inbox.c.hash))
        assert len({row.hash for row in rows}) == 2 * len(ids) * 3
        # an id that looks like another's hash is another id
        assert not await attempts_of(reader, [hash_of("recording", ("s", storable(LONG)), "")])
