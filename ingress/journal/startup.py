"""What is checked before a journal is used, and how a new one takes the place of one that is damaged.

A folder is refused, with the remedy, rather than used in a way that could leave a callback unpublished.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apsw
import structlog

from dingbridge.ingress.errors import JournalDamaged, JournalError, JournalLocked, JournalOlder
from dingbridge.ingress.journal.checkpoint import Checkpoint
from dingbridge.ingress.journal.directory import (
    CHECKPOINT_FILE,
    DAMAGED_FILE,
    JOURNAL_FILE,
    RELAY_LOCK,
    JournalFolder,
    current,
    damaged_name,
    delete_folder,
    last_put_aside,
    quick_check,
    relay_lock,
    report_damage,
    reported_damage,
    sync,
    takes_no_write,
    twice,
)
from dingbridge.ingress.journal.rows import IMPORTS
from dingbridge.ingress.journal.store import DAMAGE, JournalFile
from dingbridge.ingress.journal.wake import WAKE_FILE

log = structlog.get_logger(__name__)

_NEW = "new"
"""The folder below ``JOURNAL_DIR`` in which a new journal is made before it becomes ``current``."""
_QUICK_CHECK_MAX_BYTES = 1 << 28
"""A larger file is not checked, which would take minutes; its pages are checked as they are read."""
_RELAY_ENDS_WITHIN_S = 10.0
_DAMAGED_AGAIN_S: Final = 3600.0


def open_current(root: Path) -> JournalFile:
    """Open the journal in ``root/current``. If there is none, or it is damaged and put aside, make a new one.

    Raises ``JournalError`` with the remedy when the disk fails, when a file is of another version, when the
    checkpoint is beyond the journal's end, or when the last damage is less than an hour ago.
    """
    folder = current(root)
    try:
        if not folder.journal.exists() and not folder.checkpoint.exists():
            return _begin(root)
        try:
            return twice(lambda: open_checked(folder))
        except JournalDamaged as error:
            return _begin(root, str(error))
    except (apsw.Error, OSError) as error:
        raise JournalError(refused_by_disk(root, error)) from error


def open_checked(folder: JournalFolder, *, failed: bool = False) -> JournalFile:
    """Open the existing journal of ``folder``; one of an older version is brought up. With ``failed``, a
    commit has failed there: now the WAL must be written back and a commit succeed.

    Raises ``JournalDamaged``; ``JournalError`` where the journal is gone, or of a newer version, or the
    checkpoint is beyond its end; ``JournalLocked`` where a relay that reads an older one does not end;
    ``apsw.Error`` when the disk refuses."""
    if (why := reported_damage(folder.path)) is not None:
        raise JournalDamaged(why)
    if not folder.journal.exists():
        raise JournalError(
            f"{folder.checkpoint} is here, but its {JOURNAL_FILE} is not. Nothing was changed. Put it back; "
            f"or, if its callbacks are given up, move {folder.path} away"
        )
    try:
        try:
            return _open(folder, failed=failed)
        except JournalOlder:
            _bring_up(folder)
            return _open(folder, failed=failed)
    except DAMAGE as error:
        raise JournalDamaged(f"{type(error).__name__}: {error}") from error


def _open(folder: JournalFolder, *, failed: bool) -> JournalFile:
    file = JournalFile(folder.journal)
    try:
        if not failed and folder.journal.stat().st_size <= _QUICK_CHECK_MAX_BYTES:
            quick_check(file.db)
        file.pruned_seq()
        _check_checkpoint(folder, file)
        try:
            file.truncate_wal()
        except apsw.BusyError:  # a back-up may take minutes; unless an fsync failed, the WAL may wait
            if failed:
                raise
        if failed:
            file.probe()
    except BaseException:
        file.close()
        raise
    return file


def _bring_up(folder: JournalFolder) -> None:
    """Bring checkpoint and journal of an older version up, while no relay uses them."""
    with _no_relay(folder):
        if folder.checkpoint.exists():
            Checkpoint(folder.path, bring_up=True).close()
        JournalFile(folder.journal, bring_up=True).close()


@contextmanager
def _no_relay(folder: JournalFolder) -> Iterator[None]:
    """Hold the relay's lock; wait for the relay of a killed ingress, or one that finds damage reported, which
    ends in a moment. Raises ``JournalLocked``."""
    lock = relay_lock(folder.path)
    deadline = time.monotonic() + _RELAY_ENDS_WITHIN_S
    while True:
        try:
            lock.acquire()
            break
        except JournalLocked:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    try:
        yield
    finally:
        lock.release()


def _check_checkpoint(folder: JournalFolder, file: JournalFile) -> None:
    """Refuse a checkpoint beyond the journal's end: a back-up was restored in part, or a WAL removed. New
    callbacks would get numbers before it and never be published.

    Raises ``JournalError``; ``JournalDamaged`` for one that cannot be read."""
    highest_seq = file.highest_seq()
    if not folder.checkpoint.exists():
        if highest_seq:
            log.warning("journal.checkpoint_missing", words="all that is in the journal is published again")
        return
    # opened for writing, since SQLite may have to recover it after a crash
    with closing(Checkpoint(folder.path, file.id)) as checkpoint:
        checkpoint.check()
        seq = checkpoint.seq()
    if seq > highest_seq:
        raise JournalError(
            f"{folder.path}: the checkpoint stands at {seq}, but the journal never came further than "
            f"{highest_seq}: its {JOURNAL_FILE}-wal was removed, or an older copy was restored. Put back "
            f"what is missing; or move {folder.path}/{CHECKPOINT_FILE}* away: all that is in the journal is "
            "then published again"
        )


def _put_aside(root: Path, why: str) -> None:
    """Rename the current folder.

    Raises ``OSError`` when the disk refuses, ``JournalLocked`` while a relay publishes the folder,
    ``JournalError`` when the last damage is less than an hour ago.
    """
    folder = current(root)
    last, target = last_put_aside(root), damaged_name(root, datetime.now(UTC))
    if last is not None and abs(time.time() - last.timestamp()) < _DAMAGED_AGAIN_S:
        raise JournalError(
            f"the journal in {folder.path} is damaged ({why}), and the last one was put aside at "
            f"{last:%H:%M:%SZ}, less than an hour ago. Nothing was changed. Replace the disk under {root}; "
            f"then move {folder.path} to {target} and start again, to publish what can be read"
        )
    report_damage(folder.path, why)  # so that a relay that runs as a service of its own ends
    with _no_relay(folder):
        folder.path.rename(target)
    log.error("journal.put_aside", folder=target.name, reason=why)


def _imports(folder: JournalFolder) -> dict[str, str]:
    """A damaged journal's notes of the folders that it has imported, if they can be read."""
    try:
        with closing(JournalFile(folder.journal, read_only=True)) as file:
            return file.notes(IMPORTS)
    except (apsw.Error, JournalError, OSError) as error:
        log.warning("journal.imports_unknown", error=type(error).__name__)
        return {}


