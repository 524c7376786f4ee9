"""Rights in Kafka: what docs/security.md lists is enough, each of it is needed, and what is missing is said.

The lists are read from the document itself, so that it cannot promise what was not tried.
"""

import argparse
import asyncio
import json
import re
import shlex
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError

from bridge.errors import BridgeError, KafkaUnavailable
from bridge.kafka import connection, producer
from bridge.settings import SAMPLE_CREDENTIALS, IngressSettings, KafkaSettings
from bridge.topics import (
    dlq_topic,
    ensure_topics,
    event_topic,
    existing_topics,
    inbox_topic,
    unclassified_topic,
)
from consumers.approval.consumer import Approval
from ingress.cursor import CursorFile
from ingress.journal_file import Entry
from ingress.publisher import Publisher
from ingress.recovery.ledger import Note
from ingress.recovery.ledger_topic import opened
from ingress.renormalise import renormalise
from ingress.report import Report
from ingress.upkeep import open_newest
from schemas import decode
from tests.integration.replay_support import bury, letter_headers
from tests.integration.test_publisher import keep
from tests.integration.worker_support import (
    EffectConsumer,
    consumer_settings,
    event_record,
    named,
    publish,
    rows,
    serving,
)
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_topic
from tests.support.processes import Processes
from tests.support.pusher import Pusher
from tests.support.secure_kafka import Right, SecureKafka, on_topic, secure_kafka
from tests.support.waiting import eventually

