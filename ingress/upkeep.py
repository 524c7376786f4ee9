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
from ingress.folder import CURSOR_FILE, journal_files, next_journal_file
from ingress.high_water import SUFFIX
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

    Raises ``JournalError`` with the remedy when a file is damaged, of another version, less than it was, or
    behind its cursor. An older file that cannot be read is told, and left to the publisher.
    """
    files = journal_files(folder)
    for mark in folder.glob(f"journal-*.db{SUFFIX}"):
        if not (base := mark.with_name(mark.name.removesuffix(SUFFIX))).exists():
            JournalFile(base, create=True)  # raises, in the words for a file that has gone
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
    except (apsw.Error, UnicodeDecodeError) as error:
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
        f"the journal file {path} cannot be used ({fault}). Nothing was changed. `dingbridge journal mend` "
        "puts a sound file in its place, with every callback that can still be read, and keeps this one "
        f"beside it. To go on without what it holds, move {path.name}* and {CURSOR_FILE}* out of the folder"
    )


def _cursor_damaged(path: Path, fault: str) -> str:
    return (
        f"the cursor's file {path} cannot be used ({fault}). Nothing was changed. Move {path.name}* out of "
        "the folder: all that stands in the journal is then published again, and nothing is lost"
    )


def check_cursor(folder: Path, newest: JournalFile) -> None:
    """Refuse a folder whose cursor knows more than its journals: a back-up restored in part, say.

    Going on would leave callbacks unpublished for ever. Raises ``JournalError``.
    """
    path = folder / CURSOR_FILE
    if newest.highest_seq() and not (path.exists() and path.stat().st_size):
        log.warning(
            "journal.cursor_missing",
            words=f"{CURSOR_FILE} is not here: all that stands in {newest.path.name} is published again",
            pruned_up_to=newest.pruned_seq(),
            highest=newest.highest_seq(),
        )
    cursors = _cursors(folder)
    highest: dict[str, int] = {newest.id: newest.highest_seq()}
    unreadable = False
    for path in journal_files(folder)[:-1]:
        try:
            older = JournalFile(path, read_only=True)
            highest[older.id] = older.highest_seq()
            older.close()
        except (apsw.Error, JournalError) as error:
            unreadable = True
            log.error("journal.old_file_unreadable", file=path.name, words=_damaged(path, str(error)))
    for journal, (seq, retired_ms) in cursors.items():
        if journal not in highest and retired_ms is None and not unreadable:
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


def _cursors(folder: Path) -> dict[str, tuple[int, int | None]]:
    path = folder / CURSOR_FILE
    try:
        cursor = CursorFile(folder)
        try:
            if fault := cursor.damage():
                raise JournalError(_cursor_damaged(path, fault))
            return cursor.cursors()
        finally:
            cursor.close()
    except apsw.Error as error:
        raise JournalError(_cursor_damaged(path, f"{type(error).__name__}: {error}")) from error


@dataclass(frozen=True, slots=True)
class _Licence:
    """What may be deleted: callbacks up to a ``seq`` but those to ``keep``, and whole files by journal id."""

    up_to_seq: int
    keep: frozenset[int]
    files: frozenset[str]


def _licence(folder: Path, file: JournalFile, retention: Retention, now_ms: int) -> _Licence:
    low_disk = shutil.disk_usage(folder).free < retention.min_free_bytes
    age_ms = int(retention.callbacks_s * 1000)
    cursor = CursorFile(folder, read_only=True)
    try:
        cursors = cursor.cursors()
        up_to, _ = cursors.get(file.id, (0, None))
        if not low_disk and age_ms > 0:
            up_to = min(up_to, cursor.acked_before(file.id, now_ms - age_ms))
        parked = {p.journal for p in cursor.parked()}
        # either way: a clock that was set back must not keep a drained file for ever
        retired = {j for j, (_, ms) in cursors.items() if ms and (low_disk or abs(now_ms - ms) >= age_ms)}
        return _Licence(up_to, cursor.parked_seqs(file.id), frozenset(retired - parked))
    finally:
        cursor.close()


def prune_once(folder: Path, file: JournalFile, retention: Retention) -> tuple[int, bool]:
    """One small step of pruning. Returns how many callbacks it deleted, and whether there is more to do.

    Raises ``apsw.Error`` when ``file`` fails, ``JournalError`` when what licenses it cannot be read.
    """
    now_ms = int(time.time() * 1000)
    try:
        licence = _licence(folder, file, retention, now_ms)
    except (apsw.Error, OSError) as error:
        raise JournalError(f"nothing is pruned while {CURSOR_FILE} cannot be read: {error}") from error
    rows = file.prune_callbacks(licence.up_to_seq, licence.keep, _PRUNE_CHUNK) if licence.up_to_seq else 0
    # by the time of the newest receipt: a clock that jumps ahead receives nothing, and must forget nothing
    seen_until_ms = min(now_ms, file.last_received_ms())
    keys = file.prune_seen(seen_until_ms - int(retention.seen_s * 1000), _PRUNE_CHUNK)
    for path in journal_files(folder)[:-1]:
        try:
            older = JournalFile(path, read_only=True)
        except (apsw.Error, JournalError):
            continue  # told at the start, and by the publisher
        gone = older.id in licence.files
        older.close()
        if gone:
            discard(path)
            log.info("journal.file_removed", file=path.name)
    return rows, rows == _PRUNE_CHUNK or keys == _PRUNE_CHUNK


def discard(path: Path) -> None:
    """Remove a journal file with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", SUFFIX):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
