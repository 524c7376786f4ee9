"""The procedures of docs/guide/operations.md, done as they stand there, with processes and a broker."""

import asyncio
import json
import shutil
from collections import Counter

from dingbridge.events import decode
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_all
from tests.support.processes import eventually
from tests.support.pusher import Pusher


def events(begin, end):
    for number in range(begin, end):
        payload = {
            "EventType": "bpms_instance_change",
            "type": "start",
            "processInstanceId": f"pi-{number}",
            "corpId": "dingcorpsample01",
            "createTime": 1_731_000_000_000 + number,
            "title": "李雷提交的请假",
            "staffId": "u1",
        }
        yield number, json.dumps(payload).encode()


async def published(settings):
    found = Counter()
    for records in (await read_all(settings)).values():
        found.update(int(decode(r.value).subject.removeprefix("pi-")) for r in records)
    return found


async def stop(ingress):
    ingress.process.terminate()
    assert await asyncio.to_thread(ingress.process.wait, 20) == 0


async def command(ingress, *arguments):
    return await asyncio.to_thread(ingress.processes.run, *arguments, env=ingress.env)


async def drained(ingress):
    await eventually(lambda: asyncio.to_thread(ingress.drained), 90, "all of it is in Kafka")


async def test_an_instance_moves_with_its_folder_and_takes_along_what_waits_and_what_is_known(
    processes, kafka_env, kafka_settings, breakable_kafka, tmp_path
):
    here = IngressUnderTest(processes, tmp_path / "here", kafka_env)
    pusher = Pusher(here.url, retries=2)
    await asyncio.to_thread(here.start)
    await pusher.push_all(events(0, 50))
    await drained(here)
    breakable_kafka.pause()
    await pusher.push_all(events(50, 150))
    await stop(here)

    there = IngressUnderTest(processes, tmp_path / "there", kafka_env)
    (tmp_path / "there").mkdir()
    shutil.move(here.journal, there.journal)
    breakable_kafka.resume()
    await asyncio.to_thread(there.start)
    await drained(there)
    found = await published(kafka_settings)
    assert set(found) == set(range(150))
    # what was pushed to the old one is still known at the new one
    pusher.url = there.url
    await pusher.push_all(events(0, 150))
    assert len(pusher.log) == 300
    await drained(there)
    assert await published(kafka_settings) == found
