"""A folder is refused, with the remedy, rather than used so that a callback could stay unpublished."""

import shutil
from contextlib import closing

import apsw
import pytest
from prometheus_client import CollectorRegistry

from ingress.errors import JournalError, JournalLocked, JournalUnsafe
from ingress.journal.checkpoint import CursorFile, Parked
from ingress.journal.directory import FolderLock, journal_files, prepare_folder
from ingress.journal.retention import Retention
from ingress.journal.startup import begin_file, open_newest, reopen
from ingress.journal.store import JournalFile, NewCallback
from ingress.journal.writer import Journal
from ingress.metrics import JournalMetrics
from tests.unit.ingress.filled import fill, prune_once


def test_an_older_copy_of_the_journal_is_refused(tmp_path):
    fill(tmp_path, 3).close()
    shutil.copy(tmp_path / "journal-0001.db", tmp_path / "backup")
    file = fill(tmp_path, 9)
    cursor = CursorFile(tmp_path)
    cursor.move(file.id, 9)
    cursor.close()
    file.close()
    for beside in tmp_path.glob("journal-*"):
        beside.unlink()
    shutil.move(tmp_path / "backup", tmp_path / "journal-0001.db")
    with pytest.raises(JournalError, match="older copy"):
        open_newest(tmp_path)


def test_a_cursor_without_its_journal_is_refused(tmp_path):
    file = fill(tmp_path, 3)
    cursor = CursorFile(tmp_path)
    cursor.move(file.id, 2)
    cursor.close()
    file.close()
    (tmp_path / "journal-0001.db").unlink()
    with pytest.raises(JournalError, match="not here"):
        open_newest(tmp_path)


def test_an_emptied_journal_with_its_cursor_is_fine(tmp_path):
    file = fill(tmp_path, 4)
    cursor = CursorFile(tmp_path)
    cursor.move(file.id, 4)
    cursor.close()
    file.prune_callbacks(4, frozenset(), 100)
    file.close()
    file = open_newest(tmp_path)
    assert file.highest_seq() == 4
    file.close()


