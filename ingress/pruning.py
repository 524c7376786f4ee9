"""What is deleted of a journal folder, and when: published callbacks, dedupe keys, drained older files.

The cursor alone licenses it. A step that is interrupted anywhere, or a file that was believed to be drained
and is not, costs nothing but disk.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import apsw
import structlog

from ingress.cursor import CursorFile
from ingress.errors import JournalError
from ingress.folder import CURSOR_FILE, journal_files
from ingress.high_water import SUFFIX, HighWater
from ingress.journal_file import JournalFile

log = structlog.get_logger(__name__)

_PRUNE_CHUNK = 500
_DOOMED = "-gone"
"""Behind the name of a journal file while it is being removed."""


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long things stay. ``callbacks_s`` counts from Kafka's acknowledgement, ``seen_s`` from
    receipt; below ``min_free_bytes`` of free disk, published callbacks go at once."""

    callbacks_s: float
    seen_s: float
    min_free_bytes: int = 256 * 1024 * 1024


class Holding(NamedTuple):
    """What a journal file has held, and what has become of it."""

    written: bool
    """It is the newest, or the one that callbacks are kept in just now."""
    highest_seq: int
    """That it ever issued, by whatever says the most."""
    cursor_seq: int
    """Up to here all is in Kafka, or parked."""
    parked: bool
    """Something of it is parked."""
    retired_ms: int | None
    """Since when the publisher has been through with it, epoch ms."""


def deletable(holding: Holding, *, now_ms: int, age_ms: int, low_disk: bool) -> tuple[bool, str]:
    """Whether a journal file may be deleted as a whole, and why, or why not.

    That it is retired says that the publisher went on to a newer one, not that nothing came since: the newer
    one may have gone again. So the numbers count, and ``retired_ms`` only for how long it stays.
    """
    if holding.written:
        return False, "it is written"
    if holding.highest_seq > holding.cursor_seq:
        return False, f"{holding.highest_seq - holding.cursor_seq} callbacks wait"
    if holding.parked:
        return False, "something of it is parked"
    if holding.retired_ms is None:
        return False, "the publisher is not through with it"
    # either way: a clock that was set back must not keep a drained file for ever
    if not low_disk and abs(now_ms - holding.retired_ms) < age_ms:
        return False, "its time is not over"
    return True, "all is published, and the disk is nearly full" if low_disk else "its time is over"


class _Licence:
    """What the cursor says, as of one moment."""

    def __init__(self, folder: Path, file: JournalFile, retention: Retention) -> None:
        self.now_ms = int(time.time() * 1000)
        self.low_disk = shutil.disk_usage(folder).free < retention.min_free_bytes
        self.age_ms = int(retention.callbacks_s * 1000)
        cursor = CursorFile(folder, read_only=True)
        try:
            self.cursors = cursor.cursors()
            self.up_to_seq, _ = self.cursors.get(file.id, (0, None))
            if not self.low_disk and self.age_ms > 0:
                acked = cursor.acked_before(file.id, self.now_ms - self.age_ms)
                self.up_to_seq = min(self.up_to_seq, acked)
            self.parked = {p.journal for p in cursor.parked()}
            self.keep = cursor.parked_seqs(file.id)
        finally:
            cursor.close()

    def deletable(self, path: Path, written: bool) -> tuple[bool, str]:
        """Of the file at ``path``. Raises ``apsw.Error`` or ``JournalError`` when it cannot be read."""
        file = JournalFile(path, read_only=True)
        try:
            highest_seq = file.last_seq()
        finally:
            file.close()
        if (mark := HighWater(path).read()) is not None:
            if mark[0] != file.id:
                return False, f"it is another journal than the one that was written here ({mark[0]})"
            highest_seq = max(highest_seq, mark[1])
        cursor_seq, retired_ms = self.cursors.get(file.id, (0, None))
        holding = Holding(written, highest_seq, cursor_seq, file.id in self.parked, retired_ms)
        return deletable(holding, now_ms=self.now_ms, age_ms=self.age_ms, low_disk=self.low_disk)


def prune_once(folder: Path, file: JournalFile, retention: Retention) -> tuple[int, bool]:
    """One small step of pruning. Returns how many callbacks it deleted, and whether there is more to do.

    ``file`` is the one that is written. Raises ``apsw.Error`` when the disk fails under it,
    ``JournalError`` when it is damaged or what licenses pruning cannot be read, ``OSError`` when an older
    file cannot be removed.
    """
    try:
        licence = _Licence(folder, file, retention)
    except (apsw.Error, OSError) as error:
        raise JournalError(f"nothing is pruned while {CURSOR_FILE} cannot be read: {error}") from error
    up_to_seq, rows = licence.up_to_seq, 0
    try:
        if up_to_seq:
            rows = file.prune_callbacks(up_to_seq, licence.keep, _PRUNE_CHUNK)
        # by the newest receipt: a clock that jumps ahead receives nothing, and must forget nothing
        seen_until_ms = min(licence.now_ms, file.last_received_ms())
        keys = file.prune_seen(seen_until_ms - int(retention.seen_s * 1000), _PRUNE_CHUNK)
    except apsw.CorruptError as error:  # says nothing of the disk, nor of what is kept next
        raise JournalError(f"{file.path.name} is damaged: {error}") from error
    for doomed in folder.glob(f"journal-*.db{_DOOMED}"):
        _end(doomed)
    for path in journal_files(folder)[:-1]:
        try:
            gone, why = licence.deletable(path, path == file.path)
        except (apsw.Error, JournalError):
            continue  # told at the start, and by the publisher
        if gone:
            discard(path)
            log.info("journal.file_removed", file=path.name, why=why)
    return rows, rows == _PRUNE_CHUNK or keys == _PRUNE_CHUNK


def discard(path: Path) -> None:
    """Remove a journal file with all that stands beside it. Where that is cut off, what is left is either a
    journal file that is whole, or known to go. Raises ``OSError``."""
    path.with_name(path.name + SUFFIX).unlink(missing_ok=True)  # first: alone it says that the file is missed
    doomed = path.with_name(path.name + _DOOMED)
    path.rename(doomed)
    _end(doomed)


def _end(doomed: Path) -> None:
    path = doomed.with_name(doomed.name.removesuffix(_DOOMED))
    if not path.exists():  # else somebody has put one back since, and they are its own
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
    doomed.unlink()
