"""What is deleted from the journal, and when: published callbacks, and dedupe keys past their window.

The checkpoint alone licenses it. A step that is interrupted anywhere costs nothing but disk.
"""

import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import apsw

from ingress.errors import JournalError
from ingress.journal.checkpoint import BEFORE_ALL_PARKED, Checkpoint, ParkedKey
from ingress.journal.directory import BUSY_MS, MIN_FREE_BYTES, JournalFolder
from ingress.journal.store import JournalFile

_CHUNK = 500
_FREE_PAGES, _FREE_SHARE, _RELEASED = 2048, 4, 64
"""So many free pages, and one of so many, are kept for what comes next; the others go, so many in a step."""


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long things stay. ``callbacks_s`` counts from Kafka's acknowledgement, ``seen_s`` from
    receipt; below ``min_free_bytes`` of free disk, published callbacks go at once, and the file shrinks."""

    callbacks_s: float
    seen_s: float
    min_free_bytes: int = MIN_FREE_BYTES


class _Licence(NamedTuple):
    """What the checkpoint allows: all ``up_to_seq`` but what is parked; ``more`` may be allowed behind
    that."""

    up_to_seq: int
    parked: frozenset[int]
    more: bool


class RetentionJob:
    """Deletes in one folder, pass after pass, in steps that are short enough for the thread that commits,
    however much is published or parked.

    A pass first reads through all that is parked: a number that the disk has changed there protects the wrong
    callback.
    """

    def __init__(self, folder: JournalFolder, retention: Retention) -> None:
        self._folder, self._retention = folder, retention
        self._begin()

    def _begin(self) -> None:
        self._unchecked: ParkedKey | None = BEFORE_ALL_PARKED
        self._after_seq = 0

    def step(self, file: JournalFile) -> tuple[int, bool]:
        """Returns how many callbacks it deleted from ``file``, the folder's journal, and whether there is
        more to do in this pass.

        Raises ``apsw.Error`` when the disk fails under it, ``JournalError`` when what licenses it cannot be
        read just now, ``JournalDamaged`` when it is not what was written.
        """
        try:
            rows, more = self._step(file)
        except BaseException:
            self._begin()
            raise
        if not more:
            self._begin()
        return rows, more

    def _step(self, file: JournalFile) -> tuple[int, bool]:
        now_ms = int(time.time() * 1000)
        # by the newest receipt: a clock that jumps ahead receives nothing, and must forget nothing
        seen_until_ms = min(now_ms, file.last_received_ms()) - int(self._retention.seen_s * 1000)
        keys = file.prune_seen(seen_until_ms, _CHUNK)
        low_disk = shutil.disk_usage(self._folder.path).free < self._retention.min_free_bytes
        try:
            licence = self._ask_checkpoint(file.id, now_ms, low_disk)
        except (apsw.Error, OSError) as error:
            raise JournalError(
                f"nothing is deleted while {self._folder.checkpoint} cannot be read: {error}"
            ) from error
        if licence is None:
            return 0, True
        rows = file.prune_callbacks(licence.up_to_seq, licence.parked, _CHUNK, after_seq=self._after_seq)
        if rows < _CHUNK:
            self._after_seq = licence.up_to_seq
        more = rows == _CHUNK or licence.more or keys == _CHUNK
        return rows, more or _give_back(file, low_disk)

    def _ask_checkpoint(self, journal: str, now_ms: int, low_disk: bool) -> _Licence | None:
        """``None`` while what is parked is still being read through."""
        if not self._folder.checkpoint.exists():  # the relay has not begun
            return _Licence(0, frozenset(), more=False)
        age_ms = int(self._retention.callbacks_s * 1000)
        with closing(Checkpoint(self._folder.path, read_only=True)) as checkpoint:
            if self._unchecked is not None:
                self._unchecked = checkpoint.check_parked(self._unchecked, _CHUNK)
                if self._unchecked is not None:
                    return None
            if checkpoint.journal != journal:
                return _Licence(0, frozenset(), more=False)
            up_to_seq = checkpoint.seq()
            if not low_disk and age_ms > 0:
                up_to_seq = min(up_to_seq, checkpoint.acked_before(now_ms - age_ms))
            parked = checkpoint.parked_seqs(self._after_seq, _CHUNK)
        end = min(up_to_seq, max(parked)) if len(parked) == _CHUNK else up_to_seq
        return _Licence(end, parked, more=end < up_to_seq)


def _give_back(file: JournalFile, low_disk: bool) -> bool:
    """Let the file shrink where far more of it is free than comes next, or the disk is nearly full. Returns
    whether there is more to give back."""
    free, pages = file.free_pages()
    if free <= (0 if low_disk else max(_FREE_PAGES, pages // _FREE_SHARE)):
        return False
    file.release(_RELEASED)
    if free > _RELEASED and file.free_pages()[0] < free:  # not of a file that was made without auto_vacuum
        return True
    file.db.set_busy_timeout(0)  # who reads just now, as a back-up does, is not waited for
    try:
        file.checkpoint_truncate()
    except apsw.BusyError:  # at the next checkpoint of the WAL
        pass
    finally:
        file.db.set_busy_timeout(BUSY_MS)
    return False
