"""Rights in Kafka: what docs/explanation/security.md lists is enough and needed; what is missing is said."""

import asyncio
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from prometheus_client import CollectorRegistry

from dingbridge.consumers.approval.consumer import Approval
from dingbridge.doctor.checks import kafka, kafka_judge
from dingbridge.doctor.checks import settings as settings_check
from dingbridge.doctor.findings import Finding
from dingbridge.errors import KafkaUnavailable
from dingbridge.ingress.admin.renormalise import renormalise
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.kafka.topic_policy import (
    RESYNC,
    control_topic,
    dlq_topic,
    event_topic,
    inbox_topic,
    unclassified_topic,
)
from dingbridge.kafka.topics import ensure_topics, existing_topics
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings, KafkaSettings
from dingbridge.settings.apps import companies
from dingbridge.worker.registry import load_consumer
from tests.faults.rights import APPROVAL, CONTACT, TASK, consume, documented, forge, settings_of
from tests.integration.test_publisher import keep, look
from tests.integration.worker_support import (
    EffectConsumer,
    consumer_settings,
    event_record,
    given_id,
    named,
    publish,
    rows,
    serving,
)
from tests.support.kafka_reader import read_topic
from tests.support.secure_kafka import Right, SecureKafka, on_prefix, on_topic, secure_kafka
from tests.support.waiting import eventually

__all__ = ["secure_kafka"]


MISSING = {
    ("READ", "group"): "has no right READ (or DESCRIBE, to look at it) on group {group}",
    ("READ", "topic"): "sees no topic {topic} and may not create it",
    ("READ", "inbox"): "topic {inbox} exists, and we may not see it",
    ("CREATE", "inbox"): "sees no topic {inbox} and may not create it",
    ("READ", "resync"): "topic {resync} exists, and we may not see it",
    ("CREATE", "resync"): "sees no topic {resync} and may not create it",
    ("WRITE", "dlq"): "topic {dlq} exists, and we may not see it",
    ("CREATE", "dlq"): "sees no topic {dlq} and may not create it",
}
"""What a consumer says for want of one right."""


class Picky(EffectConsumer):
    max_attempts = 1
    control_topics = ("resync",)

    async def handle(self, event: Any, tx: Any, prepared: Any) -> None:
        if given_id(event.id).startswith("bad"):
            raise ValueError
        await super().handle(event, tx, prepared)


@pytest.mark.parametrize("missing", MISSING, ids="-".join)
async def test_the_listed_rights_are_all_that_a_consumer_needs_and_each_is(
    secure_kafka: SecureKafka, tmp_path: Path, missing: tuple[str, str]
) -> None:
    consumer = named(Picky)()
    user = secure_kafka.shared_user
    env = secure_kafka.environment(user)
    administrator = secure_kafka.administrator(env)
    names = {
        "group": consumer.name,
        "topic": event_topic(administrator, CONTACT),
        "inbox": inbox_topic(administrator, consumer.name),
        "resync": control_topic(administrator, RESYNC),
        "dlq": dlq_topic(administrator, consumer.name),
    }
    rights = documented("approval", env, {"approval": consumer.name, APPROVAL: CONTACT, TASK: CONTACT})
    assert {(r.operation, r.name) for r in rights} == {(op, names[what]) for op, what in MISSING}
    [without] = [r for r in rights if (r.operation, r.name) == (missing[0], names[missing[1]])]
    await secure_kafka.grant(user, [r for r in rights if r != without])
    await publish(administrator, [event_record("good", "u1"), event_record("bad", "u2")])
    url = f"sqlite:///{tmp_path}/effects.db"
    words = MISSING[missing].format(**names)
    async with serving(consumer, consumer_settings(env, url)) as service:
        await eventually(lambda: words in service.worker.state()[1]["kafka"], 60, words)
        assert await rows(url) == []
        await secure_kafka.grant(user, [without])

        async def handled() -> bool:
            dead = await read_topic(administrator, names["dlq"])
            return len(dead) == 1 and await rows(url) == [("good", "u1")]

        await eventually(handled, what="with the right granted it goes on by itself")


PREFIXES = {"TOPIC_PREFIX": "dingtalk.", "CONTROL_PREFIX": "ctl-dingtalk."}


@pytest.mark.parametrize("name", ["address-sync", "approval", "outbound"])
def test_the_lists_name_the_topics_that_each_consumer_reads(name: str) -> None:
    consumer = load_consumer(name)
    read = {f"dingtalk.{event_type}" for event_type in consumer.topics}
    read |= {f"ctl-dingtalk.{control}" for control in consumer.control_topics}
    read |= {f"ctl-dingtalk.inbox.{name}"}
    listed = {r.name for r in documented(name, PREFIXES) if r.operation == "READ" and r.kind == "topic"}
    assert listed == read


