"""Dead letters as an operator sees them: what is in one, which of them match, which are settled.

A dead letter is *settled* when it was replayed or skipped. The dead-letter topic says so itself: a *note*
is in the same partition behind it, a record of ours with ``NOTE_HEADER``, which lives as long as it.

One may be *doubled*, when a process of the consumer died before it knew that Kafka had taken it. What settles
one of them settles the others: replayed twice, it would be applied twice.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import orjson
from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.kafka.reader import Spans, TopicReader
from dingbridge.replay.history import header
from dingbridge.replay.offset_set import OffsetSet
from dingbridge.worker.dead_letters import FIRST_PLACE, HEADER
from dingbridge.worker.delivery import REPLAY_HEADER, hash_key

NOTE_HEADER = "dingbridge-dlq-settled"
"""On a note, with the replay's id (``skipped`` for what was given up); its value is a JSON list of offsets of
the same partition."""

TYPE_HEADER = "dingbridge-type"
SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. ``error`` is the exception's type and place, ``reason`` what the handler itself said,
    ``frames`` file, line and function of the traceback; ``first`` names where the record first stood (topic,
    partition, offset as texts); ``at`` is when it was given up."""

    record: ConsumerRecord
    event_type: str
    error: str
    reason: str
    frames: tuple[str, ...]
    attempts: str
    at: datetime | None
    replay_id: str | None
    first: tuple[str, str, str]

    @property
    def place(self) -> str:
        """``<partition>/<offset>`` in the dead-letter topic."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def key(self) -> str:
        """The record's key as text, ``-`` without one."""
        return self.record.key.decode(errors="replace") if self.record.key is not None else "-"

    @property
    def hashed_key(self) -> str:
        """The key as the worker's log has it."""
        return f"#{hash_key(self.record.key)}" if self.record.key is not None else "-"


def read_dead_letter(record: ConsumerRecord) -> DeadLetter:
    """``record`` of the dead-letter topic; headers that are missing or broken become ``-`` or None."""
    first = tuple(header(record, name) or "-" for name in FIRST_PLACE)
    return DeadLetter(
        record,
        event_type=header(record, TYPE_HEADER) or "-",
        error=header(record, HEADER + "error") or "-",
        reason=header(record, HEADER + "reason") or "",
        frames=tuple((header(record, HEADER + "frames") or "").splitlines()),
        attempts=header(record, HEADER + "attempts") or "-",
        at=_moment(header(record, HEADER + "at")),
        replay_id=header(record, REPLAY_HEADER),
        first=(first[0], first[1], first[2]),
    )


def is_note(record: ConsumerRecord) -> bool:
    return any(name == NOTE_HEADER for name, _ in record.headers)


def note(offsets: list[int]) -> bytes:
    """The value of a note."""
    return orjson.dumps(offsets)


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant; what is empty or None admits all.

    ``events`` are EventTypes, ``keys`` whole keys or the ``#…`` that stands for one in the log; ``errors``
    are parts of the error or the reason, any of which is enough; ``whole_errors`` are errors as they are.
    ``since`` is included, ``until`` is not. ``places`` are (partition, offset) in the dead-letter topic.
    """

    events: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    whole_errors: tuple[str, ...] = ()
    places: frozenset[tuple[int, int]] = frozenset()

    def admits(self, found: DeadLetter) -> bool:
        if self.places and (found.record.partition, found.record.offset) not in self.places:
            return False
        if self.events and found.event_type not in self.events:
            return False
        if self.keys and found.key not in self.keys and found.hashed_key not in self.keys:
            return False
        if self.errors and not any(part in found.error or part in found.reason for part in self.errors):
            return False
        if self.whole_errors and found.error not in self.whole_errors:
            return False
        if self.since is not None and (found.at is None or found.at < self.since):
            return False
        return self.until is None or (found.at is not None and found.at < self.until)


class Settled:
    """Which dead letters of one topic are settled, and by which replay."""

    def __init__(self) -> None:
        self._notes: dict[TopicPartition, dict[str, OffsetSet]] = {}
        self._first: dict[bytes, tuple[int, int]] = {}
        self._doubles: dict[bytes, list[tuple[int, int]]] = {}

    def add_dead_letter(self, found: DeadLetter) -> None:
        """Take note of where it stands, for its doubles."""
        if (same := _same(found)) is None:
            return
        here = (found.record.partition, found.record.offset)
        first = self._first.setdefault(same, here)
        if first != here:
            self._doubles.setdefault(same, [first]).append(here)

    def add(self, record: ConsumerRecord) -> None:
        """Take a note in."""
        run = header(record, NOTE_HEADER) or ""
        try:
            offsets = [int(offset) for offset in orjson.loads(record.value or b"[]")]
        except (ValueError, TypeError):
            return
        runs = self._notes.setdefault(TopicPartition(record.topic, record.partition), {})
        noted = runs.setdefault(run, OffsetSet())
        for offset in offsets:
            noted.add(offset)

    def by(self, found: DeadLetter) -> str | None:
        """The replay (or ``skipped``) that settled it, None while it waits."""
        record = found.record
        run = self._noted(record.topic, record.partition, record.offset)
        if run is not None or not self._doubles:
            return run
        doubles = self._doubles.get(_same(found) or b"", [])
        return next((run for double in doubles if (run := self._noted(record.topic, *double))), None)

    def _noted(self, topic: str, partition: int, offset: int) -> str | None:
        runs = self._notes.get(TopicPartition(topic, partition), {})
        return next((run for run, offsets in runs.items() if offset in offsets), None)


async def settled(reader: TopicReader, spans: Spans) -> Settled:
    """Read all notes, and where dead letters are doubled. Raises ``KafkaUnavailable``."""
    found = Settled()
    async for record in reader.read(spans):
        if is_note(record):
            found.add(record)
        else:
            found.add_dead_letter(read_dead_letter(record))
    return found


def _same(found: DeadLetter) -> bytes | None:
    """Equal for the copies that giving one record up once has made, and for no others; None if there can be
    none. A place alone would not do: a topic may have been made anew."""
    if "-" in found.first:
        return None
    parts = ("/".join(found.first).encode(), (found.replay_id or "").encode(), found.record.value or b"")
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None
