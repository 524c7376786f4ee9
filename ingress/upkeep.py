"""What is done to a journal folder beside keeping: the checks before it is used, and pruning.

A folder is refused, with the remedy, rather than used in a way that could leave a callback unpublished.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import apsw
import structlog

from ingress.cursor import CursorFile
from ingress.errors import JournalError
from ingress.folder import journal_files, next_journal_file
from ingress.journal_file import JournalFile

log = structlog.get_logger(__name__)

_PRUNE_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long things stay. ``callbacks_s`` counts from Kafka's acknowledgement, ``seen_s`` from
    receipt; below ``min_free_bytes`` of free disk, published callbacks go at once."""

    callbacks_s: float
    seen_s: float
    min_free_bytes: int = 256 * 1024 * 1024


def open_newest(folder: Path) -> JournalFile:
    """The newest journal file of ``folder``, created if there is none, checked against the cursor.

    Raises ``JournalError`` with the remedy when a file is damaged, of another version, or behind its cursor.
    """
    files = journal_files(folder)
    path = files[-1] if files else next_journal_file(folder)
    try:
        if files and (fault := _quick_check(path)):
            raise JournalError(_damaged(path, fault))
        file = JournalFile(path, create=not files)
        try:
            check_cursor(folder, file)
            file.checkpoint_truncate()
        except BaseException:
            file.close()
            raise
    except apsw.Error as error:
        raise JournalError(_damaged(path, f"{type(error).__name__}: {error}")) from error
    return file


def _quick_check(path: Path) -> str | None:
    """What SQLite finds wrong with the structure of the file, at most its first lines."""
    if path.stat().st_size > 1 << 28:
        return None  # minutes; pages are checked as they are read
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        found = [str(line) for (line,) in db.execute("PRAGMA quick_check(3)")]
        return None if found == ["ok"] else "; ".join(found)
    finally:
        db.close(True)


def _damaged(path: Path, fault: str) -> str:
    return (
        f"the journal file {path} cannot be used ({fault}). Nothing was changed. Move {path.name}* out of "
        "the folder to go on with a new file at once, then restore it from a back-up, or save what is "
        f"readable with `sqlite3 {path.name} .recover`"
    )


def check_cursor(folder: Path, newest: JournalFile) -> None:
    """Refuse a folder whose cursor knows more than its journals: a back-up restored in part, say.

    Going on would leave callbacks unpublished for ever. Raises ``JournalError``.
    """
    cursor = CursorFile(folder)
    try:
        cursors = cursor.cursors()
    finally:
        cursor.close()
    highest: dict[str, int] = {newest.id: newest.highest_seq()}
    for path in journal_files(folder)[:-1]:
        older = JournalFile(path, read_only=True)
        highest[older.id] = older.highest_seq()
        older.close()
    for journal, (seq, retired_ms) in cursors.items():
        if journal not in highest and retired_ms is None:
            raise JournalError(
                f"{folder}: the cursor belongs to a journal ({journal}) that is not here. Put its file "
                "back; or, if its callbacks are given up, move cursor.db away: all that stands here is then "
                "published again"
            )
        if seq > highest.get(journal, seq):
            raise JournalError(
                f"{folder}: the cursor stands at {seq}, but the journal ({journal}) never came further than "
                f"{highest[journal]}: an older copy was restored. Restore the newer one; or move cursor.db "
                "away: all that stands here is then published again"
            )


def prune_once(folder: Path, file: JournalFile, retention: Retention) -> tuple[int, bool]:
    """One small step of pruning. Returns how many callbacks it deleted, and whether there is more to do."""
    now_ms = int(time.time() * 1000)
    cursor = CursorFile(folder, read_only=True)
    try:
        low_disk = shutil.disk_usage(folder).free < retention.min_free_bytes
        if low_disk or retention.callbacks_s <= 0:
            up_to = cursor.seq(file.id)
        else:
            up_to = cursor.acked_before(file.id, now_ms - int(retention.callbacks_s * 1000))
        keep = cursor.parked_seqs(file.id)
        retired = {
            j
            for j, (_, ms) in cursor.cursors().items()
            if ms and (low_disk or ms < now_ms - retention.callbacks_s * 1000)
        }
        parked = {p.journal for p in cursor.parked()} if retired else set()
    finally:
        cursor.close()
    rows = file.prune_callbacks(up_to, keep, _PRUNE_CHUNK) if up_to else 0
    keys = file.prune_seen(now_ms - int(retention.seen_s * 1000), _PRUNE_CHUNK)
    for path in journal_files(folder)[:-1]:
        older = JournalFile(path, read_only=True)
        gone = older.id in retired and older.id not in parked
        older.close()
        if gone:
            discard(path)
            log.info("journal.file_removed", file=path.name)
    return rows, rows == _PRUNE_CHUNK or keys == _PRUNE_CHUNK


def discard(path: Path) -> None:
    """Remove a journal file with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
