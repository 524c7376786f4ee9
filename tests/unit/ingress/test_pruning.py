"""What may be deleted from a folder, and when: only what Kafka has, however it is interrupted."""

import errno
import time
from contextlib import suppress
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.errors import JournalError
from ingress.journal.checkpoint import CursorFile, Parked
from ingress.journal.directory import journal_files, next_journal_file
from ingress.journal.retention import Holding, Pruning, Retention, deletable
from ingress.journal.startup import begin_file, open_newest
from ingress.journal.store import JournalFile, NewCallback
from ingress.relay.reading import JournalReader
from tests.unit.ingress.filled import fill, prune_once


def test_pruning_waits_for_retention_and_spares_the_parked(tmp_path):
    file = fill(tmp_path, 6)
    cursor = CursorFile(tmp_path)
    cursor.move(file.id, 5, [Parked(file.id, 2, 0, "t", "rights", 1)])
    day = Retention(callbacks_s=86_400, seen_s=86_400, min_free_bytes=0)
    assert prune_once(tmp_path, file, day) == (0, False)
    assert len(file.read(0, max_rows=99, max_bytes=9999)) == 6
    cursor.db.execute("UPDATE acked SET at_ms = at_ms - 90000000")
    prune_once(tmp_path, file, day)
    assert [row.seq for row in file.read(0, max_rows=99, max_bytes=9999)] == [2, 6]
    cursor.close()
    file.close()


def test_a_nearly_full_disk_prunes_what_is_published_at_once(tmp_path):
    file = fill(tmp_path, 6)
    cursor = CursorFile(tmp_path)
    cursor.move(file.id, 4)
    cursor.close()
    prune_once(tmp_path, file, Retention(86_400, 86_400, min_free_bytes=1 << 62))
    assert [row.seq for row in file.read(0, max_rows=99, max_bytes=9999)] == [5, 6]
    file.close()


def test_a_drained_older_file_goes_when_its_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)  # within one millisecond, too
    old = fill(tmp_path, 3)
    new = JournalFile(next_journal_file(tmp_path), create=True)
    cursor = CursorFile(tmp_path)
    cursor.move(old.id, 3)
    keep_all = Retention(86_400, 86_400, min_free_bytes=0)
    prune_once(tmp_path, new, keep_all)
    assert len(journal_files(tmp_path)) == 2
    cursor.retire(old.id)
    old.close()
    prune_once(tmp_path, new, Retention(0, 86_400, min_free_bytes=0))
    assert journal_files(tmp_path) == [new.path]
    new.close()
    open_newest(tmp_path).close()
    cursor.close()


def test_a_retired_file_that_was_written_again_stays_until_it_is_drained_again(tmp_path):
    old = fill(tmp_path, 3)
    cursor = CursorFile(tmp_path)
    cursor.move(old.id, 3)
    cursor.retire(old.id)
    old.keep([NewCallback(1, "default", "http", b"late-%d" % n, b"late-%d" % n) for n in range(3)])
    new = begin_file(tmp_path)
    full = Retention(0, 86_400, min_free_bytes=1 << 62)
    prune_once(tmp_path, new, full)
    assert journal_files(tmp_path) == [old.path, new.path], "three callbacks wait"
    cursor.move(old.id, 6)
    prune_once(tmp_path, new, full)
    assert journal_files(tmp_path) == [old.path, new.path], "the publisher may still read it"
    cursor.retire(old.id)
    old.close()
    prune_once(tmp_path, new, full)
    assert journal_files(tmp_path) == [new.path]
    new.close()
    cursor.close()


def test_a_file_that_has_become_less_than_it_was_is_not_deleted(tmp_path):
    old = fill(tmp_path, 3)
    new = begin_file(tmp_path)
    cursor = CursorFile(tmp_path)
    cursor.move(old.id, 2)
    cursor.retire(old.id)
    old.close()
    db = apsw.Connection(str(old.path))
    db.execute("DELETE FROM callbacks WHERE seq = 3; UPDATE sqlite_sequence SET seq = 2")
    db.close()
    prune_once(tmp_path, new, Retention(0, 86_400))
    assert journal_files(tmp_path) == [old.path, new.path], "its mark says 3"
    new.close()
    cursor.close()


def test_an_older_file_in_which_nothing_was_kept_goes_as_well(tmp_path):
    old = fill(tmp_path, 0)
    old.close()
    new = begin_file(tmp_path)
    cursor = CursorFile(tmp_path)
    reader = JournalReader(tmp_path, cursor)
    assert reader.current().path == new.path
    prune_once(tmp_path, new, Retention(0, 86_400))
    assert journal_files(tmp_path) == [new.path]
    reader.close()
    cursor.close()
    new.close()
    open_newest(tmp_path).close()


@given(
    holding=st.builds(
        Holding,
        written=st.booleans(),
        highest_seq=st.integers(0, 5),
        cursor_seq=st.integers(0, 5),
        parked=st.booleans(),
        retired_ms=st.none() | st.integers(0, 5),
    ),
    now_ms=st.integers(0, 5),
    age_ms=st.integers(0, 5),
    low_disk=st.booleans(),
)
def test_what_waits_is_never_deletable(holding, now_ms, age_ms, low_disk):
    gone, why = deletable(holding, now_ms=now_ms, age_ms=age_ms, low_disk=low_disk)
    assert why
    if gone:
        assert holding.cursor_seq >= holding.highest_seq
        assert not holding.parked
        assert not holding.written
        assert holding.retired_ms is not None
        assert low_disk or abs(now_ms - holding.retired_ms) >= age_ms


