"""Which journal file the publisher reads, and whose fault it is when it cannot."""

from pathlib import Path

import apsw
import pytest

from ingress.journal.checkpoint import CursorFile
from ingress.journal.directory import next_journal_file
from ingress.journal.store import JournalFile, NewCallback, StoredCallback
from ingress.relay import reading
from ingress.relay.reading import JournalReader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, both with a callback that waits."""
    for number in range(2):
        file = JournalFile(next_journal_file(tmp_path), create=True)
        file.keep([NewCallback(1, "default", "http", b"{}", b"key-%d" % number)])
        file.close()
    return tmp_path


def test_a_cursor_that_is_closed_is_no_fault_of_the_journals(folder):
    """Whoever reads learns of it, opens the cursor again, and goes on at once."""
    cursor = CursorFile(folder)
    reader = JournalReader(folder, cursor)
    cursor.close()
    for _ in range(2):
        with pytest.raises(apsw.ConnectionClosedError):
            reader.current()
    cursor.reopen()
    file = reader.current()
    assert file is not None
    assert file.path.name == "journal-0001.db"
    reader.close()
    cursor.close()


def test_an_older_file_that_cannot_be_read_keeps_no_newer_one_waiting(folder):
    (folder / "journal-0001.db").write_bytes(b"no database" * 1000)
    cursor = CursorFile(folder)
    reader = JournalReader(folder, cursor)
    file = reader.current()
    assert file is not None
    assert file.path.name == "journal-0002.db"
    reader.close()
    cursor.close()


def test_an_older_file_that_could_not_be_read_for_a_moment_is_read_later(folder, monkeypatch):
    """Its callbacks were answered: they must not wait until somebody starts the publisher again."""
    really_opened, sick = reading._opened, True

    def opened(path: Path) -> tuple[JournalFile, int]:
        if sick and path.name == "journal-0001.db":
            raise apsw.CantOpenError("too many open files")
        return really_opened(path)

    now = [1000.0]
    monkeypatch.setattr(reading, "_opened", opened)
    monkeypatch.setattr("ingress.relay.reading.time.monotonic", lambda: now[0])
    cursor = CursorFile(folder)
    reader = JournalReader(folder, cursor)

    def read_on() -> tuple[bool, str]:
        """One idle moment with all of the current file published: whether it was left, and what is read."""
        file = reader.current()
        assert file is not None
        cursor.move(file.id, file.highest_seq())
        left, file = reader.finish(file.highest_seq()), reader.current()
        assert file is not None
        return left, file.path.name

    assert read_on() == (False, "journal-0002.db"), "not at every idle moment"
    now[0] += 60
    assert read_on() == (True, "journal-0002.db"), "tried again, in vain"
    assert read_on() == (False, "journal-0002.db")
    now[0] += 60
    sick = False
    assert read_on() == (True, "journal-0001.db")
    assert read_on() == (True, "journal-0002.db"), "drained; and then the newest again"
    now[0] += 600
    assert read_on() == (False, "journal-0002.db"), "there is nothing to try any more"
    reader.close()
    cursor.close()


def test_an_older_file_with_a_bad_sector_keeps_no_newer_one_waiting(folder, monkeypatch):
    """It can be opened, and whoever reads it opens it anew after an error, since a disk may come back."""
    really_read, sick = JournalFile.read, True

    def read(self: JournalFile, *args: int, **more: int) -> list[StoredCallback]:
        if sick and self.path.name == "journal-0001.db":
            raise apsw.IOError("disk I/O error")
        return really_read(self, *args, **more)

    now = [1000.0]
    monkeypatch.setattr(JournalFile, "read", read)
    monkeypatch.setattr("ingress.relay.reading.time.monotonic", lambda: now[0])
    cursor = CursorFile(folder)
    reader = JournalReader(folder, cursor)

    def read_on() -> str:
        file = reader.current()
        assert file is not None
        try:
            rows = reader.read(file, cursor.seq(file.id))
        except apsw.IOError:
            reader.close()
            return f"{file.path.name} fails"
        if rows:
            cursor.move(file.id, rows[-1].seq)
        reader.finish(cursor.seq(file.id))
        return f"{file.path.name} {len(rows)}"

    assert [read_on() for _ in range(3)] == [
        "journal-0001.db fails",
        "journal-0002.db 1",
        "journal-0002.db 0",
    ]
    now[0] += 60
    assert read_on() == "journal-0002.db 0"
    assert read_on() == "journal-0001.db fails", "tried again"
    sick = False
    assert read_on() == "journal-0002.db 0"
    now[0] += 60
    assert [read_on() for _ in range(3)] == ["journal-0002.db 0", "journal-0001.db 1", "journal-0002.db 0"]
    reader.close()
    cursor.close()


def test_an_unreadable_older_file_that_has_gone_is_not_looked_for(folder, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("ingress.relay.reading.time.monotonic", lambda: now[0])
    (folder / "journal-0001.db").write_bytes(b"no database" * 1000)
    cursor = CursorFile(folder)
    reader = JournalReader(folder, cursor)
    file = reader.current()
    assert file is not None
    (folder / "journal-0001.db").unlink()
    now[0] += 60
    assert not reader.finish(file.highest_seq())
    reader.close()
    cursor.close()


def looked(reader, cursor, times):
    """What a publisher would have published after so many looks, by file and number; and where it is."""
    published = []
    for _ in range(times):
        file = reader.current()
        assert file is not None
        read_seq = cursor.seq(file.id)
        if rows := reader.read(file, read_seq):
            published += [(file.path.name, row.seq) for row in rows]
            cursor.move(file.id, read_seq := rows[-1].seq)
        reader.finish(read_seq)
    assert file is not None
    return published, file


@pytest.mark.parametrize("parked", [frozenset(), frozenset({2})])
def test_without_its_cursor_a_file_of_which_all_was_pruned_keeps_no_newer_one_waiting(tmp_path, parked):
    """Moving cursor.db away is the remedy for a damaged one. What was parked is published with the rest."""
    for number in range(2):
        file = JournalFile(next_journal_file(tmp_path), create=True)
        file.keep([NewCallback(1, "default", "http", b"{}", b"%d-%d" % (number, n)) for n in range(3)])
        if number == 0:
            file.prune_callbacks(3, parked, 100)
        file.close()
    cursor = CursorFile(tmp_path)
    reader = JournalReader(tmp_path, cursor)
    published, file = looked(reader, cursor, 4)
    newer = [("journal-0002.db", seq) for seq in (1, 2, 3)]
    assert published == [*(("journal-0001.db", seq) for seq in parked), *newer]
    assert file.path.name == "journal-0002.db"
    cursors = sorted(cursor.cursors().values(), key=lambda of: of[1] is None)
    assert [(seq, retired is not None) for seq, retired in cursors] == [(3, True), (3, False)]
    reader.close()
    cursor.close()


@pytest.mark.parametrize("damaged", [None, 4])
@pytest.mark.parametrize("begun", [False, True])
def test_an_older_file_whose_highest_number_was_damaged_is_read_to_its_end(tmp_path, begun, damaged):
    """One flipped bit makes it less; the rows themselves have checksums, in which their numbers are."""
    for number in range(2):
        file = JournalFile(next_journal_file(tmp_path), create=True)
        file.keep([NewCallback(1, "default", "http", b"{}", b"%d-%d" % (number, n)) for n in range(6)])
        if number == 0:
            older = file.id
            file.db.execute("UPDATE sqlite_sequence SET seq = 1")
            file.db.execute("UPDATE callbacks SET body = x'7b7c' WHERE seq = ?", (damaged,))
        file.close()
    cursor = CursorFile(tmp_path)
    if begun:
        cursor.move(older, 2)
    reader = JournalReader(tmp_path, cursor)
    published, file = looked(reader, cursor, 5)
    of_older = [seq for name, seq in published if name == "journal-0001.db"]
    assert of_older == list(range(3 if begun else 1, 7))
    assert file.path.name == "journal-0002.db"
    reader.close()
    cursor.close()
