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
    ("error", "raised"),
    [
        (apsw.exception_for(apsw.SQLITE_IOERR_READ), JournalDamaged),
        (apsw.CorruptError("a bad page"), JournalDamaged),
        (apsw.exception_for(apsw.SQLITE_IOERR_SHMMAP), apsw.IOError),  # about the machine
        (apsw.exception_for(apsw.SQLITE_CANTOPEN), apsw.CantOpenError),
    ],
)
async def test_what_cannot_be_read_is_damage_and_what_may_pass_is_none(reader, monkeypatch, error, raised):
    def read(*_, **__):
        raise error

    monkeypatch.setattr(JournalFile, "read", read)
    with pytest.raises(raised):
        await reader.read(0)
