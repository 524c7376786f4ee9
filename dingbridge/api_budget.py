"""The month's budget of the Open API calls that DingTalk counts, durable, shared by all processes of a host.

DingTalk's free plan has 5,000 calls a month, and the last one spent stops everything at once. So our own
budget ends earlier, and for what can wait before what cannot; it does not build on the up to 5 days of grace
that DingTalk may give. Calls about contacts, roles and tokens are exempt, at DingTalk and here. Counts stand
in one small SQLite file; which calls count, and what a priority means, is ``dingtalk``'s business
(``dingbridge.dingtalk.budget``).
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, Protocol

import apsw
import structlog

from dingbridge.errors import CallsSpent

log = structlog.get_logger(__name__)

FILE: Final = "api-calls.db"
SHARES: Final = {"event": 1.0, "recovery": 0.9, "resync": 0.8, "reconcile": 0.6}
"""How much of the budget may be spent already for a call of this priority to be made still: by
``dingbridge.dingtalk.budget.Priority``'s names, in its order."""
PRIORITIES: Final = ("always", *SHARES)
"""``always`` has no share: it is counted, and never ends."""
KEPT_MONTHS: Final = 13
_SHANGHAI: Final = timezone(timedelta(hours=8))  # no summer time since 1991
_BUSY_MS: Final = 5_000
_FILE_VERSION: Final = 0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS calls (
    app TEXT NOT NULL, month TEXT NOT NULL, priority INTEGER NOT NULL, api TEXT NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (app, month, priority, api)
) WITHOUT ROWID
"""


class _Settings(Protocol):
    data_dir: Path
    dingtalk_app_key: str | None
    api_monthly_budget: int


class ApiCalls:
    """The calls of one app (``app``: its appKey) in DingTalk's month, which begins at midnight in Shanghai.

    ``limit`` is the whole budget in calls, 0 for none: then it only counts. Safe among several processes and
    threads. A file that cannot be read or written stops no call: it is logged (``api_calls.not_counted``).
    """

    def __init__(self, path: Path, *, app: str, limit: int, clock: Callable[[], float] = time.time) -> None:
        """Opens nothing yet. ``clock`` is epoch seconds."""
        self.limit = limit
        self._path = path
        self._app = app
        self._clock = clock
        self._lock = threading.Lock()
        self._db: apsw.Connection | None = None
        self._failing = False

    @classmethod
    def of(cls, settings: _Settings, app_key: str | None = None) -> "ApiCalls":
        """``$DATA_DIR/api-calls.db``, with ``API_MONTHLY_BUDGET`` as its limit, for ``app_key`` (the
        environment's app unless given)."""
        app = app_key or settings.dingtalk_app_key or ""
        return cls(settings.data_dir / FILE, app=app, limit=settings.api_monthly_budget)

    async def spend(self, api: str, priority: int) -> None:
        """Count one call of ``api`` at ``priority`` (0 always … 4 reconcile) before it is made.

        Raises ``CallsSpent``, and counts nothing, when the priority's share is spent.
        """
        await asyncio.to_thread(self._spend, api, priority)

    def spent(self) -> dict[str, Any]:
        """This month's calls: ``app``, ``month`` (``2026-11``), ``limit``, ``calls``, ``by_priority`` and
        ``by_api`` (counts by name), ``left`` (by priority; ``None`` without a limit), ``until`` (ISO, when
        the next month begins). All zero when nothing was counted."""
        month, until = self._month()
        try:
            with self._lock:
                rows = list(
                    self._open().execute(
                        "SELECT priority, api, calls FROM calls WHERE app = ? AND month = ?",
                        (self._app, month),
                    )
                )
        except (apsw.Error, OSError) as error:
            self._not_counted(error)
            rows = []
        by_priority = dict.fromkeys(PRIORITIES, 0)
        by_api: dict[str, int] = {}
        for priority, api, calls in rows:
            name = PRIORITIES[priority] if 0 <= priority < len(PRIORITIES) else str(priority)
            by_priority[name] = by_priority.get(name, 0) + calls
            by_api[api] = by_api.get(api, 0) + calls
        total = sum(by_api.values())
        left = {name: max(0, int(self.limit * share) - total) for name, share in SHARES.items()}
        return {
            "app": self._app,
            "month": month,
            "limit": self.limit,
            "calls": total,
            "by_priority": by_priority,
            "by_api": dict(sorted(by_api.items())),
            "left": left if self.limit else None,
            "until": until.isoformat(),
        }

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            self._drop()

    def _spend(self, api: str, priority: int) -> None:
        month, until = self._month()
        name = PRIORITIES[priority]
        most = int(self.limit * SHARES[name]) if self.limit and name in SHARES else None
        try:
            with self._lock:
                total = self._count(api, priority, month, most)
        except (apsw.Error, OSError) as error:
            self._not_counted(error)
            return
        if self._failing:
            self._failing = False
            log.info("api_calls.counted_again", path=str(self._path))
        if total is None or most is None:
            return
        share = f" ({SHARES[name]:.0%} of the budget)" if SHARES[name] < 1 else ""
        raise CallsSpent(
            f"{total} of API_MONTHLY_BUDGET={self.limit} calls are spent in {month}, and {name} calls end at "
            f"{most}{share}. They go on by themselves on {until:%Y-%m-%d %H:%M} Shanghai time; a larger "
            "API_MONTHLY_BUDGET lets them go on now, if DingTalk's plan has that many.",
            retry_after_s=max(1.0, until.timestamp() - self._clock()),
        )

    def _count(self, api: str, priority: int, month: str, most: int | None) -> int | None:
        """Count the call; or, when there are ``most`` already (None: no limit), only say how many."""
        db = self._open()
        try:
            db.execute("BEGIN IMMEDIATE")
            if most is not None:
                (total,) = next(
                    db.execute(
                        "SELECT COALESCE(SUM(calls), 0) FROM calls WHERE app = ? AND month = ?",
                        (self._app, month),
                    )
                )
                if total >= most:
                    db.execute("ROLLBACK")
                    return int(total)
            db.execute(
                "INSERT INTO calls (app, month, priority, api, calls) VALUES (?, ?, ?, ?, 1) "
                "ON CONFLICT DO UPDATE SET calls = calls + 1",
                (self._app, month, priority, api),
            )
            db.execute("COMMIT")
        except (apsw.Error, OSError):
            self._drop()  # a transaction may be open, or the handle be of no use any more
            raise
        return None

    def _open(self) -> apsw.Connection:
        if self._db is not None:
            return self._db
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        db = apsw.Connection(str(self._path))
        try:
            db.set_busy_timeout(_BUSY_MS)
            if db.pragma("user_version") > _FILE_VERSION:
                raise OSError(
                    f"{self._path} was written by a newer dingbridge; start that one, or move it away"
                )
            db.execute("PRAGMA journal_mode = WAL")
            # a crash of the machine may cost the last counts, which DingTalk still knows; an fsync for each
            # call would cost more
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(_SCHEMA)
            oldest = datetime.fromtimestamp(self._clock(), _SHANGHAI) - timedelta(days=31 * KEPT_MONTHS)
            db.execute("DELETE FROM calls WHERE month < ?", (f"{oldest:%Y-%m}",))
        except (apsw.Error, OSError):
            db.close()
            raise
        self._db = db
        return db

    def _drop(self) -> None:
        if self._db is not None:
            self._db.close(True)
            self._db = None

    def _month(self) -> tuple[str, datetime]:
        """This month's name, and when the next one begins."""
        now = datetime.fromtimestamp(self._clock(), _SHANGHAI)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        following = (first + timedelta(days=31)).replace(day=1)
        return f"{now:%Y-%m}", following

    def _not_counted(self, error: Exception) -> None:
        if not self._failing:  # once, not for each call
            self._failing = True
            error_name = type(error).__name__
            log.error("api_calls.not_counted", path=str(self._path), error=error_name, words=str(error))
