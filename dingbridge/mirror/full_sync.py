"""Full syncs: the row of a company makes everything due that the tables have and that DingTalk lists.

A full sync begins with what the tables have: each entity is to be read by its id. Then it walks the
departments by one row per department. A listing makes whoever is new due, and writes that person early. A
listing removes nobody: only DingTalk's own "no such …" for an id does. The full sync is done when nothing of
it is due. The rows hold the work that is left, so it survives crashes, and several processes share it. A
company costs a call for each person and three for each department; DingTalk's monthly quota counts one of
them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from sqlalchemy import Row, case, or_, select, update

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.objects import VisibleScope
from dingbridge.dingtalk.errors import BudgetSpent, NotFound, PermissionDenied, QuotaSpent, Unavailable
from dingbridge.mirror.chosen import ROOT, Chosen
from dingbridge.mirror.entities import COMPANY, DEPARTMENT, LISTING, USER, WHOLE, Entities, Entity
from dingbridge.mirror.kind import Kind
from dingbridge.snapshots.late_answers import look_again_s
from dingbridge.work_queue import RECONCILE
from dingbridge.worker.context import Reader
from dingbridge.worker.outcomes import Conflict
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.transaction import Transaction

log = structlog.get_logger(__name__)

AT_ONCE: Final = 500
"""Entities that become due in one transaction: it must not hold SQLite's only writer for long."""

CHECK_EVERY_S: Final = 5.0
"""How often an open full sync is asked whether anything of it is left, in s."""

_NEVER_DAYS: Final = 36_500
_DAY_MS: Final = 86_400_000


async def visible_scope(client: DingTalkClient) -> VisibleScope:
    """Return what the app may see: the whole company where DingTalk does not name anything. Raises
    ``ApiError``."""
    try:
        scope = await client.visible_scope()
    except (PermissionDenied, QuotaSpent, BudgetSpent):  # the one call that the month's quota counts
        scope = {"authed_dept": [], "authed_user": []}
    return scope if any(scope.values()) else {"authed_dept": [ROOT], "authed_user": []}


