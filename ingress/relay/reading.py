"""The relay's read-only view of its journal: callbacks in order. A damaged file is an error here; the ingress
replaces the journal at its next start.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import apsw

from dingbridge.ingress.errors import JournalDamaged
from dingbridge.ingress.journal.directory import JOURNAL_FILE, twice
from dingbridge.ingress.journal.rows import StoredCallback, damaged_row
from dingbridge.ingress.journal.store import DAMAGE, JournalFile

T = TypeVar("T")

_MAX_ROWS = 256
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """All callbacks up to ``end``, in order; not ``intact`` where their checksum is wrong."""

    rows: list[StoredCallback]
    end: int


class JournalReader:
    """Holds no statement open, so that SQLite can write the WAL back. After an I/O error it opens the file
    once more; a second one is damage.

    Every method raises ``JournalDamaged``, ``JournalError`` for a file of another version, and ``apsw.Error``
    when the disk fails otherwise."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_FILE
        self._file: JournalFile | None = None
        self.id = self._of_file(lambda file: file.id)

    def read(self, after_seq: int) -> Chunk:
        """The next callbacks behind ``after_seq``; ``end`` is ``after_seq`` where there is none. Missing
        callbacks are damage."""
        return self._of_file(lambda file: _chunk(file, after_seq))

    def row(self, seq: int) -> StoredCallback:
        """The callback of a parked record; not intact if it cannot be read any more."""
        return self._of_file(lambda file: file.row(seq) or damaged_row(seq))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _of_file(self, look: Callable[[JournalFile], T]) -> T:
        def attempt() -> T:
            try:
                self._file = self._file or JournalFile(self._path, read_only=True)
                return look(self._file)
            except apsw.Error:
                self.close()
                raise

        try:
            return twice(attempt)
        except DAMAGE as error:
            raise JournalDamaged(f"{self._path} is damaged ({type(error).__name__}: {error})") from error


def _chunk(file: JournalFile, after_seq: int) -> Chunk:
    highest_seq = file.highest_seq()  # before the rows, since the ingress goes on keeping new ones
    rows = file.read(after_seq, max_rows=_MAX_ROWS, max_bytes=_MAX_BYTES)
    end = rows[-1].seq if rows else max(after_seq, highest_seq)
    behind_pruned = max(after_seq, file.pruned_seq())
    if (missing := end - behind_pruned - sum(row.seq > behind_pruned for row in rows)) > 0:
        raise apsw.CorruptError(f"{missing} callback(s) are missing before {end}")
    return Chunk(rows, end)
