"""Which offset of each partition may be committed, and which partitions hold so much that fetching pauses.

Pure bookkeeping, no I/O, no clock. A partition's *committable offset* is the one below which every record is
finished. ``key_queue.py`` has the order in which records are worked on. Each assignment has a tracker of its
own: a rebalance begins with a new one.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.events.event import Event
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.outcomes import Failure
from dingbridge.worker.queues.note import Attempts, Trouble


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one worker holds in memory. Each partition gets an equal share, so that a stuck one cannot
    starve the others; the last batch fetched may exceed it."""

    records: int = 4_000
    """Records fetched and not finished, over all partitions."""

    size: int = 64 * 1024 * 1024
    """Their bytes, over all partitions."""

    records_floor: int = 32
    """The least share of a partition in ``records``, however many partitions there are."""

    window: int = 100_000
    """Records of one partition that are finished and cannot be committed yet, since an earlier one is not.
    They cost no memory, but come again when the process dies; the inbox table then skips them."""


SLACK = 1_024
"""A window is compacted when more than half of its entries, and this many, are finished."""


@dataclass(slots=True, eq=False)
class QueuedRecord:
    """One fetched record. ``record``, ``delivery`` and ``event`` are released when it is finished."""

    partition: TopicPartition
    offset: int
    key: Hashable
    """The record's key; the partition for a record without one."""
    size: int
    record: ConsumerRecord | None = None
    fetched_at: float = 0
    """When it was fetched, epoch s."""
    finished: bool = False
    """Handled, or in the dead letters, durably: its offset may be committed."""
    timer: asyncio.TimerHandle | None = None
    """Fires when it is tried again; None unless it waits for that."""
    delivery: Delivery | None = None
    event: Event | None = None
    known: bool | None = None
    """Whether the inbox table had it when that was asked; None: not asked."""
    alone: bool = False
    """The record failed together with others, and is tried alone from then on."""
    careful: bool = False
    """A process died while this record may have run: its first attempt here is made alone."""
    noted: bool = False
    """That attempt is noted: if the process dies, this record is charged with it."""
    failure: Failure | None = None
    """Why it goes to the dead letters, once that is decided."""
    trouble: Trouble | None = None
    window: "_Window | None" = field(default=None, repr=False)
    number: int = 0
    """How many records of its window came before it."""

    @property
    def troubled(self) -> Trouble:
        """Its failures, to be added to."""
        if self.trouble is None:
            self.trouble = Trouble()
        return self.trouble


@dataclass(slots=True, eq=False)
class _Window:
    """The records of one partition from its committable offset on. The first of ``entries`` is unfinished;
    finished ones behind it are removed now and then. ``added`` counts all records that ever came,
    ``unfinished`` and ``size`` (bytes) the unfinished ones."""

    partition: TopicPartition
    next_offset: int
    entries: deque[QueuedRecord] = field(default_factory=deque)
    added: int = 0
    unfinished: int = 0
    size: int = 0
    full: bool = False

    @property
    def committable(self) -> int:
        # Invariant 4: every record below this offset is finished, so the effect is there
        return self.entries[0].offset if self.entries else self.next_offset

    @property
    def uncommittable(self) -> int:
        """How many are finished and cannot be committed yet."""
        return self.added - self.entries[0].number - self.unfinished if self.entries else 0


