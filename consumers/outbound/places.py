"""Claims what is due in one of outbound's tables, except of an app and company whose DingTalk is down."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row

from dingbridge import Database
from dingbridge.availability import Availability
from dingbridge.work_queue import WorkQueue

_SEARCH_MS: Final = 2000
"""How often to search for work while one company's DingTalk is down and no other has work, in ms. Each search
reads all rows of that company."""


class Places:
    """One process's ``queue``. Rows have an ``app`` and a ``corp_id``."""

    def __init__(self, database: Database, queue: WorkQueue) -> None:
        self._database, self._queue = database, queue
        self._availability: defaultdict[tuple[str | None, str], Availability] = defaultdict(Availability)
        self._paused: dict[tuple[str | None, str], int] = {}
        self._search_ms = 0

    async def claim(self, most: int) -> Sequence[Row[Any]]:
        """Up to ``most`` rows. Raises ``DatabaseDown``."""
        now, c = self._queue.now_ms(), self._queue.table.c
        self._paused = {place: until_ms for place, until_ms in self._paused.items() if until_ms > now}
        if self._paused and now < self._search_ms:
            return []
        left = [c.app.is_distinct_from(app) | (c.corp_id != corp_id) for app, corp_id in self._paused]
        rows = await self._queue.claim(self._database, most, *left)
        self._search_ms = 0 if rows else min([now + _SEARCH_MS, *self._paused.values()])
        return rows

    def worked(self, row: Row[Any]) -> None:
        """DingTalk has answered about ``row``."""
        self._availability[row.app, row.corp_id].worked(self._queue.now_ms() / 1000)

    def failure(self, row: Row[Any], error: Exception) -> tuple[dict[str, Any], float]:
        """``WorkQueue.failure`` of ``row``, and how long its app and company wait, in s."""
        availability = self._availability[row.app, row.corp_id]
        failure = self._queue.failure(row, availability, error)
        if pause_s := availability.pause_s():
            self._paused[row.app, row.corp_id] = self._queue.now_ms() + round(pause_s * 1000)
        return failure, pause_s
