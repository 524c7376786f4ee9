"""The relay's checkpoint in a journal, and the records that it has parked.

They are a second small SQLite file beside the journal, written by the relay's one connection. The checkpoint
moves past a callback only when each of its records is acknowledged by Kafka or parked here. Each row has a
checksum, since one flipped bit of a number here would leave callbacks unpublished.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from dingbridge.ingress.errors import JournalDamaged, JournalError
from dingbridge.ingress.journal.directory import CHECKPOINT_FILE, connect, crc_of, quick_check, sync
from dingbridge.ingress.journal.store import DAMAGE
from dingbridge.migrations.file_format import FileFormat

_ACK_STEP_MS = 60_000

FORMAT = FileFormat(
    2,
    """
CREATE TABLE checkpoint (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  journal TEXT NOT NULL,          -- the journal's random id
  seq INTEGER NOT NULL,           -- all up to here is acknowledged or parked
  crc INTEGER NOT NULL            -- of journal and seq
);
-- when Kafka had acknowledged how much, a row a minute: retention counts from the acknowledgement
CREATE TABLE acked (at_ms INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
CREATE TABLE parked (
  seq INTEGER NOT NULL,
  record INTEGER NOT NULL,        -- which of the callback's records, from 0; -1: the callback as a whole
  topic TEXT NOT NULL,
  reason TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  crc INTEGER NOT NULL,           -- of seq, record and topic
  PRIMARY KEY (seq, record)
) WITHOUT ROWID;
-- so that a million parked records are counted, or read page by page, in a moment
CREATE INDEX parked_by_reason ON parked (topic, reason);
CREATE INDEX parked_by_topic ON parked (topic, seq, record);
""",
)

PARK = "INSERT OR IGNORE INTO parked VALUES (?, ?, ?, ?, ?, ?)"
_CHECKED_AT_ONCE = 1_000

DAMAGED: Final = "damaged"
"""Reason of a callback that cannot be read as it was kept: it is never published, and no retry will help."""
WHOLE_CALLBACK: Final = -1
"""In place of a record's number, as ``NO_TOPIC`` of its topic, where a callback cannot be read."""
NO_TOPIC: Final = "-"


@dataclass(frozen=True, slots=True)
class Parked:
    """A record that Kafka refused though it was up: it waits for the operator or for a retry."""

    seq: int
    record: int
    topic: str
    reason: str
    since_ms: int

    @property
    def key(self) -> "ParkedKey":
        return self.seq, self.record


@dataclass(frozen=True, slots=True)
class ParkedGroup:
    """How many records of one topic are parked for one reason; ``since_ms``: when the first of them was, in
    the journal's order."""

    topic: str
    reason: str
    records: int
    since_ms: int


ParkedKey = tuple[int, int]
"""Names a parked record: its ``seq`` and the number of the record."""
BEFORE_ALL_PARKED: Final[ParkedKey] = (0, 0)


class Checkpoint:
    """The checkpoint's file in a journal's ``folder``. Every write is one transaction, fsynced.

    Every method raises ``apsw.Error`` when the disk fails, and ``JournalDamaged`` when the file is damaged.
    """

    def __init__(
        self, folder: Path, journal: str | None = None, *, read_only: bool = False, bring_up: bool = False
    ) -> None:
        """``journal`` is the id of the journal that it must belong to; if there is no file, it is created.
        ``bring_up`` one of an older version, with the relay's lock.

        Raises ``JournalError`` when it belongs to another journal, and as ``connect`` does."""
        self.path = folder / CHECKPOINT_FILE
        if not read_only and journal is not None and not self.path.exists():
            self._create(journal)
        with self._damage_in_words():
            self.db = connect(self.path, FORMAT, read_only=read_only, bring_up=bring_up)
            try:
                self._check_whose(journal)
            except BaseException:
                self.close()
                raise

    def _create(self, journal: str) -> None:
        """Create it under another name, then rename it: a kill in between leaves no half a checkpoint."""
        new = self.path.with_name(self.path.name + "-new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        db = apsw.Connection(str(new), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            db.execute("PRAGMA synchronous = FULL")
            with db:
                FORMAT.create(db)
                db.execute("INSERT INTO checkpoint VALUES (1, ?, 0, ?)", (journal, crc_of(journal, 0)))
        finally:
            db.close(True)
        new.rename(self.path)
        sync(self.path.parent)

    def _check_whose(self, wanted: str | None) -> None:
        if int(self.db.pragma("user_version")) < FORMAT.first:
            raise JournalDamaged(f"{self.path} is not a checkpoint of dingbridge")
        self.journal = self._position()[0]
        if wanted not in (None, self.journal):
            raise JournalError(
                f"{self.path} belongs to another journal ({self.journal}, this one is {wanted}); "
                f"put its own back, or move {CHECKPOINT_FILE}* away: all that is in the journal is "
                "then published again"
            )

    @contextmanager
    def _damage_in_words(self) -> Iterator[None]:
        try:
            yield
        except (UnicodeDecodeError, *DAMAGE) as error:  # also a flipped bit in a text
            raise JournalDamaged(f"{self.path} is damaged ({type(error).__name__}: {error})") from error

    def _write(self, sql: str, *rows: tuple[str | int, ...]) -> None:
        """Run ``sql`` for each of ``rows``, in one transaction."""
        with self._damage_in_words(), self.db:
            self.db.executemany(sql, rows)

    def close(self) -> None:
        self.db.close(True)

    def check(self) -> None:
        """Read the checkpoint and all parked rows. Raises ``JournalDamaged`` or ``apsw.Error``."""
        with self._damage_in_words():
            quick_check(self.db)
        self.seq()
        after: ParkedKey | None = BEFORE_ALL_PARKED
        while after is not None:
            after = self.check_parked(after, _CHECKED_AT_ONCE)

    # -- how far it has come

    def seq(self) -> int:
        """All callbacks up to here are acknowledged or parked; 0 before anything was published."""
        return self._position()[1]

    def _position(self) -> tuple[str, int]:
        rows = self._select("SELECT journal, seq, crc FROM checkpoint")
        if len(rows) != 1 or rows[0][2] != crc_of(*rows[0][:2]):
            raise JournalDamaged(f"{self.path} does not fit its checksum")
        return rows[0][0], rows[0][1]

    def commit(self, seq: int, parked: Iterable[Parked] = ()) -> None:
        """Move to ``seq`` and insert the rows ``parked`` on the way, in one transaction."""
        now = int(time.time() * 1000)
        with self._damage_in_words(), self.db:
            self.db.executemany(
                PARK,
                [(p.seq, p.record, p.topic, p.reason, p.since_ms, crc_of(*p.key, p.topic)) for p in parked],
            )
            self.db.execute("UPDATE checkpoint SET seq = ?, crc = ?", (seq, crc_of(self.journal, seq)))
            # the clock has jumped back: rows from its future would delay pruning until that time comes
            self.db.execute("DELETE FROM acked WHERE at_ms > ?", (now + _ACK_STEP_MS,))
            # dated at the end of this minute and overwritten until then, so never too early
            self.db.execute(
                "INSERT OR REPLACE INTO acked VALUES (?, ?)", (now - now % _ACK_STEP_MS + _ACK_STEP_MS, seq)
            )

    def acked_before(self, before_ms: int) -> int:
        """Up to which ``seq`` everything had been acknowledged or parked before ``before_ms``."""
        found = self._select("SELECT max(seq) FROM acked WHERE at_ms <= ?", (before_ms,))
        return found[0][0] or 0

    def forget_acked(self, before_ms: int) -> None:
        """Delete the acknowledgement times before ``before_ms``, but for the newest of them."""
        sql = "DELETE FROM acked WHERE at_ms < (SELECT max(at_ms) FROM acked WHERE at_ms <= ?)"
        self._write(sql, (before_ms,))

    # -- what is parked

    def parked(self, after: ParkedKey = BEFORE_ALL_PARKED, limit: int = -1) -> list[Parked]:
        """Parked records behind ``after``, in the journal's order."""
        return self._parked("(seq, record) > (?, ?) ORDER BY seq, record LIMIT ?", (*after, limit))

    def parked_of_topic(self, topic: str, after: ParkedKey, limit: int) -> list[Parked]:
        """``parked``, of one ``topic``."""
        where = "topic = ? AND (seq, record) > (?, ?) ORDER BY seq, record LIMIT ?"
        return self._parked(where, (topic, *after, limit))

    def _parked(self, where: str, values: tuple[str | int, ...]) -> list[Parked]:
        columns = "seq, record, topic, reason, since_ms, crc"
        rows = self._select(f"SELECT {columns} FROM parked WHERE {where}", values)  # noqa: S608
        found = [Parked(*row[:5]) for row in rows]
        if any(crc != crc_of(*p.key, p.topic) for p, (*_, crc) in zip(found, rows, strict=True)):
            raise JournalDamaged(f"{self.path}: a parked record does not fit its checksum")
        return found

    def check_parked(self, after: ParkedKey, limit: int) -> ParkedKey | None:
        """Check ``limit`` parked rows behind ``after``; returns the last one's key, or ``None`` at the end.

        Raises ``JournalDamaged`` where a checksum is wrong: then it is not known which callbacks must
        stay."""
        rows = self.parked(after, limit)
        return rows[-1].key if len(rows) == limit else None

    def parked_seqs(self, after_seq: int = 0, limit: int = -1) -> frozenset[int]:
        """The first callbacks behind ``after_seq`` that must not be pruned. Checks no checksums."""
        sql = "SELECT DISTINCT seq FROM parked WHERE seq > ? ORDER BY seq LIMIT ?"
        return frozenset(seq for (seq,) in self._select(sql, (after_seq, limit)))

    def parked_groups(self) -> list[ParkedGroup]:
        """How many records are parked, by topic and reason; read from an index."""
        rows = self._select(
            "SELECT topic, reason, count(*), (SELECT since_ms FROM parked AS one WHERE one.topic = many.topic"
            " AND one.reason = many.reason ORDER BY seq, record LIMIT 1)"
            " FROM parked AS many GROUP BY topic, reason",
        )
        return [ParkedGroup(*row) for row in rows]

    def unpark(self, done: Iterable[Parked]) -> None:
        """Delete parked records that Kafka has acknowledged since."""
        self._write("DELETE FROM parked WHERE seq = ? AND record = ?", *(parked.key for parked in done))

    def relabel(self, parked: Parked, reason: str) -> None:
        """Set another ``reason`` than the one for which it was parked."""
        self._write("UPDATE parked SET reason = ? WHERE seq = ? AND record = ?", (reason, *parked.key))

    def forget_damaged(self) -> int:
        """Delete the rows that are parked as damaged. Returns how many."""
        self._write("DELETE FROM parked WHERE reason = ?", (DAMAGED,))
        return int(self.db.changes())

    def _select(self, sql: str, values: tuple[str | int, ...] = ()) -> list[Any]:
        with self._damage_in_words():
            return self.db.execute(sql, values).fetchall()


T = TypeVar("T")


class SharedCheckpoint:
    """A checkpoint for the tasks of one relay: its calls run one at a time in a thread of their own, since
    they wait for the disk."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._thread = ThreadPoolExecutor(1, "checkpoint")

    async def call(self, work: Callable[[Checkpoint], T]) -> T:
        """The result of ``work``. Raises what that raises; if cancelled, it may still be done."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._checkpoint)
