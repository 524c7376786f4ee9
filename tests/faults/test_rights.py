"""Rights in Kafka: what docs/explanation/security.md lists for a consumer, an operator and a team is enough,
each of it is needed, and what is missing is said.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError

from dingbridge.consumers.approval.consumer import Approval
from dingbridge.kafka.topic_policy import control_topic, dlq_topic, event_topic, inbox_topic
from dingbridge.kafka.topics import ensure_topics, existing_topics
from tests.faults.rights import APPROVAL, CONTACT, TASK, consume, documented, forge, settings_of
from tests.integration.replay_support import bury, letter_headers
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
from tests.support.processes import Processes
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


@pytest.mark.parametrize("who", ["approval", "operator"])
def test_the_list_for_approval_names_the_topics_that_it_reads(who: str) -> None:
    names = {r.name for r in documented(who, {"CONTROL_PREFIX": "c.", "TOPIC_PREFIX": "t."})}
    assert {name for name in names if str(name).startswith("t.")} == {
        f"t.{topic}" for topic in Approval.topics
    }


# -- an operator
async def test_the_listed_rights_are_all_that_an_operator_needs(
    secure_kafka: SecureKafka, processes: Processes
) -> None:
    user = secure_kafka.new_user()
    env = secure_kafka.environment(user)
    administrator = secure_kafka.administrator(env)
    topics = [event_topic(administrator, event_type) for event_type in (APPROVAL, TASK)]
    await ensure_topics(administrator, topics)
    [record] = [event_record("e1", "pi-1", APPROVAL)]
    await publish(administrator, [record])
    await bury(administrator, "approval", [(record, letter_headers(1))])
    dlq, inbox = dlq_topic(administrator, "approval"), inbox_topic(administrator, "approval")
    rights = documented("operator", env)
    assert {(r.operation, r.name) for r in rights} == {
        *((operation, topic) for operation in ("READ", "WRITE") for topic in (dlq, inbox)),
        *(("READ", topic) for topic in topics),
    }

    async def run(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(processes.run, *arguments, env=env)
        assert "Traceback" not in result.stderr
        return result.returncode, result.stdout + result.stderr

    code, said = await run("dlq", "list", "approval")
    assert code == 1, said
    await secure_kafka.grant(user, [r for r in rights if r.operation == "READ"])

    async def listed() -> bool:
        return (await run("dlq", "list", "approval"))[0] == 0

    await eventually(listed, what="READ is enough to look")
    code, said = await run("dlq", "replay", "approval")
    assert code == 1, said
    assert not await read_topic(administrator, inbox)
    await secure_kafka.grant(user, rights)

    async def replayed() -> bool:
        code, said = await run("dlq", "replay", "approval")
        print(said)
        return code == 0

    await eventually(replayed, what="a dead letter goes back")
    code, said = await run("replay", "approval", "--since", "1h")
    assert code == 0, said
    copies = [r for r in await read_topic(administrator, inbox) if r.value == record.value]
    assert len({dict(copy.headers)["dingbridge-replay-id"] for copy in copies}) == 2
    with pytest.raises(KafkaError):
        await forge(settings_of(env), topics[0])


# -- a team with a reader of its own
async def test_a_team_reads_its_topics_and_nobodys_dead_letters(secure_kafka: SecureKafka) -> None:
    user = secure_kafka.new_user()
    env = secure_kafka.environment(user)
    administrator, settings = secure_kafka.administrator(env), settings_of(env)
    topic, dlq = event_topic(administrator, CONTACT), dlq_topic(administrator, "approval")
    [record] = [event_record("e1", "u1")]
    await publish(administrator, [record])
    await publish(administrator, [record], topic=dlq)
    group, read = documented("team", env, {APPROVAL: CONTACT, "billing-": f"{user}-"})
    name = f"{user}-invoices"

    with pytest.raises(TopicAuthorizationFailedError):
        await consume(settings, topic, name)
    await secure_kafka.grant(user, [read])

    async def group_refused() -> bool:
        try:
            await consume(settings, topic, name)
        except GroupAuthorizationFailedError:
            return True
        except TopicAuthorizationFailedError:
            return False
        raise AssertionError("read without a right on the group")

    await eventually(group_refused, what="READ on the group is needed")
    await secure_kafka.grant(user, [group])

    async def can_read() -> bool:
        try:
            return await consume(settings, topic, name) == record.value
        except KafkaError:
            return False

    await eventually(can_read, what="the listed rights are enough")
    assert set(await existing_topics(settings)) == {topic}
    with pytest.raises(TopicAuthorizationFailedError):
        await consume(settings, dlq, name)
    with pytest.raises(KafkaError):
        await forge(settings, topic)
    assert len(await read_topic(administrator, topic)) == 1


async def test_an_oa_says_what_it_wants_and_reads_its_outcome_and_nobodys_desired_states(
    secure_kafka: SecureKafka,
) -> None:
    user = secure_kafka.new_user()
    env = secure_kafka.environment(user)
    administrator, settings = secure_kafka.administrator(env), settings_of(env)
    desired, results, changes = (
        control_topic(administrator, name) for name in ("outbound", "outbound-results", "changes")
    )
    await ensure_topics(administrator, [desired, results, changes])
    [record] = [event_record("e1", "u1")]
    for topic in (results, changes):
        await publish(administrator, [record], topic=topic)
    rights = documented("oa", env, {"hr-": f"{user}-"})
    await secure_kafka.grant(user, [right for right in rights if right.operation != "WRITE"])
    name = f"{user}-oa"

    async def reads_answers() -> bool:
        try:
            found = [await consume(settings, topic, name) for topic in (results, changes)]
        except KafkaError:
            return False
        return found == [record.value] * 2

    await eventually(reads_answers, what="the listed rights to read are enough")
    with pytest.raises(KafkaError):
        await forge(settings, desired)
    await secure_kafka.grant(user, rights)

    async def desired_arrives() -> bool:
        try:
            await forge(settings, desired)
        except KafkaError:
            return False
        return True

    await eventually(desired_arrives, what="the listed right to write is enough")
    with pytest.raises(TopicAuthorizationFailedError):
        await consume(settings, desired, name)
    with pytest.raises(KafkaError):
        await forge(settings, results)