def _begin(root: Path, damage: str | None = None) -> JournalFile:
    """Make a new journal the current one, in place of one with ``damage``; returns it, open.

    It must take a commit first: on a disk that is full or read-only nothing is renamed.
    """
    new, folder = root / _NEW, current(root)
    if new.exists():  # of an interrupted attempt; no callback was ever kept in it
        delete_folder(new)
    new.mkdir(mode=0o700)
    with closing(JournalFile(new / JOURNAL_FILE, create=True)) as file:
        file.commit([], {} if damage is None else _imports(folder), 0)
        file.probe()
        file.truncate_wal()
    sync(new)
    if damage is not None:
        _put_aside(root, damage)
    for name in (RELAY_LOCK, WAKE_FILE, DAMAGED_FILE):  # left in a folder whose journal was moved away
        (folder.path / name).unlink(missing_ok=True)
    new.rename(folder.path)
    sync(root)
    return JournalFile(folder.journal)


def refused_by_disk(root: Path, error: Exception) -> str:
    """The words for a disk that fails, with the remedy."""
    if isinstance(error, apsw.BusyError):
        return f"{root}: another process reads the journal ({error}); end it, as a back-up that hangs"
    quota = ", or raise its quota" if takes_no_write(error) and isinstance(error, apsw.IOError) else ""
    return f"{type(error).__name__}: {error}; free or repair the disk under {root}{quota}"
