"""The limit of people who are marked as left without an event about leaving, whatever way they were found.

An edit, a comparison and a full sync all end with DingTalk's "no such user". Many such answers may come from
another company's credentials, or from a platform that is ill. So within 24 hours only so many people are
marked. Whoever comes after these waits in the table of looks (``WAITS``) until a person
confirms it, is asked for once a day, and stays employed meanwhile.

Not limited: who left by DingTalk's own event.
"""

import time
from collections.abc import Callable, Collection
from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, Table, case, delete, func, select

from dingbridge.snapshots.late_answers import LOOK_AGAIN_S
from dingbridge.work_queue import PEOPLE_WAIT, RECONCILE, WorkQueue
from dingbridge.worker.context import Reader
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.transaction import Transaction

log = structlog.get_logger(__name__)

WINDOW_MS: Final = 86_400_000
WAITS: Final = "waits"
"""``said`` of the row of a person of whom DingTalk says "no such user", beyond the limit."""

LARGEST_SHARE: Final = 0.05
LEAST_LEAVERS: Final = 10

_USER: Final = "user"
COUNTED: Final = "leaver"
"""The kind of rows of people who were marked: never due, and counted by ``said_ms``."""
_CONFIRMED: Final = "leavers"
"""The kind of the one row of a company that is locked while its people are counted: ``looks`` more leavers
were confirmed at ``said_ms``."""

_KEY: Final = ("corp_id", "kind", "entity_id")


def usual_share(employees: int) -> int:
    """How many of ``employees`` may be marked where no setting says so."""
    return max(LEAST_LEAVERS, int(employees * LARGEST_SHARE))


