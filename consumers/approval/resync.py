"""Makes the archive equal to DingTalk for a span of time: lists ids by template, and has each of them read.

DingTalk lists what was *started* in a span of at most 120 days, nothing older than 365 days, and at most
10,000 ids of one span (obtain-an-approval-list-of-instance-ids); a span that holds more is halved. Templates
are those that the archive or an action knows. What is in progress by the archive is read, too: its end may
have been missed. The newest come first. All of it is rows of ``approval_entities``, so it survives crashes,
and several processes share it. What the archive has whole costs no call.
"""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Row, case, func, select

from dingbridge import Conflict, Database, Event, Reader, Transaction
from dingbridge.consumers.approval.tables import INSTANCE, TEMPLATE, approval_instances, entities
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import IDS_MOST, WINDOW_MS
from dingbridge.logging import excerpt
from dingbridge.mirror import Entities, Entity
from dingbridge.mirror.entities import COMPANY, WHOLE
from dingbridge.mirror.full_sync import CHECK_EVERY_S
from dingbridge.snapshots.coerce import as_int
from dingbridge.work_queue import RECONCILE

log = structlog.get_logger(__name__)

OLDEST: Final = timedelta(days=365) - timedelta(minutes=10)
"""How far back DingTalk lists, with some time for the listing itself."""
FAR_BACK: Final = timedelta(days=7)
"""How far a request goes that does not say since when."""
SHORTEST_MS: Final = 60_000
"""A span is not halved further, in ms."""
RUNNING_MOST: Final = 1_000
"""Approvals in progress that one resync reads."""

_c, _i = entities.c, approval_instances.c


