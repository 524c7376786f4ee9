"""The journal's file: its tables, and the few statements that are run on it. Synchronous; no threads here.

``callbacks`` holds what came, ``seen`` the dedupe keys, ``parked`` what Kafka refused, ``state`` how far
Kafka has acknowledged, and the notes of recovery, Stream mode and drained folders.
"""

import secrets
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import apsw

from dingbridge.ingress.journal.disk import connect, make_durable
from dingbridge.ingress.journal.rows import (
    Acknowledgement,
    NewCallback,
    Parked,
    ParkedGroup,
    StoredCallback,
    columns_of,
    damaged_row,
    now_ms,
    parked_of,
    row_of,
)
from dingbridge.ingress.journal.schema import APPLICATION_ID, SCHEMA, VERSION, refuse_other_version

_SELECT = "SELECT * FROM callbacks"
"""Without the columns' names: a bit may have flipped in the schema's."""
_SEQ, _SINCE = (f"CASE typeof({one}) WHEN 'integer' THEN {one} END" for one in ("seq", "since_ms"))
_TOPIC, _REASON = (
    f"CASE typeof({one}) WHEN 'text' THEN CAST({one} AS BLOB) END" for one in ("topic", "reason")
)
"""The columns of a parked row as ``parked_of`` takes them. As a blob, a text that is none is no error."""
_ROWS_PER_STATEMENT = 256
_UNREADABLE_VALUE = (apsw.TooBigError, UnicodeDecodeError)
"""The file is sound, but a value in one of its rows cannot be read."""
_ACKED, _ID = "acked", "id"


@cache
def _insert_sql(into: str, columns: int, rows: int, more: str) -> str:
    row = f"({','.join('?' * columns)})"
    return f"INSERT INTO {into} VALUES {','.join([row] * rows)}{more}"  # noqa: S608 - all of it is ours


