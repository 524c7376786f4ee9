"""What else holds a person's data, and when it goes by itself; of topics how much, where that is cheap.

A topic is counted by the partition that the person's key is in. Approvals are keyed by instance, so theirs
are not; nobody can delete single records of a topic.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from dingbridge.errors import KafkaUnavailable
from dingbridge.events.catalogue import catalogue
from dingbridge.kafka.reader import TopicReader
from dingbridge.kafka.topic_policy import OUTBOUND, control_topic, retention_days
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import KafkaSettings

MOST_READ: Final = 200_000
"""Records that are read to count a person's."""


@dataclass(frozen=True, slots=True)
class Left:
    """A store that nobody deletes from: ``rows`` of the person's, if they were counted, and when they go."""

    store: str
    what: str
    until: str
    rows: int | None = None


def elsewhere(settings: KafkaSettings) -> Iterator[Left]:
    """What holds people's data beside the consumers' databases and what ``in_topics`` counts."""
    days, dead = settings.topic_retention_days, settings.dlq_retention_days
    yield Left(
        "journal",
        "decrypted callbacks; those that wait or are parked stay until they are published",
        "JOURNAL_RETENTION_HOURS (24) after Kafka has them",
    )
    yield Left(
        "topics of approvals",
        "events and dead letters of approvals in which the person took part",
        f"{days} days; dead letters {dead} days",
    )
    yield Left(
        control_topic(settings, OUTBOUND),
        "the OA's messages about the person, by its own ids",
        f"{dead} days",
    )
    yield Left(
        f"{control_topic(settings, 'changes')}, {control_topic(settings, 'outbound-results')}",
        "changed fields, and answers to the OA",
        f"{days} days",
    )
    yield Left(
        "console",
        "its index: ids of events and people, reasons of dead letters",
        f"{days} days; dead letters {dead} days",
    )
    yield Left("console", "its audit: who looked for whom, by userid", "you delete it")
    yield Left("logs, metrics", "ids, never a name", "as your log system keeps them")
    yield Left("backups", "all of it, as of their day", "as you keep them; forget again after a restore")


async def in_topics(settings: KafkaSettings, corp_id: str, userid: str) -> list[Left]:
    """The person's records, by key: contact events, dead letters and inboxes."""
    try:
        topics = {
            name: n for name, n in (await existing_topics(settings)).items() if _may_hold(settings, name)
        }
        counts = await _counted(settings, topics, f"{corp_id}:{userid}".encode())
    except KafkaUnavailable as error:
        days = f"{settings.topic_retention_days} days; dead letters {settings.dlq_retention_days} days"
        return [Left("topics", f"contact events, dead letters, inboxes; not counted: {error}", days)]
    return [
        Left(
            name,
            "events of the person",
            f"{retention_days(settings, name)} days",
            None if counts is None else counts[name],
        )
        for name in sorted(topics)
        if counts is None or counts[name]
    ]


def _may_hold(settings: KafkaSettings, name: str) -> bool:
    apart = tuple(f"{settings.control_prefix}{kind}." for kind in ("dlq", "inbox"))
    if name.startswith(apart):
        return True
    spec = catalogue.spec(name.removeprefix(settings.topic_prefix))
    return spec is not None and spec.subject is not None and spec.subject.kind == "user"


async def _counted(settings: KafkaSettings, topics: dict[str, int], key: bytes) -> Counter[str] | None:
    """How many records of each topic have ``key``; None: too many to be read. Raises ``KafkaUnavailable``."""
    partitioner = DefaultPartitioner()
    partitions = {name: list(range(count)) for name, count in topics.items()}
    mine = {TopicPartition(name, partitioner(key, all_, all_)) for name, all_ in partitions.items()}
    counts = Counter[str]()
    async with TopicReader(settings) as reader:
        spans = {at: span for at, span in (await reader.spans(topics)).items() if at in mine}
        if sum(span.end - span.begin for span in spans.values()) > MOST_READ:
            return None
        async for record in reader.read(spans):
            counts[record.topic] += record.key == key
    return counts
