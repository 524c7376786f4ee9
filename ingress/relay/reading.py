"""The relay's read-only view of its journal: callbacks in order, and those that are parked. Off the event
loop, by a connection of its own: it sees committed rows only.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import apsw

from dingbridge.ingress.errors import JournalDamaged
from dingbridge.ingress.journal.disk import DAMAGE, twice
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.rows import Parked, ParkedGroup, StoredCallback, damaged_row

T = TypeVar("T")

_MAX_ROWS = 256
_MAX_BYTES = 1 << 20


class JournalReader:
    """Holds no statement open, so that SQLite can write the WAL back. After an I/O error it opens the file
    once more; a second one is damage. One call at a time.

    Every method raises ``JournalDamaged``, ``JournalError`` for a file of another version, and ``apsw.Error``
    when the disk fails otherwise."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: JournalFile | None = None

    async def acked(self) -> int:
        """Up to here all records are in Kafka, or parked."""
        return await self._of_file(JournalFile.acked)

    async def read(self, after_seq: int) -> list[StoredCallback]:
        """The next callbacks behind ``after_seq``, in order; not ``intact`` where their checksum is wrong.
        Behind what Kafka has acknowledged numbers have no gaps: a missing one is damage."""
        return await self._of_file(lambda file: _read(file, after_seq))

    async def parked(
        self, topic: str, reasons: Iterable[str], after_seq: int, limit: int
    ) -> list[tuple[Parked, StoredCallback]]:
        """The first callbacks behind ``after_seq`` that are parked for ``topic`` and one of ``reasons``."""
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
        def attempt() -> T:
            try:
                self._file = self._file or JournalFile(self._path, read_only=True)
                return look(self._file)
            except apsw.Error:
                self.close()
                raise

        try:
            return await asyncio.to_thread(twice, attempt)
        except (UnicodeDecodeError, *DAMAGE) as error:
            raise JournalDamaged(f"{self._path} is damaged ({type(error).__name__}: {error})") from error


def _read(file: JournalFile, after_seq: int) -> list[StoredCallback]:
    highest_seq = file.highest_seq()  # before the rows, since the ingress goes on keeping new ones
    rows = file.read(after_seq, max_rows=_MAX_ROWS, max_bytes=_MAX_BYTES)
    end = rows[-1].seq if rows else max(after_seq, highest_seq)
    if (missing := end - after_seq - len(rows)) > 0:
        raise apsw.CorruptError(f"{missing} callback(s) are missing before {end}")
    return rows
