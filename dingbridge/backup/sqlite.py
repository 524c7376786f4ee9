"""A copy of a SQLite file as of one moment, beside the process that writes it (sqlite.org/backup.html)."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from dingbridge.errors import BridgeError

BUSY_S = 10.0


def copy_file(source: Path, target: Path) -> None:
    """Copy ``source`` to the new file ``target`` (0600), in one piece, checked and on the disk.

    Raises ``BridgeError`` for a source that is damaged or cannot be read, or a disk that is full."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.touch(mode=0o600, exist_ok=False)
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", BUSY_S, uri=True)) as db,
            closing(sqlite3.connect(target)) as copy,
        ):
            db.backup(copy)  # in one step, so a writer meanwhile does not begin it again
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, that can be read on a read-only disk
            faults = [str(line) for (line,) in copy.execute("PRAGMA quick_check(3)")]
        to_disk(target)
    except (sqlite3.Error, OSError) as error:
        raise BridgeError(f"{source} cannot be copied ({error}); free or repair the disk") from error
    if faults != ["ok"]:
        raise BridgeError(f"{source} is damaged ({'; '.join(faults)}); repair it before you rely on a copy")


def to_disk(path: Path) -> None:
    """fsync a file, or a folder. Raises ``OSError``."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
