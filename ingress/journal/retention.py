"""What is deleted of a journal folder, and when: published callbacks, dedupe keys, drained older files.

The cursor alone licenses it. A step that is interrupted anywhere, or a file that was believed to be drained
and is not, costs nothing but disk.
"""

import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import apsw
import structlog

from ingress.errors import JournalError
from ingress.high_water import SUFFIX, HighWater
from ingress.journal.checkpoint import BEFORE_ALL_PARKED, CursorFile, ParkedKey
from ingress.journal.directory import CURSOR_FILE, journal_files
from ingress.journal.store import JournalFile

log = structlog.get_logger(__name__)

_CHUNK = 500
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


class _Licence(NamedTuple):
    """What the cursor says, as of one moment: up to where, and if there may be ``more`` behind that."""

    cursors: dict[str, tuple[int, int | None]]
    parked: frozenset[str]
    up_to_seq: int
    keep: frozenset[int]
    more: bool


class Pruning:
    """Prunes one folder, pass after pass, in steps that are short enough for the thread that commits, however
    much is published or parked.

    A pass first reads through all that is parked: a number that the disk has changed there protects the wrong
    callback.
    """

    def __init__(self, folder: Path, retention: Retention) -> None:
        self._folder, self._retention = folder, retention
        self._begin("")

    def _begin(self, journal: str) -> None:
        self._journal = journal
        self._unchecked: ParkedKey | None = BEFORE_ALL_PARKED
        self._after_seq = 0
        self._now_ms = int(time.time() * 1000)
        self._low_disk = False

    def step(self, file: JournalFile) -> tuple[int, bool]:
        """Returns how many callbacks it deleted, and whether there is more to do.

        ``file`` is the one that is written. Raises ``apsw.Error`` when the disk fails under it,
        ``JournalError`` when it is damaged or what licenses pruning cannot be read, ``OSError`` when an older
        file cannot be removed.
        """
        if file.id != self._journal:
            self._begin(file.id)
        try:
            rows, more = self._step(file)
        except BaseException:
            self._begin("")
            raise
        if not more:
            self._begin("")
        return rows, more

    def _step(self, file: JournalFile) -> tuple[int, bool]:
        self._now_ms = int(time.time() * 1000)
        try:
            licence = self._ask_cursor(file.id)
        except (apsw.Error, OSError) as error:
            raise JournalError(f"nothing is pruned while {CURSOR_FILE} cannot be read: {error}") from error
        rows = 0
        try:
            # by the newest receipt: a clock that jumps ahead receives nothing, and must forget nothing
            seen_until_ms = min(self._now_ms, file.last_received_ms())
            keys = file.prune_seen(seen_until_ms - int(self._retention.seen_s * 1000), _CHUNK)
            if licence is None:
                return 0, True
            if licence.up_to_seq > self._after_seq:
                rows = file.prune_callbacks(
                    licence.up_to_seq, licence.keep, _CHUNK, after_seq=self._after_seq
                )
        except apsw.CorruptError as error:  # says nothing of the disk, nor of what is kept next
            raise JournalError(
                f"{file.path.name} is damaged ({error}), and until it is mended no more of it is pruned: "
                "stop the ingress, and run `dingbridge journal mend`"
            ) from error
        if rows < _CHUNK:
            self._after_seq = licence.up_to_seq
            if not licence.more:
                self._remove_files(file, licence)
        return rows, rows == _CHUNK or licence.more or keys == _CHUNK

    def _ask_cursor(self, journal: str) -> _Licence | None:
        """``None`` while what is parked is still being read through."""
        self._low_disk = shutil.disk_usage(self._folder).free < self._retention.min_free_bytes
        with closing(CursorFile(self._folder, read_only=True)) as cursor:
            cursors = cursor.cursors()
            if self._unchecked is not None:
                self._unchecked = cursor.check_parked(self._unchecked, _CHUNK)
                if self._unchecked is not None:
                    return None
            up_to_seq, _ = cursors.get(journal, (0, None))
            if not self._low_disk and self._age_ms > 0:
                up_to_seq = min(up_to_seq, cursor.acked_before(journal, self._now_ms - self._age_ms))
            keep = cursor.parked_seqs(journal, self._after_seq, _CHUNK)
            end = min(up_to_seq, max(keep)) if len(keep) == _CHUNK else up_to_seq
            parked = frozenset(filter(cursor.has_parked, cursors))
            return _Licence(cursors, parked, end, keep, end < up_to_seq)

    @property
    def _age_ms(self) -> int:
        return int(self._retention.callbacks_s * 1000)

    def _remove_files(self, file: JournalFile, licence: _Licence) -> None:
        for doomed in self._folder.glob(f"journal-*.db{_DOOMED}"):
            _end(doomed)
        for path in journal_files(self._folder)[:-1]:
            try:
                gone, why = self._deletable(path, path == file.path, licence)
            except (apsw.Error, JournalError):
                continue  # told at the start, and by the publisher
            if gone:
                discard(path)
                log.info("journal.file_removed", file=path.name, why=why)

    def _deletable(self, path: Path, written: bool, licence: _Licence) -> tuple[bool, str]:
        """Raises ``apsw.Error`` or ``JournalError`` when it cannot be read."""
        with closing(JournalFile(path, read_only=True)) as file:
            highest_seq = file.last_seq()
        if (mark := HighWater(path).read()) is not None:
            if mark[0] != file.id:
                return False, f"it is another journal than the one that was written here ({mark[0]})"
            highest_seq = max(highest_seq, mark[1])
        cursor_seq, retired_ms = licence.cursors.get(file.id, (0, None))
        holding = Holding(written, highest_seq, cursor_seq, file.id in licence.parked, retired_ms)
        return deletable(holding, now_ms=self._now_ms, age_ms=self._age_ms, low_disk=self._low_disk)


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
