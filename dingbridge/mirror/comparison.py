"""The comparison of everybody: it walks the company's tree, and fetches by id each person in the tree or in
the table, through the queue of looks, after all work that people wait for.

So it survives crashes, and several processes share it. Only DingTalk's own "no such user" marks somebody as
left: a department that is refused, or a listing that breaks off, proves nothing. A company costs a call for
each person and two for each department; DingTalk's monthly quota counts one of them.
"""

from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, Row, Table, and_, func, select, update

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import BudgetSpent, NotFound, PermissionDenied, QuotaSpent
from dingbridge.events.envelope import NO_CORP_ID
from dingbridge.mirror.leavers import usual_share
from dingbridge.mirror.look_again import Entity, LookAgain
from dingbridge.work_queue import RECONCILE
from dingbridge.worker.outcomes import Conflict
from dingbridge.worker.store.database import Database

log = structlog.get_logger(__name__)

COMPARISON, LISTING = "comparison", "listing"
"""Kinds of rows beside those of people: one of each company, due when the next comparison is, and a
department to be read."""

ROOT: Final = 1
USER: Final = "user"
_WHOLE: Final = "*"
_AT_ONCE: Final = 1_000
_DAY_MS: Final = 86_400_000
_ASK_EVERY_MS: Final = 3_600_000
_NEVER_DAYS: Final = 36_500


class Comparison:
    """The comparisons of ``table``, in the rows of ``looks``."""

    def __init__(self, table: Table, looks: LookAgain, every_days: float, database: Database) -> None:
        self._table, self._looks, self._every_days, self._database = table, looks, every_days, database
        self._asked_ms: dict[tuple[str, str], int] = {}

    async def ask(self, app: str, corp_id: str, *, again: bool = False) -> None:
        """Compare the company, if that was never done, was given up, or is asked for ``again``; where no
        company is named, all that are known."""
        now_ms = self._looks.queue.now_ms()
        fresh = now_ms - self._asked_ms.get((app, corp_id), -_ASK_EVERY_MS) < _ASK_EVERY_MS
        if not again and (fresh or corp_id == NO_CORP_ID):
            return
        queue, c = self._looks.queue, self._looks.table.c
        async with self._database.transaction() as tx:
            if corp_id != NO_CORP_ID:
                await self._looks.ask_once(tx, app, [Entity(corp_id, COMPARISON, _WHOLE)])
            if again:
                named = () if corp_id == NO_CORP_ID else (c.corp_id == corp_id,)
                due = update(self._looks.table).where(c.kind == COMPARISON, *named)
                await tx.execute(due.values(**queue.due(RECONCILE)))
        self._asked_ms[app, corp_id] = now_ms

    async def step(self, row: Row[Any], client: DingTalkClient) -> bool:
        """Do the step of ``row``; False: it is no row of a comparison. Raises ``ApiError``."""
        if row.kind == COMPARISON:
            await self._begin(row, client)
        elif row.kind == LISTING:
            await self._list(row, client)
        return row.kind in (COMPARISON, LISTING)

    async def _begin(self, row: Row[Any], client: DingTalkClient) -> None:
        try:
            scope = await client.visible_scope()
        except (PermissionDenied, QuotaSpent, BudgetSpent):  # the one call that the month's quota counts
            scope = {"authed_dept": [ROOT], "authed_user": []}
        reader, here = self._database.reader(), self._here(row.corp_id)
        in_table = int(await reader.scalar(select(func.count()).select_from(self._table).where(here)))
        counted = await client.user_count(only_active=False)
        refused = counted < in_table - usual_share(in_table)
        if refused:
            log.error(
                "mirror.not_compared",
                in_table=in_table,
                counted=counted,
                meaning="DingTalk counts so many fewer people than the table holds that this may be another "
                "company; look at the app's credentials, and if they did leave, empty the table",
            )
        last = None if refused else ""
        userid = self._table.c.userid
        while last is not None:
            found = await reader.execute(
                select(userid).where(here, userid > last).order_by(userid).limit(_AT_ONCE)
            )
            last = await self._people(row, [one.userid for one in found])
        every_ms = round((1 if refused else self._every_days or _NEVER_DAYS) * _DAY_MS)
        async with self._database.transaction() as tx:
            if not refused:
                people = [Entity(row.corp_id, USER, userid) for userid in scope["authed_user"]]
                roots = [ROOT] if ROOT in scope["authed_dept"] else scope["authed_dept"]
                listings = [Entity(row.corp_id, LISTING, str(dept_id)) for dept_id in roots]
                await self._looks.ask_once(tx, row.app, [*people, *listings])
            now_ms = self._looks.queue.now_ms()
            await self._looks.queue.release(tx, row, due_ms=now_ms + every_ms)

    async def _list(self, row: Row[Any], client: DingTalkClient) -> None:
        below: list[Any] = []
        members: set[str] = set()
        try:
            below = [child.get("dept_id") for child in await client.sub_departments(int(row.entity_id))]
            async for user in client.department_users(int(row.entity_id)):
                if isinstance(userid := user.get("userid"), str):
                    members.add(userid)
                if len(members) == _AT_ONCE:
                    await self._members(row, members)
                    members = set()
            await self._members(row, members)
        except NotFound:  # deleted since its parent was read
            pass
        except PermissionDenied as error:
            if error.about != "entity":
                raise
            log.warning("mirror.department_not_visible", dept_id=row.entity_id, errcode=error.errcode)
        async with self._database.transaction() as tx:
            # those of a school's families are listed with ids below 1, and cannot be read
            departments = [dept_id for dept_id in below if isinstance(dept_id, int) and dept_id > 0]
            listings = [Entity(row.corp_id, LISTING, str(dept_id)) for dept_id in departments]
            await self._looks.ask_once(tx, row.app, listings)
            await self._looks.queue.done(tx, row)

    async def _members(self, row: Row[Any], members: set[str]) -> None:
        userid = self._table.c.userid
        known = await self._database.reader().execute(
            select(userid).where(self._here(row.corp_id), userid.in_(members))
        )
        # who is here is asked for since the beginning
        await self._people(row, sorted(members - {one.userid for one in known}))

    async def _people(self, row: Row[Any], userids: list[str]) -> str | None:
        """Ask for them, and keep ``row``; returns the last. Raises ``Conflict`` when another process has
        it."""
        async with self._database.transaction() as tx:
            if not await self._looks.queue.renew(tx, row):
                raise Conflict("another process goes on with this comparison")
            await self._looks.ask_once(tx, row.app, [Entity(row.corp_id, USER, one) for one in userids])
        return userids[-1] if userids else None

    def _here(self, corp_id: str) -> ColumnElement[bool]:
        return and_(self._table.c.corp_id == corp_id, self._table.c.left_at.is_(None))
