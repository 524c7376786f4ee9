"""A wave: what is sent to Kafka at once, at most one batch for each partition.

One batch in a partition is atomic and has nothing behind it, so no failure can let newer records of a
partition overtake older ones. (With several batches under way they do: one that expires in the client, or
is refused as the first of its producer, is overtaken by its successor; seen with aiokafka 0.14.)
"""

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, field

from aiokafka.producer.message_accumulator import BatchBuilder

from dingbridge.events import Record
from ingress.journal.checkpoint import Parked

MAX_RECORDS = 1_000
MAX_BYTES = 8 * 1024 * 1024
BATCH_BYTES = 1024 * 1024
"""A batch is closed at about this size, or less where its topic wants it; a larger record goes alone."""

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(slots=True)
class Batch:
    """The records of one wave for one partition, in the journal's order: ``(seq, number in the callback,
    record)`` each."""

    place: Place
    builder: BatchBuilder
    size: int = 0
    records: list[tuple[int, int, Record]] = field(default_factory=list)


@dataclass(slots=True)
class Pending:
    """A callback that is not yet wholly placed in a wave."""

    seq: int
    received_ms: int
    records: list[Record]
    placed: int = 0
    damaged: bool = False
    parked: list[Parked] = field(default_factory=list)  # also of earlier waves: saved when all of it passes


@dataclass(slots=True)
class Wave:
    """Batches by partition, and behind which callback the cursor may stand when all are acknowledged:
    ``done`` are the callbacks that are wholly placed, in order."""

    batches: dict[Place, Batch] = field(default_factory=dict)
    parked: list[Parked] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    since_ms: int | None = None  # receipt of its first callback
    records: int = 0
    bytes: int = 0
    closed: bool = False  # a batch had no more room

    @property
    def full(self) -> bool:
        return self.closed or self.records >= MAX_RECORDS or self.bytes >= MAX_BYTES

    def add(self, batch: Batch, seq: int, number: int, record: Record, limit: int) -> bool:
        """Append a record to its batch; ``False`` when it must wait for the next wave."""
        size = len(record.value) + len(record.key) + 200  # headers and framing
        headers = list(record.headers)
        if (batch.records and batch.size + size > limit) or (
            batch.builder.append(timestamp=None, key=record.key, value=record.value, headers=headers) is None
        ):
            self.closed = True
            return False
        batch.records.append((seq, number, record))
        batch.size += size
        self.records += 1
        self.bytes += size
        return True

    def finish(self, pending: Pending) -> None:
        """The callback is wholly placed, here and perhaps in waves before."""
        if self.since_ms is None:
            self.since_ms = pending.received_ms
        self.parked += pending.parked
        self.done.append(pending.seq)

    def passable(self, failed: Collection[Place]) -> int | None:
        """The last callback of the unbroken run from the wave's start that no ``failed`` batch touches."""
        end = len(self.done)
        for place in failed:
            end = min(end, bisect_left(self.done, self.batches[place].records[0][0]))
        return self.done[end - 1] if end else None
