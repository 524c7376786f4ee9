"""What the relay reads of a journal that the disk has changed, or that cannot be read just now."""

import apsw
import pytest

from dingbridge.ingress.errors import JournalDamaged
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.relay.reading import JournalReader
from tests.unit.ingress.relay.fakes import body


@pytest.fixture
async def reader(room):
    await room.keep(*(body(n) for n in range(10)))
    made = JournalReader(current(room.root))
    yield made
    made.close()


@pytest.mark.parametrize("column", ["app", "via"])
async def test_a_text_that_is_none_any_more_is_one_damaged_callback(reader, room, column):
    room.change(f"UPDATE callbacks SET {column} = CAST(x'ff' AS TEXT) WHERE seq = 4")
    found = []
    while rows := await reader.read(found[-1][0] if found else 0):
        found += [(row.seq, row.intact) for row in rows]
    assert found == [(seq, seq != 4) for seq in range(1, 11)]


@pytest.mark.parametrize(
    ("error", "times", "raised"),
    [
        (apsw.IOError("a bad sector"), 1, None),
        (apsw.IOError("a bad sector"), 2, JournalDamaged),
        (apsw.CorruptError("a bad page"), 1, JournalDamaged),
        (apsw.exception_for(apsw.SQLITE_IOERR_SHMMAP), 9, apsw.IOError),  # about the machine
        (apsw.exception_for(apsw.SQLITE_IOERR_SHMSIZE), 9, apsw.IOError),
    ],
)
async def test_an_io_error_that_outlives_a_reopening_is_damage(reader, monkeypatch, error, times, raised):
    left, real = [error] * times, JournalFile.read

    def read(self, after_seq, **how):
        if left:
            raise left.pop()
        return real(self, after_seq, **how)

    await reader.read(0)
    before = reader._file
    monkeypatch.setattr(JournalFile, "read", read)
    if raised is None:
        assert len(await reader.read(0)) == 10
        assert reader._file is not before
    else:
        with pytest.raises(raised):
            await reader.read(0)
