"""How long topics keep their records, and so for how long the worker keeps its inbox rows."""

from datetime import UTC, datetime, timedelta

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from sqlalchemy import select
from structlog.testing import capture_logs

from dingbridge import open_database
from dingbridge.kafka.client import connection
from dingbridge.kafka.topics import dlq_topic, ensure_topics, event_topic
from dingbridge.settings import KafkaSettings
from dingbridge.worker.store import inbox
from dingbridge.worker.store.migrations import WorkerTables, migrate
from dingbridge.worker.store.retention import Retention, longest_retention
from tests.integration.worker_support import TYPE, EffectConsumer, consumer_settings, named, serving
from tests.support.waiting import eventually


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
    # a record lives as long as the segment that it is in
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
        await migrate(database, WorkerTables)
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
