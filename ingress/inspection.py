"""A journal folder as an operator looks at it: each callback with what has become of it, damaged ones too.

Nothing here writes, or takes the folder's lock. How it is printed is decided in ``bridge/cli/journal.py``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from ingress.cursor import CursorFile, Parked
from ingress.errors import JournalError
from ingress.folder import CURSOR_FILE, journal_files, journal_folders
from ingress.gaps import MAX_ROWS, missing, one_by_one
from ingress.high_water import HighWater
from ingress.journal_file import UNREADABLE, JournalFile, Row, missing_row

_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Seen:
    """A callback of one ``journal``, and its ``state``: ``waiting``, ``published`` or ``parked`` (then the
    records that are). If its ``row`` is not intact, nothing there but ``seq`` may be believed."""

    journal: str
    row: Row
    state: str
    parked: tuple[Parked, ...] = ()

    @property
    def reasons(self) -> list[str]:
        """Why its records are parked."""
        return sorted({p.reason for p in self.parked})


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
        if row is None and self._missing(seq - 1, seq + 1):
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
            rows, end = self._chunk(after, highest)
            for row in rows:
                if after < row.seq <= highest:
                    yield from map(self._lost, self._missing(after, row.seq))
                    yield self._seen(row)
                    after = row.seq
            yield from map(self._lost, self._missing(after, end + 1))
            after = max(after, end)

    def _chunk(self, after: int, highest: int) -> tuple[list[Row], int]:
        """Some rows behind ``after``, and up to which number that is all."""
        try:
            rows = self.file.read(after, max_rows=MAX_ROWS, max_bytes=_BYTES)
            # where the numbers themselves are damaged, go on all the same
            return rows, max(after + 1, rows[-1].seq) if rows else highest
        except UNREADABLE:
            end = min(after + MAX_ROWS, highest)
            return [row for row in one_by_one(self.file, after, end) if self._may_stand(row)], end

    def _may_stand(self, row: Row) -> bool:
        """Not one of which a damaged page hides that it was pruned."""
        return row.intact or row.seq in self.parked or row.seq > self.file.pruned_seq()

    def _missing(self, after: int, before: int) -> list[int]:
        """Numbers between the two that only damage can have taken away, if no row has them."""
        if before - after < 2:
            return []
        # asked after the rows were read: what was pruned meanwhile is not missing
        lost = missing(after, min(before, self.highest() + 1), self.file.pruned_seq())
        kept = (seq for seq in self.parked if after < seq < before)  # is never pruned
        return sorted({*kept, *lost})

    def _lost(self, seq: int) -> Seen:
        return self._seen(missing_row(seq))

    def _seen(self, row: Row) -> Seen:
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
