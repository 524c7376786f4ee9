"""What the relay makes of a journal that the disk has changed."""

from contextlib import closing

import apsw
import pytest

from ingress.errors import JournalDamaged
from ingress.journal.store import JournalFile
from ingress.relay.reading import JournalReader
from tests.unit.ingress.relay.fakes import body


@pytest.fixture
def reader(folder):
    folder.keep(*(body(n) for n in range(10)))
    made = JournalReader(folder.path)
    yield made
    made.close()


def numbers(reader, after_seq=0):
    return [(row.seq, row.intact) for row in reader.read(after_seq).rows]


@pytest.mark.parametrize("column", ["app", "via"])
def test_a_text_that_is_none_any_more_is_one_damaged_callback(reader, folder, column):
    with folder.file.db:
        folder.file.db.execute(f"UPDATE callbacks SET {column} = CAST(x'ff' AS TEXT) WHERE seq = 4")
    assert numbers(reader) == [(seq, seq != 4) for seq in range(1, 11)]


def test_a_bad_sector_that_outlives_a_reopening_is_damage(reader, monkeypatch):
    error = apsw.IOError("a bad sector")
    error.extendedresult = apsw.SQLITE_IOERR_READ

    def read(self, after_seq, **_):
        raise error

    monkeypatch.setattr(JournalFile, "read", read)
    with pytest.raises(apsw.IOError):
        reader.read(0)
    reader.reopen()
    with pytest.raises(JournalDamaged, match="a bad sector"):
        reader.read(0)


def test_what_is_about_the_machine_is_no_damage_however_often_it_comes(reader, monkeypatch):
    error = apsw.IOError("no memory for the -shm")
    error.extendedresult = apsw.SQLITE_IOERR_SHMMAP

    def read(self, after_seq, **_):
        raise error

    monkeypatch.setattr(JournalFile, "read", read)
    for _ in range(5):
        with pytest.raises(apsw.IOError):
            reader.read(0)
        reader.reopen()


def test_nor_is_anything_of_a_damaged_journal_passed_for_it(folder, reader, monkeypatch):
    error = apsw.IOError("no memory for the -shm")
    error.extendedresult = apsw.SQLITE_IOERR_SHMMAP

    def fails(self, *_, **__):
        raise error

    for name in ("read", "lookup"):
        monkeypatch.setattr(JournalFile, name, fails)
    with closing(JournalReader(folder.path, past_damage=True)) as reader:
        for _ in range(3):
            with pytest.raises(apsw.IOError):
                reader.read(0)
            reader.reopen()


def test_of_a_journal_whose_newest_page_is_a_bad_sector_the_others_are_read(folder, monkeypatch):
    folder.keep(*(body(n) for n in range(10)))
    error = apsw.IOError("a bad sector")
    error.extendedresult = apsw.SQLITE_IOERR_READ

    def fails(self, *_, **__):
        raise error

    for name in ("read", "highest_seq"):
        monkeypatch.setattr(JournalFile, name, fails)
    with closing(JournalReader(folder.path, past_damage=True)) as reader:
        with pytest.raises(apsw.IOError):
            reader.read(0)
        reader.reopen()
        assert numbers(reader) == [(seq, True) for seq in range(1, 11)]


@pytest.mark.parametrize("error", [apsw.CorruptError("a bad page"), apsw.IOError("a bad sector")])
def test_a_journal_that_cannot_be_opened_again_is_damaged(reader, monkeypatch, error):
    error.extendedresult = apsw.SQLITE_IOERR_READ

    def fails(*_, **__):
        raise error

    monkeypatch.setattr("ingress.relay.reading.JournalFile", fails)
    reader.reopen()
    with pytest.raises((JournalDamaged, apsw.IOError)):
        reader.read(0)
    reader.reopen()
    with pytest.raises(JournalDamaged):
        reader.read(0)
