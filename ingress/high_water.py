"""How far a journal file has come, noted outside of SQLite, so that what vanished from it is missed.

A WAL that was deleted, cut or not copied, an older copy put back in place, an emptied file: SQLite opens each
of them without a word, as a smaller journal. Every commit therefore overwrites one line beside the file,
``<journal id> <seq>``, after the commit and without a sync: it may lag, and then finds less, but it never
names what was not kept.
"""

import contextlib
import os
from pathlib import Path

SUFFIX = "-mark"


class HighWater:
    """The mark beside the journal file at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + SUFFIX)
        self._fd: int | None = None

    def read(self) -> tuple[str, int] | None:
        """``(journal id, highest seq)``, or ``None`` where there is no mark, or a torn one."""
        try:
            journal, seq = self.path.read_text("ascii").split()
            return journal, int(seq)
        except (OSError, ValueError):
            return None

    def note(self, journal: str, seq: int) -> None:
        """Set the mark. A disk that refuses it leaves it behind: the callbacks themselves are kept."""
        with contextlib.suppress(OSError):
            if self._fd is None:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # always as long, so that it is overwritten in place, within one sector
            os.pwrite(self._fd, f"{journal} {seq:020d}\n".encode("ascii"), 0)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
