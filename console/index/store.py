"""The index's file: events, the ids that lead to them, dead letters, replays, and how far topics are read.

One connection writes, in whole batches: a batch's records and the offsets after it are one transaction, so a
crash neither loses nor doubles any. All of it is derived: a file of another version or cluster, or a damaged
one, is rebuilt.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw
import structlog

from dingbridge.console.index.records import (
    Copy,
    Entry,
    EventEntry,
    Letter,
    Settlement,
    epoch_ms,
)
from dingbridge.console.index.tables import APPLICATION_ID, SCHEMA, VERSION
from dingbridge.errors import BridgeError
from dingbridge.events.foreign import moment

log = structlog.get_logger(__name__)

BUSY_TIMEOUT_MS = 5_000

DAMAGE = (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError)
"""What reading a damaged file raises; the last, for a text."""

Partition = tuple[str, int]

_BEYOND = (1 << 63) - 1

_WAITING_LETTERS = (
    "SELECT consumer, count(*), min(at_ms) FROM letters l WHERE NOT EXISTS (SELECT 1 FROM settled s "
    'WHERE s.topic = l.topic AND s.partition = l.partition AND s."offset" = l."offset") GROUP BY consumer'
)


@dataclass(frozen=True, slots=True)
class Covered:
    """Offsets of one partition that the index covers, ``next`` not included."""

    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Seen:
    """How many records of one EventType are in the index, and when the last one was published."""

    count: int
    last: datetime


class Index:
    """The index in one file. One process writes it, by one thread at a time; anybody may read."""

    max_bytes = 4 << 30
    """The latest events are kept, as many as fit: some 9 million, of about 460 bytes each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writing = threading.Lock()  # who is cancelled while a thread writes may close meanwhile
        self.floor_ms = 0
        """No event that was published before is here (epoch ms); 0: nothing was ever left out."""
        self.damaged = False
        """A reader has met damage in the file: the writer has to ``rebuild``."""

    def open(self) -> None:
        """Make the file if it is not there, or not understood. Raises ``BridgeError`` where it cannot be
        written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = self._open()
                reason = self._why_not(self._db)
                if reason is None:
                    self.floor_ms = int(self._meta("floor_ms") or 0)
                else:
                    self._db.close(True)
            except DAMAGE:
                reason = "damaged"
            if reason is not None:
                self._rebuild(reason)
        except (OSError, apsw.Error) as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Ends a write that is under way: it is undone, and done again after the next start."""
        if self._writing.locked():
            with contextlib.suppress(apsw.ConnectionClosedError):  # it is being rebuilt
                self._db.interrupt()
        with self._writing:
            self._db.close(True)

    def belongs_to(self, origin: str) -> bool:
        """Rebuild the index unless it was read from ``origin`` (cluster and prefixes), or if an earlier
        rebuild failed; returns whether it did. Raises ``BridgeError`` where it cannot."""
        try:
            reason = (
                "another cluster, or other prefixes" if self._meta("origin") not in (None, origin) else None
            )
        except (apsw.ConnectionClosedError, apsw.SQLError, *DAMAGE):  # no file, or one without tables
            reason = "it could not be made before"
        if reason is not None:
            self.rebuild(reason)
        with self._transaction():
            self._set("origin", origin)
        return reason is not None

    def rebuild(self, reason: str) -> None:
        """Forget all: offsets mean other records now. Raises ``BridgeError``; ``belongs_to`` tries again."""
        with self._writing:
            self._db.close(True)
            try:
                self._rebuild(reason)
            except (OSError, apsw.Error) as error:
                raise self._unwritable(error) from error

    def add(self, entries: Iterable[Entry], read: Mapping[Partition, tuple[int, int]]) -> None:
        """Keep ``entries``, and that each partition is read from the one offset in ``read`` to the other, not
        included: all or nothing. What is here already, or older than the index goes back, is left out."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO offsets VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET next = max(next, excluded.next)",
                ((*partition, *offsets) for partition, offsets in read.items()),
            )
            for entry in entries:
                if isinstance(entry, EventEntry):
                    self._add_event(entry)
                else:
                    self._add_other(entry)

    def prune(self, events_before: datetime, begins: Mapping[Partition, int]) -> int:
        """Delete events published and deliveries made before that moment, and the dead letters, with their
        outcomes, that Kafka no longer has: it holds each partition from the offset in ``begins`` on, and no
        others. Older events are not taken in later. Returns how many events went."""
        floor = max(self.floor_ms, epoch_ms(events_before))
        with self._transaction():
            deleted = self._delete_before(floor)
            for table in ("letters", "settled", "copies"):
                places = f"SELECT DISTINCT topic, partition FROM {table}"  # noqa: S608
                before = f'DELETE FROM {table} WHERE topic = ? AND partition = ? AND "offset" < ?'  # noqa: S608
                found: list[Any] = self._db.execute(places).fetchall()
                for place in found:
                    self._db.execute(before, (*place, begins.get(place, _BEYOND)))
                    if place not in begins:  # it is read again, should it come back
                        self._db.execute("DELETE FROM offsets WHERE topic = ? AND partition = ?", place)
        self.floor_ms = floor
        return deleted

    def shrink(self) -> int:
        """While the file is larger than ``max_bytes``, delete the oldest tenth of the events; returns how
        many went."""
        gone = 0
        while self.bytes() > self.max_bytes:
            row = self._db.execute(
                "SELECT published_ms FROM events ORDER BY published_ms "
                "LIMIT 1 OFFSET (SELECT count(*) / 10 FROM events)"
            ).fetchone()
            if row is None:
                break
            floor = max(self.floor_ms, row[0] + 1)
            with self._transaction():
                gone += self._delete_before(floor)
            self.floor_ms = floor
        return gone

    def bytes(self) -> int:
        """Size of what is in use, in bytes: pages that are free are filled again first."""
        pages, free = self._db.pragma("page_count"), self._db.pragma("freelist_count")
        return int((pages - free) * self._db.pragma("page_size"))

    def seen(self) -> dict[str, Seen]:
        """By EventType."""
        query = "SELECT type, sum(events), max(last_ms) FROM types GROUP BY type"
        with self.reading() as db:
            return {name: Seen(count, moment(last)) for name, count, last in db.execute(query)}

    def waiting_letters(self) -> dict[str, tuple[int, int]]:
        """By consumer, how many dead letters nothing has settled, and since when the oldest waits (epoch ms,
        Kafka's time); a consumer without any is left out."""
        with self.reading() as db:
            return {consumer: (count, oldest) for consumer, count, oldest in db.execute(_WAITING_LETTERS)}

    def spans(self) -> dict[Partition, Covered]:
        """What is covered of each partition."""
        with self.reading() as db:
            return {(t, p): Covered(first, at) for t, p, first, at in db.execute("SELECT * FROM offsets")}

    @contextlib.contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """As ``connect``, closed at the end. Raises ``BridgeError`` where the file cannot be read."""
        try:
            with contextlib.closing(self.connect()) as db:
                yield db
        except DAMAGE as error:
            self.damaged = True
            raise BridgeError(
                f"the console's index {self.path} is damaged; it is rebuilt from Kafka: ask again in a minute"
            ) from error
        except apsw.Error as error:
            raise BridgeError(
                f"the console's index {self.path} cannot be read ({type(error).__name__}); mend its disk, or "
                "stop the console and delete the file: it is rebuilt"
            ) from error

    def connect(self) -> apsw.Connection:
        """A connection of its own to read by; the caller closes it."""
        db = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        db.set_busy_timeout(BUSY_TIMEOUT_MS)
        return db

    @contextlib.contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """One transaction of another writer in this process; waits for those under way."""
        with self._transaction():
            yield self._db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._writing, self._db:
            yield

    def _add_event(self, entry: EventEntry) -> None:
        event, execute = entry.event, self._db.execute
        published, received = epoch_ms(event.published_time), epoch_ms(event.received_time)
        if published < self.floor_ms:
            self._not_covered(event.topic, event.partition, event.offset)
            return
        n = execute(
            "INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING RETURNING n",
            (
                *(event.source, event.id, event.type, event.corp_id, event.subject),
                *(epoch_ms(event.time), received, published),
                *(event.via, event.app, *event.place, event.key),
            ),
        ).get
        if n is None:
            return
        self._db.executemany("INSERT INTO ids VALUES (?, ?, ?)", ((i, received, n) for i in entry.ids))
        execute(
            "INSERT INTO types VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE "
            "SET events = events + 1, last_ms = max(last_ms, excluded.last_ms)",
            (event.type, event.corp_id, published),
        )

    def _add_other(self, entry: Letter | Settlement | Copy) -> None:
        execute, at = self._db.execute, epoch_ms(entry.at)
        if isinstance(entry, Letter):
            execute(
                "INSERT OR IGNORE INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *entry.place,
                    entry.consumer,
                    *entry.first,
                    entry.error,
                    entry.attempts,
                    at,
                    entry.replay_id,
                ),
            )
        elif isinstance(entry, Copy):
            execute(
                "INSERT OR IGNORE INTO copies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*entry.place, entry.consumer, entry.replay_id, *entry.origin, at),
            )
        else:
            place = (entry.topic, entry.partition)
            self._db.executemany(
                'INSERT INTO settled SELECT topic, partition, "offset", ?4, ?5, ?6 FROM letters '
                'WHERE topic = ?1 AND partition = ?2 AND "offset" = ?3 '  # a note may name what is no letter
                "ON CONFLICT DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)",
                ((*place, offset, entry.run, entry.consumer, at) for offset in entry.offsets),
            )

    def _delete_before(self, floor_ms: int) -> int:
        self._set("floor_ms", floor_ms)
        execute, rows = self._db.execute, "FROM events WHERE published_ms < ?1"
        last = f'SELECT topic, partition, max("offset") {rows} GROUP BY topic, partition'
        for place in execute(last, (floor_ms,)).fetchall():
            self._not_covered(*place)
        groups = f"SELECT count(*), type, corp_id {rows} GROUP BY type, corp_id"
        counts: list[tuple[Any, ...]] = execute(groups, (floor_ms,)).fetchall()
        execute(f"DELETE FROM ids WHERE n IN (SELECT n {rows})", (floor_ms,))  # noqa: S608
        execute(f"DELETE {rows}", (floor_ms,))
        self._db.executemany("UPDATE types SET events = events - ? WHERE type = ? AND corp_id = ?", counts)
        execute("DELETE FROM types WHERE events = 0")
        return sum(count for count, _, _ in counts)

    def _not_covered(self, topic: Any, partition: Any, offset: Any) -> None:
        self._db.execute(
            "UPDATE offsets SET first = max(first, ?3 + 1) WHERE topic = ?1 AND partition = ?2",
            (topic, partition, offset),
        )

    def _meta(self, name: str) -> str | int | None:
        found: str | int | None = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).get
        return found

    def _set(self, name: str, value: str | int) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def _open(self) -> apsw.Connection:
        self.path.touch(mode=0o600)  # closing a handle of ours would drop the locks that SQLite holds on it
        db = apsw.Connection(str(self.path))
        db.set_busy_timeout(BUSY_TIMEOUT_MS)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost batches, together with their offsets
        return db

    def _why_not(self, db: apsw.Connection) -> str | None:
        """Why the file cannot be used; an empty file counts as another version."""
        version, application = db.pragma("user_version"), db.pragma("application_id")
        if (version, application) == (VERSION, APPLICATION_ID):
            return None
        return "new" if (version, application) == (0, 0) else f"version {version}"

    def _unwritable(self, error: Exception) -> BridgeError:
        return BridgeError(
            f"the console's index {self.path} cannot be written ({type(error).__name__}: {error}); give the "
            "console a DATA_DIR that this user may write, with room on its disk"
        )

    def _rebuild(self, reason: str) -> None:
        log.info("console.index_made", path=str(self.path), reason=reason)
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").unlink()
        self._db = self._open()
        self.damaged = False
        with self._db:
            self._db.execute(SCHEMA)
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {VERSION}")
        self.floor_ms = 0
