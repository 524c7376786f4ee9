"""What is deleted from the journal, and when: published callbacks, and dedupe keys past their window.

A pass may be interrupted anywhere: that costs only disk.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import MIN_FREE_BYTES
from dingbridge.ingress.journal.rows import now_ms

_STEP: Final = 500
_FREE_PAGES: Final = 2048
"""The file keeps this many free pages for new callbacks, or a quarter of its pages if that is more."""
_RELEASED: Final = 64
"""How many of the others are given back to the disk in a step."""


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long published callbacks and dedupe keys stay, from their receipt. Below ``min_free_bytes`` of
    free disk, published callbacks go at once, and the file shrinks."""

    callbacks_s: float
    seen_s: float
    min_free_bytes: int = MIN_FREE_BYTES


def prune_steps(journal: Callable[[], JournalFile], root: Path, retention: Retention) -> Iterator[None]:
    """One pass through the ``journal`` below ``root``, which is open for writing. Yields after each step;
    steps are short, since the thread that commits runs them.

    Raises what ``journal`` raises, ``apsw.Error`` when the disk fails, ``OSError`` when it cannot be
    measured."""
    # counted from the newest receipt, so that a clock that jumps ahead deletes no keys
    newest_ms = min(now_ms(), journal().last_received_ms())
    while journal().prune_seen(newest_ms - int(retention.seen_s * 1000), _STEP) == _STEP:
        yield
    low_disk = shutil.disk_usage(root).free < retention.min_free_bytes
    # a receipt in the future is of a clock that was ahead: it would stay for as long
    kept_ms = (1, 0) if low_disk else (now_ms() - int(retention.callbacks_s * 1000), now_ms())
    last: int | None = 0
    while last is not None:
        last = journal().prune_callbacks(last, _STEP, kept_ms)
        yield
    free_pages = 0 if low_disk else max(_FREE_PAGES, journal().pages() // 4)
    while journal().shrink(free_pages, _RELEASED):
        yield
