"""What is deleted from the journal, and when: published callbacks, and dedupe keys past their window."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import MIN_FREE_BYTES
from dingbridge.ingress.journal.rows import now_ms

_STEP: Final = 500
_FREE_PAGES: Final = 2048
"""The file keeps this many free pages for new callbacks."""
_RELEASED: Final = 64
"""How many of the others are given back to the disk in a step."""


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long published callbacks and dedupe keys stay, from their receipt. Below ``min_free_bytes`` of
    free disk, published callbacks go at once, and the file shrinks."""

    callbacks_s: float
    seen_s: float
    min_free_bytes: int = MIN_FREE_BYTES


def prune_step(file: JournalFile, root: Path, retention: Retention, after_seq: int) -> int | None:
    """Delete some of what is old from ``file`` below ``root``: callbacks behind ``after_seq``. A step is
    short, since the thread that commits runs it. Returns behind which number the next one begins; None: all
    is deleted that is old now.

    Raises ``apsw.Error`` when the disk fails, ``OSError`` when it cannot be measured."""
    # counted from the newest receipt, so that a clock that jumps ahead deletes no keys
    newest_ms = min(now_ms(), file.last_received_ms())
    left = file.prune_seen(newest_ms - int(retention.seen_s * 1000), _STEP) == _STEP
    low_disk = shutil.disk_usage(root).free < retention.min_free_bytes
    # a receipt in the future is of a clock that was ahead: it would stay for as long
    kept_ms = (1, 0) if low_disk else (now_ms() - int(retention.callbacks_s * 1000), now_ms())
    last = file.prune_callbacks(after_seq, _STEP, kept_ms)
    left = file.shrink(0 if low_disk else _FREE_PAGES, _RELEASED) or left
    return 0 if last is None and left else last
