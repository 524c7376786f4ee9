"""The journal's file: its schema, and the few statements that are run on it. Synchronous; no threads here.

SQLite in WAL mode with ``synchronous=FULL``: a commit returns only after the WAL was fsynced. Torn pages and
recovery are SQLite's business, and ``sqlite3`` opens the file for an operator. SQLite checks the structure of
pages, not their content: each callback therefore carries a checksum of its own.
"""

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import apsw

from dingbridge.ingress.errors import JournalError
from dingbridge.ingress.journal.directory import connect, crc_of
from dingbridge.ingress.journal.rows import (
    NewCallback,
    ResyncRequest,
    StoredCallback,
    columns_of,
    damaged_row,
    row_of,
)
from dingbridge.migrations.file_format import FileFormat

_APPLICATION_ID = 0x44494E47  # "DING", for file(1)

ANONYMOUS_WINDOW_MS = 600_000
"""Payloads without an identity of their own may truly recur: an equal one is a repeat only for this long."""

FORMAT = FileFormat(
    3,
    """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- one row: up to this seq rows may be missing since they were pruned; written in the transaction that deletes
CREATE TABLE pruned (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, crc INTEGER NOT NULL);
-- AUTOINCREMENT: else a table emptied by pruning begins again at 1, below the relay's checkpoint
CREATE TABLE callbacks (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  received_ms INTEGER NOT NULL,
  app TEXT NOT NULL,
  via TEXT NOT NULL,
  body BLOB NOT NULL,
  crc INTEGER NOT NULL, -- of all the columns, see checksum()
  traceparent TEXT
);
CREATE TABLE seen (key BLOB PRIMARY KEY, received_ms INTEGER NOT NULL) WITHOUT ROWID; -- the dedupe keys
CREATE INDEX seen_by_receipt ON seen (received_ms);
-- how far recovery and imports have come, written in the same commit as the callbacks that they keep
CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
""",
)
"""A newer version is refused. Add a step for a change of the schema, and where a note changes its meaning,
which an older version would misread."""

_SELECT = "SELECT * FROM callbacks"
"""Without the columns' names: a bit may have flipped in the schema's."""

_ROWS_PER_STATEMENT = 256

DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError)
"""SQLite calls the file damaged. ``SQLError``: our own statements no longer fit the tables, as after a
flipped bit in the name of a column."""

_UNREADABLE_VALUE = (apsw.TooBigError, UnicodeDecodeError)
"""The file is sound, but a value in one of its rows cannot be read."""


SeenKey = tuple[bytes, int]
"""A dedupe key, and when its callback was received, epoch ms."""


@cache
def _insert_sql(into: str, columns: int, rows: int, conflict: str) -> str:
    row = f"({','.join('?' * columns)})"
    return f"INSERT INTO {into} VALUES {','.join([row] * rows)}{conflict}"  # noqa: S608 - all of it is ours


class _NotAllNew(Exception):
    """One of a group was kept before, or stands in it twice: the transaction is rolled back."""


