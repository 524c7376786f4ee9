"""Order per key and the watermark per partition: pure bookkeeping, no I/O, no clock.

A *lane* is the queue of one key's records across all topics of a consumer; only its head may be worked on. A
partition's *watermark* is the offset below which every record is finished: all that may ever be committed.
``Lanes`` also says which partitions hold so much that fetching them must pause. Who runs the heads, and what
finishing means, is ``dispatch.py``'s business.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one worker holds in memory. Each partition gets an equal share, so that one which is stuck
    cannot starve the others; a batch that is already fetched may exceed it once."""

    records: int = 4_000
    """Records fetched and not finished, over all partitions."""

    size: int = 64 * 1024 * 1024
    """Their bytes, over all partitions."""

    records_floor: int = 32
    """The least share of a partition in ``records``, however many partitions there are."""

    window: int = 100_000
    """Offsets of one partition that are finished and cannot be committed yet, since an earlier one is not.
    They cost no memory; they come again when the process dies, and the inbox then has to know them."""


SLACK = 1_024
"""Finished entries that a window may keep beside as many as are unfinished."""


@dataclass(slots=True, eq=False)
class Item:
    """One record on its way. ``record`` is released when it is finished or dropped."""

    partition: TopicPartition
    offset: int
    key: Hashable
    size: int
    record: Any = None
    finished: bool = False
    dropped: bool = False
    attempts: int = 0
    fetch_sequence: int | None = None
    """The number of the moment when it came (``fetch_sequence.py``)."""
    delivery: Any = None
    event: Any = None
    burial: str | None = None
    """Why it is to go to the dead letters, once that is decided."""
    block: Any = None
    """What its key is blocked by, if that is the reason."""
    window: "_Window | None" = field(default=None, repr=False)
    number: int = 0
    """How many records of its window came before it."""


@dataclass(slots=True, eq=False)
class _Window:
    """The offsets of one partition from its watermark on. ``entries`` begins with an unfinished one; of those
    behind it, finished ones are dropped now and then."""

    partition: TopicPartition
    next_offset: int
    committed: int
    entries: deque[Item] = field(default_factory=deque)
    added: int = 0
    unfinished: int = 0
    size: int = 0
    full: bool = False

    @property
    def watermark(self) -> int:
        return self.entries[0].offset if self.entries else self.next_offset

    @property
    def waiting(self) -> int:
        """How many are finished and cannot be committed yet."""
        return self.added - self.entries[0].number - self.unfinished if self.entries else 0

    def release(self, item: Item) -> None:
        self.unfinished -= 1
        self.size -= item.size
        item.record = item.event = item.delivery = item.block = None


