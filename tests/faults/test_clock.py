"""Clocks that jump by days, back and forth: nothing that waits is deleted, kept twice, or kept for ever."""

import time
from pathlib import Path

import pytest

from dingbridge.events import extract_facts
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import open_current
from dingbridge.ingress.journal.retention import Retention, prune_step
from dingbridge.ingress.journal.rows import Acknowledgement, NewCallback, Parked

DAY = 86_400
KEEP = Retention(callbacks_s=DAY, seen_s=7 * DAY, min_free_bytes=0)


@pytest.fixture
def jump(monkeypatch):
    """Sets the clock of this process, in s ahead of true time."""
    true = time.time
    return lambda seconds: monkeypatch.setattr("time.time", lambda: true() + seconds)


def keep(file: JournalFile, *names: bytes) -> list[bool]:
    now = int(time.time() * 1000)
    facts = extract_facts(b"")
    return file.commit([NewCallback(now, "default", "http", name, facts, b"key-" + name) for name in names])


def acknowledge(file: JournalFile, acked: int, *parked: Parked) -> None:
    file.commit(acknowledgements=[Acknowledgement(acked, parked)])


def prune(folder: Path, file: JournalFile) -> None:
    after_seq: int | None = 0
    while after_seq is not None:
        after_seq = prune_step(file, folder, KEEP, after_seq)


def bodies(file: JournalFile) -> list[bytes]:
    return [row.body for row in file.read(0, max_rows=1_000, max_bytes=1 << 20)]


@pytest.mark.parametrize("days", [30, -30, 2, -2, 30_000])
def test_no_jump_prunes_what_waits_or_is_parked_or_forgets_a_key(tmp_path, jump, days):
    file = open_current(tmp_path)
    keep(file, b"published", b"parked", b"waits")
    acknowledge(file, 2, Parked(2, "topic", "rights", 1))
    jump(days * DAY)
    prune(tmp_path, file)
    assert bodies(file)[-2:] == [b"parked", b"waits"]
    jump(0)
    assert keep(file, b"published", b"parked", b"waits") == [False] * 3, "a re-push after the clock is back"
    file.close()


@pytest.mark.parametrize("days", [30, 30_000, -30])
def test_after_a_jump_and_back_retention_goes_on_as_before(tmp_path, jump, days):
    file = open_current(tmp_path)
    jump(days * DAY)
    keep(file, b"during")
    acknowledge(file, 1)
    jump(0)
    keep(file, b"after")
    acknowledge(file, 2)
    jump(2 * DAY)
    prune(tmp_path, file)
    assert bodies(file) == []
    file.close()


def test_keys_go_by_the_time_of_receipts(tmp_path, jump):
    file = open_current(tmp_path)
    keep(file, b"old")
    jump(8 * DAY)
    keep(file, b"new")
    prune(tmp_path, file)
    assert keep(file, b"old", b"new") == [True, False]
    file.close()
