"""The journal for an operator: how many callbacks wait and are parked, and each callback with its state.

Nothing here writes, or takes a lock. ``ingress/admin/`` prints it.
"""

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dingbridge.ingress.journal.drain import NOTES, DrainState, drain_states
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import beside_current, current
from dingbridge.ingress.journal.rows import Parked, ParkedGroup, StoredCallback, damaged_row
from dingbridge.ingress.metrics import FolderMetrics


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """The state of a ``JOURNAL_DIR``: ``waiting`` callbacks are not yet in Kafka, the oldest of them received
    ``oldest_age_s`` ago; sizes in bytes. ``journal``: its id, None where there is none yet. ``put_aside``:
    how far each other folder is drained, by its name; one that is not called ``damaged-…`` waits for a
    person."""

    journal: str | None
    waiting: int
    oldest_age_s: float
    parked: tuple[ParkedGroup, ...]
    put_aside: dict[str, DrainState]
    bytes: int
    free_bytes: int

    def show(self, metrics: FolderMetrics) -> None:
        """Set all of ``metrics``."""
        metrics.waiting.set(self.waiting)
        metrics.oldest_seconds.set(self.oldest_age_s)
        metrics.bytes.set(self.bytes)
        metrics.free_bytes.set(self.free_bytes)
        metrics.damaged.set(len(self.put_aside))
        metrics.unreadable.set(sum(state.unreadable for state in self.put_aside.values()))
        metrics.parked.clear()
        for group in self.parked:
            metrics.parked.labels(group.reason).inc(group.callbacks)

    def as_json(self) -> dict[str, Any]:
        """For ``/readyz`` and ``dingbridge journal stats --json``."""
        return {
            "journal": self.journal,
            "waiting": self.waiting,
            "oldest_age_s": round(self.oldest_age_s, 1),
            "bytes": self.bytes,
            "free_bytes": self.free_bytes,
            "put_aside": [{"folder": name, **asdict(state)} for name, state in self.put_aside.items()],
            "parked": [group._asdict() for group in self.parked],
        }


def journal_status(root: Path) -> JournalStatus:
    """Raises ``apsw.Error`` or ``JournalError`` when the journal cannot be read."""
    journal, waiting, oldest_ms = None, 0, None
    parked, states = list[ParkedGroup](), dict[str, DrainState]()
    if current(root).exists():
        with closing(JournalFile(current(root), read_only=True)) as file:
            journal, (waiting, oldest_ms) = file.id, file.waiting()
            parked, states = file.parked_groups(), drain_states(file.notes(NOTES))
    aside = beside_current(root)
    names = [str(path.parent.relative_to(root)) for path in aside]
    return JournalStatus(
        journal=journal,
        waiting=waiting,
        oldest_age_s=max(0.0, time.time() - oldest_ms / 1000) if oldest_ms is not None else 0.0,
        parked=tuple(sorted(parked)),
        put_aside={name: states.get(name, DrainState()) for name in names},
        bytes=sum(map(_bytes_of, (current(root), *aside))),
        free_bytes=shutil.disk_usage(root).free,
    )


def _bytes_of(path: Path) -> int:
    """The size of a journal's file with SQLite's own beside it."""
    size = 0
    for end in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            size += path.with_name(path.name + end).stat().st_size
    return size


@dataclass(frozen=True, slots=True)
class InspectedCallback:
    """A callback of one ``journal``, and its ``state``: ``waiting``, ``published`` or ``parked`` (then what
    is). If its ``row`` is not intact, only its ``seq`` is right."""

    journal: str
    row: StoredCallback
    state: str
    parked: tuple[Parked, ...] = ()

    @property
    def reasons(self) -> list[str]:
        """Why records of it are parked."""
        return sorted({parked.reason for parked in self.parked})


class JournalView(JournalFile):
    """One journal's file, read-only, as of now."""

    def __init__(self, path: Path) -> None:
        """Raises ``JournalError`` or ``apsw.Error`` when it cannot be read."""
        super().__init__(path, read_only=True)

    def one(self, seq: int) -> InspectedCallback | None:
        """The callback with this ``seq``; ``None`` where it was pruned, or never kept."""
        row, parked = self.row(seq), tuple(self.parked_of(seq))
        if row is None:
            return InspectedCallback(self.id, damaged_row(seq), "parked", parked) if parked else None
        state = "parked" if parked else "published" if seq <= self.acked() else "waiting"
        return InspectedCallback(self.id, row, state, parked)

    def newest(self, limit: int, *, waiting: bool, parked: bool) -> Iterator[InspectedCallback]:
        """The last ``limit`` callbacks in order; with ``waiting`` only those not yet in Kafka, with
        ``parked`` all that are. Raises ``apsw.Error`` if they cannot be read."""
        seqs: Iterable[int] = range(
            max(self.highest_seq() - limit, self.acked() if waiting else 0) + 1, self.highest_seq() + 1
        )
        if parked:
            seqs = sorted({one.seq for one in self.all_parked()})
        yield from filter(None, map(self.one, seqs))
