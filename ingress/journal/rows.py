"""The journal's rows: callbacks as they are kept and as they are read, and resync requests among them.

SQLite checks the structure of pages, not their content: each row therefore carries a checksum of its own.
"""

import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self, get_args

import orjson

from dingbridge.events.catalogue import Part


@dataclass(frozen=True, slots=True)
class NewCallback:
    """A callback to keep. ``key`` is its dedupe key. A payload without an identity of its own also has a
    ``signature_key``, from the request: that holds for the whole window then, ``key`` for ten minutes."""

    received_ms: int
    app: str
    via: str
    body: bytes
    key: bytes
    signature_key: bytes | None = None
    keep_again: bool = False  # though ``key`` is known, unless that was received again since
    traceparent: str | None = None  # of the root span, if the callback is traced

    @property
    def pushed(self) -> bool:
        """Whether DingTalk pushed it just now; what is imported, or from the failed list, is older."""
        return self.via in ("http", "stream") and not self.keep_again


CONTROL = "control"
"""``via`` of a row that is no callback of DingTalk's but a ``ResyncRequest``."""


@dataclass(frozen=True, slots=True)
class ResyncRequest:
    """Asks consumers to compare their tables with DingTalk, since events may be missing. The relay publishes
    it in its place among the callbacks, to the control topic ``resync``. It is not deduplicated
    here; consumers do that by ``id``.

    ``app`` None: one for each app that is configured. ``since_ms``: nothing is missing from before (epoch
    ms); None: it is not known. ``part``: which events may be missing.
    """

    id: str
    reason: str
    app: str | None = None
    corp_id: str | None = None
    since_ms: int | None = None
    part: Part = "all"

    def callback(self, now_ms: int) -> NewCallback:
        """The row of the journal that holds it; the app stands in a column of its own."""
        body = asdict(self)
        app = body.pop("app") or ""
        return NewCallback(now_ms, app, CONTROL, orjson.dumps(body), b"", keep_again=True)

    @classmethod
    def of(cls, row: "StoredCallback") -> Self:
        """Return what an intact row with ``via`` ``CONTROL`` asks for. Fields that only another version knows
        are left out, and an unknown part counts as all. Raises ``ValueError`` where nothing is understood."""
        match orjson.loads(row.body):
            case {"id": str(id), "reason": str(reason), **more}:
                corp_id, since_ms, part = more.get("corp_id"), more.get("since_ms"), more.get("part")
                if isinstance(corp_id, str | None) and isinstance(since_ms, int | None):
                    known: Part = next((one for one in get_args(Part) if one == part), "all")
                    return cls(id, reason, row.app or None, corp_id, since_ms, known)
        raise ValueError("not a resync request of a version that is known here")


class StoredCallback(NamedTuple):
    """A callback as it is in the file, or a resync request (``via`` is ``CONTROL`` then). ``body`` is what
    DingTalk sent, decrypted, byte for byte. Of a row that is not ``intact`` only ``seq`` is right."""

    seq: int
    received_ms: int
    app: str
    via: str
    body: bytes
    intact: bool = True
    traceparent: str | None = None


def checksum(
    seq: int, received_ms: int, app: str, via: str, body: bytes, traceparent: str | None = None
) -> int:
    """CRC-32 of a callback, for the column ``crc``; against accidents of the disk, not against anyone."""
    found = zlib.crc32(body, zlib.crc32(f"{seq}\0{received_ms}\0{app}\0{via}\0".encode()))
    return found if traceparent is None else zlib.crc32(b"\0" + traceparent.encode(), found)


def damaged_row(seq: int) -> StoredCallback:
    """Stands for a callback that was kept and cannot be read any more."""
    return StoredCallback(seq, 0, "", "", b"", intact=False)


def columns_of(seq: int, entry: NewCallback) -> tuple[int, int, str, str, bytes, int, str | None]:
    """The row that holds ``entry``, column by column."""
    at, app, via, body, trace = entry.received_ms, entry.app, entry.via, entry.body, entry.traceparent
    return seq, at, app, via, body, checksum(seq, at, app, via, body, trace), trace


def row_of(
    seq: int, received_ms: Any, app: Any, via: Any, body: Any, crc: Any, traceparent: Any
) -> StoredCallback:
    """The row with these columns; a flipped bit may have changed any of them, also its type. A resync request
    of another version that is not understood counts as damaged, too."""
    typed = isinstance(received_ms, int) and isinstance(app, str) and isinstance(via, str)
    if not typed or not isinstance(body, bytes) or not isinstance(traceparent, str | None):
        return damaged_row(seq)
    intact = crc == checksum(seq, received_ms, app, via, body, traceparent)
    row = StoredCallback(seq, received_ms, app, via, body, intact, traceparent)
    if intact and via == CONTROL:
        try:
            ResyncRequest.of(row)
        except ValueError:
            return damaged_row(seq)
    return row


IMPORTS = "import/"
"""Begins the keys of the journal's notes about other folders that are imported."""


@dataclass(frozen=True, slots=True)
class ImportState:
    """How far the import of a folder has come: all rows up to ``seq`` and all dedupe keys up to ``key``
    (hex). ``rows`` were kept, ``unread`` could not be read; that is a least number unless ``counted``.
    ``done_ms``: when it was finished, epoch ms."""

    seq: int = 0
    key: str = ""
    rows: int = 0
    unread: int = 0
    done_ms: int | None = None
    counted: bool = True

    @property
    def unread_number(self) -> str:
        """``unread`` in words."""
        return str(self.unread) if self.counted else "an unknown number of"

    def note(self) -> str:
        """As it stands in the journal."""
        return orjson.dumps(asdict(self)).decode()


def import_states(notes: Mapping[str, str]) -> dict[str, ImportState]:
    """The states by name of the folder, from the journal's ``notes``; an invalid note counts as none."""
    states = {}
    for key, text in notes.items():
        with suppress(ValueError, TypeError):
            states[key.removeprefix(IMPORTS)] = ImportState(**orjson.loads(text))
    return states
