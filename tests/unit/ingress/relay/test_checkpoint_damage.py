"""A relay whose checkpoint is not what was written, or cannot be read, ends in words."""

import asyncio
import threading
from contextlib import closing

import apsw
import pytest
from dingbridge.ingress.journal.checkpoint import DAMAGED, NO_TOPIC, WHOLE_CALLBACK, Checkpoint, Parked
from dingbridge.ingress.journal.directory import reported_damage

from dingbridge.ingress.errors import JournalDamaged, JournalError
from dingbridge.ingress.relay import publisher as publishing
from dingbridge.ingress.relay import service
from tests.support.waiting import eventually
from tests.unit.ingress.relay.fakes import CHECK_IN, body, settings

ONE = Parked(1, 0, CHECK_IN, "rights", 1)


@pytest.fixture
def hurt(folder):
    """A checkpoint with a parked record, of which what is written to does not read any more."""
    folder.park(1, "too_large")
    with closing(folder.checkpoint()) as checkpoint:
        checkpoint.commit(1, [Parked(1, WHOLE_CALLBACK, NO_TOPIC, DAMAGED, 1)])
        names = ("parked_by_topic", "parked_by_reason", "acked")
        sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        pages = [checkpoint.db.execute(sql, (name,)).get for name in names]
    content = bytearray(checkpoint.path.read_bytes())
    for page in pages:
        content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    checkpoint.path.write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "write",
    [
        lambda c: c.commit(2, [Parked(2, 0, CHECK_IN, "rights", 1)]),
        lambda c: c.unpark([ONE]),
        lambda c: c.relabel(ONE, "policy"),
        lambda c: c.forget_damaged(),
        lambda c: c.forget_acked(1 << 60),
    ],
    ids=["commit", "unpark", "relabel", "forget_damaged", "forget_acked"],
)
def test_every_write_that_meets_damage_says_so(hurt, write):
    with closing(hurt.checkpoint()) as checkpoint, pytest.raises(JournalDamaged, match="is damaged"):
        write(checkpoint)


async def test_a_relay_that_cannot_write_it_ends(hurt, kafka):
    hurt.keep(*(body(n) for n in range(5)))
    with pytest.raises(JournalDamaged):
        await hurt.publisher().run()


@pytest.mark.parametrize("code", [apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE])  # the latter: over quota
async def test_a_full_disk_is_waited_for_and_meanwhile_nothing_is_sent(folder, kafka, monkeypatch, code):
    monkeypatch.setattr(publishing, "_BACKOFF_S", (0.001, 0.001))
    folder.keep(body(0))
    publisher, real, full = folder.publisher(), Checkpoint.commit, [1]

    def commit(*arguments):
        if full:
            raise apsw.exception_for(code)
        real(*arguments)

    monkeypatch.setattr(Checkpoint, "commit", commit)
    running = asyncio.create_task(publisher.run())
    await eventually(lambda: publisher._status.state == "down", 30, "it says so")
    assert "free the disk" in publisher._status.words
    assert not kafka.taken
    full.clear()
    await eventually(lambda: kafka.numbers() == [0], 30, "it goes on by itself")
    publisher.stop()
    await running


async def test_an_io_error_ends_the_relay_before_kafka_gets_the_same_again(folder, kafka, monkeypatch):
    """After a failed fsync no open handle may be trusted: the next process has none."""
    folder.keep(*(body(n) for n in range(5)))

    def commit(*_):
        raise apsw.IOError("disk I/O error")

    monkeypatch.setattr(Checkpoint, "commit", commit)
    with pytest.raises(JournalError, match="disk I/O error") as found:
        await folder.publisher().run()
    assert not isinstance(found.value, JournalDamaged)
    assert not kafka.taken


@pytest.mark.parametrize("times", [1, 2])
async def test_an_io_error_at_the_start_that_outlives_a_second_try_is_damage(
    folder, kafka, monkeypatch, times
):
    folder.keep(body(0))
    env = settings(data_dir=folder.path / "data", journal_dir=folder.path.parent, relay_admin_port=0)
    left, real = [apsw.IOError("disk I/O error")] * times, Checkpoint._check_whose

    def opened(checkpoint, wanted):
        if left:
            raise left.pop()
        return real(checkpoint, wanted)

    monkeypatch.setattr(Checkpoint, "_check_whose", opened)
    if times == 1:
        await service.serve(env, until_empty=True)
        assert kafka.numbers() == [0]
    else:
        with pytest.raises(JournalDamaged):
            await service.serve(env, until_empty=True)
        assert "disk I/O error" in (reported_damage(folder.path) or "")


async def test_a_bad_sector_among_what_is_parked_is_damage_and_no_relay_after_the_other(
    folder, kafka, monkeypatch
):
    """Where the checkpoint stands reads well: each relay would begin, meet the bad sector, and end."""
    folder.park(3, "rights")
    env = settings(data_dir=folder.path / "data", journal_dir=folder.path.parent, relay_admin_port=0)
    real = Checkpoint._select

    def select(checkpoint, sql, values=()):
        if "FROM parked" in sql:
            raise apsw.IOError("a bad sector")
        return real(checkpoint, sql, values)

    monkeypatch.setattr(Checkpoint, "_select", select)
    with pytest.raises(JournalDamaged, match="a bad sector"):
        await service.serve(env, until_empty=True)
    assert "a bad sector" in (reported_damage(folder.path) or "")


@pytest.mark.parametrize("code", [apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_WRITE])
async def test_a_disk_that_is_full_at_the_start_is_no_damage(folder, kafka, monkeypatch, code):
    """SQLite's words for a -shm file that cannot grow, and for a quota."""
    env = settings(data_dir=folder.path / "data", journal_dir=folder.path.parent, relay_admin_port=0)

    def full(*_):
        raise apsw.exception_for(code)

    monkeypatch.setattr(Checkpoint, "_check_whose", full)
    with pytest.raises(JournalError) as found:
        await service.serve(env, until_empty=True)
    assert not isinstance(found.value, JournalDamaged)
    assert reported_damage(folder.path) is None


async def test_the_relays_end_waits_for_who_looks_into_it_just_now(folder, kafka, monkeypatch):
    """SQLite does not allow a connection to be closed under a statement of another thread."""
    looking, ending, closed = threading.Event(), threading.Event(), []
    real = Checkpoint.close

    def counts(_):
        looking.set()
        ending.wait(30)
        assert not closed
        return []

    def close(checkpoint):
        closed.append(True)
        real(checkpoint)

    publisher = folder.publisher()
    monkeypatch.setattr(Checkpoint, "parked_groups", counts)
    monkeypatch.setattr(Checkpoint, "close", close)
    readyz = asyncio.create_task(publisher.parked.groups())
    await asyncio.to_thread(looking.wait, 30)
    publisher.stop()
    running = asyncio.create_task(publisher.run())
    await eventually(lambda: publisher._journal._file is None, 30, "it closes what it has")
    ending.set()
    assert not await readyz
    await running
    assert closed == [True]
