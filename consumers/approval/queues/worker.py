"""Works on the rows of a queue that are due, a few at a time, beside the events.

Each row names the app that makes its call ("" for none). A row that fails is put back, for as long as
``dingbridge/availability.py`` has it. An app whose API does not answer, or which lacks a right, makes no
calls meanwhile; other companies' apps go on. Not here: how a row is done.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import structlog
from sqlalchemy import Row

from dingbridge import Conflict, Database
from dingbridge.availability import Availability
from dingbridge.dingtalk.errors import ApiError
from dingbridge.errors import BridgeError
from dingbridge.work_queue import WorkQueue, keep_working, whose

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
LONGEST_PAUSE_S: Final = 3600.0
"""How long an app makes no calls, at most, in s: by then somebody may have granted the right."""


class QueueWorker:
    """One process's work on ``queue``; others may work on it, too."""

    at_once: ClassVar[int] = 4
    answers: ClassVar[tuple[type[Exception], ...]] = ()
    """The exceptions that concern the row, not the app."""

    def __init__(self, database: Database, queue: WorkQueue) -> None:
        self._database, self._queue = database, queue
        self._apps: defaultdict[str, Availability] = defaultdict(Availability)
        self._paused: dict[str, float] = {}
        """Until when an app makes no calls, epoch s."""

    async def run(self) -> None:
        """Do what is due until cancelled. Raises ``DatabaseDown``."""
        await keep_working(self.claim, self.attempt, self.at_once, LOOK_EVERY_S)

    async def claim(self, most: int) -> Sequence[Row[Any]]:
        """Up to ``most`` rows that are due, one where an app was down until now: each is a call. Raises as
        ``run``."""
        now = time.time()
        paused = [app for app, until in self._paused.items() if until > now]
        most = 1 if any(seen.is_down for app, seen in self._apps.items() if app not in paused) else most
        others = [self._queue.table.c.app.not_in(paused)] if paused else []
        return await self._queue.claim(self._database, most, *others)

    async def work(self, row: Row[Any]) -> None:
        """Do what ``row`` asks for, and release it or delete it. Raises whatever fails."""
        raise NotImplementedError

    def failed(self, row: Row[Any], error: Exception, retry_in_s: float | None) -> dict[str, Any]:
        """Say that ``error`` was raised; the columns that remember it. ``retry_in_s`` None: given up."""
        raise NotImplementedError

    async def attempt(self, row: Row[Any]) -> None:
        """Try ``row``, and put it back if that fails. Raises as ``run``."""
        try:
            await self.work(row)
        except Conflict:  # an event was faster
            await self._give_back(row)
        except Exception as error:
            await self._put_back(row, error)
        except BaseException:
            await self._give_back(row)  # we are to stop, others go on
            raise
        else:
            self._apps[row.app].worked(time.time())

    async def _put_back(self, row: Row[Any], error: Exception) -> None:
        availability, now = self._apps[row.app], time.time()
        own = isinstance(error, self.answers) or None
        if own:
            availability.worked(now)
        values = self._queue.failure(row, availability, error, own=own)
        due_ms = values["due_ms"]
        values |= self.failed(row, error, None if due_ms is None else due_ms / 1000 - now)
        if availability.is_down or whose(error) is False:
            asked_s = (isinstance(error, BridgeError) and error.retry_after_s) or 0.0
            pause_s = max(availability.pause_s(), asked_s)
            pause_s = min(pause_s, LONGEST_PAUSE_S)
            self._paused[row.app] = now + pause_s
            code = error.code if isinstance(error, ApiError) else None
            table = self._queue.table.name
            log.warning("approval.app_paused", app=row.app, waits=table, code=code, retry_in_s=pause_s)
        await self._release(row, **values)

    async def _give_back(self, row: Row[Any]) -> None:
        async with self._database.transaction() as tx:
            await self._queue.give_back(tx, row)

    async def _release(self, row: Row[Any], **values: Any) -> None:
        async with self._database.transaction() as tx:
            await self._queue.release(tx, row, **values)
