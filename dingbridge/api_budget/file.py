"""The budget in one small SQLite file, shared by the processes of one host."""

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from dingbridge.api_budget.store import Store, StoreFailed
from dingbridge.migrations.file_format import FileFormat

_BUSY_MS: Final = 5_000
FORMAT: Final = FileFormat(
    0,
    """
CREATE TABLE IF NOT EXISTS calls (
    app TEXT NOT NULL, month TEXT NOT NULL, priority INTEGER NOT NULL, api TEXT NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (app, month, priority, api)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS turns (
    app TEXT NOT NULL, api TEXT NOT NULL, next_s REAL NOT NULL,
    PRIMARY KEY (app, api)
) WITHOUT ROWID;
""",
)


class FileStore(Store):
    """The file at ``path``; its folder is made."""

    prefix = ""
    now = "$now"
    count_one = """
        INSERT INTO calls (app, month, priority, api, calls) SELECT $1, $2, $3, $4, 1
        WHERE $5 IS NULL OR $5 > (SELECT COALESCE(SUM(calls), 0) FROM calls WHERE app = $1 AND month = $2)
        ON CONFLICT DO UPDATE SET calls = calls + 1
        RETURNING 1
    """
    of_months = ("calls",)

    def __init__(self, path: Path) -> None:
        """Opens nothing yet."""
        self._path = path
        self._lock = threading.Lock()
        self._db: apsw.Connection | None = None

    async def close(self) -> None:
        with self._lock:
            self._drop()

    async def _run(self, sql: str, *values: Any) -> Sequence[Sequence[Any]]:
        """In a thread of its own: another process may hold the file's lock."""
        named = {str(number): value for number, value in enumerate(values, 1)}
        return await asyncio.to_thread(self._execute, sql, {**named, "now": time.time()})

    def _execute(self, sql: str, values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        with self._lock:
            try:
                return self._open().execute(sql, values).fetchall()
            except (apsw.Error, OSError) as error:
                self._drop()  # the handle may be of no use any more
                raise StoreFailed(f"{self._path}: {type(error).__name__}: {error}") from error

    def _open(self) -> apsw.Connection:
        if self._db is not None:
            return self._db
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)  # closing a handle of ours would drop the locks that SQLite holds on it
        db = apsw.Connection(str(self._path))
        try:
            db.set_busy_timeout(_BUSY_MS)
            if db.pragma("user_version") > FORMAT.version:
                raise OSError("was written by a newer dingbridge; start that one, or move it away")
            db.execute("PRAGMA journal_mode = WAL")
            # a crash of the machine may cost the last counts, which DingTalk still knows; an fsync for each
            # call would cost more
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(FORMAT.schema)
            if db.pragma("user_version") < FORMAT.version:
                FORMAT.bring_up(db)
        except (apsw.Error, OSError):
            db.close()
            raise
        self._db = db
        return db

    def _drop(self) -> None:
        if self._db is not None:
            self._db.close(True)
            self._db = None
