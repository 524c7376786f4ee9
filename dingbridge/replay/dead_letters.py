"""Dead letters as an operator sees them: what is in one, which of them match, which are settled.

A letter is *settled* when it was replayed or skipped. Of a letter without a block the dead-letter topic says
so itself: a *note* stands in the same partition behind it, a record of ours with ``NOTE_HEADER``, which lives
as long as the letter. Of a blocked key's letter the consumer's table of blocked keys does.

A letter may be *doubled*, when a process of the consumer died before it knew that Kafka had taken it. What
settles one of them settles the others: replayed twice, it would be applied twice.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson
from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.kafka.reader import Spans, TopicReader
from dingbridge.replay.history import header
from dingbridge.replay.offset_set import OffsetSet
from dingbridge.worker.blocked import BLOCKING_ID_HEADER, Blocked
from dingbridge.worker.dead_letter_writer import FIRST_PLACE, HEADER
from dingbridge.worker.delivery import REPLAY_HEADER, hash_key

NOTE_HEADER = "dingbridge-dlq-settled"
"""On a note, with the replay's id (``skipped`` for letters that were given up); its value is a JSON list of
offsets of the same partition."""

TYPE_HEADER = "dingbridge-type"
SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. ``partition`` and ``offset`` are its own place, ``first`` names where the record first
    stood (topic, partition, offset as texts); ``at`` is when it was buried."""

    record: ConsumerRecord
    event_type: str
    error: str
    attempts: str
    at: datetime | None
    blocking_id: str | None
    replay_id: str | None
    first: tuple[str, str, str]

    @property
    def place(self) -> str:
        """``<partition>/<offset>`` in the dead letters."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def key(self) -> str:
        """The record's key as text, ``-`` without one."""
        return self.record.key.decode(errors="replace") if self.record.key is not None else "-"

    @property
    def masked_key(self) -> str:
        """The key as the worker's log has it: it can be compared, and nobody's id can be read off."""
        return f"#{hash_key(self.record.key)}" if self.record.key is not None else "-"


def read_letter(record: ConsumerRecord) -> Letter:
    """``record`` of the dead-letter topic; headers that are missing or broken become ``-`` or None."""
    first = tuple(header(record, name) or "-" for name in FIRST_PLACE)
    return Letter(
        record,
        event_type=header(record, TYPE_HEADER) or "-",
        error=header(record, HEADER + "error") or "-",
        attempts=header(record, HEADER + "attempts") or "-",
        at=_moment(header(record, HEADER + "at")),
        blocking_id=header(record, BLOCKING_ID_HEADER),
        replay_id=header(record, REPLAY_HEADER),
        first=(first[0], first[1], first[2]),
    )


def is_note(record: ConsumerRecord) -> bool:
    return any(name == NOTE_HEADER for name, _ in record.headers)


def note(offsets: list[int]) -> bytes:
    """The value of a note."""
    return orjson.dumps(offsets)


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters are meant; what is empty or None admits all.

    ``types`` are EventTypes, ``keys`` whole keys or the ``#…`` that stands for one; ``errors`` are parts of
    the error's text, any of which is enough, ``blocks`` are blocking ids. ``since`` is included, ``until`` is
    not.
    """

    types: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    blocks: tuple[str, ...] = ()

    def admits(self, letter: Letter) -> bool:
        if self.types and letter.event_type not in self.types:
            return False
        if self.keys and letter.key not in self.keys and letter.masked_key not in self.keys:
            return False
        if self.errors and not any(part in letter.error for part in self.errors):
            return False
        if self.blocks and letter.blocking_id not in self.blocks:
            return False
        if self.since is not None and (letter.at is None or letter.at < self.since):
            return False
        return self.until is None or (letter.at is not None and letter.at < self.until)


class Settled:
    """Which letters of one topic are settled, and by which replay. ``blocked`` None: it is not known which
    keys are blocked, and their letters count as waiting."""

    def __init__(self, blocked: Mapping[str, Blocked] | None) -> None:
        self._blocked = blocked
        self._notes: dict[TopicPartition, dict[str, OffsetSet]] = {}
        self._first: dict[bytes, tuple[int, int]] = {}
        self._doubles: dict[bytes, list[tuple[int, int]]] = {}

    def add_letter(self, letter: Letter) -> None:
        """Take note of a letter's place, for its doubles."""
        if (same := _same(letter)) is None:
            return
        here = (letter.record.partition, letter.record.offset)
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

    def by(self, letter: Letter) -> str | None:
        """The replay (or ``skipped``, or the block's id) that settled ``letter``, None while it waits."""
        record = letter.record
        if letter.blocking_id is not None:
            if self._blocked is None:
                return None
            row = self._blocked.get(letter.blocking_id)
            if row is None or (row.replayed_to is not None and record.offset <= row.replayed_to):
                return letter.blocking_id
            return None
        run = self._noted(record.topic, record.partition, record.offset)
        if run is not None or not self._doubles:
            return run
        doubles = self._doubles.get(_same(letter) or b"", [])
        return next((run for double in doubles if (run := self._noted(record.topic, *double))), None)

    def _noted(self, topic: str, partition: int, offset: int) -> str | None:
        runs = self._notes.get(TopicPartition(topic, partition), {})
        return next((run for run, offsets in runs.items() if offset in offsets), None)


async def settled(reader: TopicReader, letters: Spans, blocked: Mapping[str, Blocked] | None) -> Settled:
    """Read all notes, and where letters are doubled. ``blocked`` are the blocked keys by blocking id. Raises
    ``KafkaUnavailable``."""
    found = Settled(blocked)
    async for record in reader.read(letters):
        if is_note(record):
            found.add(record)
        else:
            found.add_letter(read_letter(record))
    return found


def _same(letter: Letter) -> bytes | None:
    """Equal for the letters that one burial of one record made, and for no others; None if it has no doubles.
    A place alone would not do: a topic may have been made anew."""
    if letter.blocking_id is not None or "-" in letter.first:
        return None
    parts = ("/".join(letter.first).encode(), (letter.replay_id or "").encode(), letter.record.value or b"")
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None