INBOX, DLQ = "ctl-dingtalk.inbox.approval", "ctl-dingtalk.dlq.approval"


LISTS = {
    "ingress": {("WRITE", "dingtalk."), ("CREATE", "dingtalk.")},
    "operator": {
        *(("READ", DLQ), ("WRITE", DLQ), ("WRITE", INBOX)),
        *(("READ", f"dingtalk.{event_type}") for event_type in Approval.topics),
    },
    "team": {("READ", "billing-"), ("READ", f"dingtalk.{APPROVAL}")},
    "oa": {
        ("WRITE", "ctl-dingtalk.outbound"),
        *(("READ", name) for name in ("hr-", "ctl-dingtalk.outbound-results", "ctl-dingtalk.changes")),
    },
}


@pytest.mark.parametrize("who", LISTS)
def test_a_list_names_no_right_beyond_those_that_are_needed(who: str) -> None:
    assert {(r.operation, r.name) for r in documented(who, PREFIXES)} == LISTS[who]


@pytest.mark.parametrize(
    ("who", "reads", "writes", "neither"),
    [
        ("team", [f"t.{CONTACT}"], [], ["c.dlq.approval"]),
        ("oa", ["c.outbound-results", "c.changes"], ["c.outbound"], []),
    ],
)
async def test_who_is_no_part_of_the_bridge_reads_and_writes_what_is_listed_and_nothing_else(
    secure_kafka: SecureKafka, who: str, reads: list[str], writes: list[str], neither: list[str]
) -> None:
    user = secure_kafka.new_user()
    env = secure_kafka.environment(user)
    administrator, settings = secure_kafka.administrator(env), settings_of(env)

    def topics(names: list[str]) -> list[str]:
        prefixes = {"t": env["TOPIC_PREFIX"], "c": env["CONTROL_PREFIX"]}
        return [prefixes[kind] + topic for kind, _, topic in (name.partition(".") for name in names)]

    [record] = [event_record("e1", "u1")]
    await ensure_topics(administrator, topics([*reads, *writes, *neither]))
    for topic in topics([*reads, *writes, *neither]):
        await publish(administrator, [record], topic=topic)
    renamed = {APPROVAL: CONTACT, "billing-": f"{user}-", "hr-": f"{user}-"}
    await secure_kafka.grant(user, documented(who, env, renamed))

    async def all_that_is_listed() -> bool:
        try:
            found = [await consume(settings, topic, f"{user}-x") for topic in topics(reads)]
            for topic in topics(writes):
                await forge(settings, topic)
        except KafkaError:
            return False
        return found == [record.value] * len(reads)

    await eventually(all_that_is_listed, what="the listed rights are enough")
    assert set(await existing_topics(settings)) == set(topics([*reads, *writes]))
    for topic in topics([*writes, *neither]):
        with pytest.raises(TopicAuthorizationFailedError):
            await consume(settings, topic, f"{user}-x")
    for topic in topics([*reads, *neither]):
        with pytest.raises(KafkaError):
            await forge(settings, topic)


# -- Rights in Kafka: docs/explanation/security.md lists enough for the ingress, what is not granted parks


KEPT = [
    {"EventType": APPROVAL, "type": "finish", "processInstanceId": "pi-0", "corpId": "dingcorpsample01"},
    {"EventType": CONTACT, "eventId": "c0", "CorpId": "dingcorpsample01", "UserId": ["u0"]},
    {"EventType": "no/legal name"},
]


async def published(settings: IngressSettings, root: Path) -> tuple[RelayStatus, int]:
    """Runs a publisher until Kafka has answered for three callbacks, or is said to be down. Returns how many
    are parked as well."""
    journal = Journal(root, Retention(3600, 3600), JournalMetrics(CollectorRegistry()))
    await journal.start()
    await keep(journal, KEPT)
    report = RelayStatus(CollectorRegistry())
    publisher = Publisher(settings, partial(companies, settings), journal, report)
    running = asyncio.ensure_future(publisher.run())
    await eventually(lambda: look(journal).acked >= 3 or report.state == "down", 60, report.words)
    publisher.stop()
    await running
    await journal.stop()
    return report, len(look(journal).parked)