class JournalFile:
    """A connection to a journal's file. Every method raises ``apsw.Error`` when the disk fails, and one of
    ``DAMAGE`` when SQLite finds the file damaged; a callback with a wrong checksum is read as not intact."""

    def __init__(self, path: Path, *, read_only: bool = False, create: bool = False) -> None:
        """Raises ``JournalError`` when the file is no journal of ours, or of another version."""
        self.path = path
        if create:
            path.touch(mode=0o600)
        self.db = connect(path, read_only=read_only)
        try:
            if not create:
                refuse_other_version(self.db, self.path)
            if not read_only:
                make_durable(self.db, create=create)
            if create:
                self._create()
            self._issued = 0 if read_only else self.highest_seq()
        except BaseException:
            self.db.close(True)
            raise

    def _create(self) -> None:
        with self.db:
            self.db.execute(SCHEMA)
            self._set({_ID: secrets.token_hex(8), _ACKED: _with_crc(0)})
            self.db.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        self.db.close(True)

    # -- writing: the ingress's one writing connection

    def commit(
        self,
        callbacks: Sequence[NewCallback] = (),
        notes: Mapping[str, str | None] | None = None,
        acknowledgements: Iterable[Acknowledgement] = (),
    ) -> list[bool]:
        """Keep ``callbacks``, set ``notes`` (None removes one) and note what Kafka has acknowledged, in one
        transaction. Returns for each callback whether it was new (else already known).

        When this returns, all of it is on the disk. When it raises, treat nothing as kept.
        """
        with self.db:
            new = self._keep(callbacks)
            for one in acknowledgements:
                self._acknowledge(*one)
            self._set({key: value for key, value in (notes or {}).items() if value is not None})
            gone = [(key,) for key, value in (notes or {}).items() if value is None]
            self.db.executemany("DELETE FROM state WHERE key = ?", gone)
        self._issued += sum(new)
        return new

    def _keep(self, callbacks: Sequence[NewCallback]) -> list[bool]:
        seen = [(one.key, one.received_ms) for one in callbacks if one.key is not None]
        unknown = self._insert("seen", seen, " ON CONFLICT DO NOTHING RETURNING key")
        new = []
        for one in callbacks:
            new.append(one.key is None or one.key in unknown)
            unknown.discard(one.key)  # the same one twice in a group
        fresh = [one for one, is_new in zip(callbacks, new, strict=True) if is_new]
        self._insert("callbacks", [columns_of(seq, one) for seq, one in enumerate(fresh, self._issued + 1)])
        return new

    def _insert(self, into: str, rows: Sequence[tuple[Any, ...]], more: str = "") -> set[Any]:
        """Insert ``rows``; returns what the statements return. Each statement takes the largest power of two
        of rows that is left. Few statements are needed so, and after each one this thread must win the GIL
        back from the event loop."""
        returned, begin = set[Any](), 0
        while begin < len(rows):
            size = min(_ROWS_PER_STATEMENT, 1 << (len(rows) - begin).bit_length() - 1)
            values = [value for row in rows[begin : begin + size] for value in row]
            for (value,) in self.db.execute(_insert_sql(into, len(rows[0]), size, more), values):
                returned.add(value)
            begin += size
        return returned

    def _acknowledge(self, acked: int | None, parked: Iterable[Parked], sent: Iterable[Parked]) -> None:
        self.db.executemany("DELETE FROM parked WHERE seq = ? AND topic = ?", [one[:2] for one in sent])
        self.db.executemany(
            "INSERT INTO parked VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET reason = excluded.reason",
            list(parked),
        )
        if acked is not None:
            self._set({_ACKED: _with_crc(acked)})

    def _set(self, state: Mapping[str, str]) -> None:
        self.db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", list(state.items()))

    def probe(self) -> None:
        """A commit that keeps no callback, to see whether the disk takes one."""
        with self.db:
            self._set({"probe": str(now_ms())})

    def truncate_wal(self) -> None:
        """Write the WAL back and empty it; after a failed fsync this must succeed before the next
        ``success``. Raises ``apsw.BusyError`` while somebody else reads, as a back-up does."""
        self.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def prune_callbacks(self, after_seq: int, limit: int, kept_ms: tuple[int, int]) -> int | None:
        """Delete published callbacks of the next ``limit`` numbers behind ``after_seq`` that are not parked:
        those that were not received between these two times (epoch ms). Returns the last number; None: no
        published one follows, or one of these stays, behind which few can be older."""
        first = _number(self.db.execute("SELECT min(rowid) FROM callbacks WHERE rowid > ?", (after_seq,)).get)
        last = min(first + limit - 1, self.acked())
        if not first or last < first:
            return None
        with self.db:
            # Invariant 2: only what Kafka has acknowledged is deleted, and nothing that is parked
            self.db.execute(
                "DELETE FROM callbacks WHERE seq BETWEEN ? AND ? AND received_ms NOT BETWEEN ? AND ? "
                "AND seq NOT IN (SELECT seq FROM parked WHERE parked.seq BETWEEN ? AND ?)",
                (first, last, *kept_ms, first, last),
            )
        stays = self.db.execute(
            "SELECT seq FROM callbacks WHERE seq BETWEEN ? AND ? "
            "AND seq NOT IN (SELECT seq FROM parked WHERE parked.seq BETWEEN ? AND ?) LIMIT 1",
            (first, last, first, last),
        )
        return last if stays.get is None else None

    def prune_seen(self, before_ms: int, limit: int) -> int:
        """Forget at most ``limit`` dedupe keys of callbacks received before ``before_ms``. Returns how
        many."""
        with self.db:
            self.db.execute(
                "DELETE FROM seen WHERE key IN (SELECT key FROM seen WHERE received_ms < ? LIMIT ?)",
                (before_ms, limit),
            )
        return int(self.db.changes())

    def shrink(self, kept: int, step: int) -> bool:
        """Give ``step`` free pages back to the disk, if the file has more than ``kept``. Returns whether it
        did. The file shrinks when SQLite writes the WAL back next."""
        free = int(self.db.pragma("freelist_count"))
        if free > kept:
            self.db.execute(f"PRAGMA incremental_vacuum({step})").fetchall()
        return int(self.db.pragma("freelist_count")) < free

    def pages(self) -> int:
        """How many pages the file has."""
        return int(self.db.pragma("page_count"))

    # -- reading: any number of connections; every statement is finished before the method returns

    @property
    def id(self) -> str:
        """The journal's own id: a ``sequence`` is comparable within it."""
        found = self._state(_ID)
        if found is None:
            raise apsw.CorruptError("it does not say which journal it is")
        return found

    def acked(self) -> int:
        """Up to here all records are in Kafka, or parked; behind it no number is missing."""
        number, _, crc = (self._state(_ACKED) or "").partition(" ")
        if not number.isdecimal() or _with_crc(int(number)) != f"{number} {crc}":
            raise apsw.CorruptError("it does not say how far Kafka has acknowledged")
        return int(number)

    def notes(self, prefix: str) -> dict[str, str]:
        """The notes whose keys begin with ``prefix``, in the order of their keys."""
        rows = self._rows("SELECT key, value FROM state ORDER BY key")
        if not all(isinstance(text, str) for row in rows for text in row):
            raise apsw.CorruptError("a note is no text")
        return {key: value for key, value in rows if key.startswith(prefix)}

    def _state(self, key: str) -> str | None:
        return self.notes(key).get(key)

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self.db.execute(sql, values).fetchall()
        except UnicodeDecodeError as error:
            raise apsw.CorruptError("a text is none any more") from error

    def read(self, after_seq: int, *, max_rows: int, max_bytes: int) -> list[StoredCallback]:
        """The callbacks behind ``after_seq`` in order: at most ``max_rows``, and about ``max_bytes``."""
        found: list[StoredCallback] = []
        size = 0
        cursor = self.db.execute(f"{_SELECT} WHERE rowid > ? ORDER BY rowid", (after_seq,))
        try:
            for columns in cursor:
                found.append(row_of(*columns))
                size += len(found[-1].body)
                if size >= max_bytes or len(found) == max_rows:
                    break
        except _UNREADABLE_VALUE:  # in the next row: return those before it first
            if not found:
                found.append(damaged_row(after_seq + 1))
        finally:
            cursor.close()
        return found

    def row(self, seq: int) -> StoredCallback | None:
        """The callback with this ``seq``; ``None`` if it was pruned or never kept."""
        try:
            columns = self.db.execute(f"{_SELECT} WHERE rowid = ?", (seq,)).fetchone()
        except _UNREADABLE_VALUE:
            return damaged_row(seq)
        return row_of(*columns) if columns is not None else None

    def seqs(self) -> list[int]:
        """The numbers of all callbacks that there are, in order."""
        return [seq for (seq,) in self.db.execute("SELECT rowid FROM callbacks ORDER BY rowid")]

    def parked(self, topic: str | None, reasons: Iterable[str], after_seq: int, limit: int) -> list[Parked]:
        """The first callbacks behind ``after_seq`` that are parked for ``topic`` and one of ``reasons``, by
        ``seq``; with None, for any topic and any reason but these."""
        wanted = sorted(reasons)
        these = f"reason IN ({','.join('?' * len(wanted))})"
        where = f"NOT {these}" if topic is None else f"topic = ? AND {these}"
        values = wanted if topic is None else [topic, *wanted]
        # a number of another type is greater than all: it would be found again and again
        where = f"{where} AND seq > ? AND typeof(seq) = 'integer' ORDER BY seq LIMIT ?"
        return self._parked(where, *values, after_seq, limit)

    def parked_of(self, seq: int) -> list[Parked]:
        """What is parked of the callback ``seq``."""
        return self._parked("seq = ?", seq)

    def all_parked(self) -> list[Parked]:
        """All that is parked, also what cannot be understood."""
        return self._parked("TRUE")

    def parked_seqs(self, after_seq: int, limit: int) -> list[int]:
        """The first callbacks behind ``after_seq`` that are parked, by ``seq``."""
        sql = "SELECT DISTINCT seq FROM parked WHERE seq > ? ORDER BY seq LIMIT ?"
        return [_number(seq) for (seq,) in self.db.execute(sql, (after_seq, limit))]

    def _parked(self, where: str, *values: Any) -> list[Parked]:
        sql = f"SELECT {_SEQ}, {_TOPIC}, {_REASON}, {_SINCE} FROM parked WHERE {where}"  # noqa: S608 - ours
        return [parked_of(*row) for row in self._rows(sql, values)]

    def parked_groups(self) -> list[ParkedGroup]:
        """What is parked, by topic and reason; counted by the index alone."""
        sql = (
            f"SELECT count({_SEQ}), count(*), {_TOPIC}, {_REASON}, min({_SINCE}) FROM parked "  # noqa: S608
            "GROUP BY topic, reason"
        )
        groups = dict[tuple[str, str], ParkedGroup]()
        for numbered, rows, *columns in self._rows(sql):
            for seq, count in ((0, numbered), (None, rows - numbered)):
                one = parked_of(seq, *columns)
                if count:
                    key = one.topic, one.reason
                    before = groups.get(key, ParkedGroup(*key, 0, one.since_ms))
                    groups[key] = before._replace(callbacks=before.callbacks + count)
        return list(groups.values())

    def check_state(self) -> None:
        """Read what is neither a callback nor parked. Raises ``apsw.CorruptError`` where the disk has changed
        it."""
        _ = self.id, self.last_received_ms()
        if self.acked() > self.highest_seq():
            raise apsw.CorruptError("Kafka has acknowledged more than was ever kept")
        if self.last_seq() > self.issued_seq():
            raise apsw.CorruptError("a callback has a number that was never given")

    def highest_seq(self) -> int:
        """The highest ``seq`` that was ever issued here, also if that row has been pruned; 0 if none."""
        return max(self.issued_seq(), self.last_seq())

    def issued_seq(self) -> int:
        """The same by SQLite's AUTOINCREMENT counter alone, which may be damaged."""
        return _number(self.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'callbacks'").get)

    def last_seq(self) -> int:
        """The ``seq`` of the last row; 0 if there is none."""
        return _number(self.db.execute("SELECT max(rowid) FROM callbacks").get)

    def last_received_ms(self) -> int:
        """When the last callback was received whose dedupe key is still known, epoch ms; 0 if none is."""
        return _number(self.db.execute("SELECT max(received_ms) FROM seen").get)

    def waiting(self) -> tuple[int, int | None]:
        """``(how many callbacks wait for Kafka, when the oldest of them was received in ms)``."""
        acked = self.acked()
        sql = "SELECT received_ms FROM callbacks WHERE seq > ? ORDER BY seq LIMIT 1"
        oldest = self.db.execute(sql, (acked,)).get
        return (0, None) if oldest is None else (max(self.highest_seq() - acked, 1), _number(oldest))


def _with_crc(acked: int) -> str:
    """As it stands in ``state``: one flipped bit of the number would leave callbacks unpublished."""
    return f"{acked} {zlib.crc32(str(acked).encode()):08x}"


def _number(value: object) -> int:
    """``value``, which was written as an integer, or 0 for NULL; a flipped bit may have changed its type."""
    if value is None:
        return 0
    if not isinstance(value, int):
        raise apsw.CorruptError(f"{type(value).__name__} instead of a number")
    return value
