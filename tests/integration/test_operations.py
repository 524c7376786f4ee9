"""The procedures of docs/guide/operations.md, done as they stand there, with processes and a broker."""

import asyncio
import json
import shutil
from collections import Counter
from contextlib import closing

import apsw

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


async def test_a_backup_made_under_load_takes_the_place_of_a_disk_that_is_lost(
    processes, kafka_env, kafka_settings, breakable_kafka, tmp_path
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url, retries=2)
    await asyncio.to_thread(ingress.start)
    await pusher.push_all(events(0, 100))
    await drained(ingress)
    breakable_kafka.pause()
    await pusher.push_all(events(100, 300))
    before = set(pusher.succeeded)
    assert before == set(range(300))

    load = asyncio.ensure_future(pusher.push_all(events(300, 1500), concurrency=4))
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("checkpoint.db", "journal.db"):  # in this order: a checkpoint that knows more is refused
        source = ingress.journal / "current" / name
        with closing(apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            db.execute("VACUUM INTO ?", (str(copy / name),))
    await load

    # the machine is gone, and its disk; another one begins empty, and imports the copy
    ingress.process.kill()
    await asyncio.to_thread(ingress.process.wait, 20)
    shutil.rmtree(ingress.journal)
    breakable_kafka.resume()
    await asyncio.to_thread(ingress.start)
    done = await command(ingress, "journal", "drain", str(copy))
    assert (done.returncode, "unread: 0" in done.stdout) == (0, True), (done.stdout, done.stderr)
    await drained(ingress)
    assert before <= set(await published(kafka_settings))

    # and the restored one goes on
    await pusher.push_all(events(3000, 3050))
    await drained(ingress)
    assert set(range(3000, 3050)) <= set(await published(kafka_settings))


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


async def test_an_instance_is_given_up_when_nothing_waits_in_it(
    processes, kafka_env, kafka_settings, tmp_path
):
    """Scaling in: without callbacks, until it holds nothing; then its folder may be deleted."""
    staying = IngressUnderTest(processes, tmp_path / "a", kafka_env)
    leaving = IngressUnderTest(processes, tmp_path / "b", kafka_env)
    for number, ingress in enumerate((staying, leaving)):
        await asyncio.to_thread(ingress.start)
        await Pusher(ingress.url, retries=2).push_all(events(number * 100, number * 100 + 100))
    stats = {}

    async def nothing_waits():
        done = await command(leaving, "journal", "stats", "--json")
        stats.update(json.loads(done.stdout))
        return (stats["waiting"], stats["parked"]) == (0, [])

    await eventually(nothing_waits, 60, "nothing waits and nothing is parked")
    await stop(leaving)
    shutil.rmtree(leaving.journal)
    await drained(staying)
    assert await published(kafka_settings) == Counter(range(200))
