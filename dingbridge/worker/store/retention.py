"""How long Kafka can deliver records of a consumer's topics again; their inbox rows must live longer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from dingbridge.kafka.admin import admin_client
from dingbridge.kafka.topic_policy import retention_days
from dingbridge.settings import KafkaSettings

RETENTION_MS, SEGMENT_MS, CLEANUP_POLICY = "retention.ms", "segment.ms", "cleanup.policy"

LONG_MS = 100 * 365 * 86_400_000
"""A hundred years: a longer retention counts as for ever, as -1 does."""

SEGMENT_ASSUMED = timedelta(days=7)
"""Kafka's default of ``segment.ms``, for topics that we may not describe."""

CLEANED_WITHIN = timedelta(days=1)
"""A generous bound for how late Kafka deletes."""

UNKNOWN_TOPIC = 3
"""Kafka's error code (https://kafka.apache.org/protocol#protocol_error_codes)."""


@dataclass(frozen=True, slots=True)
class Lives:
    """``by_topic``: how long a record of each topic can come again, None for ever. ``unknown``: topics whose
    retention Kafka does not show us; our settings were assumed for them."""

    by_topic: dict[str, timedelta | None]
    unknown: tuple[str, ...]


async def lives_of_records(settings: KafkaSettings, topics: Sequence[str]) -> Lives:
    """How long records of ``topics`` can come again, by what Kafka has configured.

    Where we have no right to describe a topic, or it does not exist, our own policy is assumed. Raises
    ``KafkaUnavailable``.
    """
    lives: dict[str, timedelta | None] = {
        topic: timedelta(days=retention_days(settings, topic)) + SEGMENT_ASSUMED + CLEANED_WITHIN
        for topic in topics
    }
    known, unknown = await _configured(settings, topics)
    return Lives(lives | {topic: _life(configured) for topic, configured in known.items()}, unknown)


def _life(configured: dict[str, str]) -> timedelta | None:
    """Kafka deletes whole segments, by their newest record; a segment ends ``segment.ms`` after it began."""
    retention = int(configured.get(RETENTION_MS, -1))
    if not 0 <= retention < LONG_MS or "delete" not in configured.get(CLEANUP_POLICY, "delete"):
        return None
    segment = timedelta(milliseconds=min(int(configured.get(SEGMENT_MS, LONG_MS)), LONG_MS))
    return timedelta(milliseconds=retention) + segment + CLEANED_WITHIN


async def _configured(
    settings: KafkaSettings, topics: Sequence[str]
) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    wanted = dict.fromkeys((RETENTION_MS, SEGMENT_MS, CLEANUP_POLICY), "")
    async with admin_client(settings) as admin:
        answers = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, configs=wanted) for topic in topics]
        )
    found, unknown = {}, []
    for answer in answers:
        for code, _, _, topic, entries in answer.resources:
            if code == 0:
                found[topic] = {entry[0]: entry[1] for entry in entries if entry[0] in wanted}
            elif code != UNKNOWN_TOPIC:
                unknown.append(topic)
    return found, tuple(sorted(unknown))
