"""The journal as an operator looks at it: how much waits and is parked, and each callback with its state.

Nothing here writes, or takes a lock. How it is printed is decided in ``ingress/admin/``.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from ingress.errors import JournalError
from ingress.journal.checkpoint import Checkpoint, Parked, ParkedGroup
from ingress.journal.directory import CURRENT, JournalFolder, folders
from ingress.journal.rows import StoredCallback, damaged_row
from ingress.journal.store import UNREADABLE, JournalFile

_MAX_ROWS = 256
_MAX_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """What waits in one folder: ``waiting`` callbacks are not yet in Kafka, the oldest of them since
    ``oldest_age_s``; ``unread`` could not be read any more.
    ``journal`` is the journal's id, None where it cannot be opened: then what waits is not known."""

    name: str
    journal: str | None
    waiting: int = 0
    oldest_age_s: float = 0.0
    unread: int = 0
    parked: tuple[ParkedGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """All folders below a ``JOURNAL_DIR`` together, the current one last; sizes in bytes."""

    folders: tuple[FolderStatus, ...]
    bytes: int
    free_bytes: int

    @property
    def waiting(self) -> int:
        return sum(folder.waiting for folder in self.folders)

    @property
    def oldest_age_s(self) -> float:
        return max((folder.oldest_age_s for folder in self.folders), default=0.0)

    @property
    def parked(self) -> dict[tuple[str, str], int]:
        """``{(topic, reason): records}``."""
        counts: Counter[tuple[str, str]] = Counter()
        for group in self._groups:
            counts[group.topic, group.reason] += group.records
        return dict(counts)

    @property
    def parked_since_ms(self) -> dict[tuple[str, str], int]:
        """``{(topic, reason): since when}``, epoch ms."""
        since: dict[tuple[str, str], int] = {}
        for group in self._groups:
            name = (group.topic, group.reason)
            since[name] = min(group.since_ms, since.get(name, group.since_ms))
        return since

    @property
    def _groups(self) -> Iterator[ParkedGroup]:
        return (group for folder in self.folders for group in folder.parked)

    @property
    def damaged(self) -> list[FolderStatus]:
        """The folders that were put aside."""
        return [folder for folder in self.folders if folder.name != CURRENT]

    def as_json(self) -> dict[str, Any]:
        """For ``/readyz`` and ``dingbridge journal stats --json``."""
        since = self.parked_since_ms
        return {
            "waiting": self.waiting,
            "oldest_age_s": round(self.oldest_age_s, 1),
            "bytes": self.bytes,
            "free_bytes": self.free_bytes,
            "folders": [
                {
                    "name": folder.name,
                    "journal": folder.journal,
                    "waiting": folder.waiting,
                    "unread": folder.unread,
                    "parked": sum(group.records for group in folder.parked),
                }
                for folder in self.folders
            ],
            "parked": [
                {"topic": topic, "reason": reason, "records": count, "since_ms": since[topic, reason]}
                for (topic, reason), count in sorted(self.parked.items())
            ],
        }


def journal_status(root: Path) -> JournalStatus:
    """Raises ``apsw.Error`` or ``JournalError`` when the current journal or its checkpoint cannot be read."""
    found = []
    for folder in folders(root):
        try:
            found.append(folder_status(folder))
        except (apsw.Error, JournalError):
            if folder.name == CURRENT:
                raise
            found.append(FolderStatus(folder.name, journal=None))
    return JournalStatus(
        folders=tuple(found),
        bytes=sum(path.stat().st_size for path in root.rglob("*") if path.is_file()),
        free_bytes=shutil.disk_usage(root).free,
    )


def folder_status(folder: JournalFolder) -> FolderStatus:
    """Raises ``apsw.Error`` or ``JournalError`` when its journal or its checkpoint cannot be read."""
    with closing(JournalFile(folder.journal, read_only=True)) as file:
        seq, unread, parked = 0, 0, list[ParkedGroup]()
        if _has_checkpoint(folder):
            with closing(Checkpoint(folder.path, read_only=True)) as checkpoint:
                seq, unread, parked = checkpoint.seq(), checkpoint.unread(), checkpoint.parked_groups()
        waiting, since_ms = file.waiting(seq)
        return FolderStatus(
            name=folder.name,
            journal=file.id,
            waiting=waiting,
            oldest_age_s=max(0.0, time.time() - since_ms / 1000) if since_ms is not None else 0.0,
            unread=unread,
            parked=tuple(parked),
        )


def _has_checkpoint(folder: JournalFolder) -> bool:
    """The relay makes it when it begins."""
    return folder.checkpoint.exists() and folder.checkpoint.stat().st_size > 0


@dataclass(frozen=True, slots=True)
class InspectedCallback:
    """A callback of one ``journal``, and its ``state``: ``waiting``, ``published`` or ``parked`` (then the
    records that are). If its ``row`` is not intact, nothing there but ``seq`` may be believed."""

    folder: str
    journal: str
    row: StoredCallback
    state: str
    parked: tuple[Parked, ...] = ()

    @property
    def reasons(self) -> list[str]:
        """Why its records are parked."""
        return sorted({parked.reason for parked in self.parked})


class JournalView:
    """One folder's journal with its checkpoint, both read-only, as of now."""

    def __init__(self, folder: JournalFolder) -> None:
        """Raises ``JournalError`` or ``apsw.Error`` when one of the two cannot be read."""
        self.folder = folder
        self._file = JournalFile(folder.journal, read_only=True)
        self.checkpoint_seq, self.parked = 0, dict[int, tuple[Parked, ...]]()
        try:
            self.highest_seq = self._file.highest_seq()
            if _has_checkpoint(folder):
                with closing(Checkpoint(folder.path, read_only=True)) as checkpoint:
                    self.checkpoint_seq = checkpoint.seq()
                    for parked in checkpoint.parked():
                        self.parked[parked.seq] = (*self.parked.get(parked.seq, ()), parked)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def one(self, seq: int) -> InspectedCallback | None:
        """The callback with this number; ``None`` where it has been deleted, or was never kept."""
        row = self._file.row(seq)
        if row is None and seq in self.parked:
            row = damaged_row(seq)
        return self._inspected(row) if row is not None else None

    def callbacks(self, after_seq: int) -> Iterator[InspectedCallback]:
        """Those behind ``after_seq``, in order, as far as they can be read. Raises ``JournalError`` when the
        disk fails."""
        try:
            while after_seq < self.highest_seq:
                rows, after_seq = self._rows(after_seq)
                yield from map(self._inspected, rows)
        except apsw.Error as error:
            raise JournalError(
                f"{self.folder.journal} cannot be read to its end ({type(error).__name__}: {error}); "
                "repair the disk, or copy the folder to another one"
            ) from error

    def _rows(self, after_seq: int) -> tuple[list[StoredCallback], int]:
        """Some rows behind ``after_seq``, and up to which number that is all."""
        try:
            rows = self._file.read(after_seq, max_rows=_MAX_ROWS, max_bytes=_MAX_BYTES)
        except UNREADABLE:  # one by one
            end = min(after_seq + _MAX_ROWS, self.highest_seq)
            numbers = range(after_seq + 1, end + 1)
            return [row for seq in numbers if (row := self._file.row(seq)) is not None], end
        return rows, rows[-1].seq if rows else self.highest_seq

    def _inspected(self, row: StoredCallback) -> InspectedCallback:
        parked = self.parked.get(row.seq, ())
        state = "parked" if parked else "published" if row.seq <= self.checkpoint_seq else "waiting"
        return InspectedCallback(self.folder.name, self._file.id, row, state, parked)


def views(root: Path) -> tuple[list[JournalView], dict[Path, str]]:
    """A view of every folder below ``root``, and why the others cannot be read, in words."""
    found: list[JournalView] = []
    unreadable: dict[Path, str] = {}
    for folder in folders(root):
        try:
            found.append(JournalView(folder))
        except (apsw.Error, JournalError) as error:
            unreadable[folder.path] = f"{type(error).__name__}: {error}"
    return found, unreadable
