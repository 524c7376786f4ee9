"""Which journal file the publisher reads, and whose fault it is when it cannot."""

from pathlib import Path

import apsw
import pytest

from ingress.cursor import CursorFile
from ingress.folder import next_journal_file
from ingress.journal_file import Entry, JournalFile
from ingress.reading import JournalReader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, both with a callback that waits."""
    for number in range(2):
        file = JournalFile(next_journal_file(tmp_path), create=True)
        file.keep([Entry(1, "default", "http", b"{}", b"key-%d" % number)])
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
