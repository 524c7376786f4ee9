"""Fetches what stands in ``approval_fetches``: documents that no event will bring (``queues/fetches.py``).

If the answer still lacks what was reported, it is fetched again after 2, 10 and 60 s, and then believed.
An action that fails here is tried again for an hour; then ``approval_actions`` says ``failed``.
"""

from dataclasses import replace
from typing import Any

import structlog
from sqlalchemy import Row

from dingbridge.consumers.approval.actions.action_state import WithoutEvent
from dingbridge.consumers.approval.fetcher import ClientOf, Fetched, Fetcher
from dingbridge.consumers.approval.queues.fetches import fetches
from dingbridge.consumers.approval.queues.worker import QueueWorker
from dingbridge.consumers.approval.tables import KIND, guard
from dingbridge.dingtalk.errors import ApiError, PermissionDenied
from dingbridge.error_location import error_location
from dingbridge.snapshots import FetchAttempt
from dingbridge.snapshots.late_answers import look_again_s

log = structlog.get_logger(__name__)


class Refetch(QueueWorker):
    """The fetches of one consumer process."""

    def __init__(self, fetcher: Fetcher, client_of: ClientOf) -> None:
        super().__init__(fetcher.database, fetches)
        self._fetcher, self._client_of = fetcher, client_of

    async def work(self, row: Row[Any]) -> None:
        fetcher, db = self._fetcher, self._database.reader()
        attempt = await guard.begin(db, row.corp_id, KIND, row.instance_id)
        if not row.looks and await fetcher.has_end(attempt, db):
            fetched = await fetcher.unasked(row.app, attempt, db)
        else:
            fetched = await self._fetch(row, attempt)
        looks = row.looks + 1
        again_s = look_again_s(looks)
        again = {"due_ms": again_s and self._queue.now_ms() + round(again_s * 1000), "looks": looks}
        async with self._database.transaction() as tx:
            if fetched.asked and fetched.document is None:
                await self._queue.release(tx, row, **again)
                if again_s is None:
                    log.warning("approval.not_fetched", instance_id=row.instance_id, code=None)
                return
            acts: WithoutEvent = "since_first_event" if row.with_actions else "none"
            written = await fetcher.write(tx, fetched, without_event=acts, tolerant=True)
            if written.failed:
                # as a failure of its own: the document is here
                failure = self._queue.failure(row, self._apps[row.app], own=True)
                await self._queue.release(tx, row, **failure)
            elif row.looks and not written.changed and again_s is not None:
                await self._queue.release(tx, row, **again)
            else:
                await self._queue.done(tx, row)

    async def _fetch(self, row: Row[Any], attempt: FetchAttempt) -> Fetched:
        """Raises ``ApiError``, unless it refuses this one instance: that is an answer, as "not there" is."""
        db, client = self._database.reader(), self._client_of(row.app, row.corp_id)
        try:
            fetched = await self._fetcher.fetch(
                client, row.app, attempt, db, by_title=row.process_code is None
            )
        except PermissionDenied as error:
            if error.about != "entity":
                raise
            return Fetched(attempt, row.app, asked=True)
        return replace(fetched, process_code=fetched.process_code or row.process_code)

    def failed(self, row: Row[Any], error: Exception, retry_in_s: float | None) -> dict[str, Any]:
        log.warning(
            "approval.not_fetched" if retry_in_s is None else "approval.refetch_failed",
            instance_id=row.instance_id,
            code=error.code if isinstance(error, ApiError) else None,
            error=error_location(error, "consumers"),
        )
        return {}
