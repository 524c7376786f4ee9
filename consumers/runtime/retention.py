"""How long the topics of a consumer really keep their records, which inbox rows must outlive."""

from collections.abc import Sequence
from datetime import timedelta

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from bridge.errors import KafkaUnavailable
from bridge.kafka import connection, explain
from bridge.settings import KafkaSettings
from bridge.topics import retention_days

RETENTION_MS = "retention.ms"

LONG_MS = 100 * 365 * 86_400_000
"""A hundred years: from there on it is for ever, as -1 is."""


async def longest_retention(settings: KafkaSettings, topics: Sequence[str]) -> timedelta | None:
    """The longest retention of ``topics`` as Kafka has it configured; None when one of them keeps for ever.

    Where Kafka refuses to tell (no right to describe a topic), our own policy stands in for it. Raises
    ``KafkaUnavailable``.
    """
    days = {topic: timedelta(days=retention_days(settings, topic)) for topic in topics}
    try:
        told = await _configured(settings, topics)
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(explain(error, settings)) from error
    if any(milliseconds < 0 for milliseconds in told.values()):
        return None
    return max({**days, **{topic: timedelta(milliseconds=ms) for topic, ms in told.items()}}.values())


async def _configured(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    admin = AIOKafkaAdminClient(**connection(settings), request_timeout_ms=10_000)
    try:
        await admin.start()
        answers = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, configs={RETENTION_MS: ""}) for topic in topics]
        )
    finally:
        await admin.close()
    found = {}
    for answer in answers:
        for code, _, _, topic, entries in answer.resources:
            values = [entry[1] for entry in entries if entry[0] == RETENTION_MS]
            if code == 0 and values:
                milliseconds = int(values[0])
                found[topic] = milliseconds if milliseconds < LONG_MS else -1
    return found