class OffsetTracker:
    """The windows of one assignment's ``partitions``."""

    def __init__(self, limits: Limits | None = None, partitions: Iterable[TopicPartition] = ()) -> None:
        self._limits = limits or Limits()
        self._windows: dict[TopicPartition, _Window] = {}
        self._noted: dict[TopicPartition, Mapping[int, Attempts]] = {}
        self.careful_to: dict[TopicPartition, int] = {}
        """Records below this offset may have ended a process: they are tried alone first."""
        self._assigned = set(partitions)
        self._full: set[TopicPartition] = set()
        self.full_changes = 0
        """Grows whenever a partition becomes full or is no longer."""
        self._share_out()

    def _share_out(self) -> None:
        """Give each partition its share of the limits."""
        partitions = max(1, len(self._assigned))
        self._records = max(self._limits.records_floor, self._limits.records // partitions)
        self._size = max(1, self._limits.size // partitions)

    def add(self, queued: QueuedRecord) -> None:
        """Track a fetched record.

        Records of a partition come in the order of their offsets; gaps are fine. A lower offset means that
        the topic was deleted and made again: what may be committed then begins again from there.
        """
        window = self._windows.get(queued.partition)
        if window is None or queued.offset < window.next_offset:
            window = self._open(queued)
        noted = self._noted.get(queued.partition)
        if noted and (attempts := noted.get(queued.offset)) is not None:
            attempts.into(queued.troubled)
        window.entries.append(queued)
        window.next_offset = queued.offset + 1
        queued.window, queued.number = window, window.added
        window.added += 1
        window.unfinished += 1
        window.size += queued.size
        if not window.full and (window.unfinished >= self._records or window.size >= self._size):
            self._update_full(window)

    def _open(self, first: QueuedRecord) -> _Window:
        self._assigned.add(first.partition)
        self._share_out()
        self._full.discard(first.partition)
        window = self._windows[first.partition] = _Window(first.partition, first.offset)
        return window

    def finish(self, queued: QueuedRecord) -> None:
        """``queued`` is handled, or in the dead letters, durably."""
        queued.finished = True
        window = queued.window
        if window is None:
            return
        window.unfinished -= 1
        window.size -= queued.size
        queued.record = queued.event = queued.delivery = None
        entries = window.entries
        while entries and entries[0].finished:
            entries.popleft()
        if len(entries) > 2 * window.unfinished + SLACK:
            window.entries = deque(entry for entry in entries if not entry.finished)
        if window.full or window.uncommittable >= self._limits.window:
            self._update_full(window)

    def next_offset(self, partition: TopicPartition) -> int | None:
        """Offset behind the last record; None before the first."""
        window = self._windows.get(partition)
        return None if window is None else window.next_offset

    def committable_offset(self, partition: TopicPartition) -> int | None:
        """Offset below which all is finished; None before the first record."""
        window = self._windows.get(partition)
        return None if window is None else window.committable

    def overtaken(self, running: Collection[QueuedRecord]) -> Iterator[QueuedRecord]:
        """The records that wait while a later one of their partition was begun, up to the first that failed.
        A commit needs them, and whoever reads from there would repeat the later ones."""
        for window in self._windows.values():
            entries = list(window.entries)
            untouched = window.next_offset - 1
            while entries and entries[-1].offset == untouched and not entries[-1].finished:
                if entries[-1] in running:
                    break
                untouched = entries.pop().offset - 1
            waiting = (one for one in entries if not one.finished and one not in running)
            yield from takewhile(lambda one: one.trouble is None, waiting)

    def failed(self, partition: TopicPartition) -> Iterator[tuple[int, Attempts]]:
        """The unfinished records of ``partition`` that failed, by offset."""
        window = self._windows.get(partition)
        for queued in window.entries if window is not None else ():
            trouble = queued.trouble
            if trouble is None or queued.finished:
                continue
            if trouble.attempts or trouble.own_failures or trouble.deaths:
                yield queued.offset, Attempts.of(trouble)

    def recall(self, partition: TopicPartition, noted: Mapping[int, Attempts]) -> None:
        """Take over the failed attempts that another member noted, for records that are added later."""
        self._noted[partition] = noted

    def full(self) -> set[TopicPartition]:
        """Partitions not to be fetched now. One is full at its share of records or bytes until it is down to
        half of that, and while ``Limits.window`` records of it are finished and uncommittable."""
        return set(self._full)

    def unfinished(self) -> Iterator[QueuedRecord]:
        """All records fetched and not finished."""
        for window in self._windows.values():
            for queued in window.entries:
                if not queued.finished:
                    yield queued

    def oldest(self) -> Iterator[QueuedRecord]:
        """The first unfinished record of each partition that has one."""
        return (window.entries[0] for window in self._windows.values() if window.entries)

    def holders(self) -> Iterator[tuple[TopicPartition, QueuedRecord, int]]:
        """For each partition with finished records that cannot be committed yet: the unfinished one before
        them, and how many they are."""
        for partition, window in self._windows.items():
            if window.uncommittable > 0:
                yield partition, window.entries[0], window.uncommittable

    @property
    def in_flight(self) -> int:
        """Records fetched and not finished."""
        return sum(w.unfinished for w in self._windows.values())

    @property
    def in_flight_bytes(self) -> int:
        return sum(w.size for w in self._windows.values())

    def _update_full(self, window: _Window) -> None:
        scale = 2 if window.full else 1
        full = (
            window.unfinished * scale >= self._records
            or window.size * scale >= self._size
            or window.uncommittable >= self._limits.window  # falls only when the first record is finished
        )
        if full == window.full or self._windows.get(window.partition) is not window:
            return
        window.full = full
        self.full_changes += 1
        if full:
            self._full.add(window.partition)
        else:
            self._full.discard(window.partition)