__all__ = ["secure_kafka"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
APPROVAL, TASK, CONTACT = "bpms_instance_change", "bpms_task_change", "user_modify_org"


def documented(who: str, environment: dict[str, str], names: dict[str, str] | None = None) -> list[Right]:
    """The rights that the document grants to ``who``, for the prefixes and names of a test."""
    found = re.search(rf"<!-- acls: {who} -->\n```sh\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert found
    parser = argparse.ArgumentParser(prefix_chars="-")
    parser.add_argument("--operation", action="append")
    parser.add_argument("--topic", action="append", default=[])
    parser.add_argument("--group")
    parser.add_argument("--resource-pattern-type", default="literal")
    rights = []
    for line in found[1].replace("\\\n", "").splitlines():
        if line.startswith("#"):
            continue
        line = line.replace("ctl-dingtalk.", environment["CONTROL_PREFIX"])
        line = line.replace(" dingtalk.", f" {environment['TOPIC_PREFIX']}")
        for ours, theirs in (names or {}).items():
            line = line.replace(ours, theirs)
        options, _ = parser.parse_known_args(shlex.split(line))
        places = [("topic", name) for name in options.topic] or [("group", options.group)]
        pattern = options.resource_pattern_type
        rights += [Right(operation, *place, pattern) for place in places for operation in options.operation]
    return list(dict.fromkeys(rights))


def settings_of(environment: dict[str, str]) -> KafkaSettings:
    return KafkaSettings.load(**{name.lower(): value for name, value in environment.items()})


def approval(number: int) -> dict[str, Any]:
    return {
        "EventType": APPROVAL,
        "type": "finish",
        "processInstanceId": f"pi-{number % 5}",
        "corpId": "dingcorp1",
        "createTime": 1_731_000_000_000 + number,
        "number": number,
    }


def contact(number: int) -> dict[str, Any]:
    return {
        "EventType": CONTACT,
        "eventId": f"c{number}",
        "CorpId": "dingcorp1",
        "TimeStamp": "1731000000123",
        "UserId": [f"u{number}"],
    }


def body(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


# -- the ingress


@pytest.mark.parametrize("missing", ["write is denied", "neither topic nor right"])
async def test_records_without_rights_are_parked_others_go_on_and_later_all_come_in_order(
    secure_kafka: SecureKafka, processes: Processes, tmp_path: Path, missing: str
) -> None:
    user = secure_kafka.new_user()
    env = secure_kafka.environment(user)
    administrator = secure_kafka.administrator(env)
    topic = event_topic(administrator, APPROVAL)
    denial = Right("WRITE", "topic", topic, permission="DENY")
    all_rights = documented("ingress", env)
    if missing == "write is denied":
        await ensure_topics(administrator, [topic], partitions={topic: 2})
        await secure_kafka.grant(user, [*all_rights, denial])
    else:
        await secure_kafka.grant(user, on_topic(event_topic(administrator, CONTACT), "WRITE", "CREATE"))
    ingress = IngressUnderTest(processes, tmp_path, env)
    await asyncio.to_thread(ingress.start)
    pusher = Pusher(ingress.url)

    async def push(numbers: range) -> None:
        await pusher.push_all(((n, body(approval(n))) for n in numbers), concurrency=1)
        await pusher.push_all((1000 + n, body(contact(n))) for n in numbers)

    def parked() -> dict[str, int]:
        found: dict[str, int] = ingress.readyz()[1]["kafka"].get("parked", {})
        return found

    await push(range(30))
    await eventually(lambda: asyncio.to_thread(lambda: parked() == {"rights": 30}), 60, "30 parked")
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "the others are in Kafka")
    assert await first_seen(administrator, CONTACT) == {f"u{n}": [n] for n in range(30)}
    log = ingress.process.log_text() if ingress.process else ""
    assert "publisher.topic_blocked" in log
    if missing != "write is denied":
        assert f"sees no topic {topic} and may not create it" in log

    if missing == "write is denied":
        await secure_kafka.revoke(user, [denial])
    else:
        await secure_kafka.grant(user, all_rights)
    await push(range(30, 40))  # the right is there, but these stand behind those that wait
    await eventually(lambda: asyncio.to_thread(lambda: parked() == {"rights": 40}), 60, "10 behind them")

    async def unparked() -> bool:
        asked = await asyncio.to_thread(processes.run, "journal", "retry", env=ingress.env)
        assert asked.returncode == 0, asked.stderr
        return await asyncio.to_thread(lambda: sum(parked().values()) == 0)

    await eventually(unparked, 60, "nothing parked")
    await push(range(40, 50))
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "the last are in Kafka")

    async def all_there() -> bool:
        return sum(map(len, (await first_seen(administrator, APPROVAL)).values())) == 50

    await eventually(all_there, 60, "all are in Kafka")
    assert pusher.succeeded == {*range(50), *range(1000, 1050)}
    assert await first_seen(administrator, APPROVAL) == {
        f"pi-{key}": list(range(key, 50, 5)) for key in range(5)
    }, "each key in order"
    assert await first_seen(administrator, CONTACT) == {f"u{n}": [n] for n in range(50)}


async def first_seen(settings: KafkaSettings, event_type: str) -> dict[str, list[int]]:
    """The numbers of a topic's events by subject, in the order in which each is first read.

    The wave that found out about the rights is sent again without the refused: a run that repeats.
    """
    found: dict[str, list[int]] = {}
    for record in await read_topic(settings, event_topic(settings, event_type)):
        event = decode(record.value or b"")
        number = event.data["number"] if event_type == APPROVAL else int(str(event.subject)[1:])
        numbers = found.setdefault(str(event.subject), [])
        if number not in numbers:
            numbers.append(number)
    return found


async def published(settings: IngressSettings, folder: Path) -> Report:
    """Runs a publisher until three callbacks are behind the cursor, or Kafka is said to be down."""
    file = open_newest(folder)
    keep(file, [approval(0), contact(0), {"EventType": "no/legal name"}])
    report = Report()
    publisher = Publisher(settings, folder, report)
    running = asyncio.ensure_future(publisher.run())

    def settled() -> bool:
        cursor = CursorFile(folder, read_only=True)
        try:
            return cursor.seq(file.id) >= 3 or report.state == "down"
        finally:
            cursor.close()

    await eventually(settled, 60, report.words)
    publisher.stop()
    await running
    file.close()
    return report


async def test_the_listed_rights_are_all_that_the_ingress_needs(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    user = secure_kafka.new_user()
    env = secure_kafka.environment(user)
    rights = documented("ingress", env)
    assert [r.operation for r in rights] == ["WRITE", "CREATE"]
    values = {**SAMPLE_CREDENTIALS, **env, "DINGTALK_API_BASE": "http://127.0.0.1:1"}
    settings = IngressSettings.load(**{name.lower(): value for name, value in values.items()})
    create, write = rights[1:], rights[:1]

    def folder() -> Path:  # a new one each time, in which nothing is parked
        made = tmp_path / str(next(numbers))
        made.mkdir()
        return made

    numbers = count()
    report = await published(settings, folder())
    assert report.take()["parked"] == {"rights": 3} or "WRITE on any topic" in report.words
    await secure_kafka.grant(user, create)
    report = await published(settings, folder())
    assert report.take()["parked"] == {"rights": 3} or "WRITE on any topic" in report.words
    await secure_kafka.grant(user, write)

    async def all_published() -> bool:  # the authorizer follows within moments
        report = await published(settings, folder())
        return report.state == "up" and not report.take()["parked"]

    await eventually(all_published, 60, "published by the listed rights")
    assert len(await existing_topics(secure_kafka.administrator(env))) == 3
    await secure_kafka.revoke(user, create)
    await eventually(all_published, 60, "CREATE is not needed where the topics exist")
    with pytest.raises(KafkaError):
        await _consume(settings, event_topic(settings, APPROVAL), "ingress")

    async def keep_none(entry: Entry) -> bool:
        return True

    with pytest.raises(KafkaUnavailable, match="has no right READ"):
        await renormalise(settings, keep_none)
    await secure_kafka.grant(user, on_topic(unclassified_topic(settings), "READ"))

    async def renormalised() -> bool:
        try:
            return (await renormalise(settings, keep_none)).read > 0
        except KafkaUnavailable:
            return False

    await eventually(renormalised, 30, "the listed right is enough to renormalise")


async def _consume(settings: KafkaSettings, topic: str, group: str) -> bytes | None:
    """The value of one record, read as a team would. Raises ``KafkaError``."""
    consumer = AIOKafkaConsumer(
        topic, **connection(settings), group_id=group, auto_offset_reset="earliest", enable_auto_commit=True
    )
    try:
        await consumer.start()
        record = await asyncio.wait_for(consumer.getone(), 20)
        return record.value
    finally:
        await consumer.stop()


# -- a consumer


MISSING = {
    ("READ", "group"): "has no right READ on group {group}",
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
        if event.id.startswith("bad"):
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
    rights = documented("consumer", env, {"approval": consumer.name, APPROVAL: CONTACT, TASK: CONTACT})
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

        await eventually(handled, 60, "with the right granted it goes on by itself")


@pytest.mark.parametrize("who", ["consumer", "operator"])
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

    await eventually(listed, 60, "READ is enough to look")
    code, said = await run("dlq", "replay", "approval")
    assert code == 1, said
    assert not await read_topic(administrator, inbox)
    await secure_kafka.grant(user, rights)

    async def replayed() -> bool:
        code, said = await run("dlq", "replay", "approval")
        print(said)
        return code == 0

    await eventually(replayed, 60, "a dead letter goes back")
    code, said = await run("replay", "approval", "--from", "1h")
    assert code == 0, said
    assert len([r for r in await read_topic(administrator, inbox) if r.value == record.value]) == 2
    with pytest.raises(KafkaError):
        await _forge(settings_of(env), topics[0])


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
        await _consume(settings, topic, name)
    await secure_kafka.grant(user, [read])

    async def group_refused() -> bool:
        try:
            await _consume(settings, topic, name)
        except GroupAuthorizationFailedError:
            return True
        except TopicAuthorizationFailedError:
            return False
        raise AssertionError("read without a right on the group")

    await eventually(group_refused, 30, "READ on the group is needed")
    await secure_kafka.grant(user, [group])

    async def can_read() -> bool:
        try:
            return await _consume(settings, topic, name) == record.value
        except KafkaError:
            return False

    await eventually(can_read, 30, "the listed rights are enough")
    assert set(await existing_topics(settings)) == {topic}
    with pytest.raises(TopicAuthorizationFailedError):
        await _consume(settings, dlq, name)
    with pytest.raises(KafkaError):
        await _forge(settings, topic)
    assert len(await read_topic(administrator, topic)) == 1


async def _forge(settings: KafkaSettings, topic: str) -> None:
    sender = producer(settings, request_timeout_ms=5000)
    try:
        await sender.start()
        await sender.send_and_wait(topic, b"forged")
    finally:
        await sender.stop()


# -- recovery


async def test_the_listed_rights_are_all_that_recovery_needs_and_each_is(secure_kafka: SecureKafka) -> None:
    user = secure_kafka.new_user()
    env = secure_kafka.environment(user)
    rights = documented("recovery", env)
    settings = settings_of(env)

    async def recovers() -> str | None:
        """What a poller does in Kafka; in words what stops it."""
        try:
            async with opened(settings, "default") as ledger:
                await ledger.write(Note("claim", "a", 1000))
                for consumer in ("address-sync", "approval"):
                    await ledger.send(inbox_topic(settings, consumer), b"corp", b"{}", [])
                await ledger.write(Note("release", "a"))
        except BridgeError as error:
            return str(error)
        return None

    async def follows(wanted: bool) -> bool:  # the authorizer does within moments
        return (await recovers() is None) == wanted

    await secure_kafka.grant(user, rights)
    await eventually(lambda: follows(True), 60, "the listed rights are enough")
    for right in rights:
        if right.operation == "CREATE":
            continue  # the topics exist by now; that it is needed before is the next user's matter
        await secure_kafka.revoke(user, [right])
        await eventually(lambda: follows(False), 60, f"without {right}")
        words = await recovers()
        assert words is not None
        assert right.name in words, words
        assert right.operation in words, words
        await secure_kafka.grant(user, [right])
    other = secure_kafka.new_user()
    await secure_kafka.grant(other, [right for right in rights if right.operation != "CREATE"])
    fresh = {**secure_kafka.environment(other)}
    settings = settings_of(fresh | {"CONTROL_PREFIX": fresh["CONTROL_PREFIX"] + "new."})
    assert "CREATE" in (await recovers() or "")
