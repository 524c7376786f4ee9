"""Clocks that jump by days, back and forth: nothing that waits is deleted, kept twice, or kept for ever."""

import time
from pathlib import Path

import pytest

from dingbridge.ingress.journal.checkpoint import Checkpoint, Parked
from dingbridge.ingress.journal.directory import current
from dingbridge.ingress.journal.retention import Retention, prune_steps
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.journal.startup import open_current
from dingbridge.ingress.journal.store import JournalFile

DAY = 86_400
KEEP = Retention(callbacks_s=DAY, seen_s=7 * DAY, min_free_bytes=0)


@pytest.fixture
def jump(monkeypatch):
    """Sets the clock of this process, in s ahead of true time."""
    true = time.time
    return lambda seconds: monkeypatch.setattr("time.time", lambda: true() + seconds)


def keep(file: JournalFile, *names: bytes) -> list[bool]:
    now = int(time.time() * 1000)
    return file.keep([NewCallback(now, "default", "http", name, b"key-" + name) for name in names])


def prune(folder: Path, file: JournalFile) -> None:
    for _ in prune_steps(lambda: file, current(folder), KEEP):
        continue


def bodies(file: JournalFile) -> list[bytes]:
    return [row.body for row in file.read(0, max_rows=1_000, max_bytes=1 << 20)]


@pytest.mark.parametrize("days", [30, -30, 2, -2, 30_000])
def test_no_jump_prunes_what_waits_or_is_parked_or_forgets_a_key(tmp_path, jump, days):
    file = open_current(tmp_path)
    checkpoint = Checkpoint(current(tmp_path).path, file.id)
    keep(file, b"published", b"parked", b"waits")
    checkpoint.commit(2, [Parked(2, 0, "topic", "rights", 1)])
    jump(days * DAY)
    prune(tmp_path, file)
    assert bodies(file)[-2:] == [b"parked", b"waits"]
    jump(0)
    assert keep(file, b"published", b"parked", b"waits") == [False] * 3, "a re-push after the clock is back"
    checkpoint.close()
    file.close()


@pytest.mark.parametrize("days", [30, 30_000, -30])
def test_after_a_jump_and_back_retention_goes_on_as_before(tmp_path, jump, days):
    file = open_current(tmp_path)
    checkpoint = Checkpoint(current(tmp_path).path, file.id)
    jump(days * DAY)
    keep(file, b"during")
    checkpoint.commit(1)
    jump(0)
    keep(file, b"after")
    checkpoint.commit(2)
    jump(2 * DAY)
    prune(tmp_path, file)
    assert bodies(file) == []
    checkpoint.close()
    file.close()


def test_keys_go_by_the_time_of_receipts(tmp_path, jump):
    file = open_current(tmp_path)
    checkpoint = Checkpoint(current(tmp_path).path, file.id)
    keep(file, b"old")
    jump(8 * DAY)
    keep(file, b"new")
    prune(tmp_path, file)
    assert keep(file, b"old", b"new") == [True, False]
    checkpoint.close()
    file.close()
