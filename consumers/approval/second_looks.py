"""Asks again for the documents of approvals that are over, where DingTalk's API had said that they run.

The API may lag behind the event that an approval ended. Mostly another event of the instance follows and has
it fetched once more; where none does, this does: after a minute, and then whenever as much time has gone by
again, so that one that DingTalk has wrong for a year costs some twenty calls.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import and_, func, select

from consumers.approval.looks import UNFINISHED, Looks
from consumers.approval.tables import KIND, approval_instances, guard
from dingbridge import Conflict
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.worker.supervise import is_unavailable

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 30.0
FIRST = timedelta(minutes=1)
"""The least time between a look and the next one."""


def due(now: datetime, ended: datetime, fetched: datetime | None) -> bool:
    """Whether an instance that ended at ``ended`` and was fetched at ``fetched`` is to be fetched again."""
    return fetched is None or now - fetched >= max(FIRST, fetched - ended)


class SecondLooks:
    """The second looks of one consumer process."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks

    async def run(self) -> None:
        """Snapshot until cancelled. Raises ``ApiError`` or ``DatabaseDown`` when the world is down."""
        while True:
            await self.once(datetime.now(UTC))
            await asyncio.sleep(LOOK_EVERY_S)

    async def once(self, now: datetime) -> int:
        """Look at those that are due; how many were. Raises as ``run``."""
        columns, guarded = approval_instances.c, guard.table.c
        lagging = (
            select(
                columns.corp_id,
                columns.instance_id,
                func.coalesce(columns.finished_at, columns.updated_at).label("ended"),
                guarded.fetched_at,
            )
            .join_from(
                approval_instances,
                guard.table,
                and_(
                    guarded.corp_id == columns.corp_id,
                    guarded.kind == KIND,
                    guarded.entity_id == columns.instance_id,
                ),
            )
            .where(columns.status.in_(UNFINISHED), columns.outcome.is_not(None))
        )
        rows = (await self._looks.database.reader().execute(lagging)).all()
        asked = [(row.corp_id, row.instance_id) for row in rows if due(now, row.ended, row.fetched_at)]
        for corp_id, instance_id in asked:
            await self._look(corp_id, instance_id)
        return len(asked)

    async def _look(self, corp_id: str, instance_id: str) -> None:
        database = self._looks.database
        db = database.reader()
        look = await guard.snapshot(db, corp_id, KIND, instance_id)
        try:
            seen = await self._looks.fetch(look, None, db)
            await self._looks.keep(seen)
        except Conflict:
            return  # an event of the instance was faster
        except Exception as error:
            if is_unavailable(error):
                raise
            errcode = error.errcode if isinstance(error, ApiError) else None
            log.warning(
                "approval.second_look_failed",
                instance_id=instance_id,
                errcode=errcode,
                error=error_location(error, "consumers"),
            )
            async with database.transaction() as tx:
                await guard.try_claim(tx, look)  # so that it is not asked for again at once
