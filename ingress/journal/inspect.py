"""The journal for an operator: how many callbacks wait and are parked, and each callback with its state.

Nothing here writes, or takes a lock. ``ingress/admin/`` prints it.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dingbridge.ingress.journal.checkpoint import Checkpoint, Parked, ParkedGroup
from dingbridge.ingress.journal.directory import JournalFolder, current, damaged
from dingbridge.ingress.journal.rows import IMPORTS, ImportState, StoredCallback, damaged_row, import_states
from dingbridge.ingress.journal.store import JournalFile
from dingbridge.ingress.metrics import FolderMetrics

_MAX_ROWS = 256
_MAX_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """The state of a ``JOURNAL_DIR``: ``waiting`` callbacks are not yet in Kafka, the oldest of them received
    ``oldest_age_s`` ago; sizes in bytes. ``journal``: its id, None where there is none yet. ``damaged``: how
    far each damaged folder is imported, by its name."""

    journal: str | None
    waiting: int
    oldest_age_s: float
    parked: tuple[ParkedGroup, ...]
    damaged: dict[str, ImportState]
    bytes: int
    free_bytes: int

    @property
    def unread(self) -> int:
        """How many callbacks of the damaged folders could not be read."""
        return sum(state.unread for state in self.damaged.values())

    def show(self, metrics: FolderMetrics) -> None:
        """Set all of ``metrics``."""
        metrics.waiting.set(self.waiting)
        metrics.oldest_seconds.set(self.oldest_age_s)
        metrics.bytes.set(self.bytes)
        metrics.free_bytes.set(self.free_bytes)
        metrics.damaged.set(len(self.damaged))
        metrics.unread.set(self.unread)
        metrics.parked.clear()
        for group in self.parked:
            metrics.parked.labels(group.reason).inc(group.records)

    def as_json(self) -> dict[str, Any]:
        """For ``/readyz`` and ``dingbridge journal stats --json``."""
        return {
            "journal": self.journal,
            "waiting": self.waiting,
            "oldest_age_s": round(self.oldest_age_s, 1),
            "bytes": self.bytes,
            "free_bytes": self.free_bytes,
            "damaged": [
                {"folder": name, "imported": state.done_ms is not None, "unread": state.unread}
                for name, state in self.damaged.items()
            ],
            "parked": [asdict(group) for group in self.parked],
        }


def journal_status(root: Path) -> JournalStatus:
    """Raises ``apsw.Error`` or ``JournalError`` when the journal or its checkpoint cannot be read."""
    folder = current(root)
    journal, waiting, oldest_ms = None, 0, None
    parked, states = list[ParkedGroup](), dict[str, ImportState]()
    if folder.journal.exists():
        with closing(JournalFile(folder.journal, read_only=True)) as file:
            seq = 0
            if folder.checkpoint.exists():
                with closing(Checkpoint(folder.path, read_only=True)) as checkpoint:
                    seq, parked = checkpoint.seq(), checkpoint.parked_groups()
            journal, (waiting, oldest_ms) = file.id, file.waiting(seq)
            states = import_states(file.notes(IMPORTS))
    return JournalStatus(
        journal=journal,
        waiting=waiting,
        oldest_age_s=max(0.0, time.time() - oldest_ms / 1000) if oldest_ms is not None else 0.0,
        parked=tuple(sorted(parked, key=lambda group: (group.topic, group.reason))),
        damaged={aside.name: states.get(aside.name, ImportState()) for aside in damaged(root)},
        bytes=sum(path.stat().st_size for path in root.rglob("*") if path.is_file()),
        free_bytes=shutil.disk_usage(root).free,
    )


@dataclass(frozen=True, slots=True)
class InspectedCallback:
    """A callback of one ``journal``, and its ``state``: ``waiting``, ``published`` or ``parked`` (then the
    records that are). If its ``row`` is not intact, only its ``seq`` is right."""

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
        self._file = JournalFile(folder.journal, read_only=True)
        self.checkpoint_seq, self.parked = 0, dict[int, tuple[Parked, ...]]()
        try:
            self.highest_seq = self._file.highest_seq()
            if folder.checkpoint.exists():
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
        """The callback with this ``seq``; ``None`` where it was pruned, or never kept."""
        row = self._file.row(seq)
        if row is None and seq in self.parked:
            row = damaged_row(seq)
        return self._inspected(row) if row is not None else None

    def callbacks(self, after_seq: int) -> Iterator[InspectedCallback]:
        """The callbacks behind ``after_seq``, in order. Raises ``apsw.Error`` if they cannot be read."""
        while rows := self._file.read(after_seq, max_rows=_MAX_ROWS, max_bytes=_MAX_BYTES):
            yield from map(self._inspected, rows)
            after_seq = rows[-1].seq

    def _inspected(self, row: StoredCallback) -> InspectedCallback:
        parked = self.parked.get(row.seq, ())
        state = "parked" if parked else "published" if row.seq <= self.checkpoint_seq else "waiting"
        return InspectedCallback(self._file.id, row, state, parked)
