"""Folders that no worker writes any more: each is drained, also one that could not be had at the start."""

import asyncio
import os
import time

import pytest
from prometheus_client import CollectorRegistry

from ingress import leftovers
from ingress.cursor import CursorFile
from ingress.folder import FolderLock
from ingress.journal_file import Entry, JournalFile
from ingress.leftovers import Leftovers
from ingress.metrics import PublishingMetrics
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
    begun = []

    def begin():
        metrics = PublishingMetrics(CollectorRegistry())
        begun.append(found := Leftovers(tmp_path, [tmp_path], os.environ, metrics))
        found.start()
        return found

    yield begin
    for found in begun:
        await found.stop(1)


def leave(folder, callbacks=2, published=0, received_ms=NOW):
    """What a worker has left behind in ``folder``."""
    folder.mkdir(exist_ok=True)
    file = JournalFile(folder / "journal-0001.db", create=True)
    file.keep([Entry(received_ms, "default", "http", b"%d" % n, b"k%d" % n) for n in range(callbacks)])
    cursor = CursorFile(folder)
    if published:
        cursor.move(file.id, published)
    cursor.close()
    file.close()
    return folder


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
    file.keep([Entry(NOW, "default", "http", b"answered late", b"late")])
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


async def test_one_that_cannot_be_read_is_left_unlocked_and_stops_no_other(start, tmp_path):
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
