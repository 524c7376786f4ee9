"""The relay's read-only view of its journal: callbacks in order, what to make of a damaged one, and which
checkpoint goes with it.

In a journal that is written, damage of the file is an error: the ingress puts the folder aside. In a folder
that was put aside, all that SQLite still gives is read, and what it does not give is counted.
"""

from dataclasses import dataclass
from pathlib import Path

import apsw
import structlog

from ingress.errors import JournalDamaged, JournalError, JournalNewer
from ingress.journal.checkpoint import Checkpoint
from ingress.journal.directory import CHECKPOINT_FILE, JOURNAL_FILE
from ingress.journal.rows import StoredCallback, damaged_row
from ingress.journal.store import DAMAGE, UNREADABLE, JournalFile

log = structlog.get_logger(__name__)

_MAX_ROWS = 256
_MAX_BYTES = 1 << 20

_BAD_SECTORS = frozenset({apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ, apsw.SQLITE_IOERR_CORRUPTFS})
"""I/O errors that are about what stands on the disk, not about the machine as a whole."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Stands for a callback that a damaged file does not give."""

    seq: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Callbacks in order, not ``intact`` where the disk has changed them. Up to ``end`` that is all."""

    rows: list[StoredCallback | Unread]
    end: int


class JournalReader:
    """Holds no statement open, so that the WAL can be checkpointed."""

    def __init__(self, folder: Path, *, past_damage: bool = False) -> None:
        """``past_damage``: read all that SQLite still gives. Raises ``JournalDamaged`` where the file as a
        whole cannot be read, ``JournalError`` for one of another version, ``apsw.Error`` for the disk."""
        self._path, self._past_damage = folder / JOURNAL_FILE, past_damage
        self._bad_reads = 0
        self._pruned = False  # callbacks before the first that is read may have been
        try:
            self._file: JournalFile | None = JournalFile(self._path, read_only=True)
        except DAMAGE as error:
            raise self._damaged(error) from error
        self.id = self._file.id

    def read(self, after_seq: int) -> Chunk:
        """The next callbacks behind ``after_seq``; ``end`` is ``after_seq`` itself where there is none.

        Raises ``JournalDamaged`` unless damage is to be passed, ``apsw.Error`` when the disk fails."""
        try:
            rows = self._opened().read(after_seq, max_rows=_MAX_ROWS, max_bytes=_MAX_BYTES)
        except UNREADABLE:
            return self._one_by_one(after_seq)
        except apsw.IOError as error:
            self._bad_reads += _is_bad_sector(error)
            if self._bad_reads < 2:
                raise
            if self._past_damage:  # it has outlived one reopening
                return self._one_by_one(after_seq)
            raise self._damaged(error) from error
        self._bad_reads = 0
        if not after_seq:
            self._pruned = bool(rows) and rows[0].seq > 1
        end = rows[-1].seq if rows else self.highest_seq()
        if not self._pruned and end > after_seq + len(rows):
            return self._one_by_one(after_seq)  # what SQLite finds from there on is not all that was kept
        return Chunk([*rows], rows[-1].seq if rows else after_seq)

    def _one_by_one(self, after_seq: int) -> Chunk:
        """By the numbers that must come next, so that one that cannot be read hides no other."""
        end = min(after_seq + _MAX_ROWS, self.highest_seq())
        rows: list[StoredCallback | Unread] = []
        for seq in range(after_seq + 1, end + 1):
            try:
                found = self._opened().lookup(seq)
            except (*DAMAGE, apsw.IOError) as error:
                if isinstance(error, apsw.IOError) and not _is_bad_sector(error):
                    raise
                if self._past_damage:
                    rows.append(Unread(seq))
                elif rows:
                    return Chunk(rows, seq - 1)
                else:
                    raise self._damaged(error) from error
            except UNREADABLE:  # the file is sound, and what is in the row is not
                rows.append(damaged_row(seq))
            else:
                if found is not None:
                    rows.append(found)
                elif after_seq and not self._pruned:  # else it may also have been published, and pruned
                    rows.append(Unread(seq) if self._past_damage else damaged_row(seq))
        return Chunk(rows, end)

    def highest_seq(self) -> int:
        """The highest number that was ever given. Raises ``JournalDamaged`` where nothing tells."""
        try:
            return self._opened().highest_known_seq()
        except DAMAGE as error:
            raise self._damaged(error) from error

    def row(self, seq: int) -> StoredCallback:
        """One callback, for what was parked: not intact if it cannot be read any more."""
        return self._opened().row(seq) or damaged_row(seq)

    def reopen(self) -> None:
        """Go on with a new connection; if there is none to be had, the next use says why."""
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> JournalFile:
        if self._file is None:
            self._file = JournalFile(self._path, read_only=True)
        return self._file

    def _damaged(self, error: Exception) -> JournalDamaged:
        return JournalDamaged(f"{self._path} is damaged ({type(error).__name__}: {error})")


def _is_bad_sector(error: apsw.IOError) -> bool:
    return getattr(error, "extendedresult", 0) in _BAD_SECTORS


def open_checkpoint(folder: Path, journal: JournalReader, *, believed: bool) -> Checkpoint:
    """The checkpoint of ``journal``. One of a folder that was put aside is not ``believed`` whatever it says:
    if it is damaged it begins anew at 0, so that all that can be read is published.

    Raises ``JournalError`` or ``apsw.Error`` when it cannot be used."""
    if believed:
        return Checkpoint(folder, journal.id)
    try:
        checkpoint = Checkpoint(folder, journal.id)
        fault = checkpoint.damage()
        if fault is None and checkpoint.seq() > journal.highest_seq():
            fault = "it knows more than its journal"
        if fault is None:
            return checkpoint
        checkpoint.close()
    except JournalNewer:
        raise
    except (JournalError, *DAMAGE) as error:
        fault = f"{type(error).__name__}: {error}"
    words = f"{folder / CHECKPOINT_FILE} cannot be used ({fault}); all that can be read is published again"
    log.error("publisher.checkpoint_anew", words=words)
    for suffix in ("", "-wal", "-shm"):
        (folder / (CHECKPOINT_FILE + suffix)).unlink(missing_ok=True)
    return Checkpoint(folder, journal.id)
