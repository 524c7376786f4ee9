"""A folder that was put aside: all that SQLite still gives is published, what it does not give is counted."""

import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from ingress.errors import JournalLocked
from ingress.journal.checkpoint import Checkpoint
from ingress.journal.directory import relay_lock
from ingress.relay import publisher as publishing
from ingress.relay.drain import Drained, drain, retry_parked
from tests.unit.ingress.relay.fakes import body, settings

PAGE = 4096


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(publishing, "_SET_EVERY_S", 0)


def fill(folder, count=2000):
    """Written back into journal.db, whose pages a test then breaks."""
    for first in range(0, count, 500):
        folder.keep(*(body(n) for n in range(first, first + 500)))
    folder.file.checkpoint_truncate()


def break_pages(folder, pages):
    """As a disk does that gives other bytes for them."""
    with (folder.path / "journal.db").open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE)
            file.write(b"\xa5" * PAGE)


def pages_of_callbacks(folder):
    sql = "SELECT pageno - 1 FROM dbstat WHERE name = 'callbacks' AND pagetype = 'leaf' ORDER BY path"
    return [page for (page,) in folder.file.db.execute(sql)]


async def test_all_that_can_be_read_is_published_and_the_rest_is_counted(folder, kafka):
    fill(folder)
    leaves = pages_of_callbacks(folder)
    break_pages(folder, [leaves[3], leaves[4], leaves[-1]])
    left = await drain(settings(), folder.path)
    numbers = kafka.numbers()
    assert numbers == sorted(numbers)
    assert 0 < left.unread < 200
    assert len(numbers) + left.unread == 2000
    assert (left.parked, left.damaged) == (0, 0)
    before = list(numbers)
    assert await drain(settings(), folder.path) == left, (
        "once more: nothing is sent, and nothing counted again"
    )
    assert kafka.numbers() == before
    checkpoint = folder.checkpoint()
    assert checkpoint.drained_ms()
    assert checkpoint.seq() == 2000
    checkpoint.close()


@pytest.mark.parametrize("how", ["no database", "of another journal", "knows more than its journal"])
async def test_a_checkpoint_that_cannot_be_believed_begins_anew(folder, kafka, how):
    fill(folder, 500)
    if how == "of another journal":
        Checkpoint(folder.path, "another").close()
    else:
        checkpoint = folder.checkpoint()
        checkpoint.commit(501)
        checkpoint.close()
        if how == "no database":
            (folder.path / "checkpoint.db").write_bytes(b"no checkpoint of ours" * 1000)
    assert await drain(settings(), folder.path) == Drained(0, 0, 0)
    assert kafka.numbers() == list(range(500))


async def test_what_kafka_refuses_stays_parked_and_is_tried_by_whoever_asks(folder, kafka):
    fill(folder, 500)
    kafka.refuses = lambda topic, value: TopicAuthorizationFailedError()
    assert await drain(settings(), folder.path) == Drained(500, 0, 0)
    kafka.refuses = lambda topic, value: None
    assert await retry_parked(settings(), folder.path) == 0
    assert kafka.numbers() == list(range(500))


@pytest.mark.parametrize("work", [drain, retry_parked])
async def test_beside_a_relay_that_outlived_its_ingress_nothing_is_published_twice(folder, kafka, work):
    folder.park(3, "rights")
    lock = relay_lock(folder.path)
    lock.acquire()
    try:
        with pytest.raises(JournalLocked, match="publishes"):
            await work(settings(), folder.path)
    finally:
        lock.release()
    assert not kafka.taken