class Lanes:
    """Lanes and windows of the partitions that this member holds."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lanes: dict[Hashable, deque[Item]] = {}
        self._windows: dict[TopicPartition, _Window] = {}
        self._assigned: set[TopicPartition] = set()
        self._full: set[TopicPartition] = set()
        self._records = self._limits.records
        self._size = self._limits.size
        self.flips = 0
        """Grows whenever a partition becomes full or is no longer."""

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Count ``partitions`` in when the limits are shared out."""
        self._assigned.update(partitions)
        self._share_out()

    def _share_out(self) -> None:
        partitions = max(1, len(self._assigned))
        self._records = max(self._limits.records_floor, self._limits.records // partitions)
        self._size = max(1, self._limits.size // partitions)

    def add(self, item: Item) -> Item | None:
        """Queue a fetched record. Returns it if it is the head of its lane, and may be worked on now.

        Records of a partition come in the order of their offsets; gaps are fine. A lower offset means that
        the partition was reset (a topic made anew): the watermark then begins again from there.
        """
        window = self._windows.get(item.partition)
        if window is None or item.offset < window.next_offset:
            self.assign((item.partition,))
            self._full.discard(item.partition)
            window = self._windows[item.partition] = _Window(item.partition, item.offset, item.offset)
        window.entries.append(item)
        window.next_offset = item.offset + 1
        item.number = window.added
        window.added += 1
        window.unfinished += 1
        window.size += item.size
        item.window = window
        if not window.full and (window.unfinished >= self._records or window.size >= self._size):
            self._judge(window)
        lane = self._lanes.get(item.key)
        if lane is None:
            self._lanes[item.key] = deque((item,))
            return item
        lane.append(item)
        return None

    def finish(self, item: Item) -> Item | None:
        """Everything that ``item`` asked for is done, durably. Returns the new head of its lane, if any."""
        item.finished = True
        window = item.window
        if window is not None:
            window.release(item)
            entries = window.entries
            while entries and entries[0].finished:
                entries.popleft()
            if len(entries) > 2 * window.unfinished + SLACK:
                window.entries = deque(entry for entry in entries if not entry.finished)
            if window.full or window.waiting >= self._limits.window:
                self._judge(window)
        return self._leave(item)

    def abandon(self, item: Item) -> Item | None:
        """``item`` will not be finished here: the watermark never passes it. Returns the new head, if any."""
        item.dropped = True
        if item.window is not None:
            item.window.release(item)
        return self._leave(item)

    def _leave(self, item: Item) -> Item | None:
        lane = self._lanes[item.key]
        if lane[0] is not item:
            raise AssertionError("only the head of a lane can end")
        lane.popleft()
        if lane:
            return lane[0]
        del self._lanes[item.key]
        return None

    def revoke(self, partitions: set[TopicPartition], is_running: Callable[[Item], bool]) -> list[Item]:
        """Drop all records of ``partitions`` except those being worked on. Returns the heads, of other
        partitions, that may be worked on instead of a dropped one."""
        heads = []
        for key, lane in list(self._lanes.items()):
            if not any(item.partition in partitions for item in lane):
                continue
            head = lane[0]
            kept: deque[Item] = deque()
            for item in lane:
                if item.partition in partitions and not (item is head and is_running(item)):
                    item.dropped = True
                    if item.window is not None:
                        item.window.release(item)
                else:
                    kept.append(item)
            if not kept:
                del self._lanes[key]
                continue
            self._lanes[key] = kept
            if kept[0] is not head:
                heads.append(kept[0])
        return heads

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """The partitions are another member's now."""
        for partition in partitions:
            self._windows.pop(partition, None)
            self._full.discard(partition)
            self._assigned.discard(partition)
        self._share_out()

    def watermark(self, partition: TopicPartition) -> int | None:
        """Offset below which all is finished; None before the first record."""
        window = self._windows.get(partition)
        return None if window is None else window.watermark

    def committable(self, partitions: Iterable[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """Watermarks that have moved since they were ``committed``, of ``partitions`` or of all."""
        chosen = self._windows if partitions is None else partitions
        return {
            p: w.watermark
            for p in chosen
            if (w := self._windows.get(p)) is not None and w.watermark != w.committed
        }

    def committed(self, offsets: dict[TopicPartition, int]) -> None:
        """Kafka has taken ``offsets``."""
        for partition, offset in offsets.items():
            if partition in self._windows:
                self._windows[partition].committed = offset

    def full(self) -> set[TopicPartition]:
        """Partitions not to fetch now: full at their share of records or bytes, no longer full at half of it;
        or at the bound of the window."""
        return set(self._full)

    def oldest(self) -> Iterator[Item]:
        """The first unfinished record of each partition that has one."""
        return (window.entries[0] for window in self._windows.values() if window.entries)

    def holders(self) -> Iterator[tuple[TopicPartition, Item, int]]:
        """For each partition with finished offsets that cannot be committed yet: the record that holds them,
        and how many they are."""
        for partition, window in self._windows.items():
            if window.waiting > 0:
                yield partition, window.entries[0], window.waiting

    @property
    def in_flight(self) -> int:
        """Records fetched and not finished."""
        return sum(w.unfinished for w in self._windows.values())

    @property
    def in_flight_bytes(self) -> int:
        return sum(w.size for w in self._windows.values())

    def _judge(self, window: _Window) -> None:
        scale = 2 if window.full else 1
        full = (
            window.unfinished * scale >= self._records
            or window.size * scale >= self._size
            or window.waiting >= self._limits.window  # falls by itself only when the holder is finished
        )
        if full == window.full or self._windows.get(window.partition) is not window:
            return
        window.full = full
        self.flips += 1
        if full:
            self._full.add(window.partition)
        else:
            self._full.discard(window.partition)
