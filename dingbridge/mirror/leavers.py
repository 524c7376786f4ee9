"""The limit of people who are marked as left without an event about leaving, whatever way they were found.

Many answers "no such user" may come from another company's credentials, or from a platform that is ill. So
whoever was marked within 24 hours, and whoever is missing at this moment, count together. While these are
more than may leave in a day, nobody is marked: they wait until a person confirms it. Meanwhile each of them
is read once a day, and is no leaver when DingTalk has the person again.

Not limited: who left by DingTalk's own event.
"""

from collections.abc import Callable
from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, Row, Table, func, select, true, update

from dingbridge.mirror.entities import COMPANY, WHOLE, Entities, Entity
from dingbridge.work_queue import PEOPLE_WAIT
from dingbridge.worker.context import Reader
from dingbridge.worker.reports import count
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.transaction import Transaction

log = structlog.get_logger(__name__)

WINDOW_S: Final = 86_400.0
WAITS, CONFIRMED, MISSING = "waits", "confirmed", "missing"

LEAST_LEAVERS: Final = 10


def share_of(employees: int, percent: int = 5) -> int:
    """Return how many of ``employees`` may be marked in 24 hours: a share of them, and at least ten."""
    return max(LEAST_LEAVERS, employees * percent // 100)


class LeaverLimit:
    """The limit for the rows of ``entities``. ``people`` has a ``corp_id``, a ``left_at``, and perhaps an
    ``out_of_scope_at``; ``allowed`` gives the limit for a number of employees."""

    def __init__(self, entities: Entities, people: Table, allowed: Callable[[int], int]) -> None:
        self._entities, self._people, self._allowed = entities, people, allowed

    async def allows(self, tx: Transaction, row: Row[Any]) -> bool:
        """Return whether the person of ``row``, whom DingTalk does not have, may be marked as left."""
        if row.state in (CONFIRMED, WAITS):
            return bool(row.state == CONFIRMED)
        c, since_ms = self._entities.table.c, self._entities.now_ms() - round(WINDOW_S * 1000)
        # one at a time counts, in whatever process
        await self._entities.lock(tx, Entity(row.corp_id, COMPANY, WHOLE), row.app)
        counted = select(func.count()).select_from(self._entities.table)
        used = await tx.scalar(counted.where(c.corp_id == row.corp_id, c.left_ms > since_ms))
        doubtful = (c.corp_id == row.corp_id, c.kind == row.kind, c.state.in_((MISSING, WAITS)))
        missing = await tx.scalar(counted.where(*doubtful))
        of = self._people.c
        ended = [of[name] for name in ("left_at", "out_of_scope_at") if name in of]
        here = (of.corp_id == row.corp_id, *(column.is_(None) for column in ended))
        employees = await count(tx, self._people, *here)
        # Invariant 9: the limit holds for everybody whom no event of leaving names
        if int(used) + int(missing) <= self._allowed(employees + int(used)):
            return True
        log.error(
            "mirror.leaver_waits",
            userid=row.entity_id,
            missing=int(missing),
            meaning="DingTalk does not know this person, nor more others within 24 hours than may be "
            "marked as left without a word: if they did leave, dingbridge resync --confirm-leavers N",
        )
        return False

    async def waiting(self, db: Reader | Transaction, corp_id: str | None = None) -> int:
        """Return how many people wait to be confirmed, of one company or of all."""
        return await count(db, self._entities.table, *self._waits(corp_id))

    async def confirm(self, database: Database, corp_id: str | None, count: int) -> int:
        """``count`` people are known to have left: whoever waits is read now, and marked. Returns how many
        wait; if these are more than ``count``, nothing is done."""
        async with database.transaction() as tx:
            waiting = await self.waiting(tx, corp_id)
            if waiting <= count:
                due = self._entities.queue.due(PEOPLE_WAIT)
                statement = update(self._entities.table).where(*self._waits(corp_id))
                await tx.execute(statement.values(state=CONFIRMED, **due))
            return waiting

    async def confirmed(self, db: Reader, corp_id: str) -> int:
        """Return how many people were confirmed, and not marked yet."""
        c = self._entities.table.c
        return await count(db, self._entities.table, c.corp_id == corp_id, c.state == CONFIRMED)

    def _waits(self, corp_id: str | None) -> list[ColumnElement[bool]]:
        c = self._entities.table.c
        return [c.state == WAITS, true() if corp_id is None else c.corp_id == corp_id]
