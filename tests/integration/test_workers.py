"""Several workers on one port: a journal each, one private listener for all, and none is forgotten."""

import asyncio
import json
import os
import signal
import urllib.request
from collections import Counter

import psutil

from dingbridge.cli.callback.check import round_trip
from dingbridge.events import decode
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_all
from tests.support.processes import eventually
from tests.support.pusher import CREDENTIALS, Pusher


def events(begin, end):
    for number in range(begin, end):
        yield (
            number,
            json.dumps(
                {
                    "EventType": "bpms_instance_change",
                    "type": "start",
                    "processInstanceId": f"pi-{number}",
                    "corpId": "c",
                    "createTime": 1_731_000_000_000 + number,
                }
            ).encode(),
        )


async def published(settings):
    found = Counter()
    for records in (await read_all(settings)).values():
        found.update(int(decode(r.value).subject.removeprefix("pi-")) for r in records)
    return found


def metrics(ingress):
    with urllib.request.urlopen(f"http://127.0.0.1:{ingress.admin_port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def accepted(ingress):
    with urllib.request.urlopen(f"http://127.0.0.1:{ingress.admin_port}/owners", timeout=10) as answer:
        return [entry["accepted"] for entry in json.load(answer)["owners"]]


def worker_pids(ingress):
    children = psutil.Process(ingress.process.pid).children()
    return [child.pid for child in children if "ingress.worker_main" in child.cmdline()]


async def test_two_workers_share_the_work_and_what_is_left_of_them_is_drained(
    processes, kafka_env, kafka_settings, breakable_kafka, tmp_path
):
    # a single one has kept some while Kafka was away: the two drain its journal, too
    away = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, away)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    await pusher.push_all(events(500, 550))
    await asyncio.to_thread(stop, ingress)

    ingress.env |= {**kafka_env, "INGRESS_WORKERS": "2"}
    await asyncio.to_thread(ingress.start)
    await pusher.push_all(events(0, 300))
    await eventually(lambda: asyncio.to_thread(has_published, ingress, 350), 120, "the sum of all publishers")
    await eventually(lambda: asyncio.to_thread(ingress.drained), 120, "drained")
    assert pusher.succeeded == {*range(300), *range(500, 550)}
    page = await asyncio.to_thread(metrics, ingress)
    kept = 'dingbridge_callbacks_total{event_type="bpms_instance_change",outcome="kept",reason=""}'
    assert f"{kept} 300" in page
    assert await asyncio.to_thread(accepted, ingress) == [300], "of both, as one"
    assert sorted(p.name for p in ingress.journal.glob("worker-*")) == ["worker-1", "worker-2"]

    # whichever of them a check comes to, their one private listener knows of it
    found = await round_trip(ingress.url, CREDENTIALS, admin=f"127.0.0.1:{ingress.admin_port}")
    assert found.reached == "here"

    # one is killed: the other answers on, and it comes back
    victim, _ = await asyncio.to_thread(worker_pids, ingress)
    os.kill(victim, signal.SIGKILL)
    pusher.retries = 50
    await pusher.push_all(events(300, 400))
    assert pusher.succeeded == {*range(400), *range(500, 550)}
    await eventually(lambda: asyncio.to_thread(lambda: len(worker_pids(ingress)) == 2), 30, "two again")
    await eventually(lambda: asyncio.to_thread(ingress.drained), 120, "drained")

    # kept while Kafka is away, then one single worker from now on: it drains what the two have left
    breakable_kafka.pause()
    await pusher.push_all(events(400, 500))
    assert pusher.succeeded == set(range(550))
    await asyncio.to_thread(stop, ingress)
    breakable_kafka.resume()
    ingress.env["INGRESS_WORKERS"] = "1"
    await asyncio.to_thread(ingress.start)

    async def complete():
        return set(await published(kafka_settings)) == set(range(550))

    await eventually(complete, 120, "all of it in Kafka")
    await eventually(lambda: asyncio.to_thread(has_published, ingress, 100), 120, "of what was left, too")
    stats = await asyncio.to_thread(processes.run, "journal", "stats", "--json", env=ingress.env)
    assert json.loads(stats.stdout)["waiting"] == 0
    assert len(json.loads(stats.stdout)["files"]) == 3


def has_published(ingress, count):
    return ingress.metric("dingbridge_published_total") >= count


def stop(ingress):
    ingress.process.terminate()
    assert ingress.process.wait(20) == 0
