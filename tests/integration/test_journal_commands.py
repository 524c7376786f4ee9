"""``dingbridge journal``: the same verbs with an ingress that holds the journal, and without one."""

import asyncio
import base64
import json

import pytest

from dingbridge.events import decode
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_topic
from tests.support.processes import eventually
from tests.support.pusher import Pusher

SECRET_NAME = "韩梅梅"
EVENT = json.dumps(
    {
        "EventType": "user_add_org",
        "TimeStamp": "1731000000123",
        "UserId": ["u7"],
        "CorpId": "dingcorpsample01",
        "name": SECRET_NAME,
    },
    ensure_ascii=False,
).encode()
UNREADABLE = b'{"EventType":"user_add_org","UserId":["u1"],"UserId":["u2"]}'


@pytest.fixture
async def ingress(processes, kafka_env, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    await asyncio.to_thread(ingress.start)
    pusher = Pusher(ingress.url, retries=2)
    await pusher.push_all([(1, EVENT), (2, UNREADABLE)], concurrency=1)  # in the journal in this order
    assert pusher.succeeded == {1, 2}
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "both are in Kafka")
    return ingress


async def run(ingress, *arguments):
    result = await asyncio.to_thread(ingress.processes.run, "journal", *arguments, env=ingress.env)
    return result.returncode, result.stdout, result.stderr


async def test_what_is_published_is_deleted_when_its_time_is_over(processes, kafka_env, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, {"JOURNAL_RETENTION_HOURS": "0"})
    await asyncio.to_thread(ingress.start)
    pusher = Pusher(ingress.url, retries=2)
    await pusher.push_all([(1, EVENT)])

    async def deleted():
        return (await run(ingress, "list", "--json"))[1] == ""

    await eventually(deleted, 60, "nothing is left of it")
    assert ingress.drained()


async def test_looking_reveals_nothing_unless_asked(ingress):
    assert (await run(ingress, "stats"))[1].startswith("waiting for Kafka   0 ")
    stats = json.loads((await run(ingress, "stats", "--json"))[1])
    assert (stats["waiting"], stats["parked"]) == (0, [])
    listed = (await run(ingress, "list"))[1]
    assert "user_add_org\tpublished" in listed
    [first, _] = [json.loads(line) for line in (await run(ingress, "list", "--json"))[1].splitlines()]
    assert (first["seq"], first["type"], first["state"]) == (1, "user_add_org", "published")
    assert SECRET_NAME not in listed
    masked = (await run(ingress, "show", "1"))[1]
    assert "u7" in masked
    assert SECRET_NAME not in masked
    assert SECRET_NAME in (await run(ingress, "show", "1", "--reveal"))[1]
    assert (await run(ingress, "show", "99"))[0] == 1
    exported = [json.loads(line) for line in (await run(ingress, "export", "--reveal"))[1].splitlines()]
    assert [base64.b64decode(line["body_base64"]) for line in exported] == [EVENT, UNREADABLE]


def stop(ingress):
    ingress.process.terminate()
    assert ingress.process.wait(20) == 0


async def published(ingress, held):
    """By the running relay, or by one that ends when nothing waits."""
    if held:
        await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "it is in Kafka")
        return
    relay = await asyncio.to_thread(ingress.processes.run, "relay", "--until-empty", env=ingress.env)
    assert relay.returncode == 0, relay.stderr


@pytest.mark.parametrize("held", [True, False], ids=["asked of the ingress", "alone"])
async def test_prune_and_renormalise(ingress, kafka_settings, held, tmp_path):
    # a release that knew less: an ordinary callback that landed among the unclassified
    from dingbridge.kafka.client import producer
    from dingbridge.kafka.topic_policy import unclassified_topic

    topic = unclassified_topic(kafka_settings)
    [before] = await read_topic(kafka_settings, topic)
    envelope = {**json.loads(before.value), "data_base64": base64.b64encode(EVENT).decode()}
    sender = producer(kafka_settings)
    await sender.start()
    await sender.send_and_wait(
        topic, json.dumps(envelope).encode(), key=before.key, headers=list(before.headers)
    )
    await sender.stop()

    if not held:
        await asyncio.to_thread(stop, ingress)
    code, printed, error = await run(ingress, "renormalise")
    told = ["read: 2", "put back: 1", "left: 1", "imported: 1", "unread: 0"]
    assert (code, printed.split("\n")[:5]) == (0, told), error
    assert ("next: `dingbridge relay --until-empty`" in printed) is not held
    await published(ingress, held)
    added = await read_topic(kafka_settings, kafka_settings.topic_prefix + "user_add_org")
    assert [decode(r.value).id for r in added] == [decode(added[0].value).id] * 2, "by its first id"

    code, printed, error = await run(ingress, "prune", "--older-than-hours", "0", "--yes")
    assert code == 0, error
    assert printed == "deleted: 3\n"
    code, _, error = await run(ingress, "prune", "--older-than-hours=-1", "--yes")
    assert code == 1
    assert "hours" in error
    code, printed, error = await run(ingress, "retry")
    assert (code, "dingbridge relay --until-empty" in error) == ((0, False) if held else (1, True))
    assert [path.name for path in ingress.journal.iterdir() if path.is_dir()] == ["current"]


async def test_a_second_ingress_on_the_folder_is_refused_in_words(ingress):
    result = await asyncio.to_thread(ingress.processes.run, "ingress", env=ingress.env)
    assert result.returncode == 1
    assert "another ingress" in result.stderr
    assert "JOURNAL_DIR" in result.stderr


@pytest.mark.parametrize("held", [True, False], ids=["asked of the ingress", "alone"])
async def test_what_a_gone_instance_had_kept_is_published(
    processes, kafka_env, kafka_settings, tmp_path, held
):
    away = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    gone = IngressUnderTest(processes, tmp_path / "gone", kafka_env, away)
    await asyncio.to_thread(gone.start)
    pusher = Pusher(gone.url, retries=2)
    await pusher.push_all([(1, EVENT)])
    here = IngressUnderTest(processes, tmp_path / "here", kafka_env)
    if held:
        await asyncio.to_thread(here.start)
    code, _, error = await run(here, "drain", str(gone.journal))
    assert code == 1
    assert "another ingress" in error
    await asyncio.to_thread(stop, gone)
    for _ in range(2):  # the second finds nothing to do
        code, printed, error = await run(here, "drain", str(gone.journal))
        assert (code, printed.split("\n")[:2]) == (0, ["imported: 1", "unread: 0"]), error
        await published(here, held)
    [record] = await read_topic(kafka_settings, kafka_settings.topic_prefix + "user_add_org")
    assert decode(record.value).subject == "u7"
    code, _, error = await run(here, "drain", str(tmp_path))
    assert code == 1
    assert "no journal in" in error