class LeaverLimit:
    """The limit for the people of ``people`` (None: it counts no employees), kept in the rows of ``looks``,
    made by ``look_again_table``. ``allowed`` gives the limit for a number of employees; ``clock`` epoch s;
    ``app`` is asked about whoever waits, unless ``take`` names another."""

    def __init__(
        self,
        looks: Table,
        people: Table | None,
        allowed: Callable[[int], int] = usual_share,
        *,
        clock: Callable[[], float] = time.time,
        app: str = "default",
    ) -> None:
        self._looks, self._people, self._allowed, self._app = looks, people, allowed, app
        self._queue = WorkQueue(looks, clock=clock)

    async def take(
        self, tx: Transaction, corp_id: str, userids: Collection[str], app: str | None = None
    ) -> set[str]:
        """Return those of ``userids``, whom DingTalk does not know, that may be marked as left, and count
        them. The others wait."""
        found = sorted(await self._employed(tx, corp_id, userids))
        may = set(userids) - set(found)
        if not found:
            return may
        c, now_ms, app = self._looks.c, self._queue.now_ms(), app or self._app
        lock = {"corp_id": corp_id, "kind": _CONFIRMED, "entity_id": "*", "app": app}
        statement = tx.insert(self._looks).values(**lock)
        await tx.execute(statement.on_conflict_do_update(index_elements=_KEY, set_={"app": app}))
        of_company = c.corp_id == corp_id
        await tx.execute(
            delete(self._looks).where(of_company, c.kind == COUNTED, c.said_ms <= now_ms - WINDOW_MS)
        )
        before = await tx.execute(
            select(c.entity_id).where(of_company, c.kind == _USER, c.said == WAITS, c.entity_id.in_(found))
        )
        waiting = {row.entity_id for row in before}
        left, confirmed = await self._left(tx, corp_id)
        # Invariant 9: the limit holds for everybody whom no event of leaving names
        granted = [one for one in found if confirmed or one not in waiting][: max(0, left)]
        counted = {"app": app, "said_ms": now_ms}
        for userid in granted:
            values = {"corp_id": corp_id, "kind": COUNTED, "entity_id": userid, **counted}
            statement = tx.insert(self._looks).values(**values)
            await tx.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=counted))
        for userid in sorted(set(found) - set(granted)):
            await self._wait(tx, app, corp_id, userid)
            if userid not in waiting:
                log.error(
                    "mirror.leaver_waits",
                    userid=userid,
                    meaning="DingTalk does not know this person, nor more others within 24 hours than may be "
                    "marked as left without a word: if they did leave, dingbridge resync --confirm-leavers N",
                )
        return may | set(granted)

    async def left(self, db: Reader, corp_id: str) -> int:
        """How many more may be marked now."""
        return max(0, (await self._left(db, corp_id))[0])

    async def waiting(self, db: Reader | Transaction, corp_id: str | None = None) -> int:
        """How many people wait to be confirmed, of one company or of all."""
        where = self._waits(corp_id)
        return int(await db.scalar(select(func.count()).select_from(self._looks).where(*where)))

    async def confirm(self, database: Database, corp_id: str | None, count: int) -> int:
        """``count`` people are known to have left: so many more may be marked within 24 hours, and whoever
        waits is asked for now. Returns how many wait; if these are more than ``count``, nothing is done."""
        async with database.transaction() as tx:
            waiting = await self.waiting(tx, corp_id)
            if waiting > count:
                return waiting
            c, now_ms = self._looks.c, self._queue.now_ms()
            found = await tx.execute(select(c.corp_id).where(*self._waits(corp_id)).distinct())
            for one in {row.corp_id for row in found} | ({corp_id} if corp_id is not None else set()):
                values = {"said_ms": now_ms, "looks": count, "app": self._app}
                key = {"corp_id": one, "kind": _CONFIRMED, "entity_id": "*"}
                earlier = case((c.said_ms > now_ms - WINDOW_MS, c.looks), else_=0)
                again = values | {"looks": earlier + count}
                statement = tx.insert(self._looks).values(**key, **values)
                await tx.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=again))
            due = self._looks.update().where(*self._waits(corp_id))
            await tx.execute(due.values(**self._queue.due(PEOPLE_WAIT)))
            return waiting

    async def forget(self, tx: Transaction, corp_id: str, userids: Collection[str]) -> None:
        """Delete what is kept of these people."""
        c = self._looks.c
        of_people = (c.corp_id == corp_id, c.kind.in_((COUNTED, _USER)), c.entity_id.in_(userids))
        await tx.execute(delete(self._looks).where(*of_people))

    def _waits(self, corp_id: str | None) -> list[ColumnElement[bool]]:
        c = self._looks.c
        named = [] if corp_id is None else [c.corp_id == corp_id]
        return [*named, c.kind == _USER, c.said == WAITS]

    async def _left(self, db: Reader | Transaction, corp_id: str) -> tuple[int, bool]:
        """How many more may be marked, and whether leavers were confirmed."""
        c, since_ms = self._looks.c, self._queue.now_ms() - WINDOW_MS
        recent = (c.corp_id == corp_id, c.said_ms > since_ms)
        counted = select(func.count()).select_from(self._looks).where(*recent, c.kind == COUNTED)
        used = int(await db.scalar(counted))
        confirmed = int(await db.scalar(select(c.looks).where(*recent, c.kind == _CONFIRMED)) or 0)
        employees = used
        if self._people is not None:
            here = (self._people.c.corp_id == corp_id, self._people.c.left_at.is_(None))
            employees += int(await db.scalar(select(func.count()).select_from(self._people).where(*here)))
        return self._allowed(employees) + confirmed - used, confirmed > 0

    async def _employed(self, tx: Transaction, corp_id: str, userids: Collection[str]) -> set[str]:
        """Those of ``userids`` who work here by the table."""
        if self._people is None or not userids:
            return set(userids)
        c = self._people.c
        here = select(c.userid).where(c.corp_id == corp_id, c.userid.in_(userids), c.left_at.is_(None))
        return {row.userid for row in await tx.execute(here)}

    async def _wait(self, tx: Transaction, app: str, corp_id: str, userid: str) -> None:
        """Ask for the person again in a day: who was only hidden for a while is then no leaver."""
        now_ms = self._queue.now_ms()
        values: dict[str, Any] = {
            "said": WAITS,
            "said_ms": now_ms,
            "looks": len(LOOK_AGAIN_S),  # the next answer is believed
            "due_ms": now_ms + WINDOW_MS,
            "priority": RECONCILE,
        }
        key = {"corp_id": corp_id, "kind": _USER, "entity_id": userid}
        statement = tx.insert(self._looks).values(**key, app=app, **values)
        await tx.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=values))
