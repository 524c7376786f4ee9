"""A journal's folder after somebody has been at it, by mistake or on purpose: a refusal with its remedy, or
it goes on with what there is.
"""

import shutil

import apsw
import pytest

from ingress.high_water import SUFFIX
from ingress.journal.checkpoint import CursorFile
from ingress.journal.directory import CURSOR_FILE
from ingress.journal.startup import open_newest
from ingress.journal.store import JournalFile
from ingress.status import folder_status
from tests.faults.damaged_journal import ALARMS, COUNT, CURSOR, FILE, PARKED, body, journal, keep, start


def test_the_remedy_for_a_damaged_file_works(tmp_path):
    folder = journal(tmp_path / "journal", wal=False)
    (folder / FILE).write_bytes(b"no database" * 1000)
    refused = start(folder).refused
    assert refused is not None
    assert f"move {FILE}* and {CURSOR_FILE}* out of the folder" in refused
    for path in [*folder.glob(f"{FILE}*"), *folder.glob(f"{CURSOR_FILE}*")]:
        path.rename(tmp_path / path.name)
    found = start(folder)
    assert found.refused is None
    assert list(found.published.values()) == [body(1_000)]


def test_a_missing_wal_is_refused_and_may_be_given_up(tmp_path):
    folder = journal(tmp_path / "journal", wal=True)
    (folder / f"{FILE}-wal").rename(tmp_path / "wal")
    refused = start(folder).refused
    assert refused is not None
    assert f"ends at callback {COUNT // 2}, but it has held {COUNT}" in refused
    (tmp_path / "wal").rename(folder / f"{FILE}-wal")
    whole = shutil.copytree(folder, tmp_path / "whole")
    assert set(range(CURSOR + 1, COUNT + 1)) <= start(whole).published.keys()
    (folder / f"{FILE}-wal").unlink()
    (folder / f"{FILE}{SUFFIX}").unlink()
    assert start(folder).refused is None


def test_an_older_copy_is_refused_although_nothing_was_published_since(tmp_path):
    folder = journal(tmp_path / "journal", wal=False)
    shutil.copy(folder / FILE, tmp_path / "older")
    file = open_newest(folder)
    keep(file, COUNT + 1, 5)
    file.close()
    (tmp_path / "older").rename(folder / FILE)
    refused = start(folder).refused
    assert refused is not None
    assert "an older copy was restored" in refused


def test_another_journal_in_its_place_is_refused(tmp_path):
    folder = journal(tmp_path / "journal", wal=False)
    other = journal(tmp_path / "other", wal=False)
    shutil.copy(other / FILE, folder / FILE)
    refused = start(folder).refused
    assert refused is not None
    assert "is another journal" in refused
    (folder / f"{FILE}{SUFFIX}").unlink()
    refused = start(folder).refused
    assert refused is not None
    assert "the cursor belongs to a journal" in refused


def test_a_file_that_has_gone_is_refused(tmp_path):
    folder = journal(tmp_path / "journal", wal=True)
    (folder / FILE).rename(tmp_path / FILE)
    before = (folder / f"{FILE}-wal").read_bytes()
    refused = start(folder).refused
    assert refused is not None
    assert f"is not here, but it has held {COUNT} callbacks" in refused
    assert (folder / f"{FILE}-wal").read_bytes() == before
    assert not (folder / FILE).exists()


@pytest.mark.parametrize("kind", ["missing", "emptied"])
def test_without_its_cursor_all_that_stands_is_published_again(tmp_path, kind):
    folder = journal(tmp_path / "journal", wal=False)
    file = open_newest(folder)
    file.prune_callbacks(CURSOR, frozenset({PARKED}), 1_000)
    file.close()
    (folder / CURSOR_FILE).unlink()
    if kind == "emptied":
        (folder / CURSOR_FILE).touch()
    found = start(folder)
    assert found.published.keys() == {PARKED, *range(CURSOR + 1, COUNT + 2)}
    assert not found.parked
    assert "journal.cursor_missing" in found.said
    assert not found.said & ALARMS


def test_an_emptied_journal_goes_on_with_the_next_number(tmp_path):
    folder = journal(tmp_path / "journal", wal=False)
    file = open_newest(folder)
    cursor = CursorFile(folder)
    cursor.move(file.id, COUNT)
    cursor.unpark(cursor.parked())
    cursor.close()
    assert file.prune_callbacks(COUNT, frozenset(), 1_000) == COUNT
    file.close()
    found = start(folder)
    assert found.published == {COUNT + 1: body(1_000)}
    assert not found.said & ALARMS


@pytest.mark.parametrize("damage", ["garbage", "emptied", "newer", "id", "no id", "number"])
def test_a_damaged_older_file_does_not_stop_newer_callbacks(tmp_path, damage):
    folder = journal(tmp_path / "journal", wal=False)
    newer = JournalFile(folder / "journal-0002.db", create=True)
    keep(newer, 500, 1)
    newer.close()
    older = folder / FILE
    statements = {
        "newer": "PRAGMA user_version = 99",
        "id": "UPDATE meta SET value = CAST(x'ff' || value AS TEXT) WHERE key = 'id'",
        "no id": "UPDATE meta SET key = 'if' WHERE key = 'id'",
        "number": "UPDATE sqlite_sequence SET seq = CAST(x'ff31' AS TEXT)",
    }
    if damage in statements:
        db = apsw.Connection(str(older))
        db.execute(statements[damage])
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        db.close()
    else:
        older.write_bytes(b"no database" * 1000 if damage == "garbage" else b"")
    before = older.read_bytes()
    found = start(folder)
    assert found.refused is None
    assert list(found.published.values()) == [body(500), body(1_000)]
    assert found.said >= {"journal.old_file_unreadable", "publisher.journal_unreadable"}
    assert folder_status(folder).unreadable == (FILE,)
    assert older.read_bytes() == before


@pytest.mark.parametrize("rows", [range(60, 61), range(60, 100), range(100, COUNT + 1)])
def test_callbacks_that_vanished_from_the_middle_or_the_end_are_missed(tmp_path, rows):
    folder = journal(tmp_path / "journal", wal=False)
    db = apsw.Connection(str(folder / FILE))
    db.execute("DELETE FROM callbacks WHERE seq BETWEEN ? AND ?", (rows[0], rows[-1]))
    db.close()
    found = start(folder)
    assert found.parked == {PARKED, *rows}
    assert "publisher.damaged" in found.said
