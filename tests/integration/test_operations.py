"""The procedures of docs/guide/operations.md, done as they stand there, with processes and a broker."""

import asyncio
import json
import shutil
from collections import Counter
from contextlib import closing

from dingbridge.events import decode, extract_facts
from dingbridge.ingress.journal.folder import open_current
from dingbridge.ingress.journal.rows import DAMAGED, NO_TOPIC, Acknowledgement, NewCallback, Parked, now_ms
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


async def test_a_folder_that_no_ingress_uses_is_sent_by_a_command(
    processes, kafka_env, kafka_settings, tmp_path
):
    away = IngressUnderTest(processes, tmp_path, {**kafka_env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    await asyncio.to_thread(away.start)
    await Pusher(away.url).push_all(events(0, 50))
    away.env |= kafka_env
    refused = await command(away, "journal", "publish")
    assert refused.returncode == 1
    assert "another ingress" in refused.stderr
    await stop(away)
    sent = await command(away, "journal", "publish")
    assert (sent.returncode, sent.stdout) == (0, "parked: 0\n"), sent.stderr
    assert set(await published(kafka_settings)) == set(range(50))
    # nothing waits: an older version may begin an empty folder
    again = await command(away, "journal", "publish", str(away.journal))
    assert (again.returncode, again.stdout) == (0, "parked: 0\n"), again.stderr
    assert set((await published(kafka_settings)).values()) == {1}


async def test_a_damaged_callback_is_put_aside_with_its_folder_by_hand(processes, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    ingress.journal.mkdir()
    with closing(open_current(ingress.journal)) as file:
        callbacks = [
            NewCallback(now_ms(), "default", "http", body, extract_facts(body)) for _, body in events(0, 3)
        ]
        damaged = Parked(2, NO_TOPIC, DAMAGED, now_ms())
        file.commit(callbacks, None, [Acknowledgement(2, [damaged])])
        file.db.execute("UPDATE callbacks SET body = x'ff' WHERE seq = 2")
    (ingress.journal / "current").rename(ingress.journal / "damaged-by-hand")
    await asyncio.to_thread(ingress.start)

    def put_aside():
        return ingress.readyz()[1]["journal"]["put_aside"]

    await eventually(lambda: [each["done"] for each in put_aside()] == [True], 30, "it is drained")
    [folder] = put_aside()
    assert (folder["folder"], folder["kept"], folder["unreadable"]) == ("damaged-by-hand", 1, 1)
    journal = ingress.readyz()[1]["journal"]
    assert (journal["waiting"], journal["parked"]) == (2, []), "a callback, and the resync request"
    assert (ingress.journal / "damaged-by-hand" / "drained").exists()
    shutil.rmtree(ingress.journal / "damaged-by-hand")
    assert put_aside() == []
