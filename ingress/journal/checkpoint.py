"""How far the publisher has come in each journal file, and what it had to put aside.

A second small SQLite file beside the journal, written by the publisher's one connection: the cursor never
moves past a callback whose records are neither acknowledged by Kafka nor durably parked here. Its rows carry
checksums, since one flipped bit of a number here would leave callbacks unpublished. Synchronous.
"""

import time
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from ingress.errors import JournalError
from ingress.journal.directory import CURSOR_FILE
from ingress.own_schema import believed, check_schema, number

FILE_VERSION = 1
_ACK_STEP_MS = 60_000

_SCHEMA = """
CREATE TABLE cursors (
  journal TEXT PRIMARY KEY,       -- the journal file's random id
  seq INTEGER NOT NULL,           -- all up to here are acknowledged or parked
  retired_ms INTEGER,             -- since when the file is drained and a newer one is read
  crc INTEGER NOT NULL            -- of journal and seq
) WITHOUT ROWID;
-- when Kafka had acknowledged how much, a row a minute: retention counts from the acknowledgement
CREATE TABLE acked (
  journal TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (journal, at_ms)
) WITHOUT ROWID;
CREATE TABLE parked (
  journal TEXT NOT NULL,
  seq INTEGER NOT NULL,
  record INTEGER NOT NULL,        -- which of the callback's records, from 0
  topic TEXT NOT NULL,
  reason TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  crc INTEGER NOT NULL,           -- of journal, seq, record and topic
  PRIMARY KEY (journal, seq, record)
) WITHOUT ROWID;
"""

_INDEX = "CREATE INDEX IF NOT EXISTS parked_by_topic ON parked (topic, reason)"
"""So that a million of parked records is counted in a moment. Not in every file: earlier ones had none."""

_CHECKED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Parked:
    """A record that Kafka refused for itself, and that waits for the operator or for a later try."""

    journal: str
    seq: int
    record: int
    topic: str
    reason: str
    since_ms: int


ParkedKey = tuple[str, int, int]
"""Of a parked record: journal, seq, record."""
BEFORE_ALL_PARKED: Final[ParkedKey] = ("", 0, 0)