class Resync:
    """The resyncs of one consumer process. ``actions``: the templates that have one; ``on_done`` is called
    when a resync is done."""

    def __init__(
        self,
        entities: Entities,
        database: Database,
        actions: Collection[str],
        on_done: Callable[[], None] = lambda: None,
    ) -> None:
        self._entities, self._database = entities, database
        self._actions, self._on_done = actions, on_done

    async def requested(self, tx: Transaction, event: Event, app: str, corp_id: str | None) -> None:
        """The bridge asks for a resync, since events may be lost."""
        about = {"event_id": excerpt(event.id), "reason": excerpt(event.data.get("reason"))}
        if corp_id is None:
            log.warning("approval.resync_for_nobody", app=excerpt(event.app), **about)
            return
        since_ms = as_int(event.data.get("since"))
        if since_ms is None:
            since_ms = round((event.time - FAR_BACK).timestamp() * 1000)
        log.warning("approval.resync_requested", since_ms=since_ms, **about)
        await self.request(tx, app, corp_id, since_ms)

    async def request(self, tx: Transaction, app: str, corp_id: str, since_ms: int) -> None:
        """Compare what was started since then (epoch ms), now or after the resync that is open. One that
        waits is widened."""
        widened = case((_c.from_ms < since_ms, _c.from_ms), else_=since_ms)
        due = {"from_ms": widened, "app": app, **self._entities.queue.due(RECONCILE)}
        new = {"from_ms": since_ms, "app": app, "due_ms": self._entities.now_ms(), "priority": RECONCILE}
        statement = tx.insert(entities).values(**Entity(corp_id, COMPANY, WHOLE)._asdict(), **new)
        await tx.execute(statement.on_conflict_do_update(index_elements=Entity._fields, set_=due))

    async def read(self, row: Row[Any], client: DingTalkClient) -> bool:
        """Do what the row of a company or of a template asks for; returns whether DingTalk was asked. Raises
        ``ApiError``, and ``Conflict`` when another process has the row."""
        if row.kind == TEMPLATE:
            await self._list(row, client)
            return True
        await (self._begin(row) if row.run_ms is None else self._check(row))
        return False

    async def refused(self, row: Row[Any], code: str, again_s: float | None) -> None:
        """A template that DingTalk does not list stops no other; the next resync asks again."""
        log.warning("approval.template_not_listed", process_code=row.entity_id, code=code)
        async with self._database.transaction() as tx:
            await self._entities.settle(tx, row, None, {"run_ms": None}, state="refused", code=code)

    async def _begin(self, row: Row[Any]) -> None:
        run_ms = self._entities.now_ms()
        from_ms = max(run_ms - round(OLDEST.total_seconds() * 1000), row.from_ms or 0)
        db = self._database.reader()
        codes = {*await known_templates(db, row.corp_id), *self._actions}
        ids = [instance_id for instance_id, _ in await running(db, row.corp_id)]
        async with self._database.transaction() as tx:
            if not await self._entities.queue.renew(tx, row):
                raise Conflict("another process has begun this resync")
            ask = self._entities.ask
            await ask(tx, row.app, row.corp_id, INSTANCE, ids, run_ms=run_ms)
            span = {"from_ms": from_ms, "until_ms": run_ms}
            await ask(tx, row.app, row.corp_id, TEMPLATE, codes, run_ms=run_ms, own=span)
            again_ms = run_ms + round(CHECK_EVERY_S * 1000)
            await self._entities.settle(tx, row, again_ms, {"from_ms": None}, run_ms=run_ms)
        log.info("approval.resync_began", templates=len(codes), running=len(ids))

    async def _check(self, row: Row[Any]) -> None:
        """End the resync when nothing of it is left; one that was requested meanwhile begins then."""
        now_ms = self._entities.now_ms()
        left = await self._entities.left_of_run(self._database.reader(), row.corp_id, 1)
        async with self._database.transaction() as tx:
            if left:
                await self._entities.queue.release(tx, row, due_ms=now_ms + round(CHECK_EVERY_S * 1000))
                return
            next_ms = None if row.from_ms is None else now_ms
            await self._entities.settle(tx, row, next_ms, {}, run_ms=None, read_ms=now_ms)
        self._on_done()
        log.info("approval.resynced", seconds=round((now_ms - row.run_ms) / 1000, 1))

    async def _list(self, row: Row[Any], client: DingTalkClient) -> None:
        """List one span, the newest that is left, and have its instances read before the next one."""
        begin_ms = max(row.from_ms, row.until_ms - WINDOW_MS + 1)
        ids = await list_ids(client, row.entity_id, begin_ms, row.until_ms)
        done = begin_ms <= row.from_ms
        async with self._database.transaction() as tx:
            if not await self._entities.queue.renew(tx, row):
                raise Conflict("another process has listed this template")
            await self._entities.ask(
                tx,
                row.app,
                row.corp_id,
                INSTANCE,
                ids,
                run_ms=row.run_ms,
                own={"process_code": row.entity_id},
            )
            due_ms = None if done else self._entities.now_ms() + 1
            settled = {"run_ms": None if done else row.run_ms, "until_ms": begin_ms - 1}
            await self._entities.settle(tx, row, due_ms, settled, state=None, code=None)


async def list_ids(client: DingTalkClient, process_code: str, begin_ms: int, end_ms: int) -> list[str]:
    """The ids of a template's instances that were started from ``begin_ms`` to ``end_ms`` (epoch ms, both
    included), in spans of at most 119 days. Raises ``ApiError``."""
    ids = [one async for one in client.approval_ids(process_code, start_ms=begin_ms, end_ms=end_ms)]
    if len(ids) < IDS_MOST or end_ms - begin_ms <= SHORTEST_MS:
        return ids
    middle = (begin_ms + end_ms) // 2
    newer = await list_ids(client, process_code, middle + 1, end_ms)
    return [*newer, *await list_ids(client, process_code, begin_ms, middle)]


async def running(db: Reader, corp_id: str) -> list[tuple[str, str | None]]:
    """Id and template of the approvals whose end the archive lacks, the newest first: it may have been
    missed."""
    found = select(_i.instance_id, _i.process_code).where(
        _i.corp_id == corp_id, _i.outcome.is_(None), _i.deleted_at.is_(None)
    )
    newest = found.order_by(func.coalesce(_i.started_at, _i.updated_at).desc()).limit(RUNNING_MOST)
    return [(row.instance_id, row.process_code) for row in await db.execute(newest)]


async def known_templates(db: Reader, corp_id: str) -> set[str]:
    """The templates of which the archive has an approval."""
    codes = select(_i.process_code).where(_i.corp_id == corp_id, _i.process_code.is_not(None)).distinct()
    return {one.process_code for one in await db.execute(codes)}