@pytest.mark.parametrize("damage", ["zeroed", "cut", "garbage"])
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path, damage):
    fill(tmp_path, 500).close()
    path = tmp_path / "journal-0001.db"
    whole = path.read_bytes()
    hurt = {
        "zeroed": whole[:4096] + bytes(8192) + whole[12288:],
        "cut": whole[: len(whole) // 2],
        "garbage": b"not a database at all" * 1000,
    }[damage]
    path.write_bytes(hurt)
    with pytest.raises(JournalError, match="cannot be used"):
        open_newest(tmp_path)
    assert path.read_bytes() == hurt


def test_a_new_file_is_seen_only_when_it_has_taken_a_commit(tmp_path, monkeypatch):
    fill(tmp_path, 3).close()
    before = {path.name for path in tmp_path.iterdir()}

    def probe(file, at_ms):
        assert [path.name for path in journal_files(tmp_path)] == ["journal-0001.db"]
        raise apsw.IOError("disk I/O error")

    monkeypatch.setattr(JournalFile, "probe", probe)
    with pytest.raises(apsw.IOError):
        begin_file(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == before, "nothing of it is left"
    monkeypatch.undo()
    (tmp_path / "journal-0002.db-new").write_bytes(b"interrupted")
    file = begin_file(tmp_path)
    assert file.path == journal_files(tmp_path)[-1]
    assert file.path.stat().st_mode & 0o777 == 0o600
    file.close()
    assert not list(tmp_path.glob("*-new*"))


def test_the_cursor_never_goes_back_and_parks_in_the_same_transaction(tmp_path):
    cursor = CursorFile(tmp_path)
    cursor.move("j", 10, [Parked("j", 9, 0, "topic", "too_large", 5)])
    cursor.move("j", 7)
    assert cursor.seq("j") == 10
    assert cursor.parked_counts() == {("topic", "too_large"): 1}
    cursor.unpark(cursor.parked())
    assert cursor.parked() == []
    cursor.close()


def test_one_process_holds_the_folder(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    with pytest.raises(JournalLocked, match="another ingress"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_memory_and_network_file_systems_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ingress.journal.directory.file_system", lambda folder: "tmpfs")
    with pytest.raises(JournalUnsafe, match="JOURNAL_ALLOW_UNSAFE"):
        prepare_folder(tmp_path / "j", allow_unsafe=False)
    assert "memory" in (prepare_folder(tmp_path / "j", allow_unsafe=True) or "")
    monkeypatch.setattr("ingress.journal.directory.file_system", lambda folder: "ext4")
    assert prepare_folder(tmp_path / "k", allow_unsafe=False) is None
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o700


def test_a_cursor_of_a_newer_version_is_refused(tmp_path):
    CursorFile(tmp_path).close()
    db = apsw.Connection(str(tmp_path / "cursor.db"))
    db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(JournalError, match="version 9"):
        CursorFile(tmp_path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cursors SET journal = CAST(x'ff' AS TEXT)",
        "UPDATE cursors SET retired_ms = CAST(x'ff' AS TEXT)",
        "UPDATE parked SET reason = CAST(x'ff' AS TEXT)",
        "UPDATE acked SET seq = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_cursors_file_with_a_damaged_value_raises_what_a_damaged_file_does(tmp_path, statement):
    file = fill(tmp_path, 3)
    cursor = CursorFile(tmp_path)
    cursor.move(file.id, 3, [Parked(file.id, 2, 0, "topic", "rights", 1)])
    cursor.db.execute("UPDATE acked SET at_ms = 1")
    cursor.db.execute(statement)
    with pytest.raises(JournalError, match="nothing is pruned"):
        prune_once(tmp_path, file, Retention(1, 86_400, min_free_bytes=0))
    assert len(file.read(0, max_rows=99, max_bytes=9999)) == 3
    cursor.close()
    file.close()


@pytest.mark.parametrize("mark", [True, False])
def test_a_file_that_failed_and_lost_what_kafka_has_is_not_written_again(tmp_path, mark):
    """What it would keep next would have a number that the publisher has behind it."""
    fill(tmp_path, 5).close()
    path = tmp_path / "journal-0001.db"
    cursor = CursorFile(tmp_path)
    file = reopen(path)
    cursor.move(file.id, 5)
    cursor.close()
    file.close()
    reopen(path).close()
    db = apsw.Connection(str(path))
    db.execute("DELETE FROM callbacks WHERE seq > 2; UPDATE sqlite_sequence SET seq = 2")
    db.close()
    if not mark:
        path.with_name(path.name + "-mark").unlink()
    with pytest.raises(JournalError, match="5"):
        reopen(path)


def test_the_writer_goes_on_in_a_new_file_then(tmp_path):
    journal = Journal(tmp_path, Retention(0, 86_400), JournalMetrics(CollectorRegistry()))
    fill(tmp_path, 5).close()
    (path,) = journal_files(tmp_path)
    with closing(CursorFile(tmp_path)) as cursor, closing(JournalFile(path, read_only=True)) as file:
        cursor.move(file.id, 5)
    with closing(apsw.Connection(str(path))) as db:
        db.execute("DELETE FROM callbacks WHERE seq > 2; UPDATE sqlite_sequence SET seq = 2")
    path.with_name(path.name + "-mark").unlink()
    journal._reopen()
    assert journal._file is not None
    assert journal._file.path != path
    journal._file.close()


@pytest.fixture
def read_by_another(tmp_path, monkeypatch):
    """A folder whose newest file is read, as by a back-up, from before its last commit on."""
    monkeypatch.setattr("ingress.journal.store._BUSY_MS", 10)
    file = fill(tmp_path, 3)
    with closing(apsw.Connection(str(file.path), flags=apsw.SQLITE_OPEN_READONLY)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM callbacks").get == 3
        file.keep([NewCallback(1, "default", "http", b"4", b"4")])
        file.close()
        yield tmp_path


def test_a_file_that_a_back_up_reads_can_be_opened(read_by_another):
    with closing(open_newest(read_by_another)) as file:
        assert file.keep([NewCallback(1, "default", "http", b"5", b"5")]) == [True]
        assert file.highest_seq() == 5


def test_a_file_that_failed_while_a_back_up_reads_it_holds_up_no_new_one(read_by_another):
    """Its log cannot be emptied, so nothing more is promised in it; and the back-up may take minutes."""
    journal = Journal(read_by_another, Retention(3600, 3600), JournalMetrics(CollectorRegistry()))
    journal._reopen()
    assert journal.fault is None
    assert [path.name for path in journal_files(read_by_another)] == ["journal-0001.db", "journal-0002.db"]
    journal._close()


def test_damage_far_behind_in_what_is_parked_is_found(tmp_path, monkeypatch):
    """It is read in pages: a million of them at once would take hundreds of megabytes."""
    monkeypatch.setattr("ingress.journal.checkpoint._CHECKED_AT_ONCE", 10)
    monkeypatch.delattr(CursorFile, "parked")
    with closing(CursorFile(tmp_path)) as cursor:
        cursor.move("j", 25, [Parked("j", seq, 0, "topic", "rights", 1) for seq in range(1, 26)])
        assert cursor.damage() is None
        cursor.db.execute("UPDATE parked SET topic = 'topik' WHERE seq = 25")
        assert "checksum" in str(cursor.damage())


def test_a_cursor_of_an_earlier_version_gets_its_index(tmp_path):
    with closing(CursorFile(tmp_path)) as cursor:
        cursor.db.execute("DROP INDEX parked_by_topic")
    with closing(CursorFile(tmp_path, read_only=True)) as cursor:
        assert cursor.parked_counts() == {}
    with closing(CursorFile(tmp_path)) as cursor:
        plan = "EXPLAIN QUERY PLAN SELECT topic, reason, count(*) FROM parked GROUP BY topic, reason"
        assert "parked_by_topic" in str(cursor.db.execute(plan).fetchall())
