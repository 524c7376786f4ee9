"""What a consumer group has committed, on a real Kafka."""

import secrets
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from dingbridge import Restored
from dingbridge.consumers.outbound.requests.restored import still_to_read
from dingbridge.kafka.client import connection
from dingbridge.kafka.group_lag import look
from dingbridge.kafka.group_offsets import committed_offsets
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from tests.integration.worker_support import TYPE


async def commit(settings: KafkaSettings, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit ``offsets`` for ``group``, which has no members."""
    kafka = AIOKafkaConsumer(**connection(settings), group_id=group, enable_auto_commit=False)
    await kafka.start()
    try:
        kafka.assign(list(offsets))
        await kafka.commit(dict(offsets))
    finally:
        await kafka.stop()


async def test_what_the_group_of_another_installation_has_committed_is_not_ours(
    kafka_settings: KafkaSettings,
) -> None:
    """Groups are named after consumers alone: another installation on the same Kafka has the same ones."""
    other = kafka_settings.model_copy(update={"topic_prefix": f"other-{kafka_settings.topic_prefix}"})
    group = f"shared-{secrets.token_hex(4)}"
    places = [TopicPartition(event_topic(each, TYPE), 0) for each in (kafka_settings, other)]
    for each, place in zip((kafka_settings, other), places, strict=True):
        await ensure_topics(each, [place.topic])
        await commit(each, group, {place: 0})
    assert (await committed_offsets(kafka_settings, group)).keys() == {places[0]}
    assert (await look(kafka_settings, {group: []}))[group].topics.keys() == {places[0].topic}


async def test_the_end_of_a_transaction_is_no_record_that_outbound_has_to_read(
    kafka_settings: KafkaSettings,
) -> None:
    topic = event_topic(kafka_settings, TYPE)
    await ensure_topics(kafka_settings, [topic])
    sender = AIOKafkaProducer(**connection(kafka_settings), transactional_id=topic)
    await sender.start()
    async with sender.transaction():
        await sender.send_and_wait(topic, b"{}", partition=0)
    await sender.stop()
    lost = Restored(0, {topic: {"0": 2}, "gone": {"0": 7}})
    group = f"reader-{secrets.token_hex(4)}"
    assert await still_to_read(kafka_settings, group, lost) == 2
    await commit(kafka_settings, group, {TopicPartition(topic, 0): 1})
    assert await still_to_read(kafka_settings, group, lost) == 0
