"""Rights in Kafka: what docs/explanation/security.md lists for a consumer, an operator and a team is enough,
each of it is needed, and what is missing is said.
"""

from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from dingbridge.consumers.approval.consumer import Approval
from dingbridge.kafka.topic_policy import dlq_topic, event_topic, inbox_topic
from dingbridge.kafka.topics import ensure_topics, existing_topics
from dingbridge.worker.registry import load_consumer
from tests.faults.rights import APPROVAL, CONTACT, TASK, consume, documented, forge, settings_of
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
from tests.support.secure_kafka import SecureKafka, secure_kafka
from tests.support.waiting import eventually

__all__ = ["secure_kafka"]


# -- a consumer


MISSING = {
    ("READ", "group"): "has no right READ (or DESCRIBE, to look at it) on group {group}",
    ("READ", "topic"): "sees no topic {topic} and may not create it",
    ("READ", "inbox"): "topic {inbox} exists, and we may not see it",
    ("CREATE", "inbox"): "sees no topic {inbox} and may not create it",
    ("WRITE", "dlq"): "topic {dlq} exists, and we may not see it",
    ("CREATE", "dlq"): "sees no topic {dlq} and may not create it",
}
"""What a consumer says for want of one right."""


class Picky(EffectConsumer):
    max_attempts = 1

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


# -- what each part of the document lists


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
        *((operation, topic) for operation in ("READ", "WRITE") for topic in (INBOX, DLQ)),
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


# -- who is no part of the bridge


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
