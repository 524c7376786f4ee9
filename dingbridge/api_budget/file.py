"""The budget in one small SQLite file, shared by the processes of one host."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import apsw

from dingbridge.api_budget.store import FURTHEST_S, StoreFailed

T = TypeVar("T")

_BUSY_MS: Final = 5_000
_FILE_VERSION: Final = 0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS calls (
    app TEXT NOT NULL, month TEXT NOT NULL, priority INTEGER NOT NULL, api TEXT NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (app, month, priority, api)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS turns (
    app TEXT NOT NULL, api TEXT NOT NULL, next_s REAL NOT NULL,
    PRIMARY KEY (app, api)
) WITHOUT ROWID;
"""


class FileStore:
    """The file at ``path``; its folder is made. Implements ``Store``."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Opens nothing yet. ``clock`` is epoch seconds."""
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        self._db: apsw.Connection | None = None

    async def turn(self, app: str, api: str, gap_s: float) -> float:
        def take(db: apsw.Connection) -> float:
            now = self._clock()
            rows = list(db.execute("SELECT next_s FROM turns WHERE app = ? AND api = ?", (app, api)))
            begins = max(now, rows[0][0]) if rows else now
            if begins > now + FURTHEST_S:
                begins = now
            self._put(db, app, api, begins + gap_s)
            return begins - now

        return await self._run(take)

    async def hold(self, app: str, api: str, wait_s: float) -> None:
        def put_off(db: apsw.Connection) -> None:
            until = self._clock() + wait_s
            rows = list(db.execute("SELECT next_s FROM turns WHERE app = ? AND api = ?", (app, api)))
            self._put(db, app, api, max(until, rows[0][0]) if rows else until)

        await self._run(put_off)

    async def count(self, app: str, month: str, priority: int, api: str, most: int | None) -> int | None:
        def add(db: apsw.Connection) -> int | None:
            total = 0
            if most is not None:
                of_month = "SELECT COALESCE(SUM(calls), 0) FROM calls WHERE app = ? AND month = ?"
                ((total,),) = db.execute(of_month, (app, month))
                if total >= most:
                    return int(total)
            db.execute(
                "INSERT INTO calls (app, month, priority, api, calls) VALUES (?, ?, ?, ?, 1) "
                "ON CONFLICT DO UPDATE SET calls = calls + 1",
                (app, month, priority, api),
            )
            return None

        return await self._run(add)

    async def counts(self, app: str, month: str) -> list[tuple[int, str, int]]:
        of_month = "SELECT priority, api, calls FROM calls WHERE app = ? AND month = ?"
        return await self._run(lambda db: list(db.execute(of_month, (app, month))))

    async def forget(self, before: str) -> None:
        await self._run(lambda db: db.execute("DELETE FROM calls WHERE month < ?", (before,)))

    async def close(self) -> None:
        with self._lock:
            self._drop()

    async def _run(self, work: Callable[[apsw.Connection], T]) -> T:
        """``work`` in a transaction and a thread of its own: another process may hold the file's lock."""
        return await asyncio.to_thread(self._work, work)

    def _work(self, work: Callable[[apsw.Connection], T]) -> T:
        try:
            with self._lock:
                db = self._open()
                try:
                    db.execute("BEGIN IMMEDIATE")
                    result = work(db)
                    db.execute("COMMIT")
                except (apsw.Error, OSError):
                    self._drop()  # a transaction may be open, or the handle be of no use any more
                    raise
        except (apsw.Error, OSError) as error:
            raise StoreFailed(f"{self._path}: {type(error).__name__}: {error}") from error
        return result

    @staticmethod
    def _put(db: apsw.Connection, app: str, api: str, next_s: float) -> None:
        db.execute("INSERT OR REPLACE INTO turns (app, api, next_s) VALUES (?, ?, ?)", (app, api, next_s))

    def _open(self) -> apsw.Connection:
        if self._db is not None:
            return self._db
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)  # closing a handle of ours would drop the locks that SQLite holds on it
        db = apsw.Connection(str(self._path))
        try:
            db.set_busy_timeout(_BUSY_MS)
            if db.pragma("user_version") > _FILE_VERSION:
                raise OSError("was written by a newer dingbridge; start that one, or move it away")
            db.execute("PRAGMA journal_mode = WAL")
            # a crash of the machine may cost the last counts, which DingTalk still knows; an fsync for each
            # call would cost more
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(_SCHEMA)
        except (apsw.Error, OSError):
            db.close()
            raise
        self._db = db
        return db

    def _drop(self) -> None:
        if self._db is not None:
            self._db.close(True)
            self._db = None
