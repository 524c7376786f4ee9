"""What is checked before a journal is used, and how a new one takes the place of one that is damaged.

A folder is refused, with the remedy, rather than used in a way that could leave a callback unpublished.
"""

import shutil
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import apsw
import structlog

from ingress.errors import JournalError, JournalLocked, JournalNewer
from ingress.journal.checkpoint import Checkpoint
from ingress.journal.directory import (
    CHECKPOINT_FILE,
    JOURNAL_FILE,
    RELAY_LOCK,
    JournalFolder,
    current,
    damaged,
    damaged_name,
    relay_lock,
    sync,
)
from ingress.journal.rows import ResyncRequest
from ingress.journal.store import DAMAGE, FILE_VERSION, JournalFile
from ingress.journal.version import refuse_newer

log = structlog.get_logger(__name__)

_NEW = "new"
"""The folder below ``JOURNAL_DIR`` in which a journal is made before it becomes ``current``."""
_QUICK_CHECK_MAX_BYTES = 1 << 28
"""Of a larger file a check takes minutes; its pages are checked as they are read."""
_RELAY_ENDS_WITHIN_S = 10.0


class Damaged(Exception):
    """The current journal cannot be used any more, and a new one should take its place."""


def open_current(root: Path) -> JournalFile:
    """The journal of ``root/current``, made if there is none, and put aside first if it is damaged.

    Raises ``JournalError`` with the remedy when the disk fails, when a file is of another version, or when
    the checkpoint knows more than the journal.
    """
    folder = current(root)
    try:
        if not folder.journal.exists() and not folder.checkpoint.exists():
            return _begin(root)
        try:
            return _open_twice(folder)
        except Damaged as error:
            return put_aside(root, str(error), lambda: _wait_for_relay(folder))
    except (apsw.Error, OSError) as error:
        raise JournalError(refused_by_disk(root, error)) from error


def _open_twice(folder: JournalFolder) -> JournalFile:
    """An I/O error may pass; one that outlives a second try is taken for damage. Raises ``Damaged``."""
    try:
        return _open_checked(folder)
    except apsw.IOError as error:
        log.warning("journal.io_error_at_start", error=str(error))
    try:
        return _open_checked(folder)
    except apsw.IOError as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error


def _open_checked(folder: JournalFolder) -> JournalFile:
    if not folder.journal.exists():
        raise JournalError(
            f"{folder.checkpoint} is here, but its {JOURNAL_FILE} is not. Nothing was changed. Put it back; "
            f"or, if its callbacks are given up, move {folder.path} away"
        )
    try:
        if fault := _quick_check(folder.journal):
            raise Damaged(fault)
        file = JournalFile(folder.journal)
        try:
            check_checkpoint(folder, file)
            with suppress(apsw.BusyError):  # a back-up may take minutes, and the WAL is good as it is
                file.checkpoint_truncate()
        except BaseException:
            file.close()
            raise
    except DAMAGE as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error
    return file


def _quick_check(path: Path) -> str | None:
    """What SQLite finds wrong with the structure of the file, at most its first lines."""
    if path.stat().st_size > _QUICK_CHECK_MAX_BYTES:
        return None
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as db:
        refuse_newer(db, path, FILE_VERSION)
        found = [str(line) for (line,) in db.execute("PRAGMA quick_check(3)")]
    return None if found == ["ok"] else "; ".join(found)


