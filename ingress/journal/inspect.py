"""A journal folder as an operator looks at it: each callback with what has become of it, damaged ones too.

Nothing here writes, or takes the folder's lock. How it is printed is decided in ``ingress/admin/cli.py``.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from ingress.errors import JournalError
from ingress.gaps import rows_behind
from ingress.high_water import HighWater
from ingress.journal.checkpoint import CursorFile, Parked
from ingress.journal.directory import CURSOR_FILE, journal_files, journal_folders
from ingress.journal.store import JournalFile, StoredCallback, missing_row
from ingress.relay.refusals import LOST

_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Seen:
    """A callback of one ``journal``, and its ``state``: ``waiting``, ``published`` or ``parked`` (then the
    records that are). If its ``row`` is not intact, nothing there but ``seq`` may be believed."""

    journal: str
    row: StoredCallback
    state: str
    parked: tuple[Parked, ...] = ()

    @property
    def reasons(self) -> list[str]:
        """Why its records are parked."""
        return sorted({p.reason for p in self.parked})

    @property
    def lost(self) -> bool:
        """Whether it is parked as something that may be given up."""
        return not LOST.isdisjoint(self.reasons)


class View:
    """One journal file with the cursor beside it, both read-only, as of now."""

    def __init__(self, path: Path) -> None:
        """Raises ``JournalError`` or ``apsw.Error`` when one of the two cannot be read."""
        self.file = JournalFile(path, read_only=True)
        try:
            self.cursor, self.parked = _cursor(path.parent, self.file.id)
        except BaseException:
            self.file.close()
            raise

    def one(self, seq: int) -> Seen | None:
        """The callback with this number; ``None`` where it has been pruned, or was never kept."""
        row = self.file.row(seq)
        if row is None and seq <= self.highest() and (seq in self.parked or seq > self.file.pruned_seq()):
            row = missing_row(seq)
        return self._seen(row) if row is not None else None

    def callbacks(self, after: int) -> Iterator[Seen]:
        """Those behind ``after``, in order; one that ought to be here and is not comes as damaged. Raises
        ``JournalError`` where the file cannot even be searched."""
        try:
            yield from self._callbacks(after)
        except (apsw.Error, JournalError) as error:
            raise JournalError(
                f"{self.file.path} cannot be read to its end ({type(error).__name__}: {error})"
            ) from error

    def highest(self) -> int:
        """The highest number that was ever given here, also if the file has been cut since."""
        mark = HighWater(self.file.path).read()  # before the file: it is written behind it
        return max(self.file.highest_seq(), mark[1] if mark and mark[0] == self.file.id else 0)

    def _callbacks(self, after: int) -> Iterator[Seen]:
        highest = self.highest()
        while after < highest:
            rows, end = rows_behind(self.file, after, highest, max_bytes=_BYTES, kept=self.parked)
            yield from map(self._seen, rows)
            after = end

    def _seen(self, row: StoredCallback) -> Seen:
        parked = self.parked.get(row.seq, ())
        state = "parked" if parked else "published" if row.seq <= self.cursor else "waiting"
        return Seen(self.file.id, row, state, parked)


def views(root: Path) -> tuple[list[View], dict[Path, str]]:
    """Every journal file below ``root``, workers' too, and why the others cannot be read, in words."""
    found: list[View] = []
    unreadable: dict[Path, str] = {}
    for folder in journal_folders(root):
        for path in journal_files(folder):
            try:
                found.append(View(path))
            except (apsw.Error, JournalError) as error:
                unreadable[path] = f"{type(error).__name__}: {error}"
    return found, unreadable


def without_file(root: Path, found: Collection[View]) -> list[Seen]:
    """What is parked below ``root`` and stands in none of the files ``found``. Raises ``JournalError`` or
    ``apsw.Error`` when a cursor cannot be read."""
    here = {view.file.id for view in found}
    seen: list[Seen] = []
    for folder in journal_folders(root):
        for journal in sorted(_parked_journals(folder) - here):
            _, parked = _cursor(folder, journal)
            seen += [Seen(journal, missing_row(seq), "parked", parked[seq]) for seq in sorted(parked)]
    return seen


def _parked_journals(folder: Path) -> frozenset[str]:
    if not (folder / CURSOR_FILE).exists():
        return frozenset()
    cursor = CursorFile(folder, read_only=True)
    try:
        return cursor.parked_journals()
    finally:
        cursor.close()


def _cursor(folder: Path, journal: str) -> tuple[int, dict[int, tuple[Parked, ...]]]:
    if not (folder / CURSOR_FILE).exists():  # the publisher has not begun
        return 0, {}
    cursor = CursorFile(folder, read_only=True)
    try:
        parked: dict[int, tuple[Parked, ...]] = {}
        for p in cursor.parked():
            if p.journal == journal:
                parked[p.seq] = (*parked.get(p.seq, ()), p)
        return cursor.seq(journal), parked
    finally:
        cursor.close()
