"""The journal's rows: callbacks as they are kept and as they are read, and resync requests among them.

SQLite checks the structure of pages, not their content: each row therefore carries a checksum of its own.
"""

import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple, Self, get_args

import orjson

from dingbridge.events.catalogue import Part
from dingbridge.events.facts import (
    NO_FACTS,
    NOTHING_STORED,
    CallbackFacts,
    StoredFacts,
    dedupe_key,
    stored_facts,
)

CONTROL: Final = "control"
"""``via`` of a row that is no callback of DingTalk's but a ``ResyncRequest``."""

PUSHED: Final = ("http", "stream")
"""``via`` of what DingTalk pushed to us."""

DAMAGED: Final = "damaged"
"""Reason of a parked callback that cannot be read as it was kept: it is never published."""
FAULT: Final = "fault"
"""Reason of a parked callback of which this version cannot make records: a newer one may."""
UNREADABLE: Final = "unreadable"
"""Reason of a callback of which the note that it is parked cannot be read: the callback itself may be
whole."""
NO_TOPIC: Final = "-"
"""In place of the topic of a callback that is parked before its topic is known."""
_LATEST_MS: Final = 1 << 43
"""In the year 2248: a later time is a flipped bit."""


class NewCallback(NamedTuple):
    """A callback to keep. ``received_ms`` is epoch ms, ``via`` as in ``dingbridge.events.Received``. ``key``
    is its dedupe key; None: it is kept whatever was kept before."""

    received_ms: int
    app: str
    via: str
    body: bytes
    facts: CallbackFacts
    key: bytes | None = None


class StoredCallback(NamedTuple):
    """A callback as it is in the file, or a resync request (``via`` is ``CONTROL`` then). ``body`` is what
    DingTalk sent, decrypted, byte for byte. Of a row that is not ``intact`` only ``seq`` is right."""

    seq: int
    received_ms: int
    app: str
    via: str
    facts: StoredFacts
    body: bytes
    intact: bool = True


class Parked(NamedTuple):
    """A callback of which Kafka refused a record of ``topic`` though it was up. ``since_ms`` is epoch ms, 0
    where that cannot be read."""

    seq: int
    topic: str
    reason: str
    since_ms: int


class Acknowledgement(NamedTuple):
    """What Kafka has answered for. ``acked``: all records up to this ``seq`` are in Kafka, or parked; None:
    as before. ``parked`` are parked from now on; those that were already, since then. ``sent`` were parked,
    and Kafka has them now."""

    acked: int | None = None
    parked: Sequence[Parked] = ()
    sent: Sequence[Parked] = ()


class ParkedGroup(NamedTuple):
    """How many callbacks are parked for one topic and reason; ``since_ms``: when the first was."""

    topic: str
    reason: str
    callbacks: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class ResyncRequest:
    """Asks consumers to compare their tables with DingTalk, since events may be missing. The relay publishes
    it in its place among the callbacks. Consumers deduplicate requests by ``id``; the ingress does not.

    ``app`` None: the relay publishes a record for each configured app. ``since_ms``: nothing is missing from
    before (epoch ms); None: it is not known. ``part``: which events may be missing.
    """

    id: str
    reason: str
    app: str | None = None
    corp_id: str | None = None
    since_ms: int | None = None
    part: Part = "all"

    def callback(self) -> NewCallback:
        """The row of the journal that holds it, received now; the app stands in a column of its own."""
        body = asdict(self)
        app = body.pop("app") or ""
        return NewCallback(now_ms(), app, CONTROL, orjson.dumps(body), NO_FACTS)

    @classmethod
    def of(cls, row: StoredCallback) -> Self:
        """Return what an intact row with ``via`` ``CONTROL`` asks for. Fields that only another version knows
        are left out, and an unknown part counts as all. Raises ``ValueError`` where nothing is understood."""
        match orjson.loads(row.body):
            case {"id": str(id), "reason": str(reason), **more}:
                corp_id, since_ms, part = more.get("corp_id"), more.get("since_ms"), more.get("part")
                if isinstance(corp_id, str | None) and isinstance(since_ms, int | None):
                    known: Part = next((one for one in get_args(Part) if one == part), "all")
                    return cls(id, reason, row.app or None, corp_id, since_ms, known)
        raise ValueError("not a resync request of a version that is known here")


def pushed_callback(app: str, via: str, body: bytes, facts: CallbackFacts, push_id: bytes) -> NewCallback:
    """The row of what DingTalk has just pushed. A retry of the push repeats ``push_id``, such as the
    request's signature: it is the key of an event without any identity of its own."""
    # 8 zero bytes where other keys have the event's time; "s" keeps it apart from a content hash
    unnamed = bytes(8) + b"s" + app.encode() + b"\0" + push_id
    key = dedupe_key(facts, app, body) if facts.has_identity else unnamed
    return NewCallback(now_ms(), app, via, body, facts, key)


def checksum(columns: tuple[Any, ...], body: bytes) -> int:
    """CRC-32 of a row, for the column ``crc``; against accidents of the disk, not against anyone."""
    return zlib.crc32(body, zlib.crc32(repr(columns).encode()))


def columns_of(seq: int, callback: NewCallback) -> tuple[Any, ...]:
    """The row that holds ``callback``, column by column."""
    at, app, via, body, facts, _ = callback
    first = (seq, at, app, via, *stored_facts(facts, body, at))
    return *first, body, checksum(first, body)


def row_of(*columns: Any) -> StoredCallback:
    """The row with these columns; a flipped bit may have changed any of them, also its type."""
    seq, at, app, via, *facts, body, crc = columns
    if not isinstance(body, bytes):
        return damaged_row(seq)
    if crc != checksum(columns[:-2], body):
        return damaged_row(seq)._replace(body=body)  # for a person who looks at it
    return StoredCallback(seq, at, app, via, StoredFacts(*facts), body)


def parked_of(seq: int | None, topic: bytes | None, reason: bytes | None, since_ms: int | None) -> Parked:
    """What is parked by the row with these columns; ``None`` stands for a value of another type. Such a row
    has no checksum, so a flipped bit may have changed any of them. One that cannot be understood is
    ``UNREADABLE``, with ``seq`` 0 if that is lost, too."""
    since_ms = since_ms if since_ms is not None and 0 <= since_ms < _LATEST_MS else 0
    try:
        if seq is not None and topic is not None and reason is not None:
            return Parked(seq, topic.decode(), reason.decode(), since_ms)
    except UnicodeDecodeError:
        pass
    return Parked(seq or 0, NO_TOPIC, UNREADABLE, since_ms)


def damaged_row(seq: int) -> StoredCallback:
    """Stands for a callback that was kept and cannot be read any more."""
    return StoredCallback(seq, 0, "", "", NOTHING_STORED, b"", intact=False)


def now_ms() -> int:
    """Epoch ms by this machine's clock."""
    return int(time.time() * 1000)
