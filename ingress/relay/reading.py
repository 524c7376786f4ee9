"""The relay's read-only view of its journal: callbacks in order. Damage of the file is an error here; the
ingress puts the folder aside when it starts next.
"""

from dataclasses import dataclass
from pathlib import Path

import apsw

from ingress.errors import JournalDamaged
from ingress.journal.directory import JOURNAL_FILE
from ingress.journal.rows import StoredCallback, damaged_row
from ingress.journal.store import DAMAGE, JournalFile

_MAX_ROWS = 256
_MAX_BYTES = 1 << 20

_BAD_SECTORS = frozenset({apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ, apsw.SQLITE_IOERR_CORRUPTFS})
"""I/O errors that are about what stands on the disk, not about the machine as a whole."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Callbacks in order, not ``intact`` where the disk has changed them. Up to ``end`` that is all."""

    rows: list[StoredCallback]
    end: int


class JournalReader:
    """Holds no statement open, so that the WAL can be checkpointed."""

    def __init__(self, folder: Path) -> None:
        """Raises ``JournalDamaged`` where the file as a whole cannot be read, ``JournalError`` for one of
        another version, ``apsw.Error`` for the disk."""
        self._path = folder / JOURNAL_FILE
        self._bad_reads = 0
        try:
            self._file: JournalFile | None = JournalFile(self._path, read_only=True)
        except DAMAGE as error:
            raise self._damaged(error) from error
        self.id = self._file.id

    def read(self, after_seq: int) -> Chunk:
        """The next callbacks behind ``after_seq``; ``end`` is ``after_seq`` itself where there is none.

        Raises ``JournalDamaged`` when SQLite calls the file damaged, when callbacks are missing, or when a
        bad sector outlives one reopening; ``apsw.Error`` when the disk fails otherwise."""
        try:
            file = self._opened()
            highest_seq = file.highest_seq()  # first: more may be kept meanwhile
            rows = file.read(after_seq, max_rows=_MAX_ROWS, max_bytes=_MAX_BYTES)
            end = rows[-1].seq if rows else max(after_seq, highest_seq)
            behind_pruned = max(after_seq, file.pruned_seq())
        except DAMAGE as error:
            raise self._damaged(error) from error
        except apsw.IOError as error:
            self._bad_reads += getattr(error, "extendedresult", 0) in _BAD_SECTORS
            if self._bad_reads < 2:
                raise
            raise self._damaged(error) from error
        self._bad_reads = 0
        if (missing := end - behind_pruned - sum(row.seq > behind_pruned for row in rows)) > 0:
            raise self._damaged(apsw.CorruptError(f"{missing} callback(s) are missing before {end}"))
        return Chunk(rows, end)

    def row(self, seq: int) -> StoredCallback:
        """One callback, for what was parked: not intact if what stands there cannot be read any more. Raises
        ``JournalDamaged`` or ``apsw.Error``."""
        try:
            return self._opened().row(seq) or damaged_row(seq)
        except DAMAGE as error:
            raise self._damaged(error) from error

    def close(self) -> None:
        """The next use opens it anew, or says why it cannot."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> JournalFile:
        if self._file is None:
            self._file = JournalFile(self._path, read_only=True)
        return self._file

    def _damaged(self, error: Exception) -> JournalDamaged:
        return JournalDamaged(f"{self._path} is damaged ({type(error).__name__}: {error})")
