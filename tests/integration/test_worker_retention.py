"""How long topics keep their records, and so for how long the worker keeps its inbox rows."""

from datetime import UTC, datetime, timedelta

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from sqlalchemy import select
from structlog.testing import capture_logs

from dingbridge import open_database
from dingbridge.kafka.client import connection
from dingbridge.kafka.topic_policy import dlq_topic, event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from dingbridge.worker.store import inbox
from dingbridge.worker.store.migrations import WorkerTables, migrate
from dingbridge.worker.store.retention import Lives, lives_of_records
from tests.integration.worker_support import TYPE, EffectConsumer, consumer_settings, named, serving
from tests.support.waiting import eventually

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


async def test_inbox_rows_outlive_their_topics_retention_and_the_start_says_for_how_long(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, database_url: str
) -> None:
    consumer = named(EffectConsumer)()
    settings = consumer_settings(kafka_env, database_url)
    longer = consumer_settings(kafka_env, database_url, topic_retention_days=60)
    topic = event_topic(settings, TYPE)
    await ensure_topics(longer, [topic])  # longer than our settings say now
    database = open_database(database_url)
    try:
        await migrate(database, WorkerTables)
        number = inbox.number_of(consumer.name, topic)
        async with database.transaction() as tx:
            for days in (61, 63):
                at = inbox.seconds(datetime.now(UTC) - timedelta(days=days))
                row = {"hash": days.to_bytes(16, "big"), "topic": number, "at": at}
                await tx.execute(inbox.inbox.insert().values(row))
        with capture_logs() as logs:
            async with serving(consumer, settings):
                await eventually(lambda: [e for e in logs if e["event"] == "consumer.inbox_pruned"])
        left = await database.reader().execute(select(inbox.inbox.c.hash))
    finally:
        await database.close()
    assert [int.from_bytes(row.hash, "big") for row in left] == [61]
    # its inbox topic may not be made yet
    assert [e["days"][-1] for e in logs if e["event"] == "consumer.inbox_kept"] == [62]


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
