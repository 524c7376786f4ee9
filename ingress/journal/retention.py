"""What is deleted from the journal, and when: published callbacks, and dedupe keys past their window.

Only callbacks before the checkpoint are deleted. A pass may be interrupted anywhere: that costs only disk.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import apsw

from dingbridge.ingress.errors import JournalError
from dingbridge.ingress.journal.checkpoint import BEFORE_ALL_PARKED, Checkpoint
from dingbridge.ingress.journal.directory import BUSY_MS, MIN_FREE_BYTES, JournalFolder
from dingbridge.ingress.journal.store import JournalFile

T = TypeVar("T")

_CHUNK = 500
_FREE_PAGES, _FREE_SHARE, _RELEASED = 2048, 4, 64
"""The file keeps this many free pages for new callbacks, or a quarter of its pages if that is more. Others
are given back, this many in a step."""


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long callbacks and dedupe keys stay: ``callbacks_s`` from Kafka's acknowledgement, ``seen_s``
    from receipt. Below ``min_free_bytes`` of free disk, published callbacks go at once, and the file
    shrinks."""

    callbacks_s: float
    seen_s: float
    min_free_bytes: int = MIN_FREE_BYTES


def prune_steps(
    journal: Callable[[], JournalFile], folder: JournalFolder, retention: Retention
) -> Iterator[int]:
    """One pass through ``folder``, whose ``journal`` is open for writing. Yields after each step how many
    callbacks it has deleted; steps are short, since the thread that commits runs them.

    Before the first callback is deleted, all parked rows are checked: one with a damaged ``seq`` would
    protect the wrong callback. Raises what ``journal`` raises, ``apsw.Error`` when the disk fails under it,
    ``JournalError`` when the checkpoint cannot be read just now, ``JournalDamaged`` when it is damaged.
    """
    now_ms = int(time.time() * 1000)
    # counted from the newest receipt, so that a clock that jumps ahead deletes no keys
    seen_until_ms = min(now_ms, journal().last_received_ms()) - int(retention.seen_s * 1000)
    while journal().prune_seen(seen_until_ms, _CHUNK) == _CHUNK:
        yield 0
    low_disk = shutil.disk_usage(folder.path).free < retention.min_free_bytes
    age_ms = 0 if low_disk else int(retention.callbacks_s * 1000)
    if folder.checkpoint.exists():  # else no relay has run yet
        after = BEFORE_ALL_PARKED
        while (last := _ask(folder, partial(Checkpoint.check_parked, after=after, limit=_CHUNK))) is not None:
            after = last
            yield 0
        yield from _prune_callbacks(journal, folder, now_ms - age_ms if age_ms else None)
    while _give_back(journal(), low_disk):
        yield 0


def _prune_callbacks(
    journal: Callable[[], JournalFile], folder: JournalFolder, acked_before_ms: int | None
) -> Iterator[int]:
    """Delete callbacks that were published before ``acked_before_ms``; None: all published ones. Parked ones
    stay."""

    def published(checkpoint: Checkpoint) -> int:
        if checkpoint.journal != journal().id:
            return 0
        seq = checkpoint.seq()
        return seq if acked_before_ms is None else min(seq, checkpoint.acked_before(acked_before_ms))

    after_seq, up_to_seq = 0, _ask(folder, published)
    while after_seq < up_to_seq:
        parked = _ask(folder, partial(Checkpoint.parked_seqs, after_seq=after_seq, limit=_CHUNK))
        end = min(up_to_seq, max(parked)) if len(parked) == _CHUNK else up_to_seq
        # Invariant 2: only what the checkpoint has passed is deleted, and nothing that is parked
        rows = journal().prune_callbacks(end, parked, _CHUNK, after_seq=after_seq)
        if rows < _CHUNK:
            after_seq = end
        yield rows


def _ask(folder: JournalFolder, question: Callable[[Checkpoint], T]) -> T:
    """The answer of the folder's checkpoint, which is opened for this one question."""
    try:
        with closing(Checkpoint(folder.path, read_only=True)) as checkpoint:
            return question(checkpoint)
    except (apsw.Error, OSError) as error:
        raise JournalError(f"nothing is deleted while {folder.checkpoint} cannot be read: {error}") from error


def _give_back(file: JournalFile, low_disk: bool) -> bool:
    """Shrink the file by a step if far more of it is free than new callbacks need, or the disk is nearly
    full. Returns whether there is more to give back."""
    free, pages = file.free_pages()
    if free <= (0 if low_disk else max(_FREE_PAGES, pages // _FREE_SHARE)):
        return False
    file.release(_RELEASED)
    if free > _RELEASED and file.free_pages()[0] < free:  # not of a file that was made without auto_vacuum
        return True
    file.db.set_busy_timeout(0)  # do not wait for a reader, as a back-up
    try:
        file.truncate_wal()
    except apsw.BusyError:  # the file shrinks when the WAL is written back next
        pass
    finally:
        file.db.set_busy_timeout(BUSY_MS)
    return False
