"""What SQLite's errors say about the disk under a journal, and how a journal's file is opened.

SQLite runs in WAL mode with ``synchronous=FULL``: a commit returns only after the WAL was fsynced
(sqlite.org/wal.html). Torn pages and recovery are SQLite's business, and ``sqlite3`` opens the file for an
operator.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw
import structlog

from dingbridge.ingress.errors import JournalDamaged

log = structlog.get_logger(__name__)
T = TypeVar("T")

BUSY_MS = 5000
"""How long SQLite waits for another process that has the file locked, as one that makes a back-up."""

DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError)
"""SQLite calls the file damaged. ``SQLError``: our own statements no longer fit the tables, as after a
flipped bit in the name of a column."""

_OF_THE_MACHINE = (apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMMAP, apsw.SQLITE_IOERR_NOMEM)
"""I/O errors about memory, or about room for a ``-shm`` file: the file on the disk may be sound."""


def connect(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """A connection to the file at ``path``, of which nothing is read yet. Raises ``apsw.Error``."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    db = apsw.Connection(str(path), flags=flags)
    db.set_busy_timeout(BUSY_MS)
    return db


def make_durable(db: apsw.Connection, *, create: bool) -> None:
    """From now on a commit returns when it is on the disk. ``create``: the file is new, and empty. Raises
    ``apsw.Error``."""
    if create:  # can be set only now; without it the file never shrinks
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    # Invariant 1: a commit returns after its fsync
    db.execute("PRAGMA synchronous = FULL")
    if sys.platform == "darwin":
        # fsync(2) on macOS does not reach the disk's platter
        db.execute("PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1")
    # SQLite's default, and chosen: the commit that writes the WAL back delays all answers, by 14 ms with 1000
    # pages and by 75 ms with 4000 (measured on a busy disk)
    db.execute("PRAGMA wal_autocheckpoint = 1000")


def check(db: apsw.Connection, pragma: str = "quick_check(3)") -> None:
    """Raises ``apsw.CorruptError`` with the first faults that SQLite finds in the file's structure."""
    found = [str(line) for (line,) in db.execute(f"PRAGMA {pragma}")]
    if found != ["ok"]:
        raise apsw.CorruptError("; ".join(found))


def twice(work: Callable[[], T]) -> T:
    """Run ``work``, which opens the file and uses it, and run it again after an I/O error. A second one is
    damage.

    Raises ``JournalDamaged``, and all else that ``work`` raises."""
    try:
        return work()
    except apsw.IOError as first:
        log.warning("journal.io_error", error=str(first))
    try:
        return work()
    except apsw.IOError as error:
        if not about_the_file(error):
            raise
        raise JournalDamaged(f"{type(error).__name__}: {error}") from error


def takes_no_write(error: Exception) -> bool:
    """Return whether ``error`` says that the disk has no room, or the user's quota none. The file is sound.

    Only ENOSPC becomes ``FullError``; EDQUOT becomes an I/O error (``unixWrite`` in SQLite's ``os_unix.c``).
    """
    return isinstance(error, apsw.FullError) or _extended(error) == apsw.SQLITE_IOERR_WRITE


def about_the_file(error: Exception) -> bool:
    """Return whether ``error`` is an I/O error that may be about what stands on the disk."""
    of_the_machine = takes_no_write(error) or _extended(error) in _OF_THE_MACHINE
    return isinstance(error, apsw.IOError) and not of_the_machine


def _extended(error: Exception) -> int:
    """SQLite's extended result code (sqlite.org/rescode.html); 0 for an error that has none."""
    return int(getattr(error, "extendedresult", 0))


def in_words(root: Path, error: Exception) -> str:
    """The words for a disk that fails under the journal in ``root``, with the remedy."""
    if isinstance(error, apsw.BusyError):
        return f"{root}: another process reads the journal ({error}); end it, as a back-up that hangs"
    quota = ", or raise its quota" if takes_no_write(error) and isinstance(error, apsw.IOError) else ""
    return f"{type(error).__name__}: {error}; free or repair the disk under {root}{quota}"


def sync(path: Path) -> None:
    """fsync a file, or a folder (which files are in it). Raises ``OSError``."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
