"""Makes queued records of fetched ones. Marks what is to be given up, and what may have ended a process."""

import time
from collections.abc import Callable, Sequence
from typing import Final, cast

from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.events.event import NotAnEvent
from dingbridge.worker.dead_letters import LARGEST_BYTES, TOO_LARGE, in_place, record_size
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.outcomes import Failure
from dingbridge.worker.queues.key_queue import KeyQueues
from dingbridge.worker.queues.offset_tracker import OffsetTracker, QueuedRecord
from dingbridge.worker.scheduling.inbox_lookup import InboxLookup
from dingbridge.worker.scheduling.together import Together

RECORD_OVERHEAD: Final = 400
"""About how much memory a queued record takes beside key, value and headers, in bytes."""

MOST_DEATHS: Final = 3
"""How often a process may die while a record runs alone before the record is given up."""

ENDED_ITS_PROCESS: Final = Failure.of(
    NotAnEvent(
        f"its process died {MOST_DEATHS} times while this record alone was handled, or did not answer Kafka "
        "any more; look for what blocks, or for too much memory"
    ),
    "dingbridge",
    MOST_DEATHS,
)


class Intake:
    """Where fetched records enter. ``put`` is called with each that is the head of its key's queue.
    ``lookup`` is None where the inbox table is not asked first."""

    def __init__(
        self,
        offsets: OffsetTracker,
        queues: KeyQueues,
        together: Together,
        put: Callable[[QueuedRecord | None], None],
        lookup: InboxLookup | None,
    ) -> None:
        self._offsets, self._queues, self._together = offsets, queues, together
        self._put, self._lookup = put, lookup
        self.careful_to: dict[TopicPartition, int] = {}
        """Records below this offset may have ended a process: they are tried alone first."""

    def add(self, records: Sequence[ConsumerRecord], failure: Failure | None) -> None:
        """Queue records of one partition; with ``failure``, to be given up for it. Of one that is larger than
        any of ours only its place is kept: few bytes unpack to hundreds of MiB."""
        if not records:
            return
        now, offsets, queues, put, lookup = time.time(), self._offsets, self._queues, self._put, self._lookup
        partition = TopicPartition(records[0].topic, records[0].partition)
        careful_to = self.careful_to.get(partition, 0)
        for record in records:
            size = record_size(record)
            key = partition if record.key is None else record.key
            queued = QueuedRecord(partition, record.offset, key, RECORD_OVERHEAD + size, record, now)
            if failure is not None or size > LARGEST_BYTES:
                self._give_up(queued, record, failure)
            offsets.add(queued)
            if record.offset < careful_to:
                self._be_careful(queued)
            if lookup is not None:
                lookup.add(queued)
            put(queues.add(queued))

    def _give_up(self, queued: QueuedRecord, record: ConsumerRecord, failure: Failure | None) -> None:
        if record_size(record) > LARGEST_BYTES:
            queued.record, failure = in_place(record), TOO_LARGE
            queued.size = RECORD_OVERHEAD + record_size(cast(ConsumerRecord, queued.record))
        queued.delivery, queued.failure = Delivery.of(record), failure

    def _be_careful(self, queued: QueuedRecord) -> None:
        if queued.trouble is not None and queued.trouble.deaths >= MOST_DEATHS:
            self._together.decode(queued)
            queued.failure = ENDED_ITS_PROCESS
        queued.careful = queued.failure is None
