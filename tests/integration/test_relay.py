"""The relay in a running ingress: how Kafka is, orders with the token, and a folder that no ingress uses."""

import asyncio
import base64
import json
import urllib.error
import urllib.request

import pytest

from dingbridge.events import decode
from dingbridge.kafka.client import producer
from dingbridge.kafka.topic_policy import unclassified_topic
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_topic
from tests.support.processes import eventually, wait_until
from tests.support.pusher import Pusher

NO_KAFKA = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
EVENT = json.dumps(
    {
        "EventType": "user_add_org",
        "TimeStamp": "1731000000123",
        "UserId": ["u7"],
        "CorpId": "dingcorpsample01",
        "name": "韩梅梅",
    },
    ensure_ascii=False,
).encode()
UNREADABLE = b'{"EventType":"user_add_org","UserId":["u1"],"UserId":["u2"]}'


def answer(ingress, path, headers):
    url = f"http://127.0.0.1:{ingress.admin_port}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST", headers=headers)) as found:
            return found.status, json.load(found)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_it_says_how_kafka_is_and_takes_orders_with_the_token(processes, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, NO_KAFKA, {"DATA_DIR": str(tmp_path / "data")})
    ingress.start()
    wait_until(lambda: ingress.kafka_state() == "down", 60, "it has no Kafka")
    status, details = ingress.readyz()
    assert status == 200, "the ingress is ready all the same"
    assert "does not answer" in details["kafka"]["words"]
    assert answer(ingress, "/journal/retry", {})[0] == 401
    token = (tmp_path / "data" / "admin.token").read_text().strip()
    assert answer(ingress, "/journal/retry", {"Authorization": f"Bearer {token}"})[0] == 200


@pytest.fixture
async def ingress(processes, kafka_env, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    await asyncio.to_thread(ingress.start)
    return ingress


async def run(ingress, *arguments, **more):
    result = await asyncio.to_thread(
        ingress.processes.run, "journal", *arguments, env={**ingress.env, **more}
    )
    return result.returncode, result.stdout, result.stderr


async def push(ingress, *bodies):
    pusher = Pusher(ingress.url, retries=2)
    await pusher.push_all(list(enumerate(bodies)), concurrency=1)  # in the journal in this order
    assert pusher.succeeded == set(range(len(bodies)))


async def test_unclassified_records_are_published_again_from_kafka_to_kafka(ingress, kafka_settings):
    """Those of a release that knew less: an ordinary callback that landed among the unclassified."""
    await push(ingress, EVENT, UNREADABLE)
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "both are in Kafka")
    topic = unclassified_topic(kafka_settings)
    [before] = await read_topic(kafka_settings, topic)
    envelope = {**json.loads(before.value), "data_base64": base64.b64encode(EVENT).decode()}
    sender = producer(kafka_settings)
    await sender.start()
    value = json.dumps(envelope).encode()
    await sender.send_and_wait(topic, value, key=before.key, headers=list(before.headers))
    await sender.stop()

    code, printed, error = await run(ingress, "renormalise")
    assert (code, printed.split("\n")[:3]) == (0, ["read: 2", "published: 1", "left: 1"]), error
    added = await read_topic(kafka_settings, kafka_settings.topic_prefix + "user_add_org")
    assert [decode(r.value).id for r in added] == [decode(added[0].value).id] * 2, "by its first id"


async def test_a_folder_that_no_ingress_uses_is_sent_to_kafka_or_drained_by_another(
    ingress, kafka_env, kafka_settings, tmp_path
):
    away = IngressUnderTest(ingress.processes, tmp_path / "away", kafka_env, NO_KAFKA)
    await asyncio.to_thread(away.start)
    await push(away, EVENT, UNREADABLE)
    code, _, error = await run(ingress, "publish", str(away.journal))
    assert (code, "another ingress" in error) == (1, True)
    code, _, error = await run(ingress, "drain", str(away.journal))
    assert (code, "another ingress" in error) == (1, True)
    away.process.terminate()
    assert await asyncio.to_thread(away.process.wait, 20) == 0

    code, printed, error = await run(ingress, "drain", str(away.journal))
    assert (code, printed) == (0, "kept: 2\nunreadable: 0\n"), error
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "both are in Kafka")
    code, printed, error = await run(ingress, "drain", str(away.journal))
    assert (code, printed) == (0, "kept: 2\nunreadable: 0\n"), "it goes on where it was"
    code, printed, error = await run(ingress, "publish", str(away.journal))
    assert (code, printed) == (0, "parked: 0\n"), error
    records = await read_topic(kafka_settings, kafka_settings.topic_prefix + "user_add_org")
    assert len({decode(record.value).id for record in records}) == 1
    assert len(records) == 2, "drained, and published from the folder: the same event"


async def test_a_second_ingress_on_the_folder_is_refused_in_words(ingress):
    result = await asyncio.to_thread(ingress.processes.run, "ingress", env=ingress.env)
    assert result.returncode == 1
    assert "another ingress" in result.stderr
    assert "JOURNAL_DIR" in result.stderr
