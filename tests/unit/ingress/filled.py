"""Folders with a journal in them, and one pass of retention."""

import time
from pathlib import Path

from dingbridge.ingress.journal.directory import current
from dingbridge.ingress.journal.startup import open_current
from dingbridge.ingress.journal.store import JournalFile

from dingbridge.ingress.journal.retention import Retention, prune_steps
from dingbridge.ingress.journal.rows import NewCallback


def fill(root: Path, count: int) -> JournalFile:
    """A journal below ``root`` with ``count`` callbacks, open."""
    file = open_current(root)
    now = int(time.time() * 1000)
    file.keep([NewCallback(now, "default", "http", b"%d" % n, b"key-%d" % n) for n in range(count)])
    return file


def prune_all(root: Path, file: JournalFile, retention: Retention) -> int:
    """One pass of retention through ``file``; how many callbacks it has deleted."""
    return sum(prune_steps(lambda: file, current(root), retention))
