"""A relay that is a service of its own, beside an ingress that finds its journal damaged."""

import asyncio
from contextlib import closing

import apsw

from dingbridge.ingress.journal.directory import current, damaged
from tests.support.comparison import compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import event
from tests.support.processes import eventually
from tests.support.pusher import Pusher

PAGE = 4096


async def test_a_journal_that_a_start_finds_damaged_is_put_aside_while_a_relay_of_its_own_publishes_it(
    processes, kafka_env, kafka_settings, breakable_kafka, tmp_path, figure
):
    """The relay lets go of the folder and ends in words; started again, it publishes the new one."""
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, {"INGRESS_RELAY": "none"})
    pusher = Pusher(ingress.url, retries=2)
    await asyncio.to_thread(ingress.start)
    relay = processes.start("relay", env=ingress.env)
    await eventually(lambda: asyncio.to_thread(ingress.kafka_state), what="the relay answers")
    await pusher.push_all((n, event(n)) for n in range(200))
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="it is in Kafka")
    breakable_kafka.pause()
    await pusher.push_all((n, event(n)) for n in range(200, 400))

    await asyncio.to_thread(ingress.process.stop)
    path = current(ingress.journal).journal
    with closing(apsw.Connection(str(path))) as db:
        assert db.execute("PRAGMA journal_mode").get == "wal"  # the relay keeps it open
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    content = path.read_bytes()
    at = content.index(event(100)) // PAGE * PAGE  # one with callbacks that are published
    path.write_bytes(content[:at] + bytes(PAGE) + content[at + PAGE :])
    await asyncio.to_thread(ingress.start)
    assert len(damaged(ingress.journal)) == 1
    await asyncio.to_thread(relay.wait, 60)
    assert relay.poll() == 1
    assert "Traceback" not in relay.log_text()

    breakable_kafka.resume()
    processes.start("relay", env=ingress.env)
    await pusher.push_all((n, event(n)) for n in range(400, 420))
    await eventually(lambda: asyncio.to_thread(imported, ingress), what="what reads is imported")
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="and in Kafka")
    comparison = await compare(kafka_settings, pusher)
    figure(comparison)
    assert not comparison.lost
    assert len(pusher.succeeded) == 420


def imported(ingress: IngressUnderTest) -> bool:
    return all(one["imported"] for one in ingress.readyz()[1]["journal"]["damaged"])
