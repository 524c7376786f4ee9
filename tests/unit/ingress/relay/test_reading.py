"""What the relay makes of a journal that the disk has changed."""

import apsw
import pytest

from dingbridge.ingress.errors import JournalDamaged
from dingbridge.ingress.journal.store import JournalFile
from dingbridge.ingress.relay.reading import JournalReader
from tests.unit.ingress.relay.fakes import body


@pytest.fixture
def reader(folder):
    folder.keep(*(body(n) for n in range(10)))
    made = JournalReader(folder.path)
    yield made
    made.close()


def numbers(reader):
    found, after_seq = [], 0
    while (chunk := reader.read(after_seq)).end > after_seq:
        found += [(row.seq, row.intact) for row in chunk.rows]
        after_seq = chunk.end
    return found


@pytest.mark.parametrize("column", ["app", "via"])
def test_a_text_that_is_none_any_more_is_one_damaged_callback(reader, folder, column):
    with folder.file.db:
        folder.file.db.execute(f"UPDATE callbacks SET {column} = CAST(x'ff' AS TEXT) WHERE seq = 4")
    assert numbers(reader) == [(seq, seq != 4) for seq in range(1, 11)]


@pytest.mark.parametrize("times", [1, 2])
def test_a_bad_sector_that_outlives_a_reopening_is_damage(reader, monkeypatch, times):
    left, real = [apsw.IOError("a bad sector")] * times, JournalFile.read

    def read(self, after_seq, **how):
        if left:
            raise left.pop()
        return real(self, after_seq, **how)

    before = reader._file
    monkeypatch.setattr(JournalFile, "read", read)
    if times == 1:
        assert len(reader.read(0).rows) == 10
        assert reader._file is not before
    else:
        with pytest.raises(JournalDamaged, match="a bad sector"):
            reader.read(0)


@pytest.mark.parametrize("code", [apsw.SQLITE_IOERR_SHMMAP, apsw.SQLITE_IOERR_SHMSIZE])
def test_what_is_about_the_machine_is_no_damage_however_often_it_comes(reader, monkeypatch, code):
    error = apsw.IOError("no memory for the -shm")
    error.extendedresult = code

    def read(self, after_seq, **_):
        raise error

    monkeypatch.setattr(JournalFile, "read", read)
    for _ in range(5):
        with pytest.raises(apsw.IOError):
            reader.read(0)


@pytest.mark.parametrize("gone", [(4, 5), (9, 10), range(1, 11)])
def test_a_missing_callback_is_damage(reader, folder, gone):
    with folder.file.db:
        folder.file.db.executemany("DELETE FROM callbacks WHERE seq = ?", [(seq,) for seq in gone])
    with pytest.raises(JournalDamaged, match=r"callback\(s\) are missing before 10"):
        reader.read(reader.read(0).end)


def test_what_was_pruned_is_not_missing_whatever_became_of_the_checkpoint(reader, folder):
    folder.file.prune_callbacks(6, frozenset({3}), 100, after_seq=0)
    assert [seq for seq, _ in numbers(reader)] == [3, 7, 8, 9, 10]


@pytest.mark.parametrize("error", [apsw.CorruptError("a bad page"), apsw.IOError("a bad sector")])
def test_a_journal_that_cannot_be_opened_is_damaged(folder, monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("dingbridge.ingress.relay.reading.JournalFile", fails)
    with pytest.raises(JournalDamaged):
        JournalReader(folder.path)