class CursorFile:
    """The cursor's file in a journal ``folder``. Every write is one transaction, fsynced. Every method raises
    ``apsw.Error`` when the disk fails, or has changed what stands here."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        """Raises ``JournalError`` when the file is no cursor of ours, ``apsw.Error`` when the disk fails."""
        self.path = folder / CURSOR_FILE
        self._read_only = read_only
        if not read_only and not self.path.exists():
            self.path.touch(mode=0o600)
        self.db = self._open()

    def _open(self) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READONLY if self._read_only else apsw.SQLITE_OPEN_READWRITE
        db = apsw.Connection(str(self.path), flags=flags)
        try:
            db.set_busy_timeout(5000)
            if not self._read_only:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                if db.execute("SELECT count(*) = 0 FROM sqlite_schema").get:
                    with db:
                        db.execute(_SCHEMA)
                        db.execute(f"PRAGMA user_version = {FILE_VERSION}")
            version = int(db.pragma("user_version"))
            if version != FILE_VERSION:
                raise JournalError(
                    f"{self.path} has version {version}, this dingbridge knows {FILE_VERSION}; start the "
                    "version that wrote it, nothing was changed"
                )
            check_schema(db, _SCHEMA)
            if not self._read_only:
                with suppress(apsw.FullError, apsw.BusyError):  # it only saves time
                    db.execute(_INDEX)
        except BaseException:
            db.close(True)
            raise
        return db

    def close(self) -> None:
        self.db.close(True)

    def reopen(self) -> None:
        """Go on with a new connection: after a failed fsync none that was open may be trusted."""
        self.db.close(True)
        self.db = self._open()

    def damage(self) -> str | None:
        """What is wrong with the file, or ``None``: its structure, and every row that counts.

        Raises ``apsw.Error`` where it cannot even be looked at."""
        found = [str(line) for (line,) in self.db.execute("PRAGMA quick_check(3)")]
        if found != ["ok"]:
            return "; ".join(found)
        try:
            self.cursors()
            after: ParkedKey | None = BEFORE_ALL_PARKED
            while after is not None:
                after = self.check_parked(after, _CHECKED_AT_ONCE)
        except (JournalError, apsw.CorruptError) as error:
            return str(error)
        return None

    def seq(self, journal: str) -> int:
        """The cursor of ``journal``: 0 before anything was published."""
        return self.cursors().get(journal, (0, None))[0]

    @believed()
    def cursors(self) -> dict[str, tuple[int, int | None]]:
        """``{journal id: (seq, retired_ms)}``. Raises ``JournalError`` where a checksum does not fit."""
        found: dict[str, tuple[int, int | None]] = {}
        for journal, seq, retired_ms, crc in self.db.execute("SELECT * FROM cursors"):
            if crc != _crc(journal, seq):
                raise JournalError(f"the cursor of journal {journal} does not fit its checksum")
            found[journal] = number(seq), number(retired_ms) if retired_ms is not None else None
        return found

    def move(self, journal: str, seq: int, parked: Iterable[Parked] = ()) -> None:
        """Set the cursor of ``journal`` to ``seq``, and write what was parked on the way, together. A journal
        that was retired and goes on all the same is not retired any more."""
        now = int(time.time() * 1000)
        with self.db:
            self._park(parked)
            self.db.execute(
                "INSERT INTO cursors VALUES (?, ?, NULL, ?) ON CONFLICT (journal) DO UPDATE "
                "SET seq = excluded.seq, crc = excluded.crc, retired_ms = NULL WHERE excluded.seq > seq",
                (journal, seq, _crc(journal, seq)),
            )
            # notes from a time to which the clock had jumped would hold up pruning until it comes again
            self.db.execute(
                "DELETE FROM acked WHERE journal = ? AND at_ms > ?", (journal, now + _ACK_STEP_MS)
            )
            # overwritten until its minute is over, so it never names a moment too early
            self.db.execute(
                "INSERT OR REPLACE INTO acked VALUES (?, ?, ?)",
                (journal, now - now % _ACK_STEP_MS + _ACK_STEP_MS, seq),
            )

    def _park(self, parked: Iterable[Parked]) -> None:
        for p in parked:
            self.db.execute(
                "INSERT OR IGNORE INTO parked VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    p.journal,
                    p.seq,
                    p.record,
                    p.topic,
                    p.reason,
                    p.since_ms,
                    _crc(p.journal, p.seq, p.record, p.topic),
                ),
            )

    def retire(self, journal: str) -> None:
        """Note that the file of ``journal`` is drained, and that there is a newer one; also of one in which
        nothing was ever kept."""
        self.db.execute(
            "INSERT INTO cursors VALUES (?, 0, ?, ?) ON CONFLICT (journal) DO UPDATE "
            "SET retired_ms = excluded.retired_ms WHERE retired_ms IS NULL",
            (journal, int(time.time() * 1000), _crc(journal, 0)),
        )

    @believed()
    def acked_before(self, journal: str, before_ms: int) -> int:
        """Up to which ``seq`` everything had been acknowledged or parked before ``before_ms``."""
        return int(
            self.db.execute(
                "SELECT max(seq) FROM acked WHERE journal = ? AND at_ms <= ?", (journal, before_ms)
            ).get
            or 0
        )

    def forget_acked(self, before_ms: int) -> None:
        """Drop the notes that retention no longer needs; the newest of each journal stays."""
        self.db.execute(
            "DELETE FROM acked WHERE at_ms < ?1 AND at_ms < (SELECT max(at_ms) FROM acked AS a "
            "WHERE a.journal = acked.journal AND a.at_ms <= ?1)",
            (before_ms,),
        )

    def parked(self, *, journal: str | None = None, reason: str | None = None) -> list[Parked]:
        """What is parked, oldest first within a journal; of one ``journal`` or for one ``reason`` if given.
        Journals come in no order of age: their ids are random. Raises ``JournalError`` where a checksum does
        not fit."""
        wanted = {"journal": journal, "reason": reason}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(f"{name} = ?" for name in given) or "true"
        return self._parked(f"{where} ORDER BY journal, seq, record", tuple(given.values()))

    def parked_behind(self, topic: str, journal: str, after: tuple[int, int], limit: int) -> list[Parked]:
        """At most ``limit`` of what is parked of ``topic`` from ``journal``, oldest first, behind ``after``
        (seq and record). Raises ``JournalError`` where a checksum does not fit."""
        return self._parked(
            "topic = ? AND journal = ? AND (seq, record) > (?, ?) ORDER BY seq, record LIMIT ?",
            (topic, journal, *after, limit),
        )

    def parked_of(self, journal: str, seq: int) -> list[Parked]:
        """What is parked of one callback. Raises ``JournalError`` where a checksum does not fit."""
        return self._parked("journal = ? AND seq = ? ORDER BY record", (journal, seq))

    @believed()
    def _parked(self, where: str, values: tuple[str | int, ...]) -> list[Parked]:
        rows = self.db.execute(
            f"SELECT journal, seq, record, topic, reason, since_ms, crc FROM parked WHERE {where}",  # noqa: S608
            values,
        )
        found = []
        for *row, crc in rows:
            found.append(p := Parked(*row))
            if crc != _crc(p.journal, p.seq, p.record, p.topic):
                raise JournalError(f"a parked record of journal {p.journal} does not fit its checksum")
        return found

    @believed()
    def check_parked(self, after: ParkedKey, limit: int) -> ParkedKey | None:
        """Check ``limit`` parked rows behind ``after``; returns the last one's key, or ``None`` at the end.

        Raises ``JournalError`` where a checksum does not fit: it is not known then what must stay."""
        rows = self._parked(
            "(journal, seq, record) > (?, ?, ?) ORDER BY journal, seq, record LIMIT ?", (*after, limit)
        )
        return (rows[-1].journal, rows[-1].seq, rows[-1].record) if len(rows) == limit else None

    @believed()
    def parked_seqs(self, journal: str, after_seq: int = 0, limit: int = -1) -> frozenset[int]:
        """The first callbacks of ``journal`` behind ``after_seq`` that must not be pruned; without a look at
        their checksums."""
        rows = self.db.execute(
            "SELECT DISTINCT seq FROM parked WHERE journal = ? AND seq > ? ORDER BY seq LIMIT ?",
            (journal, after_seq, limit),
        )
        return frozenset(number(seq) for (seq,) in rows)

    def has_parked(self, journal: str) -> bool:
        """Whether anything of ``journal`` is parked."""
        return bool(self.db.execute("SELECT EXISTS (SELECT 1 FROM parked WHERE journal = ?)", (journal,)).get)

    @believed()
    def parked_journals(self) -> frozenset[str]:
        """The journals of which something is parked."""
        return frozenset(journal for (journal,) in self.db.execute("SELECT DISTINCT journal FROM parked"))

    @believed()
    def parked_counts(self) -> dict[tuple[str, str], int]:
        """``{(topic, reason): how many}``."""
        rows = self.db.execute("SELECT topic, reason, count(*) FROM parked GROUP BY topic, reason")
        return {(topic, reason): count for topic, reason, count in rows}

    def unpark(self, done: Iterable[Parked], instead: Iterable[Parked] = ()) -> None:
        """Forget parked records that Kafka has acknowledged since, or park others ``instead``."""
        with self.db:
            self.db.executemany(
                "DELETE FROM parked WHERE journal = ? AND seq = ? AND record = ?",
                [(p.journal, p.seq, p.record) for p in done],
            )
            self._park(instead)


def _crc(*parts: str | int) -> int:
    return zlib.crc32("\0".join(map(str, parts)).encode())
