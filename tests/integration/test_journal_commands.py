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
