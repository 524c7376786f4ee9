"""The relay's read-only view of its journal: callbacks in order, and those that are parked. Off the event
loop, by a connection of its own: it sees committed rows only.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import apsw

from dingbridge.ingress.errors import JournalDamaged
from dingbridge.ingress.journal.disk import is_damage
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.rows import Parked, ParkedGroup, StoredCallback, damaged_row

T = TypeVar("T")

_MAX_ROWS = 256
_MAX_BYTES = 1 << 20


class JournalReader:
    """Holds no statement open, so that SQLite can write the WAL back. One call at a time.

    Every method raises ``JournalDamaged``, ``JournalError`` for a file of another version, and ``apsw.Error``
    when the disk fails otherwise."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: JournalFile | None = None

    async def begin(self) -> tuple[str, int]:
        """The journal's id, and up to where all records are in Kafka, or parked."""
        return await self._of_file(lambda file: (file.id, file.acked()))

    async def read(self, after_seq: int) -> list[StoredCallback]:
        """The next callbacks behind ``after_seq``, in order; not ``intact`` where their checksum is wrong.
        Behind what Kafka has acknowledged numbers have no gaps: a missing one is damage."""
        return await self._of_file(lambda file: _read(file, after_seq))

    async def parked(
        self, topic: str | None, reasons: Iterable[str], after_seq: int, limit: int
    ) -> list[tuple[Parked, StoredCallback]]:
        """The first callbacks behind ``after_seq`` that are parked for ``topic`` and one of ``reasons``; with
        None, for any topic and any reason but these."""
        return await self._of_file(
            lambda file: [
                (parked, file.row(parked.seq) or damaged_row(parked.seq))
                for parked in file.parked(topic, reasons, after_seq, limit)
            ]
        )

    async def parked_groups(self) -> list[ParkedGroup]:
        """What is parked, by topic and reason."""
        return await self._of_file(JournalFile.parked_groups)

    def close(self) -> None:
        """May be called again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _of_file(self, look: Callable[[JournalFile], T]) -> T:
        def work() -> T:
            self._file = self._file or JournalFile(self._path, read_only=True)
            return look(self._file)

        try:
            return await asyncio.to_thread(work)
        except apsw.Error as error:
            if is_damage(error):
                words = f"{self._path} is damaged ({type(error).__name__}: {error})"
                raise JournalDamaged(words) from error
            raise


def _read(file: JournalFile, after_seq: int) -> list[StoredCallback]:
    highest_seq = file.highest_seq()  # before the rows, since the ingress goes on keeping new ones
    rows = file.read(after_seq, max_rows=_MAX_ROWS, max_bytes=_MAX_BYTES)
    numbers = [row.seq for row in rows] or [highest_seq] * (highest_seq > after_seq)
    if numbers != [*range(after_seq + 1, after_seq + 1 + len(rows))]:
        raise apsw.CorruptError(f"callbacks are missing behind {after_seq}")
    return rows
