"""Whether Kafka answers, and why partitions take no records, in words: no leader, or replicas out of sync.

A producer does not report it: it sends again without end, and nothing is acknowledged.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.admin import admin_client
from dingbridge.settings import KafkaSettings

_ANSWER_WITHIN_S = 3
Place = tuple[str, int]
"""Topic and partition."""

_NAMED = 3
"""So many partitions are named; of more only how many."""


async def ailing(settings: KafkaSettings, partitions: Collection[Place]) -> str | None:
    """What is wrong with ``partitions`` (topic and number each) by Kafka's metadata; ``None`` if nothing, or
    if no broker answers within some seconds."""
    try:
        async with admin_client(settings, _ANSWER_WITHIN_S) as admin:
            topics = await admin.describe_topics(sorted({topic for topic, _ in partitions}))
    except KafkaUnavailable:
        return None
    found = {(topic["topic"], part["partition"]): part for topic in topics for part in topic["partitions"]}
    return in_words([(place, found[place]) for place in sorted(partitions) if place in found])


def in_words(partitions: Sequence[tuple[Place, Mapping[str, Any]]]) -> str | None:
    """``partitions`` as the metadata describes them: ``leader`` (-1: none), ``replicas`` and ``isr`` (lists
    of brokers). Pure."""
    if without := [place for place, part in partitions if part["leader"] == -1]:
        return f"{_names(without)} no leader: the brokers that hold it are down; start one of them"
    behind = {place: part for place, part in partitions if len(part["isr"]) < len(part["replicas"])}
    if behind:
        counts = sorted({f"{len(part['isr'])} of {len(part['replicas'])}" for part in behind.values()})
        return (
            f"{_names(list(behind))} {' or '.join(counts)} replicas in sync, perhaps fewer than "
            "min.insync.replicas asks for; start the brokers that are missing"
        )
    return None


def _names(places: Sequence[Place]) -> str:
    named = ", ".join(f"{topic}/{number}" for topic, number in places[:_NAMED])
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return f"{named}{more} {'has' if len(places) == 1 else 'have'}"
