"""Folders that no worker writes any more: each is drained, also one that could not be had at the start."""

import asyncio
import os
import time

import pytest
from prometheus_client import CollectorRegistry

from ingress.errors import JournalError
from ingress.journal.checkpoint import CursorFile, Parked
from ingress.journal.directory import FolderLock
from ingress.journal.retention import Retention
from ingress.journal.store import JournalFile, NewCallback
from ingress.metrics import PublishingMetrics
from ingress.relay import drain as leftovers
from ingress.relay.drain import Leftovers
from tests.support.waiting import eventually

NOW = int(time.time() * 1000)


class Publisher:
    """In the place of the publisher's process."""

    def __init__(self, metrics, environment):
        self.folder, self.running = environment["JOURNAL_DIR"], False

    def start(self):
        self.running = True

    async def stop(self, timeout_s):
        self.running = False


@pytest.fixture
async def start(tmp_path, monkeypatch):
    """Begin to look after the leftovers of an ingress of one worker."""
    monkeypatch.setattr(leftovers, "PublisherProcess", Publisher)
    monkeypatch.setattr(leftovers, "EVERY_S", 0.01)
    monkeypatch.setattr(leftovers, "UNREADABLE_AGAIN_S", 0.02)
    monkeypatch.setattr(leftovers, "TEND_EVERY_S", 0.02)
    begun = []

    def begin(callbacks_s=3600, seen_s=3600, min_free_bytes=0):
        metrics = PublishingMetrics(CollectorRegistry())
        retention = Retention(callbacks_s, seen_s, min_free_bytes=min_free_bytes)
        begun.append(found := Leftovers(tmp_path, [tmp_path], os.environ, retention, metrics))
        found.start()
        return found

    yield begin
    for found in begun:
        await found.stop(1)


def leave(folder, callbacks=2, published=0, received_ms=NOW):
    """What a worker has left behind in ``folder``."""
    folder.mkdir(exist_ok=True)
    file = JournalFile(folder / "journal-0001.db", create=True)
    file.keep([NewCallback(received_ms, "default", "http", b"%d" % n, b"k%d" % n) for n in range(callbacks)])
    cursor = CursorFile(folder)
    if published:
        cursor.move(file.id, published)
    cursor.close()
    file.close()
    return folder


def bodies(folder):
    file = JournalFile(folder / "journal-0001.db", read_only=True)
    found = [row.body for row in file.read(0, max_rows=100, max_bytes=1 << 20)]
    file.close()
    return found


def publish(folder, up_to, parked=()):
    """What the publisher does."""
    file = JournalFile(folder / "journal-0001.db", read_only=True)
    cursor = CursorFile(folder)
    cursor.move(file.id, up_to, [Parked(file.id, seq, 0, "t", "rights", NOW) for seq in parked])
    cursor.close()
    file.close()


async def holds(condition, what):
    async def asked():
        return condition()

    await eventually(asked, 30, what)


async def test_one_that_is_still_in_use_at_the_start_is_drained_when_it_is_free(start, tmp_path, capsys):
    folder = leave(tmp_path / "worker-2")
    orphan = FolderLock(folder)  # of a supervisor that was killed, and answering still
    orphan.acquire()
    found = start()
    await holds(lambda: "journal.leftover_in_use" in capsys.readouterr().out, "it is told of")
    for _ in range(5):
        await asyncio.sleep(0.01)
        assert not found.publishers
    assert "in_use" not in capsys.readouterr().out, "once"
    orphan.release()
    await holds(lambda: found.publishers, "it is drained")
    assert found.publishers[folder].running
    assert found.folders == [folder]


async def test_what_an_orphan_keeps_until_its_end_is_drained_as_well(start, tmp_path):
    folder = leave(tmp_path / "worker-2", callbacks=1, published=1)
    orphan = FolderLock(folder)
    orphan.acquire()
    found = start()
    file = JournalFile(folder / "journal-0001.db")
    file.keep([NewCallback(NOW, "default", "http", b"answered late", b"late")])
    file.close()
    orphan.release()
    await holds(lambda: found.publishers, "it is drained")


async def test_one_that_cannot_be_read_at_the_start_is_drained_when_it_can(start, tmp_path, monkeypatch):
    folder = leave(tmp_path / "worker-2")
    real, failing = leftovers.folder_status, [True, True]

    def status(of):
        if failing:
            failing.pop()
            raise OSError("too many open files")
        return real(of)

    monkeypatch.setattr(leftovers, "folder_status", status)
    found = start()
    await holds(lambda: found.publishers, "it is drained")
    assert not failing
    assert found.folders == [folder]


