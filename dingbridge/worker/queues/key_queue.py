"""Order per key: a queue for each key, across all topics of a consumer. Only its head may be worked on, and
with it the records right behind that need the same fetch from DingTalk (``together.py``).

Pure bookkeeping, no I/O, no clock. ``scheduler.py`` works on the heads; ``offset_tracker.py`` knows which
offset may be committed.
"""

from collections import deque
from collections.abc import Hashable, Iterator, Sequence

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

    def from_head(self, head: QueuedRecord) -> Iterator[QueuedRecord]:
        """The records of the queue that ``head`` leads, ``head`` first."""
        return iter(self._queues[head.key])

    def remove(self, records: Sequence[QueuedRecord]) -> QueuedRecord | None:
        """Remove finished ``records`` of one key. Returns the new head of its queue, if any."""
        key = records[0].key
        queue = self._queues[key]
        for queued in records:
            queue.remove(queued)
        if queue:
            return queue[0]
        del self._queues[key]
        return None