class FullSync:
    """The full syncs of the companies in ``entities``, of their ``chosen`` part. ``every_days`` between two;
    0: the first alone."""

    def __init__(
        self,
        entities: Entities,
        kinds: Mapping[str, Kind],
        every_days: float,
        database: Database,
        chosen: Chosen,
    ) -> None:
        self.chosen = chosen
        self._entities, self._kinds, self._database = entities, kinds, database
        self._every_ms = round((every_days or _NEVER_DAYS) * _DAY_MS)

    async def plan(self, tx: Transaction, app: str, corp_id: str) -> None:
        """See to it that the company has a full sync: the first now, the others every so many days."""
        c, now_ms = self._entities.table.c, self._entities.now_ms()
        due = {"app": app, "due_ms": now_ms, "priority": RECONCILE}
        statement = tx.insert(self._entities.table).values(**Entity(corp_id, COMPANY, WHOLE)._asdict(), **due)
        next_ms = case((c.read_ms.is_(None), now_ms), else_=c.read_ms + self._every_ms)
        idle = or_(c.due_ms.is_(None), (c.run_ms.is_(None)) & (c.due_ms > next_ms))
        await tx.execute(
            statement.on_conflict_do_update(
                index_elements=Entity._fields, set_={**due, "due_ms": next_ms}, where=idle
            )
        )

    async def is_planned(self, tx: Transaction, corp_id: str) -> bool:
        """Whether the company has a full sync that is done, open or due."""
        where = self._entities.at(Entity(corp_id, COMPANY, WHOLE))
        return await tx.scalar(select(self._entities.table.c.due_ms).where(*where)) is not None

    async def request(self, tx: Transaction, app: str, corp_id: str | None = None) -> None:
        """Ask for a full sync now, or after the one that is open; without ``corp_id`` of all companies."""
        c, now_ms = self._entities.table.c, self._entities.now_ms()
        due = self._entities.queue.due(RECONCILE)
        if corp_id is not None:
            await self.plan(tx, app, corp_id)
        named = () if corp_id is None else (c.corp_id == corp_id,)
        statement = update(self._entities.table).where(c.kind == COMPANY, *named)
        await tx.execute(statement.values(reported_ms=now_ms, **due))

    async def open_since(self, db: Reader | Transaction, corp_id: str) -> int | None:
        """When the open full sync began, epoch ms; None: none is open, nor asked for."""
        c = self._entities.table.c
        where = self._entities.at(Entity(corp_id, COMPANY, WHOLE))
        begun = case((c.run_ms.is_not(None), c.run_ms), (c.reported_ms.is_not(None), c.reported_ms))
        found = await db.scalar(select(begun).where(*where))
        return None if found is None else int(found)

    async def done_ms(self, db: Reader) -> int | None:
        """When the last full sync that is done has ended, epoch ms; None: none was."""
        c = self._entities.table.c
        last = select(c.read_ms).where(c.kind == COMPANY, c.read_ms.is_not(None)).order_by(c.read_ms.desc())
        found = await db.scalar(last.limit(1))
        return None if found is None else int(found)

    async def step(self, row: Row[Any], client: DingTalkClient) -> bool:
        """Do what the row of a company or of a listing asks for; returns whether DingTalk was asked. Raises
        ``ApiError``."""
        if row.kind == LISTING:
            await self._list(row, client)
        elif row.run_ms is None:
            await self._begin(row, client)
        else:
            await self._check(row)
            return False
        return True

    async def _begin(self, row: Row[Any], client: DingTalkClient) -> None:
        scope = await visible_scope(client)
        run_ms = self._entities.now_ms()
        for name, kind in self._kinds.items():
            after = ""
            while (chosen := kind.known(row.corp_id, after, AT_ONCE)) is not None:
                ids = [one[0] for one in await self._database.reader().execute(chosen)]
                if not ids:
                    break
                await self._ask(row, name, ids, run_ms)
                if name == DEPARTMENT:  # one that is moved below a department that was listed is found, too
                    await self._ask(row, LISTING, ids, run_ms)
                after = ids[-1]
        roots, people = self.chosen.starts(scope)
        async with self._database.transaction() as tx:
            for name, ids in ((LISTING, roots), (DEPARTMENT, roots), (USER, people)):
                await self._ask_in(tx, row, name, [str(one) for one in ids], run_ms)
            again_ms = run_ms + round(CHECK_EVERY_S * 1000)
            settled = {"reported_ms": None}
            if not await self._entities.settle(tx, row, again_ms, settled, run_ms=run_ms, state=None):
                raise Conflict("another process has begun this full sync")
        log.info("mirror.sync_began", corp_id=row.corp_id)

    async def _check(self, row: Row[Any]) -> None:
        """End the full sync when nothing of it is left. The next one is due after so many days, or at once
        if it was asked for meanwhile."""
        now_ms = self._entities.now_ms()
        left = await self._entities.left_of_run(self._database.reader(), row.corp_id, 1)
        async with self._database.transaction() as tx:
            if left:
                await self._entities.queue.release(tx, row, due_ms=now_ms + round(CHECK_EVERY_S * 1000))
                return
            next_ms = now_ms if row.reported_ms is not None else row.run_ms + self._every_ms
            await self._entities.settle(tx, row, next_ms, {}, run_ms=None, read_ms=now_ms)
        seconds = round((now_ms - row.run_ms) / 1000, 1)
        log.info("mirror.synced", corp_id=row.corp_id, seconds=seconds)

    async def _list(self, row: Row[Any], client: DingTalkClient) -> None:
        """List the departments below one, and its members."""
        began_ms, dept_id = self._entities.now_ms(), int(row.entity_id)
        page, again_s = dict[str, Any](), None
        try:
            below = await client.sub_departments(dept_id)
            if below is None and (again_s := look_again_s(row.reads + 1)) is None:
                log.warning("mirror.no_list_of_departments", dept_id=dept_id)
            children = [child.get("dept_id") for child in below or ()]
            # those of a school's families are listed with ids below 1, and cannot be read
            found = [one for one in children if isinstance(one, int) and one > 0]
            ids = [str(one) for one in found if self.chosen.named(one) is not False]
            await self._ask(row, DEPARTMENT, ids, row.run_ms)
            await self._ask(row, LISTING, ids, row.run_ms)
            async for user in client.department_users(dept_id):
                if isinstance(userid := user.get("userid"), str):
                    page[userid] = user
                if len(page) == AT_ONCE:
                    await self._members(row, dept_id, page)
                    page = {}
            await self._members(row, dept_id, page)
        except NotFound:  # deleted since its parent was read
            pass
        except Unavailable:  # some of its pages may never be shown; who was listed is read
            await self._members(row, dept_id, page)
            raise
        async with self._database.transaction() as tx:
            if again_s is not None:
                again_ms = self._entities.now_ms() + round(again_s * 1000)
                await self._entities.settle(tx, row, again_ms, {"reads": row.reads + 1})
                return
            settled = {"run_ms": None, "read_ms": began_ms, "reads": 0}
            await self._entities.settle(tx, row, None, settled, state=None, code=None)

    async def _members(self, row: Row[Any], dept_id: int, page: Mapping[str, Any]) -> None:
        """Write early, and make due, whom the tables do not have."""
        if not page:
            return
        c, kind = self._entities.table.c, self._kinds[USER]
        known = select(c.entity_id).where(
            c.corp_id == row.corp_id, c.kind == USER, c.entity_id.in_(page), c.read_ms.is_not(None)
        )
        async with self._database.transaction() as tx:
            # Invariant 9: what a listing has of somebody who was read by id, or has left, changes nothing
            read = {one.entity_id for one in await tx.execute(known)}
            early = {userid: user for userid, user in page.items() if userid not in read}
            at = datetime.fromtimestamp(self._entities.now_ms() / 1000, UTC)
            await kind.listed(tx, row.corp_id, dept_id, early, at)
            gone = read - await kind.here(tx, row.corp_id, read)
            await self._ask_in(tx, row, USER, [*early, *gone], row.run_ms)

    async def _ask(self, row: Row[Any], kind: str, ids: list[str], run_ms: int | None) -> None:
        async with self._database.transaction() as tx:
            await self._ask_in(tx, row, kind, ids, run_ms)

    async def _ask_in(
        self, tx: Transaction, row: Row[Any], kind: str, ids: list[str], run_ms: int | None
    ) -> None:
        """Make them due, and keep ``row``. Raises ``Conflict`` when another process has it."""
        if not await self._entities.queue.renew(tx, row):
            raise Conflict("another process goes on with this")
        if kind == LISTING or kind in self._kinds:
            # departments may be moved meanwhile, even in a circle: each is read once
            since = run_ms or row.read_ms
            await self._entities.ask(tx, row.app, row.corp_id, kind, ids, run_ms=run_ms, since_ms=since)
