"""Which file of a journal folder is written: the checks before it is used, and how a new one is begun.

A folder is refused, with the remedy, rather than used in a way that could leave a callback unpublished.
"""

import time
from contextlib import closing, suppress
from pathlib import Path

import apsw
import structlog

from ingress.errors import JournalError
from ingress.journal.checkpoint import CursorFile
from ingress.journal.directory import CURSOR_FILE, journal_files, missing_files, next_journal_file, sync
from ingress.journal.store import JournalFile
from ingress.journal.words import gone

log = structlog.get_logger(__name__)

_UNBORN = "-new"
"""Behind the name of a file that has not yet shown that it can be written."""


def open_newest(folder: Path) -> JournalFile:
    """The newest journal file of ``folder``, created if there is none, checked against the cursor.

    Raises ``JournalError`` with the remedy when a file is damaged, of another version, less than it was, or
    behind its cursor. An older file that cannot be read is told, and left to the publisher.
    """
    files = journal_files(folder)
    for path in missing_files(folder):
        raise JournalError(gone(path))
    path = files[-1] if files else next_journal_file(folder)
    try:
        if files and (fault := _quick_check(path)):
            raise JournalError(_damaged(path, fault))
        file = JournalFile(path, create=not files)
        try:
            check_cursor(folder, file)
            with suppress(apsw.BusyError):  # a back-up may take minutes, and the WAL is good as it is
                file.checkpoint_truncate()
        except BaseException:
            file.close()
            raise
    except (apsw.Error, UnicodeDecodeError) as error:
        raise JournalError(_damaged(path, f"{type(error).__name__}: {error}")) from error
    return file


def begin_file(folder: Path) -> JournalFile:
    """A new newest file, under its name only when it has taken a commit: whoever sees it may go on to it for
    good. The publisher does, and may then never look at the older one again.

    Raises ``apsw.Error``, ``JournalError`` or ``OSError`` when the disk refuses.
    """
    path = next_journal_file(folder)
    unborn = path.with_name(path.name + _UNBORN)
    try:
        _remove(unborn)  # of an attempt that was interrupted; nothing was ever kept in it
        file = JournalFile(unborn, create=True)
        try:
            file.probe(int(time.time() * 1000))
            file.checkpoint_truncate()  # all of it stands in the one file that gets the name
        finally:
            file.close()
        unborn.rename(path)
    finally:
        with suppress(OSError):
            _remove(unborn)
    sync(folder)
    return JournalFile(path)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


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
            try:
                highest[older.id] = older.highest_seq()
            finally:
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
            raise JournalError(_behind(folder, journal, seq, highest[journal]))


def reopen(path: Path) -> JournalFile:
    """The file at ``path``, which failed and takes a commit again.

    Raises ``apsw.Error`` when it does not, and ``JournalError`` when it is less than it was: the publisher
    would never look at a callback that gets a number behind its cursor.
    """
    file = JournalFile(path)
    try:
        file.checkpoint_truncate()
        file.probe(int(time.time() * 1000))
        cursor = 0
        # of a cursor that cannot be read the publisher tells
        with suppress(apsw.Error, JournalError), closing(CursorFile(path.parent, read_only=True)) as cursors:
            cursor = cursors.seq(file.id)
        if cursor > (highest := file.highest_seq()):
            raise JournalError(_behind(path.parent, file.id, cursor, highest))
    except BaseException:
        file.close()
        raise
    return file


def _behind(folder: Path, journal: str, cursor: int, highest: int) -> str:
    return (
        f"{folder}: the cursor stands at {cursor}, but the journal ({journal}) never came further than "
        f"{highest}: an older copy was restored. Restore the newer one; or move cursor.db away: all that "
        "stands here is then published again"
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
