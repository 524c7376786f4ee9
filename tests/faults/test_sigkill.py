"""The promise, under SIGKILL: what was answered ``success`` is in Kafka, and nothing is answered falsely."""

import asyncio
import json
import os
import random
import signal
from collections import Counter

from schemas import decode
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_all
from tests.support.processes import eventually
from tests.support.pusher import Pusher

KILLS = 4


def event(number: int) -> bytes:
    return json.dumps(
        {
            "EventType": "bpms_instance_change",
            "type": "finish",
            "result": "agree",
            "processInstanceId": f"pi-{number}",
            "corpId": "dingcorpsample01",
            "createTime": 1_731_000_000_000 + number,
            "finishTime": 1_731_000_000_500 + number,
            "title": "李雷提交的请假",
        },
        ensure_ascii=False,
    ).encode()


async def in_kafka(settings) -> Counter[int]:
    """How often each event stands in Kafka, by the number in its instance id."""
    records = [r for topic in (await read_all(settings)).values() for r in topic]
    return Counter(int(decode(r.value).subject.removeprefix("pi-")) for r in records)


async def test_ingress_killed_at_random_moments_under_load(processes, kafka_env, kafka_settings, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    numbers = iter(range(10**9))
    stop = asyncio.Event()

    def endless():
        while not stop.is_set():
            number = next(numbers)
            yield number, event(number)

    await asyncio.to_thread(ingress.start)
    load = asyncio.ensure_future(pusher.push_all(endless(), concurrency=8))
    for _ in range(KILLS):
        answered = len(pusher.succeeded) + dice.randrange(20, 400)
        await eventually(lambda goal=answered: len(pusher.succeeded) >= goal, 60, "load before the kill")
        ingress.process.kill()
        await asyncio.to_thread(ingress.process.wait, 10)
        await asyncio.to_thread(ingress.start)
    answered = len(pusher.succeeded) + 100
    await eventually(lambda: len(pusher.succeeded) >= answered, 60, "load after the last kill")
    stop.set()
    await load
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "the backlog is published")

    found = await in_kafka(kafka_settings)
    lost = pusher.succeeded - found.keys()
    outcomes = Counter(pusher.answers.values())
    duplicates = sum(count - 1 for count in found.values())
    print(
        f"pushed {len(pusher.answers)}, outcomes {dict(outcomes)}, lost {len(lost)}, duplicates {duplicates}"
    )
    assert not lost
    assert outcomes["false success"] == 0
    assert len(pusher.succeeded) > KILLS * 20
    assert set(outcomes) - {"success"}, "the kills were felt"


async def test_publisher_killed_alone_is_started_again(processes, kafka_env, kafka_settings, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    await pusher.push_all((n, event(n)) for n in range(200))
    for child in children(ingress.process.pid):
        os.kill(child, signal.SIGKILL)
    await pusher.push_all((n, event(n)) for n in range(200, 400))
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "the backlog is published")
    assert pusher.succeeded == set(range(400))
    assert set(await in_kafka(kafka_settings)) == set(range(400))


async def test_kafka_absent_from_the_start_then_there(
    processes, kafka_env, kafka_settings, breakable_kafka, tmp_path
):
    breakable_kafka.pause()
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    await pusher.push_all((n, event(n)) for n in range(300))
    assert pusher.succeeded == set(range(300)), "kept and answered without Kafka"
    status, details = await asyncio.to_thread(ingress.readyz)
    assert (status, details["journal"]["waiting"]) == (200, 300)
    breakable_kafka.resume()
    await eventually(lambda: asyncio.to_thread(ingress.drained), 90, "the backlog is published")
    assert set(await in_kafka(kafka_settings)) == set(range(300))


async def test_sigterm_under_load_answers_what_it_accepted(processes, kafka_env, kafka_settings, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    load = asyncio.ensure_future(pusher.push_all(((n, event(n)) for n in range(1500)), concurrency=8))
    await eventually(lambda: len(pusher.succeeded) > 200, 30, "load")
    ingress.process.terminate()
    assert await asyncio.to_thread(ingress.process.wait, 15) == 0
    await load
    await asyncio.to_thread(ingress.start)
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "the backlog is published")
    found = await in_kafka(kafka_settings)
    assert not pusher.succeeded - found.keys()
    outcomes = Counter(pusher.answers.values())
    assert outcomes["false success"] == 0
    # refused connections are DingTalk's to retry; one that was taken gets an answer
    assert set(outcomes) <= {"success", "ClientConnectorError", "ClientOSError"}


def children(pid: int) -> list[int]:
    """The process ids of the children of ``pid``."""
    import psutil

    return [child.pid for child in psutil.Process(pid).children()]
