"""Order per key: a queue for each key, across all topics of a consumer. Only its head may be worked on, and
with it the records right behind that need the same fetch from DingTalk (``together.py``).

Pure bookkeeping, no I/O, no clock. ``scheduler.py`` works on the heads; ``offset_tracker.py`` knows which
offset may be committed.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence

from aiokafka import TopicPartition

from dingbridge.worker.queues.offset_tracker import QueuedRecord


class KeyQueues:
    """The queues of all keys that have a record here."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, deque[QueuedRecord]] = {}

    def add(self, queued: QueuedRecord) -> QueuedRecord | None:
        """Queue a record. Returns it if it is the head of its queue, and may be worked on now."""
        queue = self._queues.get(queued.key)
        if queue is None:
            self._queues[queued.key] = deque((queued,))
            return queued
        # Invariant 6: it waits behind the older records of its key, and of no other key
        queue.append(queued)
        return None

    def head(self, key: Hashable) -> QueuedRecord | None:
        """The record of ``key`` that may be worked on now, if any."""
        queue = self._queues.get(key)
        return queue[0] if queue else None

    def from_head(self, head: QueuedRecord) -> Iterator[QueuedRecord]:
        """The records of the queue that ``head`` leads, ``head`` first."""
        return iter(self._queues[head.key])

    def remove(self, records: Sequence[QueuedRecord]) -> QueuedRecord | None:
        """Remove finished or dropped ``records`` of one key. Returns the new head of its queue, if any."""
        key = records[0].key
        queue = self._queues[key]
        for queued in records:
            queue.remove(queued)
        if queue:
            return queue[0]
        del self._queues[key]
        return None

    def revoke(
        self, partitions: set[TopicPartition], stays: Callable[[QueuedRecord], bool]
    ) -> tuple[list[QueuedRecord], list[QueuedRecord]]:
        """Remove all records of ``partitions`` except those that stay, and whatever stands behind a removed
        one. Returns the removed ones, and the new heads, which may be worked on now."""
        gone: list[QueuedRecord] = []
        heads: list[QueuedRecord] = []
        for key, queue in list(self._queues.items()):
            if not any(queued.partition in partitions for queued in queue):
                continue
            head = queue[0]
            kept: deque[QueuedRecord] = deque()
            cut = False
            for queued in queue:
                ours = queued.partition in partitions
                cut = cut or (ours and not stays(queued))
                (gone if ours and cut else kept).append(queued)
            if not kept:
                del self._queues[key]
                continue
            self._queues[key] = kept
            if kept[0] is not head:
                heads.append(kept[0])
        return gone, heads