def test_notes_of_acknowledgements_are_dropped_but_pruning_learns_the_same(tmp_path):
    cursor = CursorFile(tmp_path)
    for journal in ("a", "b"):
        for minute in range(1, 9):
            cursor.db.execute("INSERT INTO acked VALUES (?, ?, ?)", (journal, minute * 60_000, minute * 10))
    limits = [minute * 60_000 + 1 for minute in range(5, 10)]
    before = [cursor.acked_before("a", limit) for limit in limits]
    cursor.forget_acked(limits[0])
    assert [cursor.acked_before("a", limit) for limit in limits] == before == [50, 60, 70, 80, 80]
    assert cursor.db.execute("SELECT count(*) FROM acked").get == 8
    cursor.close()


@pytest.mark.parametrize("nth", range(1, 7))
@pytest.mark.parametrize("how", ["unlink", "rename"])
def test_removing_a_file_may_be_cut_off_anywhere(tmp_path, monkeypatch, nth, how):
    """The next start takes the folder, and the next pruning ends it."""
    old = fill(tmp_path, 3)
    new = begin_file(tmp_path)
    cursor = CursorFile(tmp_path)
    cursor.move(old.id, 3)
    cursor.retire(old.id)
    cursor.close()
    real, calls = getattr(Path, how), []

    def cut_off(path, *args, **kwargs):
        calls.append(path)
        if len(calls) == nth:
            raise OSError(errno.EIO, "I/O error")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, how, cut_off)
    with suppress(OSError):
        prune_once(tmp_path, new, Retention(0, 86_400))
    monkeypatch.undo()
    old.close()
    new.close()
    new = open_newest(tmp_path)
    assert new.path.name == "journal-0002.db"
    prune_once(tmp_path, new, Retention(0, 86_400))
    assert not list(tmp_path.glob("journal-0001*"))
    new.close()


def test_a_file_that_was_put_back_while_it_was_being_removed_stays(tmp_path):
    fill(tmp_path, 3).close()
    (tmp_path / "journal-0001.db-gone").write_bytes(b"what it was")
    new = begin_file(tmp_path)
    old = JournalFile(tmp_path / "journal-0001.db", read_only=True)
    prune_once(tmp_path, new, Retention(0, 86_400))
    assert {path.name for path in tmp_path.glob("journal-0001*")} >= {old.path.name, f"{old.path.name}-wal"}
    assert not list(tmp_path.glob("*-gone"))
    assert old.last_seq() == 3
    old.close()
    new.close()


@pytest.fixture
def steps(monkeypatch):
    """How many steps SQLite's machine has made in the cursor's files and for the last pruning."""
    made = []
    real = CursorFile._open

    def opened(cursor):
        db = real(cursor)
        db.trace_v2(
            apsw.SQLITE_TRACE_PROFILE,
            lambda told: made.append(told["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]),
        )
        return db

    monkeypatch.setattr(CursorFile, "_open", opened)
    return made


@pytest.mark.parametrize("front", [True, False])
def test_a_step_of_pruning_reads_little_however_much_is_parked(tmp_path, steps, front):
    """The thread that commits must not be held up."""
    count, published = 6_000, 5_000
    file = fill(tmp_path, count)
    cursor = CursorFile(tmp_path)
    parked = range(1, 4_001) if front else range(1, 5_001, 2)
    cursor.move(file.id, published, [Parked(file.id, n, r, "t", "rights", 1) for n in parked for r in (0, 1)])
    pruning = Pruning(tmp_path, Retention(0, 86_400))
    more, most = True, 0
    while more:
        steps.clear()
        before = file.db.total_changes()
        _, more = pruning.step(file)
        most = max(most, sum(steps))
        assert file.db.total_changes() - before <= 600
    assert most < 30_000, "all of the rows take more than ten times as many"
    kept = [row.seq for row in file.read(0, max_rows=9_999, max_bytes=1 << 30)]
    assert kept == sorted({*parked, *range(published + 1, count + 1)})
    cursor.unpark(cursor.parked())
    while pruning.step(file)[1]:
        continue
    assert file.lowest_seq() == published + 1, "also what was passed over before"
    cursor.close()
    file.close()


def test_a_parked_number_that_the_disk_has_changed_lets_nothing_be_deleted(tmp_path):
    """It would protect another callback; also when it stands behind many others."""
    file = fill(tmp_path, 1_200)
    cursor = CursorFile(tmp_path)
    cursor.move(file.id, 1_200, [Parked(file.id, n, 0, "t", "rights", 1) for n in range(1, 1_102)])
    cursor.db.execute("UPDATE parked SET seq = 1190 WHERE seq = 1101")
    pruning = Pruning(tmp_path, Retention(0, 86_400))
    for _ in range(2):
        pruning.step(file)
        pruning.step(file)
        with pytest.raises(JournalError, match="does not fit its checksum"):
            pruning.step(file)
    assert file.db.execute("SELECT count(*) FROM callbacks").get == 1_200
    cursor.close()
    file.close()
