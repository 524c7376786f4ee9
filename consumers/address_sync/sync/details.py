"""Fetches each person's details, which no listing has, in the background after a full sync wrote the rows.

A company of 1,000,000 takes 14 hours for it at 20 calls a second. So each person to be fetched is a row in
``address_sync_details``, a queue that all processes of the consumer share. It survives crashes and full
syncs. The first fetch of the person deletes the row, an event's too. A person for whom DingTalk gives no
answer waits longer and longer, while the others go on.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Row, func, select, update

from dingbridge import Conflict, Database, Transaction
from dingbridge.availability import Availability
from dingbridge.consumers.address_sync import store
from dingbridge.consumers.address_sync.fetcher import FetchedUser, Fetcher, is_hidden, write
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.sync.safety import leaver_limit
from dingbridge.consumers.address_sync.tables import details, guard, users
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import ApiError, BadRequest, PermissionDenied
from dingbridge.mirror.leavers import LeaverLimit
from dingbridge.snapshots.late_answers import look_again_s
from dingbridge.throttle import Throttle
from dingbridge.work_queue import WorkQueue, whose

log = structlog.get_logger(__name__)

AT_ONCE = 10
"""Calls under way at the same time: an answer takes longer than the gap between two calls of the pace."""

TOGETHER = 50
"""People whose details are written in one transaction. A crash costs so many calls."""

LEAST_LEASE_S = 60.0
"""How long a process keeps the people it has claimed, in s; longer at a slow pace of calls."""

LOOK_EVERY_S = 5.0


class Details:
    """The pending details of one company; ``fetched`` counts those that this object has done. ``clock`` gives
    epoch s."""

    def __init__(
        self,
        database: Database,
        corp_id: str,
        client: DingTalkClient,
        pace: Throttle,
        clock: Callable[[], float] = time.time,
        limit: LeaverLimit | None = None,
    ) -> None:
        self._database, self._corp_id, self._fetcher = database, corp_id, Fetcher(client)
        self._pace, self._clock = pace, clock
        self._under_way, self._in_line = asyncio.Semaphore(AT_ONCE), asyncio.Lock()
        self.lease_s = max(LEAST_LEASE_S, 4 * TOGETHER * pace.gap_s)
        of_company = details.c.corp_id == corp_id
        self._queue = WorkQueue(details, of_company, lease_s=self.lease_s, clock=clock)
        self._availability = Availability()
        self._limit = limit or leaver_limit(AddressSyncSettings.load(), clock=clock)
        self.fetched = 0

    async def pending(self, most: int = 10_000) -> int:
        """How many people are to be asked for; ``most`` stands for that many or more."""
        of_company = select(details.c.userid).where(
            details.c.corp_id == self._corp_id, details.c.due_ms.is_not(None)
        )
        count = select(func.count()).select_from(of_company.limit(most).subquery())
        return int(await self._database.reader().scalar(count))

    async def work(self, in_time: Callable[[], bool]) -> float:
        """Fetch while ``in_time()``; returns after how many s there may be more to do.

        Raises ``ApiError`` when it is not one person's, or ``DatabaseDown``, with everything kept: call it
        again, after ``pause_s``.
        """
        while True:
            most = 1 if self._availability.is_down else TOGETHER
            rows = await self._queue.claim(self._database, most)
            if not rows:
                return LOOK_EVERY_S
            await self._some(rows)
            if not in_time():
                return 0.0

    def pause_s(self, error: ApiError) -> float:
        """How long to wait, in s, after ``work`` raised ``error``."""
        return max(self._availability.pause_s(), error.retry_after_s or 0.0, 1.0)

    async def _some(self, rows: Sequence[Row[Any]]) -> None:
        """Fetch these people, and write the answers in one transaction. Whoever had an event meanwhile is
        left out, and fetched again if details are still pending."""
        corp_id, row_of = self._corp_id, {row.userid: row for row in rows}
        answers = await asyncio.gather(*map(self._ask, row_of), return_exceptions=True)
        answer_of = dict(zip(row_of, answers, strict=True))
        found = {userid: answer for userid, answer in answer_of.items() if isinstance(answer, FetchedUser)}
        # alone: more than the person is written; early: "not there" of somebody listed may be an old answer
        alone = {userid: one for userid, one in found.items() if one.departments or one.roles}
        early = {u for u, one in found.items() if one.state is None and _again_s(row_of[u]) is not None}
        refused = {userid for userid, answer in answer_of.items() if _is_about_one(answer)}
        looks = {u: one.attempt.generation for u, one in found.items() if u not in alone and u not in early}
        try:
            async with self._database.transaction() as tx:
                claimed = await guard.claim_many(tx, corp_id, "user", looks)
                now = datetime.now(UTC)
                states = {u: found[u].state for u in claimed}
                here = {userid: state for userid, state in states.items() if state is not None}
                await store.write_users(tx, corp_id, here, at=now)
                leavers = await self._limit.take(tx, corp_id, claimed - here.keys())
                await store.no_details(tx, corp_id, claimed - here.keys())  # whoever waits does so elsewhere
                for userid in sorted(leavers):
                    if await store.mark_left(tx, corp_id, userid, left_at=now, reported=False, at=now):
                        await ask_for_reports(tx, corp_id, userid)
                # listed, but their details are refused: these stay pending until a full sync asks again
                await store.no_details(tx, corp_id, refused)
                for userid in answer_of.keys() - alone.keys() - claimed - refused:
                    await self._give_back(tx, row_of[userid], answer_of[userid])
            self.fetched += len(claimed) + len(refused)
            for userid in sorted(alone):
                async with self._database.transaction() as tx:
                    await write(tx, corp_id, alone[userid])
                self.fetched += 1
        except Conflict:  # an event came in between, or PostgreSQL rolled back because of one
            async with self._database.transaction() as tx:
                for row in rows:
                    await self._queue.release(tx, row, due_ms=self._queue.now_ms())
            return
        for userid in sorted(refused):
            log.warning("address_sync.details_not_read", userid=userid, error=_code(answer_of[userid]))
        failures = [answer for answer in answer_of.values() if isinstance(answer, BaseException)]
        if len(failures) < len(answer_of):
            self._availability.worked(self._clock())
        for error in failures:
            if whose(error) is False or not isinstance(error, ApiError) or self._availability.is_down:
                raise error

    async def _give_back(self, tx: Transaction, row: Row[Any], answer: object) -> None:
        """Queue the person again: at once, unless ``answer`` gives a time."""
        now_ms, again_s = self._queue.now_ms(), _again_s(row)
        if isinstance(answer, FetchedUser) and answer.state is None and again_s is not None:
            due_ms = now_ms + round(again_s * 1000)
            await self._queue.release(tx, row, due_ms=due_ms, attempts=row.attempts + 1)
        elif isinstance(answer, ApiError) and whose(answer) is not False:
            if await self._queue.failed(tx, row, self._availability, answer) == "given-up":
                log.warning("address_sync.details_not_read", userid=row.userid, error=_code(answer))
        else:
            await self._queue.release(tx, row, due_ms=now_ms)

    async def _ask(self, userid: str) -> FetchedUser:
        """The person, with the departments and roles around them that the tables lack."""
        async with self._under_way:
            async with self._in_line:  # one waits for the pace at a time: every other turn is a full sync's
                await self._pace.turn()
            found = await self._fetcher.user(self._database.reader(), self._corp_id, userid)
            if more := len(found.departments) + (found.roles is not None):
                await self._pace.turn(more)
            return found


def _again_s(row: Row[Any]) -> float | None:
    return look_again_s(row.attempts + 1)


def _code(answer: object) -> str:
    return (isinstance(answer, ApiError) and answer.code) or type(answer).__name__


def _is_about_one(answer: object) -> bool:
    """Whether DingTalk refuses this person alone: out of the app's scope, or a refusal that lasts."""
    return isinstance(answer, BadRequest) or (isinstance(answer, PermissionDenied) and is_hidden(answer))


async def ask_for_reports(tx: Transaction, corp_id: str, userid: str) -> None:
    """Queue the reports of somebody who left: they have another manager now, which no listing has. Until they
    are fetched, their details are pending."""
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
    """A function that returns whether there is time for another step (None: always). It is called after each
    step, so every slice gets one done, however short."""
    ends_at = None if seconds is None else time.monotonic() + seconds
    return lambda: ends_at is None or time.monotonic() < ends_at