class JournalFile:
    """A connection to a journal's file. Every method raises ``apsw.Error`` when the disk fails, and one of
    ``DAMAGE`` when SQLite finds the file damaged; a callback with a wrong checksum is read as not intact."""

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        create: bool = False,
        id_optional: bool = False,
        bring_up: bool = False,
    ) -> None:
        """``id_optional``: a damaged journal may have lost its ``id``, which is "" then. Raises
        ``JournalError`` when the file is no journal of ours, or as ``connect`` does."""
        self.path = path
        if fresh := create and not path.exists():
            path.touch(mode=0o600)
        self.db = connect(path, FORMAT, read_only=read_only, bring_up=bring_up)
        try:
            if not read_only:
                # SQLite's default, and chosen: the commit that writes the WAL back delays all answers, by
                # 14 ms with 1000 pages and by 75 ms with 4000 (measured on a busy disk)
                self.db.execute("PRAGMA wal_autocheckpoint = 1000")
                if fresh:
                    self._create()
            self._check_version()
            self.id = self._own_id(id_optional)
            # the one writer counts on from here; a reader needs it not, and the last page may be damaged
            self._issued = 0 if read_only else self.highest_seq()
        except BaseException:
            self.db.close(True)
            raise

    def _create(self) -> None:
        with self.db:
            FORMAT.create(self.db)
            self.db.execute("INSERT INTO meta VALUES ('id', ?)", (secrets.token_hex(8),))
            self.db.execute("INSERT INTO pruned VALUES (1, 0, ?)", (crc_of(0),))
            self.db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    def _check_version(self) -> None:
        application, version = self.db.pragma("application_id"), int(self.db.pragma("user_version"))
        if application != _APPLICATION_ID or version < FORMAT.first:
            raise JournalError(
                f"{self.path} is not a journal of dingbridge; move it away if it does not belong there, or "
                "restore the folder as a whole from its back-up"
            )

    def _own_id(self, optional: bool) -> str:
        try:
            found = dict(self.db.execute("SELECT * FROM meta")).get("id")
        except (ValueError, *DAMAGE):  # ValueError: no text, or another number of columns
            found = None
        if not isinstance(found, str) and not optional:
            raise apsw.CorruptError("it does not say which journal it is")
        return found if isinstance(found, str) else ""

    def close(self) -> None:
        self.db.close(True)

    # -- writing: the ingress's one writing connection

    def keep(self, callbacks: Sequence[NewCallback]) -> list[bool]:
        """Commit ``callbacks`` as one group. Returns for each whether it was new (else already known).

        When this returns, all of them are on the disk. When it raises, treat none as kept.
        """
        if all(one.signature_key is None and not one.keep_again for one in callbacks):
            with suppress(_NotAllNew):
                with self.db:
                    self._keep_new(callbacks)
                self._issued += len(callbacks)
                return [True] * len(callbacks)
        return self.commit(callbacks, {}, 0)

    def commit(
        self,
        rows: Sequence[NewCallback | ResyncRequest],
        notes: Mapping[str, str | None],
        now_ms: int,
        seen: Sequence[SeenKey] = (),
    ) -> list[bool]:
        """Keep ``rows``, set ``notes`` (None: remove it) and insert those of ``seen`` that are not known, in
        one commit, all or nothing. Returns for each of ``rows`` whether it was new. ``now_ms``: when its
        resync requests are received."""
        with self.db:
            new = self._keep_each(
                [row.callback(now_ms) if isinstance(row, ResyncRequest) else row for row in rows]
            )
            self._insert("seen", seen, " ON CONFLICT DO NOTHING")
            for key, value in notes.items():
                if value is None:
                    self.db.execute("DELETE FROM notes WHERE key = ?", (key,))
                else:
                    self.db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, value))
        self._issued += sum(new)
        return new

    def notes(self, prefix: str) -> dict[str, str]:
        """The notes whose keys begin with ``prefix``, in the order of their keys."""
        try:
            rows: list[Any] = self.db.execute("SELECT key, value FROM notes ORDER BY key").fetchall()
        except UnicodeDecodeError:
            rows = [(None, None)]
        if not all(isinstance(text, str) for row in rows for text in row):
            raise apsw.CorruptError("a note is no text")
        return {key: value for key, value in rows if key.startswith(prefix)}

    def _keep_new(self, callbacks: Sequence[NewCallback]) -> None:
        """Insert the usual group, in which every callback has an identity of its own and is new, by few
        statements of many rows each. Raises ``_NotAllNew``."""
        seen = [(callback.key, callback.received_ms) for callback in callbacks]
        if self._insert("seen", seen, " ON CONFLICT DO NOTHING") < len(callbacks):
            raise _NotAllNew
        rows = [columns_of(seq, callback) for seq, callback in enumerate(callbacks, self._issued + 1)]
        self._insert("callbacks", rows)

    def _insert(self, into: str, rows: Sequence[tuple[Any, ...]], conflict: str = "") -> int:
        """Insert ``rows``; returns how many went in. A statement takes as large a power of two of them as is
        left, so few are needed: after each one this thread must win the GIL back from the event loop."""
        inserted, begin = 0, 0
        while begin < len(rows):
            size = min(_ROWS_PER_STATEMENT, 1 << (len(rows) - begin).bit_length() - 1)
            values = [value for row in rows[begin : begin + size] for value in row]
            self.db.execute(_insert_sql(into, len(rows[0]), size, conflict), values)
            inserted += self.db.changes()
            begin += size
        return inserted

    def _keep_each(self, callbacks: Sequence[NewCallback]) -> list[bool]:
        seq, new = self._issued + 1, []
        for callback in callbacks:
            is_new = self._is_new(callback)
            if is_new:
                self._insert("callbacks", [columns_of(seq, callback)])
                seq += 1
            new.append(is_new)
        return new

    def _is_new(self, callback: NewCallback) -> bool:
        """Whether the callback is to be kept; inserts its dedupe keys."""
        if callback.keep_again:
            return not callback.key or not self._received_since(callback)
        if callback.signature_key is None:
            return self._note_seen(callback.key, callback.received_ms)
        if not self._note_seen(callback.signature_key, callback.received_ms):
            return False
        known = self.db.execute("SELECT received_ms FROM seen WHERE key = ?", (callback.key,)).get
        if known is not None and abs(callback.received_ms - known) < ANONYMOUS_WINDOW_MS:
            return False
        self.db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (callback.key, callback.received_ms))
        return True

    def _received_since(self, callback: NewCallback) -> bool:
        """Whether it was received again, and kept, after this ``received_ms``; inserts its key, if not."""
        self._note_seen(callback.key, callback.received_ms)
        known = self.db.execute("SELECT received_ms FROM seen WHERE key = ?", (callback.key,)).get
        return _number(known) > callback.received_ms

    def _note_seen(self, key: bytes, received_ms: int) -> bool:
        self.db.execute("INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING", (key, received_ms))
        return self.db.changes() == 1

    def probe(self) -> None:
        """A commit that keeps no callback, to see whether the disk takes one."""
        self.commit([], {"probe": str(time.time())}, 0)

    def truncate_wal(self) -> None:
        """Write the WAL back and empty it; after a failed fsync this must succeed before the next
        ``success``. Raises ``apsw.BusyError`` while somebody else reads, as a back-up does."""
        self.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def prune_callbacks(self, up_to_seq: int, keep: Collection[int], limit: int, *, after_seq: int) -> int:
        """Delete at most ``limit`` of the oldest callbacks behind ``after_seq`` up to ``up_to_seq``, but none
        of ``keep``. Returns how many."""
        sql = "SELECT seq FROM callbacks WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        rows = self.db.execute(sql, (after_seq, up_to_seq, limit + len(keep)))
        doomed = [(seq,) for (seq,) in rows if seq not in keep][:limit]
        if doomed:
            pruned_seq = max(self.pruned_seq(), *doomed[-1])
            with self.db:
                self.db.executemany("DELETE FROM callbacks WHERE seq = ?", doomed)
                self.db.execute("UPDATE pruned SET seq = ?, crc = ?", (pruned_seq, crc_of(pruned_seq)))
        return len(doomed)

    def free_pages(self) -> tuple[int, int]:
        """``(free pages, all pages)`` of the file."""
        return int(self.db.pragma("freelist_count")), int(self.db.pragma("page_count"))

    def release(self, pages: int) -> None:
        """Free at most ``pages`` unused pages; the file shrinks when the WAL is written back next."""
        self.db.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()

    def prune_seen(self, before_ms: int, limit: int) -> int:
        """Forget at most ``limit`` dedupe keys of callbacks received before ``before_ms``. Returns how
        many."""
        with self.db:
            self.db.execute(
                "DELETE FROM seen WHERE key IN (SELECT key FROM seen WHERE received_ms < ? LIMIT ?)",
                (before_ms, limit),
            )
        return int(self.db.changes())

    # -- reading: any number of connections; every statement is finished before the method returns

    def read(self, after_seq: int, *, max_rows: int, max_bytes: int) -> list[StoredCallback]:
        """The callbacks behind ``after_seq`` in order: at most ``max_rows``, and about ``max_bytes``."""
        found: list[StoredCallback] = []
        size = 0
        cursor = self.db.execute(f"{_SELECT} WHERE rowid > ? ORDER BY rowid", (after_seq,))
        try:
            for columns in cursor:
                row = row_of(*columns)
                if not row.intact:
                    # its number itself may be damaged; rows have no gaps here, so it must be the next one
                    row = row._replace(seq=after_seq + 1)
                elif row.seq <= after_seq:
                    continue  # because of such a number SQLite may begin too early
                found.append(row)
                after_seq = row.seq
                size += len(row.body)
                if size >= max_bytes or len(found) == max_rows:
                    break
        except _UNREADABLE_VALUE:  # in the next row: return those before it first
            if not found:
                sql = "SELECT rowid FROM callbacks WHERE rowid > ? ORDER BY rowid LIMIT 1"
                found.append(damaged_row(_number(self.db.execute(sql, (after_seq,)).get)))
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

    def seqs(self, after_seq: int, up_to_seq: int, limit: int) -> list[int]:
        """The first ``seq`` that there are behind ``after_seq``, up to ``up_to_seq``."""
        sql = "SELECT rowid FROM callbacks WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?"
        return [seq for (seq,) in self.db.execute(sql, (after_seq, up_to_seq, limit))]

    def highest_seq(self) -> int:
        """The highest ``seq`` that was ever issued here, also if that row has been pruned; 0 if none."""
        return max(self.issued_seq(), self.last_seq())

    def issued_seq(self) -> int:
        """The same by SQLite's AUTOINCREMENT counter alone, which may be damaged."""
        return _number(self.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'callbacks'").get)

    def last_seq(self) -> int:
        """The ``seq`` of the last row; 0 if there is none."""
        return _number(self.db.execute("SELECT max(rowid) FROM callbacks").get)

    def pruned_seq(self) -> int:
        """Up to this ``seq`` rows may be missing, since published ones are pruned; behind it none may."""
        found = self.db.execute("SELECT seq, crc FROM pruned").fetchone()
        if found is None or found[1] != crc_of(found[0]):
            raise apsw.CorruptError("it does not say up to where it was pruned")
        return int(found[0])

    def seen(self, after_key: bytes, limit: int) -> list[SeenKey]:
        """The dedupe keys behind ``after_key``, with the time of receipt in epoch ms, at most ``limit``."""
        sql = "SELECT key, received_ms FROM seen WHERE key > ? ORDER BY key LIMIT ?"
        found: list[Any] = self.db.execute(sql, (after_key, limit)).fetchall()
        return found

    def last_received_ms(self) -> int:
        """When the last callback was received whose dedupe key is still known, epoch ms; 0 if none is."""
        return _number(self.db.execute("SELECT max(received_ms) FROM seen").get)

    def waiting(self, after_seq: int) -> tuple[int, int | None]:
        """``(how many callbacks wait behind after_seq, when the oldest of them was received in ms)``."""
        sql = "SELECT received_ms FROM callbacks WHERE seq > ? ORDER BY seq LIMIT 1"
        oldest = self.db.execute(sql, (after_seq,)).get
        if oldest is None:
            return 0, None
        # behind the pruned ones there are no gaps; parked callbacks before ``after_seq`` are not counted
        return max(self.highest_seq() - max(after_seq, self.pruned_seq()), 1), _number(oldest)


def _number(value: object) -> int:
    """``value``, which was written as an integer, or 0 for NULL; a flipped bit may have changed its type."""
    if value is None:
        return 0
    if not isinstance(value, int):
        raise apsw.CorruptError(f"{type(value).__name__} instead of a number")
    return value
