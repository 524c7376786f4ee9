"""How far the publisher has come in each journal file, and what it had to put aside.

A second small SQLite file beside the journal, written by the publisher's one connection: the cursor never
moves past a callback whose records are neither acknowledged by Kafka nor durably parked here. Synchronous.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import apsw

from ingress.errors import JournalError
from ingress.folder import CURSOR_FILE

FILE_VERSION = 1
_ACK_STEP_MS = 60_000

_SCHEMA = """
CREATE TABLE cursors (
  journal TEXT PRIMARY KEY,       -- the journal file's random id
  seq INTEGER NOT NULL,           -- all up to here are acknowledged or parked
  retired_ms INTEGER              -- since when the file is drained and no longer written
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
  PRIMARY KEY (journal, seq, record)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Parked:
    """A record that Kafka refused for itself, and that waits for the operator or for a later try."""

    journal: str
    seq: int
    record: int
    topic: str
    reason: str
    since_ms: int


class CursorFile:
    """The cursor's file in a journal ``folder``. Every write is one transaction, fsynced."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        """Raises ``JournalError`` when the file is no cursor of ours, ``apsw.Error`` when the disk fails."""
        self.path = folder / CURSOR_FILE
        if not read_only and not self.path.exists():
            self.path.touch(mode=0o600)
        flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
        self.db = apsw.Connection(str(self.path), flags=flags)
        try:
            self.db.set_busy_timeout(5000)
            if not read_only:
                self.db.execute("PRAGMA journal_mode = WAL")
                self.db.execute("PRAGMA synchronous = FULL")
                if self.db.execute("SELECT count(*) = 0 FROM sqlite_schema").get:
                    with self.db:
                        self.db.execute(_SCHEMA)
                        self.db.execute(f"PRAGMA user_version = {FILE_VERSION}")
            version = int(self.db.pragma("user_version"))
            if version != FILE_VERSION:
                raise JournalError(
                    f"{self.path} has version {version}, this dingbridge knows {FILE_VERSION}; start the "
                    "version that wrote it, nothing was changed"
                )
        except BaseException:
            self.db.close(True)
            raise

    def close(self) -> None:
        self.db.close(True)

    def seq(self, journal: str) -> int:
        """The cursor of ``journal``: 0 before anything was published."""
        return int(self.db.execute("SELECT seq FROM cursors WHERE journal = ?", (journal,)).get or 0)

    def cursors(self) -> dict[str, tuple[int, int | None]]:
        """``{journal id: (seq, retired_ms)}``."""
        rows = self.db.execute("SELECT journal, seq, retired_ms FROM cursors")
        return {journal: (seq, retired) for journal, seq, retired in rows}

    def move(self, journal: str, seq: int, parked: Iterable[Parked] = ()) -> None:
        """Set the cursor of ``journal`` to ``seq``, and write what was parked on the way, together."""
        now = int(time.time() * 1000)
        with self.db:
            for p in parked:
                self.db.execute(
                    "INSERT OR IGNORE INTO parked VALUES (?, ?, ?, ?, ?, ?)",
                    (p.journal, p.seq, p.record, p.topic, p.reason, p.since_ms),
                )
            self.db.execute(
                "INSERT INTO cursors VALUES (?, ?, NULL) "
                "ON CONFLICT (journal) DO UPDATE SET seq = max(seq, excluded.seq)",
                (journal, seq),
            )
            # overwritten until its minute is over, so it never names a moment too early
            self.db.execute(
                "INSERT OR REPLACE INTO acked VALUES (?, ?, ?)",
                (journal, now - now % _ACK_STEP_MS + _ACK_STEP_MS, seq),
            )

    def retire(self, journal: str) -> None:
        """Note that the file of ``journal`` is drained and will not be written again."""
        self.db.execute(
            "UPDATE cursors SET retired_ms = ? WHERE journal = ? AND retired_ms IS NULL",
            (int(time.time() * 1000), journal),
        )

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

    def parked(self, topic: str | None = None, limit: int = -1) -> list[Parked]:
        """What is parked, oldest first within a journal; of one ``topic`` if given."""
        where, values = ("WHERE topic = ?", (topic,)) if topic is not None else ("", ())
        rows = self.db.execute(
            f"SELECT journal, seq, record, topic, reason, since_ms FROM parked {where} "  # noqa: S608
            "ORDER BY journal, seq, record LIMIT ?",
            (*values, limit),
        )
        return [Parked(*row) for row in rows]

    def parked_seqs(self, journal: str) -> frozenset[int]:
        """The callbacks of ``journal`` that must not be pruned."""
        return frozenset(
            seq for (seq,) in self.db.execute("SELECT DISTINCT seq FROM parked WHERE journal = ?", (journal,))
        )

    def parked_counts(self) -> dict[tuple[str, str], int]:
        """``{(topic, reason): how many}``."""
        rows = self.db.execute("SELECT topic, reason, count(*) FROM parked GROUP BY topic, reason")
        return {(topic, reason): count for topic, reason, count in rows}

    def unpark(self, done: Iterable[Parked]) -> None:
        """Forget parked records that Kafka has acknowledged since."""
        with self.db:
            self.db.executemany(
                "DELETE FROM parked WHERE journal = ? AND seq = ? AND record = ?",
                [(p.journal, p.seq, p.record) for p in done],
            )