async def test_one_that_cannot_be_read_is_left_unlocked_and_stops_no_other(start, tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "UNREADABLE_AGAIN_S", 3600)
    damaged = leave(tmp_path / "worker-2")
    (damaged / "journal-0001.db").write_bytes(b"no journal of ours" * 1000)
    other = leave(tmp_path / "worker-3")
    found = start()
    await holds(lambda: found.publishers, "the other is drained")
    assert found.folders == [other]
    lock = FolderLock(damaged)
    lock.acquire()
    lock.release()


async def test_at_the_end_publishers_are_stopped_and_the_folders_free(start, tmp_path):
    folder = leave(tmp_path / "worker-2")
    found = start()
    await holds(lambda: found.publishers, "it is drained")
    await found.stop(1)
    assert not found.publishers[folder].running
    lock = FolderLock(folder)
    lock.acquire()
    lock.release()


async def test_what_is_published_goes_when_its_time_is_over_and_at_last_the_files(start, tmp_path):
    folder = leave(tmp_path / "worker-2", callbacks=3, received_ms=NOW - 7200_000)
    found = start(callbacks_s=0, seen_s=3600)
    await holds(lambda: found.publishers, "it is drained")
    publisher = found.publishers[folder]
    publish(folder, 2)
    await holds(lambda: bodies(folder) == [b"2"], "what is in Kafka is pruned meanwhile")
    publish(folder, 3)
    await holds(lambda: not found.folders, "it is over")
    await holds(lambda: sorted(p.name for p in folder.iterdir()) == ["ingress.lock"], "nothing of it is left")
    assert not publisher.running
    lock = FolderLock(folder)
    lock.acquire()
    lock.release()
    leave(folder)  # and the folder can be used again
    await holds(lambda: found.publishers, "it is drained anew")


async def test_keys_stay_as_long_as_a_push_may_be_repeated(start, tmp_path):
    folder = leave(tmp_path / "worker-2", callbacks=3, published=3)
    found = start(callbacks_s=0, seen_s=3600)
    await holds(lambda: not bodies(folder), "the bodies go")
    for _ in range(5):
        await asyncio.sleep(0.02)
        assert found.folders == [folder]
    file = JournalFile(folder / "journal-0001.db")
    again = NewCallback(NOW, "default", "http", b"0", b"k0")
    assert file.keep([again]) == [False]
    file.close()


async def test_what_is_not_published_and_what_is_parked_stays_whatever_its_age(start, tmp_path):
    folder = leave(tmp_path / "worker-2", callbacks=4, received_ms=NOW - 7200_000)
    publish(folder, 3, parked=[2])
    found = start(callbacks_s=0, seen_s=0, min_free_bytes=1 << 62)
    await holds(lambda: bodies(folder) == [b"1", b"3"], "the others go")
    publish(folder, 4)
    await holds(lambda: bodies(folder) == [b"1"], "the parked one stays")
    assert found.folders == [folder]
    assert found.publishers[folder].running


async def test_on_a_nearly_full_disk_a_drained_one_goes_at_once(start, tmp_path):
    folder = leave(tmp_path / "worker-2", callbacks=3, published=3)
    start(callbacks_s=3600, seen_s=3600, min_free_bytes=1 << 62)
    await holds(lambda: not (folder / "journal-0001.db").exists(), "it goes")


async def test_before_its_time_nothing_goes_but_when_the_operator_asks(start, tmp_path):
    folder = leave(tmp_path / "worker-2", callbacks=3, published=2)
    found = start()
    await holds(lambda: found.folders, "it is ours")
    for _ in range(5):
        await asyncio.sleep(0.02)
        assert bodies(folder) == [b"0", b"1", b"2"]
    assert await found.prune(0) == 2
    assert bodies(folder) == [b"2"]
    (folder / "cursor.db").write_bytes(b"no cursor of ours" * 1000)
    with pytest.raises(JournalError):
        await found.prune(0)


async def test_a_removal_that_was_interrupted_is_finished(start, tmp_path):
    folder = leave(tmp_path / "worker-2", callbacks=3, published=3, received_ms=NOW - 7200_000)
    file = JournalFile(folder / "journal-0001.db")
    file.prune_callbacks(3, frozenset(), 100)
    file.close()
    (folder / "cursor.db").unlink()
    start(callbacks_s=0, seen_s=3600)
    await holds(lambda: not (folder / "journal-0001.db").exists(), "it goes")
