"""Asks Kafka what ingress and consumers need of it: topics, rights, copies, retention. Creates nothing.

``kafka_judge.py`` makes the findings. The rights are those that Kafka itself returns; ``validate_only`` shows
whether a topic could be created.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code

from dingbridge.doctor.checks.settings import Part
from dingbridge.kafka.client import connection, explained
from dingbridge.kafka.topic_policy import (
    RESYNC,
    control_topic,
    dlq_topic,
    event_topic,
    inbox_topic,
    topic_configs,
    unclassified_topic,
)
from dingbridge.kafka.wire import Metadata, describe_groups, operations
from dingbridge.settings import KafkaSettings

_REQUEST_MS: Final = 10_000
_GROUP_DENIED: Final = 30  # GROUP_AUTHORIZATION_FAILED


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as Kafka shows it to us: ``denied`` is that it does not, ``missing`` that it is not there."""

    denied: bool = False
    missing: bool = False
    leaderless: bool = False
    copies: int = 0
    in_step: bool = True
    may: frozenset[str] | None = None
    retention_ms: int | None = None
    create: str = ""
    """Of a missing one: empty if it may be made, ``denied``, or why Kafka would refuse it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """``failure`` is ``(kind, words)`` of ``dingbridge.kafka.client.explained``; ``groups`` holds our rights
    on each group (``None``: not known)."""

    failure: tuple[str, str] | None = None
    brokers: int = 0
    topics: Mapping[str, Topic] = field(default_factory=dict)
    groups: Mapping[str, frozenset[str] | None] = field(default_factory=dict)


def needs(
    settings: KafkaSettings, consumers: Iterable[Part], *, ingress: bool
) -> dict[str, list[tuple[str, str]]]:
    """``{topic: [(part, operation)]}`` as docs/explanation/security.md lists them."""
    wanted: dict[str, list[tuple[str, str]]] = {}

    def add(topic: str, part: str, operation: str) -> None:
        wanted.setdefault(topic, []).append((part, operation))

    if ingress:
        add(unclassified_topic(settings), "ingress", "WRITE")
        add(control_topic(settings, RESYNC), "ingress", "WRITE")
    for part in consumers:
        for event_type in part.topics:
            topic = event_topic(settings, event_type)
            add(topic, part.name, "READ")
            if ingress and (("ingress", "WRITE") not in wanted[topic]):
                add(topic, "ingress", "WRITE")
        for name in part.control_topics:
            add(control_topic(settings, name), part.name, "READ")
        for name in part.written:
            add(control_topic(settings, name), part.name, "WRITE")
        add(inbox_topic(settings, part.name), part.name, "READ")
        add(dlq_topic(settings, part.name), part.name, "WRITE")
    return wanted


async def look(settings: KafkaSettings, topics: Sequence[str], groups: Sequence[str]) -> Seen:
    """Never raises for Kafka's sake."""
    admin = AIOKafkaAdminClient(**connection(settings), request_timeout_ms=_REQUEST_MS)
    try:
        await admin.start()
        answer = (await admin._send_request(Metadata(list(topics)))).to_object()
        shown = {entry["topic"]: _topic(entry) for entry in answer["topics"]}
        await _add_retention(admin, shown)
        await _add_creation(admin, settings, shown, len(answer["brokers"]))
        rights = await _groups(admin, groups, [broker["node_id"] for broker in answer["brokers"]])
    except NotImplementedError:  # of aiokafka, when the broker has no such version of a request
        where = settings.kafka_bootstrap_servers
        return Seen(failure=("failed", f"Kafka at {where} is older than 2.3, and returns no client's rights"))
    except (KafkaError, OSError) as error:
        return Seen(failure=explained(error, settings))
    finally:
        await admin.close()
    return Seen(None, len(answer["brokers"]), shown, rights)


def _topic(entry: Mapping[str, Any]) -> Topic:
    code = entry["error_code"]
    if code == TopicAuthorizationFailedError.errno:
        return Topic(denied=True)
    if code == UnknownTopicOrPartitionError.errno:
        return Topic(missing=True)
    partitions = entry["partitions"]
    return Topic(
        leaderless=not partitions or any(p["leader"] < 0 for p in partitions),
        copies=min((len(p["replicas"]) for p in partitions), default=0),
        in_step=all(set(p["isr"]) >= set(p["replicas"]) for p in partitions),
        may=operations(entry["authorized_operations"]),
    )


async def _add_retention(admin: AIOKafkaAdminClient, shown: dict[str, Topic]) -> None:
    wanted = [
        ConfigResource(ConfigResourceType.TOPIC, name, configs={"retention.ms": ""})
        for name, topic in shown.items()
        if not topic.missing and not topic.denied
    ]
    for answer in await admin.describe_configs(wanted) if wanted else ():
        for code, _, _, name, entries in answer.resources:
            values = {entry[0]: entry[1] for entry in entries}
            if code == 0 and "retention.ms" in values:
                shown[name] = replace(shown[name], retention_ms=int(values["retention.ms"]))


async def _add_creation(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, shown: dict[str, Topic], brokers: int
) -> None:
    copies = settings.topic_replication or min(3, brokers)
    missing = [
        NewTopic(name, settings.topic_partitions, copies, topic_configs=topic_configs(settings, name, copies))
        for name, topic in shown.items()
        if topic.missing
    ]
    answer = await admin.create_topics(missing, validate_only=True) if missing else None
    for name, code, *rest in answer.topic_errors if answer else ():
        if code == TopicAuthorizationFailedError.errno:
            shown[name] = replace(shown[name], create="denied")
        elif code:
            words = f"{for_code(code).__name__}{f', {rest[0]}' if rest and rest[0] else ''}"
            shown[name] = replace(shown[name], create=words)


async def _groups(
    admin: AIOKafkaAdminClient, groups: Sequence[str], brokers: Sequence[int]
) -> dict[str, frozenset[str] | None]:
    """Our rights on each group. Each broker is asked, since looking for a group's own makes Kafka create the
    topic of offsets where there is none."""
    rights: dict[str, frozenset[str] | None] = {}
    for entry in await describe_groups(admin, groups, brokers):
        if entry["error_code"] == 0:
            rights[entry["group"]] = operations(entry["authorized_operations"])
        elif entry["error_code"] == _GROUP_DENIED:
            rights.setdefault(entry["group"], frozenset())
    return rights