def check_checkpoint(folder: JournalFolder, file: JournalFile) -> None:
    """Refuse a checkpoint that knows more than its journal: a back-up restored in part, a WAL that was
    removed.

    Going on would leave callbacks unpublished for ever. Raises ``JournalError``.
    """
    remedy = f"move {folder.path}/{CHECKPOINT_FILE}* away: all that is in the journal is then published again"
    if not folder.checkpoint.exists():
        if highest := file.highest_seq():
            log.warning(
                "journal.checkpoint_missing", words="all that stands here is published again", highest=highest
            )
        return
    try:
        # for writing, since what a crash has left of it may have to be rolled back first
        with closing(Checkpoint(folder.path, file.id)) as checkpoint:
            fault, seq = checkpoint.damage(), checkpoint.seq()
    except JournalNewer:
        raise
    except (apsw.Error, JournalError) as error:
        fault, seq = f"{type(error).__name__}: {error}", 0
    if fault:
        raise JournalError(
            f"the checkpoint {folder.checkpoint} cannot be used ({fault}). Nothing is lost: {remedy}"
        )
    if seq > (highest := file.highest_seq()):
        raise JournalError(
            f"{folder.path}: the checkpoint stands at {seq}, but the journal never came further than "
            f"{highest}: its {JOURNAL_FILE}-wal was removed, or an older copy was restored. Put back what is "
            f"missing; or {remedy}"
        )


def reopen(root: Path) -> JournalFile:
    """The current journal, which failed and takes a commit again.

    Raises ``Damaged`` when SQLite calls it damaged, or the I/O error is still there; ``apsw.Error`` when the
    disk refuses it otherwise; ``JournalError`` when the checkpoint knows more than it.
    """
    folder = current(root)
    try:
        file = JournalFile(folder.journal)
        try:
            file.checkpoint_truncate()
            file.probe(int(time.time() * 1000))
            check_checkpoint(folder, file)
        except BaseException:
            file.close()
            raise
    except (*DAMAGE, apsw.IOError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error
    return file


def put_aside(root: Path, why: str, stop_relay: Callable[[], None]) -> JournalFile:
    """Rename the current folder, whose journal must be closed, and begin a new one whose first row asks
    consumers to look anew. Returns the new journal, open.

    The new one is made first: on a disk that takes none, which is full or read-only, nothing is renamed.
    Raises ``apsw.Error`` or ``OSError`` when the disk refuses either, and what ``stop_relay`` raises.
    """
    _build(root, resync=why)
    stop_relay()
    folder = current(root).path
    if folder.exists():  # else the last attempt came no further than this
        target = damaged_name(root, datetime.now(UTC))
        folder.rename(target)
        log.error("journal.put_aside", folder=target.name, reason=why)
    return _move_in(root)


def _begin(root: Path) -> JournalFile:
    """The first journal of ``root``; or the next, where putting the last one aside was cut off."""
    _build(root, resync="a damaged journal was put aside" if damaged(root) else None)
    return _move_in(root)


def _build(root: Path, *, resync: str | None) -> None:
    """A journal that has taken a commit, all of it in one file, under ``new``."""
    folder = root / _NEW
    shutil.rmtree(
        folder, ignore_errors=True
    )  # of an attempt that was interrupted; nothing was ever kept in it
    folder.mkdir(mode=0o700)
    try:
        with closing(JournalFile(folder / JOURNAL_FILE, create=True)) as file:
            now_ms = int(time.time() * 1000)
            if resync is not None:
                file.commit(
                    [ResyncRequest(f"journal-{file.id}", f"the journal was damaged ({resync})")], {}, now_ms
                )
            file.probe(now_ms)
            file.checkpoint_truncate()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    sync(folder)


def _move_in(root: Path) -> JournalFile:
    folder = current(root)
    (folder.path / RELAY_LOCK).unlink(
        missing_ok=True
    )  # of a folder without a journal; an empty one is replaced
    (root / _NEW).rename(folder.path)
    sync(root)
    return JournalFile(folder.journal)


def _wait_for_relay(folder: JournalFolder) -> None:
    """The relay of an ingress that was killed ends by itself within moments. Raises ``JournalLocked``."""
    deadline = time.monotonic() + _RELAY_ENDS_WITHIN_S
    lock = relay_lock(folder.path)
    while True:
        try:
            lock.acquire()
            return lock.release()
        except JournalLocked:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def refused_by_disk(root: Path, error: Exception) -> str:
    """What is said when the disk fails, with what to do."""
    if isinstance(error, apsw.BusyError):
        return f"{root}: another process reads the journal ({error}); end it, as a back-up that hangs"
    return f"{type(error).__name__}: {error}; free or repair the disk under {root}"
