"""Names and policy of our topics: what each is called, and how long it keeps what it has.

Without aiokafka, for processes that name topics and never speak to Kafka. ``topics.py`` creates them.
"""

import re
from collections.abc import Iterable

from dingbridge.settings import KafkaSettings

MAX_MESSAGE_BYTES = 6 * 1024 * 1024
"""``max.message.bytes`` of every topic we create, bytes, unpacked: a callback of the largest size we accept
fits."""

UNCLASSIFIED = "unclassified"
OUTBOUND = "outbound"
"""Control topic: what other systems want DingTalk to be. Kept as long as dead letters, since what is not done
yet is still wanted."""
RESYNC = "resync"
"""Control topic: the bridge's own requests to compare with DingTalk (``dingbridge/events/control.py``). Kept
as long as an inbox."""
CONSUMER_RE = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
"""A consumer's name that commands accept; other topics of dead letters are ignored."""
_DAY_MS = 86_400_000


def event_topic(settings: KafkaSettings, event_type: str) -> str:
    """Topic of one EventType: ``<TOPIC_PREFIX><EventType>``."""
    return settings.topic_prefix + event_type


def unclassified_topic(settings: KafkaSettings) -> str:
    """Topic of what could not be normalised."""
    return settings.topic_prefix + UNCLASSIFIED


def dlq_topic(settings: KafkaSettings, consumer: str) -> str:
    """Dead letters of one consumer."""
    return f"{settings.control_prefix}dlq.{consumer}"


def inbox_topic(settings: KafkaSettings, consumer: str) -> str:
    """Inbox of one consumer: replayed records that no other group sees."""
    return f"{settings.control_prefix}inbox.{consumer}"


def control_topic(settings: KafkaSettings, name: str) -> str:
    """A control topic that consumers read beside the events: ``<CONTROL_PREFIX><name>``."""
    return settings.control_prefix + name


def topics_read(
    settings: KafkaSettings, event_types: Iterable[str], control_topics: Iterable[str]
) -> list[str]:
    """The topics that a consumer of these reads, beside its inbox."""
    return [
        *(event_topic(settings, event_type) for event_type in event_types),
        *(control_topic(settings, name) for name in control_topics),
    ]


def foreign_topics(control_topics: Iterable[str]) -> list[str]:
    """Those of ``control_topics`` that programs other than the bridge write to."""
    return [name for name in control_topics if name != RESYNC]


def retention_days(settings: KafkaSettings, topic: str) -> int:
    """How long ``topic`` keeps its records by our policy, in days."""
    kept_long = (unclassified_topic(settings), control_topic(settings, OUTBOUND))
    if topic in kept_long or topic.startswith(f"{settings.control_prefix}dlq."):
        return settings.dlq_retention_days
    if topic == control_topic(settings, RESYNC) or topic.startswith(f"{settings.control_prefix}inbox."):
        return settings.inbox_retention_days
    return settings.topic_retention_days


def topic_configs(settings: KafkaSettings, topic: str, replication: int) -> dict[str, str]:
    """Kafka's topic configuration for ``topic`` in so many copies, by our policy."""
    configs = {
        "retention.ms": str(retention_days(settings, topic) * _DAY_MS),
        "segment.ms": str(_DAY_MS),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        # the broker unpacks what comes compressed, so the limit is that of the unpacked bytes
        "compression.type": "uncompressed",
        "cleanup.policy": "delete",
    }
    if replication >= 3:
        # an acknowledged record then stands on two brokers at least, and one of the three may still be away
        configs["min.insync.replicas"] = "2"
    return configs
