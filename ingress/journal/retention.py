"""What is deleted below ``JOURNAL_DIR``, and when: published callbacks, dedupe keys, drained damaged folders.

The checkpoint alone licenses it. A step that is interrupted anywhere costs nothing but disk.
"""

import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import apsw
import structlog

from ingress.errors import JournalError, JournalLocked, JournalNewer
from ingress.journal.checkpoint import BEFORE_ALL_PARKED, Checkpoint, ParkedKey
from ingress.journal.directory import JournalFolder, damaged, exclusive_locks, relay_lock
from ingress.journal.store import JournalFile

log = structlog.get_logger(__name__)

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long things stay. ``callbacks_s`` counts from Kafka's acknowledgement, ``seen_s`` from
    receipt; below ``min_free_bytes`` of free disk, published callbacks go at once."""

    callbacks_s: float
    seen_s: float
    min_free_bytes: int = 256 * 1024 * 1024


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
        read.
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
        try:
            licence = self._ask_checkpoint(file.id, now_ms)
        except (apsw.Error, OSError) as error:
            raise JournalError(
                f"nothing is deleted while {self._folder.checkpoint} cannot be read: {error}"
            ) from error
        if licence is None:
            return 0, True
        rows = file.prune_callbacks(licence.up_to_seq, licence.parked, _CHUNK, after_seq=self._after_seq)
        if rows < _CHUNK:
            self._after_seq = licence.up_to_seq
        return rows, rows == _CHUNK or licence.more or keys == _CHUNK

    def _ask_checkpoint(self, journal: str, now_ms: int) -> _Licence | None:
        """``None`` while what is parked is still being read through."""
        if not self._folder.checkpoint.exists():  # the relay has not begun
            return _Licence(0, frozenset(), more=False)
        low_disk = shutil.disk_usage(self._folder.path).free < self._retention.min_free_bytes
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


def remove_drained(root: Path, older_than_s: float, *, forget: bool = False) -> list[str]:
    """Delete the damaged folders below ``root`` that were drained longer than ``older_than_s`` ago and of
    which nothing is unread or parked; ``forget``: also those. Returns their names.

    What is being published just now, or was not published to its end, always stays. Raises ``JournalError``
    or ``OSError`` when the disk refuses.
    """
    removed = []
    for folder in damaged(root):
        try:
            with exclusive_locks(relay_lock(folder.path)):
                if folder.journal.exists() and not _is_over(folder, older_than_s, forget):
                    continue
                folder.journal.unlink(missing_ok=True)  # first: a folder without it is known to go
                shutil.rmtree(folder.path)
        except JournalLocked:
            continue
        except (apsw.Error, JournalNewer) as error:
            log.warning("journal.folder_kept", folder=folder.name, words=f"{type(error).__name__}: {error}")
            continue
        removed.append(folder.name)
        log.info("journal.folder_removed", folder=folder.name)
    return removed


def _is_over(folder: JournalFolder, older_than_s: float, forget: bool) -> bool:
    try:
        with closing(JournalFile(folder.journal, read_only=True)) as file:
            highest_seq = file.highest_known_seq()
    except JournalNewer:
        raise
    except (apsw.Error, JournalError):
        return forget  # nothing of it can be read
    if not folder.checkpoint.exists():
        return highest_seq == 0
    until_ms = int((time.time() - older_than_s) * 1000)
    with closing(Checkpoint(folder.path, read_only=True)) as checkpoint:
        seq = checkpoint.seq()
        if seq < highest_seq:
            return False
        return forget or (
            checkpoint.acked_before(until_ms) >= seq
            and not checkpoint.unread()
            and not checkpoint.parked_counts()
        )
