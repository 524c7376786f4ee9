"""What no listing tells of people: fetched by name in the background, after the rows of a full sync stand.

A company of 1,000,000 takes 14 hours for it at 20 calls a second, so who is to be asked for is a row in
``address_sync_details``: it survives crashes and full syncs, and goes with whatever fetch of the person comes
first, an event's included. Of the processes of a consumer one does it, so that the pace is kept: it renews
its row in ``address_sync_details_worker``, and another takes over when that is old.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import func, or_, select, update

from consumers.address_sync import store
from consumers.address_sync.fetcher import Fetcher, is_hidden, write
from consumers.address_sync.mapping import UserState, user_state
from consumers.address_sync.sync.tables import details_worker
from consumers.address_sync.tables import details, guard, roles, users
from dingbridge import Conflict, Database, Transaction
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import BadRequest, NotFound, PermissionDenied
from dingbridge.throttle import Throttle

log = structlog.get_logger(__name__)

AT_ONCE = 10
"""Calls under way at the same time: an answer takes longer than the gap between two calls of the pace."""

TOGETHER = 50
"""People whose details are written in one transaction. A crash costs so many calls."""

TAKEN_FOR = timedelta(seconds=60)
"""How long a process that does not renew its row keeps the others from the work; longer at a pace at which
the calls of one transaction take longer."""


class Details:
    """The pending details of one company; ``fetched`` counts those that this object has done."""

    def __init__(self, database: Database, corp_id: str, client: DingTalkClient, pace: Throttle) -> None:
        self._database, self._corp_id, self._fetcher = database, corp_id, Fetcher(client)
        self._client, self._pace = client, pace
        self._under_way, self._in_line = asyncio.Semaphore(AT_ONCE), asyncio.Lock()
        self.taken_for = max(TAKEN_FOR, timedelta(seconds=4 * TOGETHER * pace.gap_s))
        self._me = uuid.uuid4().hex
        self.fetched = 0

    async def pending(self) -> int:
        """How many people are to be asked for."""
        of_company = select(func.count()).select_from(details).where(details.c.corp_id == self._corp_id)
        return int(await self._database.reader().scalar(of_company))

    async def work(
        self, in_time: Callable[[], bool], progress: Callable[[int], None] = lambda done: None
    ) -> bool:
        """Fetch while ``in_time()``; returns whether this process could: False while another does it.

        Raises ``ApiError`` or ``DatabaseDown``, with everything kept: call it again.
        """
        try:
            while await self._take():
                userids = await self._next()
                await self._some(userids)
                progress(self.fetched)
                if not userids or not in_time():
                    return True
            return False
        finally:
            await self._leave()

    async def _take(self) -> bool:
        """Whether this process is the one that does it; it is for ``taken_for``."""
        now = datetime.now(UTC)
        mine = {"corp_id": self._corp_id, "worker": self._me, "until": now + self.taken_for}
        table = details_worker.c
        free = or_(table.worker == self._me, table.until < now)
        async with self._database.transaction() as tx:
            return bool(await tx.upsert(details_worker, mine, ["corp_id"], where=free))

    async def _leave(self) -> None:
        """Another may begin at once."""
        table = details_worker.c
        statement = details_worker.delete().where(table.corp_id == self._corp_id, table.worker == self._me)
        async with self._database.transaction() as tx:
            await tx.execute(statement)

    async def _next(self) -> list[str]:
        rows = await self._database.reader().execute(
            select(details.c.userid)
            .where(details.c.corp_id == self._corp_id)
            .order_by(details.c.rank, details.c.userid)
            .limit(TOGETHER)
        )
        return [row.userid for row in rows]

    async def _some(self, userids: list[str]) -> None:
        """Fetch these, and write what was told in one transaction. Whom an event was handled of meanwhile is
        left out, and asked for again if that did not tell all. Raises ``ApiError`` after what was told is
        written."""
        reader, corp_id, began_at = self._database.reader(), self._corp_id, datetime.now(UTC)
        known = await guard.generations(reader, corp_id, "user", userids)
        answers = await asyncio.gather(*map(self._ask, userids), return_exceptions=True)
        told = dict(zip(userids, answers, strict=True))
        states = {userid: state for userid, state in told.items() if isinstance(state, UserState)}
        alone = await self._with_more(states)
        gone = [userid for userid, answer in told.items() if isinstance(answer, NotFound)]
        untold = [userid for userid, answer in told.items() if _is_about_one(answer)]
        looks = {u: known.get(u, 0) for u in [*gone, *(states.keys() - alone)]}
        try:
            async with self._database.transaction() as tx:
                claimed = await guard.claim_many(tx, corp_id, "user", looks, began_at=began_at)
                now = datetime.now(UTC)
                written = {userid: state for userid, state in states.items() if userid in claimed}
                await store.write_users(tx, corp_id, written, at=now)
                for userid in claimed.intersection(gone):
                    if await store.mark_left(tx, corp_id, userid, left_at=now, told=False, at=now):
                        await ask_for_reports(tx, corp_id, userid)
                # listed, but not told of: their details stay pending, until a full sync asks again
                await store.no_details(tx, corp_id, untold)
            self.fetched += len(claimed) + len(untold)
        except Conflict:
            return  # PostgreSQL rolled back because of another transaction: they are asked for again
        for userid in sorted(alone):
            await self._one(userid)
        for userid, answer in told.items():
            if isinstance(answer, BadRequest):
                log.warning("address_sync.details_not_told", errcode=answer.errcode)
            elif isinstance(answer, BaseException) and userid not in (*gone, *untold):
                raise answer

    async def _ask(self, userid: str) -> UserState:
        async with self._under_way:
            async with self._in_line:  # one waits for the pace at a time: every other turn is a full sync's
                await self._pace.turn()
            return user_state(await self._client.user(userid))

    async def _with_more(self, states: dict[str, UserState]) -> set[str]:
        """Who is in a department, or has a role, that we do not know: more than he is to be fetched."""
        reader, corp_id = self._database.reader(), self._corp_id
        dept_ids = {str(dept_id) for state in states.values() for dept_id in state.memberships or ()}
        role_ids = {role_id for state in states.values() for role_id in state.roles or ()}
        departments = await guard.generations(reader, corp_id, "department", dept_ids)
        rows = await reader.execute(
            select(roles.c.role_id).where(
                roles.c.corp_id == corp_id, roles.c.role_id.in_(role_ids), roles.c.deleted_at.is_(None)
            )
        )
        known = {row.role_id for row in rows}
        return {
            userid
            for userid, state in states.items()
            if not known.issuperset(state.roles or ())
            or any(str(dept_id) not in departments for dept_id in state.memberships or ())
        }

    async def _one(self, userid: str) -> None:
        """Fetch him with what is unknown around him."""
        await self._pace.turn()
        found = await self._fetcher.user(self._database.reader(), self._corp_id, userid)
        await self._pace.turn(len(found.departments) + (found.roles is not None))
        with suppress(Conflict):
            async with self._database.transaction() as tx:
                await write(tx, self._corp_id, found)
            self.fetched += 1


def _is_about_one(answer: object) -> bool:
    """Whether DingTalk refuses to tell of this person, and of others it may tell: he is out of our sight, or
    the call is refused in a way that does not pass."""
    return isinstance(answer, BadRequest) or (isinstance(answer, PermissionDenied) and is_hidden(answer))


async def ask_for_reports(tx: Transaction, corp_id: str, userid: str) -> None:
    """Who reported to somebody that has left has another manager now, which no listing tells: until they were
    asked for, their rows say that it is not known."""
    rows = await tx.execute(
        select(users.c.userid).where(
            users.c.corp_id == corp_id, users.c.manager_userid == userid, users.c.left_at.is_(None)
        )
    )
    reports = sorted(row.userid for row in rows)
    if not reports:
        return
    await guard.outdate(tx, corp_id, "user", reports)  # a fetch under way may have begun before
    await tx.execute(
        update(users)
        .where(users.c.corp_id == corp_id, users.c.userid.in_(reports))
        .values(details_pending=True, updated_at=datetime.now(UTC))
    )
    await store.ask_for_details(tx, corp_id, dict.fromkeys(reports, True))


def for_s(seconds: float | None) -> Callable[[], bool]:
    """A function that says whether there is time for another step (None: always). It is asked after each, so
    that every slice gets on, however short."""
    ends_at = None if seconds is None else time.monotonic() + seconds
    return lambda: ends_at is None or time.monotonic() < ends_at
