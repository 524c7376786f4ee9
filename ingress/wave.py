"""A wave: what is sent to Kafka at once, at most one batch for each partition.

One batch in a partition is atomic and has nothing behind it, so no failure can let newer records of a
partition overtake older ones. (With several batches under way they do: one that expires in the client, or
is refused as the first of its producer, is overtaken by its successor; seen with aiokafka 0.14.)
"""

from dataclasses import dataclass, field

from aiokafka.producer.message_accumulator import BatchBuilder

from ingress.cursor import Parked
from schemas import Record

MAX_RECORDS = 1_000
MAX_BYTES = 8 * 1024 * 1024
BATCH_BYTES = 1024 * 1024
"""A batch is closed at about this size, or less where its topic wants it; a larger record goes alone."""

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(slots=True)
class Batch:
    """The records of one wave for one partition: ``(seq, number in the callback, record)`` each."""

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


@dataclass(slots=True)
class Wave:
    """Batches by partition, and behind which callback the cursor may stand when all are acknowledged."""

    batches: dict[Place, Batch] = field(default_factory=dict)
    parked: list[Parked] = field(default_factory=list)
    done: list[tuple[int, list[Place]]] = field(default_factory=list)
    since_ms: int | None = None  # receipt of its first callback
    records: int = 0
    bytes: int = 0
    _open: list[Place] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return self.records >= MAX_RECORDS or self.bytes >= MAX_BYTES

    def add(self, batch: Batch, seq: int, number: int, record: Record, limit: int) -> bool:
        """Append a record to its batch; ``False`` when it must wait for the next wave."""
        size = len(record.value) + len(record.key) + 200  # headers and framing
        if batch.records and batch.size + size > limit:
            return False
        headers = list(record.headers)
        if batch.builder.append(timestamp=None, key=record.key, value=record.value, headers=headers) is None:
            return False
        batch.records.append((seq, number, record))
        batch.size += size
        self.records += 1
        self.bytes += size
        if batch.place not in self._open:
            self._open.append(batch.place)
        return True

    def finish(self, seq: int, received_ms: int) -> None:
        """The callback ``seq`` is wholly placed."""
        if self.since_ms is None:
            self.since_ms = received_ms
        self.done.append((seq, self._open))
        self._open = []

    def passable(self, failed: set[Place]) -> int | None:
        """The last callback of the unbroken run from the wave's start that no ``failed`` batch touches."""
        last = None
        if not failed:
            return self.done[-1][0] if self.done else None
        for seq, places in self.done:
            if failed.intersection(places):
                break
            last = seq
        return last
