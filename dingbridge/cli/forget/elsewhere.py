"""What else holds a person's data, and when it goes by itself. No single record of a topic can be deleted."""

from collections.abc import Iterator
from dataclasses import dataclass

from dingbridge.kafka.topic_policy import OUTBOUND, control_topic
from dingbridge.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Left:
    """A store that nobody deletes from, and when its content goes."""

    store: str
    what: str
    until: str


def elsewhere(settings: KafkaSettings) -> Iterator[Left]:
    """What holds people's data beside the consumers' databases."""
    days, dead = settings.topic_retention_days, settings.dlq_retention_days
    yield Left(
        "journal",
        "decrypted callbacks; those that wait or are parked stay until they are published",
        "JOURNAL_RETENTION_HOURS (24) after Kafka has them",
    )
    yield Left(
        "topics of contact events",
        "events of the person, dead letters and inboxes",
        f"{days} days; dead letters {dead} days",
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
