"""Dead letters as an operator sees them: their content, the filter, the notes that settle them.

A dead letter is *settled* when it was replayed or skipped. The dead-letter topic says so itself: a *note*
is in the same partition behind it, a record of ours with ``NOTE_HEADER``, which lives as long as it.

One may be *doubled*, when a process of the consumer died before it knew that Kafka had taken it. Doubles are
sent back under one replay id, so the consumer applies one of them.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from aiokafka import ConsumerRecord

from dingbridge.events.foreign import utc
from dingbridge.masking import reveal
from dingbridge.replay.copying import header
from dingbridge.replay.offset_set import OffsetSet
from dingbridge.worker.dead_letters import FIRST_PLACE, HEADER
from dingbridge.worker.delivery import REPLAY_HEADER, hash_key

NOTE_HEADER = "dingbridge-dlq-settled"
"""On a note, with the replay's id (``skipped`` for what was given up); its value is a JSON list of offsets of
the same partition."""

TYPE_HEADER = "dingbridge-type"
SKIPPED = "skipped"
LONGEST_ERROR, LONGEST_TEXT = 500, 4_000
"""Characters of a header that are shown: an error must fit into an address."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


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
    """``record`` of the dead-letter topic; headers that are missing or broken become ``-`` or None. Long ones
    are cut, and control characters replaced: no command line takes them; tickets and codes are masked."""

    def text(name: str, most: int = LONGEST_ERROR) -> str:
        return _CONTROL.sub("\ufffd", reveal(header(record, name) or "")[:most])

    first = tuple(text(name) or "-" for name in FIRST_PLACE)
    return DeadLetter(
        record,
        event_type=text(TYPE_HEADER) or "-",
        error=text(HEADER + "error") or "-",
        reason=text(HEADER + "reason", LONGEST_TEXT),
        frames=tuple(text(HEADER + "frames", LONGEST_TEXT).splitlines()),
        attempts=text(HEADER + "attempts") or "-",
        at=utc(header(record, HEADER + "at")),
        replay_id=header(record, REPLAY_HEADER),
        first=(first[0], first[1], first[2]),
    )


def is_note(record: ConsumerRecord) -> bool:
    return any(name == NOTE_HEADER for name, _ in record.headers)


def note(offsets: list[int]) -> bytes:
    """The value of a note."""
    return orjson.dumps(offsets)


def noted(record: ConsumerRecord) -> list[int]:
    """The offsets that a note settles. Only letters before it: one record would else settle what is still to
    come."""
    try:
        listed = orjson.loads(record.value or b"[]")
    except orjson.JSONDecodeError:
        return []
    offsets = listed if isinstance(listed, list) else []
    return [offset for offset in offsets if type(offset) is int and 0 <= offset < record.offset]


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant; what is empty or None admits all.

    ``events`` are EventTypes. ``keys`` are whole keys, or the ``#…`` that stands for a key in the log.
    ``errors`` are parts of the error or the reason; one that is found is enough. ``whole_errors`` are errors
    as they are.
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


class Notes:
    """Which dead letters of one partition are settled, by which run: the newest note that names a letter is
    the one that counts."""

    def __init__(self) -> None:
        self._runs: list[tuple[str, OffsetSet]] = []
        self._settled = OffsetSet()

    def add(self, record: ConsumerRecord) -> None:
        """Take in a note that is newer than those before."""
        run = header(record, NOTE_HEADER) or ""
        if not self._runs or self._runs[-1][0] != run:
            self._runs.append((run, OffsetSet()))
        for offset in noted(record):
            self._settled.add(offset)
            self._runs[-1][1].add(offset)

    def by(self, offset: int) -> str | None:
        """The replay (or ``skipped``) that settled the letter at ``offset``, None while it waits."""
        if offset not in self._settled:
            return None
        return next(run for run, offsets in reversed(self._runs) if offset in offsets)


def new_run_id() -> str:
    """``<UTC time>-<8 hex digits>``, which the notes of one command name."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def replayed_as(found: DeadLetter, settled_by: str | None) -> str:
    """The replay id of a copy of ``found``. It is the same for each sender and each time, so the
    consumer applies one copy: of two operators who replay one queue at once, of a run that was killed before
    its note, and of the doubles of one letter. A settled letter has another id: ``--again`` asks for it."""
    first = found.first if "-" not in found.first else (found.record.topic, *found.place.split("/"))
    parts = [*first, found.replay_id or "", settled_by or ""]
    digest = hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=16)
    digest.update(found.record.value or b"")  # a topic that was deleted and made again has the same places
    return f"letter-{digest.hexdigest()}"