async def test_the_listed_rights_are_all_that_the_ingress_needs(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    user = secure_kafka.new_user()
    env = secure_kafka.environment(user)
    rights = documented("ingress", env)
    values = {**SAMPLE_CREDENTIALS, **env, "DINGTALK_API_BASE": "http://127.0.0.1:1"}
    settings = IngressSettings.load(**{name.lower(): value for name, value in values.items()})
    create, write = rights[1:], rights[:1]

    def folder() -> Path:  # a new one each time, in which nothing is parked
        made = tmp_path / str(next(numbers))
        made.mkdir()
        return made

    numbers = count()
    report, _ = await published(settings, folder())
    assert "WRITE on any topic" in report.words
    await secure_kafka.grant(user, create)
    report, _ = await published(settings, folder())
    assert "WRITE on any topic" in report.words
    await secure_kafka.grant(user, write)

    async def all_published() -> bool:  # the authorizer follows within moments
        report, parked = await published(settings, folder())
        return report.state == "up" and not parked

    await eventually(all_published, what="published by the listed rights")
    assert len(await existing_topics(secure_kafka.administrator(env))) == 3
    await secure_kafka.revoke(user, create)
    await eventually(all_published, what="CREATE is not needed where the topics exist")
    with pytest.raises(KafkaError):
        await consume(settings, event_topic(settings, APPROVAL), "ingress")
    await secure_kafka.grant(
        user, [Right("WRITE", "topic", event_topic(settings, APPROVAL), permission="DENY")]
    )

    async def one_is_parked() -> bool:
        report, parked = await published(settings, folder())
        return report.state == "up" and parked == 1

    await eventually(one_is_parked, what="where one topic is denied, its records alone are parked")

    with pytest.raises(KafkaUnavailable, match="has no right READ"):
        await renormalise(settings)
    await secure_kafka.grant(user, on_topic(unclassified_topic(settings), "READ"))

    async def renormalised() -> bool:
        try:
            return (await renormalise(settings))["read"] > 0
        except KafkaUnavailable:
            return False

    await eventually(renormalised, what="the listed right is enough to renormalise")


PARTS = [settings_check.Part("approval", ("bpms_instance_change",))]


SMALL = {"kafka.one_broker", "kafka.retention_unknown"}


def codes(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings}


def lacking(findings: list[Finding]) -> set[str]:
    return {right for f in findings if f.code == "kafka.rights" for right in f.values["rights"]}


async def looked_at(env: dict[str, str], *, ingress: bool = False) -> list[Finding]:
    settings = KafkaSettings.load(**{name.lower(): value for name, value in env.items()})
    needs = kafka.needs(settings, PARTS, ingress=ingress)
    seen = await kafka.look(settings, sorted(needs), [part.name for part in PARTS])
    return kafka_judge.judge(seen, settings, needs)


async def test_rights_are_compared_with_what_each_part_needs(secure_kafka: SecureKafka) -> None:
    user = secure_kafka.new_user()
    env = secure_kafka.environment(user)
    administrator = secure_kafka.administrator(env)
    events, inbox = f"{env['TOPIC_PREFIX']}bpms_instance_change", f"{env['CONTROL_PREFIX']}inbox.approval"
    dead = f"{env['CONTROL_PREFIX']}dlq.approval"
    await ensure_topics(administrator, [events])

    none = {f"READ on topic {events}", f"READ on topic {inbox}", f"WRITE on topic {dead}"}
    assert lacking(await looked_at(env)) == {*none, "READ on group approval"}

    # all that the document lists: well, but for topics that are still to be made, and may be
    await secure_kafka.grant(user, documented("approval", env, {}))
    await eventually(lambda: _codes(env, {"kafka.ok", "kafka.missing", *SMALL}), what="the rights are seen")
    assert await existing_topics(administrator) == {events: 6}, "asking whether it may create made none"

    # one of each kind is taken away
    await secure_kafka.revoke(user, on_topic(inbox, "CREATE"))
    await eventually(lambda: _codes(env, {"kafka.create", "kafka.missing", *SMALL}), what="no CREATE")
    await secure_kafka.revoke(user, [Right("READ", "group", "approval")])
    await eventually(lambda: _lacks(env, {"READ on group approval"}), what="no READ on the group")

    # an ingress needs more on the same topic
    found = lacking(await looked_at(env, ingress=True))
    assert f"WRITE on topic {events}" in found
    await secure_kafka.grant(user, on_prefix(env["TOPIC_PREFIX"], "CREATE", "WRITE"))
    wanted = {"READ on group approval"}
    await eventually(lambda: _lacks(env, wanted, ingress=True), what="the prefix is granted")


async def _codes(env: dict[str, str], expected: set[str]) -> bool:
    return codes(await looked_at(env)) == expected


async def _lacks(env: dict[str, str], rights: set[str], *, ingress: bool = False) -> bool:
    return bool(lacking(await looked_at(env, ingress=ingress)) == rights)
