"""What SQLite's errors say about the disk under a journal, and how a journal's file is opened.

SQLite runs in WAL mode with ``synchronous=FULL``: a commit returns only after the WAL was fsynced
(sqlite.org/wal.html). Torn pages and recovery are SQLite's business, and ``sqlite3`` opens the file for an
operator.
"""

import os
import sys
from pathlib import Path

import apsw

from dingbridge.ingress.errors import JournalDamaged

BUSY_MS = 5000
"""How long SQLite waits for another process that has the file locked, as one that makes a back-up."""

DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError)
"""SQLite calls the file damaged. ``SQLError``: our own statements no longer fit the tables, as after a
flipped bit in the name of a column."""

_UNREADABLE = (
    apsw.SQLITE_IOERR_READ,
    apsw.SQLITE_IOERR_SHORT_READ,
    apsw.SQLITE_IOERR_DATA,
    apsw.SQLITE_IOERR_CORRUPTFS,
)
"""I/O errors of reading (sqlite.org/rescode.html)."""


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


def is_damage(error: Exception) -> bool:
    """Return whether ``error`` says that the file, or a page of it, cannot be read.

    All else that SQLite raises may pass, and is waited for: a disk without room, a quota (EDQUOT is an I/O
    error of writing, see ``unixWrite`` in SQLite's ``os_unix.c``), a failed fsync, too little memory."""
    unreadable = getattr(error, "extendedresult", 0) in _UNREADABLE
    return isinstance(error, (*DAMAGE, JournalDamaged)) or (isinstance(error, apsw.IOError) and unreadable)


def in_words(root: Path, error: Exception) -> str:
    """The words for a disk that fails under the journal in ``root``, with the remedy."""
    if isinstance(error, apsw.BusyError):
        return f"{root}: another process reads the journal ({error}); end it, as a back-up that hangs"
    return f"{type(error).__name__}: {error}; free or repair the disk under {root}, or raise its quota"


def sync(path: Path) -> None:
    """fsync a file, or a folder (which files are in it). Raises ``OSError``."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
