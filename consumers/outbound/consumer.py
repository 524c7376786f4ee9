"""outbound: messages and events in, rows out. ``handle`` stores the desired state, or marks an entity to be
read again. ``contacts/agent.py`` does the rest, for approvals and to-dos ``requests``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

import structlog
from sqlalchemy import MetaData, or_

from dingbridge import Consumer, Database, Event, Forgotten, Person, Reject, Restored, Transaction
from dingbridge.apps.company import Companies
from dingbridge.consumers.outbound import waiting
from dingbridge.consumers.outbound.contacts import agent as contacts
from dingbridge.consumers.outbound.contacts.rows import QUEUE, make_due
from dingbridge.consumers.outbound.contacts.unnamed import report_unnamed
from dingbridge.consumers.outbound.contacts.wanted import refetch, want
from dingbridge.consumers.outbound.ledger import Kind
from dingbridge.consumers.outbound.messages import parse
from dingbridge.consumers.outbound.metrics import OutboundMetrics
from dingbridge.consumers.outbound.owners import load_owners
from dingbridge.consumers.outbound.requests import agent as requests
from dingbridge.consumers.outbound.requests.forgetting import forget
from dingbridge.consumers.outbound.requests.restored import doubt_since_ms, pause, paused, warn_paused
from dingbridge.consumers.outbound.requests.store import (
    REQUESTS,
    doubt_all,
    forget_old,
    refetch_approvals,
    store_approval_event,
    store_request,
)
from dingbridge.consumers.outbound.sender import TOPICS, Sender
from dingbridge.consumers.outbound.settings import DAY_MS, OutboundSettings
from dingbridge.consumers.outbound.store import now_ms
from dingbridge.consumers.outbound.tables import metadata, outbound_entity
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.envelope import NO_CORP_ID
from dingbridge.kafka.topic_policy import OUTBOUND, RESYNC, control_topic, retention_days
from dingbridge.logging import excerpt
from dingbridge.settings.apps import companies
from dingbridge.work_queue import RECONCILE, keep_working
from dingbridge.worker.supervise import retry_until_available

log = structlog.get_logger(__name__)

Work = Callable[[], Awaitable[None]]

MEASURE_EVERY_S = 10.0
SEGMENT_DAYS = 8
"""How long Kafka may keep a record beyond its retention, in days: it deletes by segment."""

KINDS: dict[str, Kind] = {
    "user_add_org": "user",
    "user_modify_org": "user",
    "user_leave_org": "user",
    "org_dept_create": "department",
    "org_dept_modify": "department",
    "org_dept_remove": "department",
}
"""What the events' subjects are."""


async def keep_measuring(database: Database, metrics: OutboundMetrics, keep_ms: int) -> None:
    """Keep the metrics of contacts and requests up to date, so that a scrape asks no database; and delete
    requests ``keep_ms`` after their end."""
    db = database.reader()
    while True:
        states, since_ms = await waiting.standing(db)
        states["conflict"] += await waiting.conflicts_of_requests(db, now_ms() - DAY_MS)
        metrics.entities(states, 0.0 if since_ms is None else max(0, now_ms() - since_ms) / 1000)
        await forget_old(database, now_ms() - keep_ms)
        await asyncio.sleep(MEASURE_EVERY_S)


class Outbound(Consumer):
    """Writes to DingTalk what the OA wants, and reports to the OA what people change there."""

    name: ClassVar[str] = "outbound"
    topics: ClassVar[Sequence[str]] = (*KINDS, "bpms_instance_change")
    control_topics: ClassVar[Sequence[str]] = (OUTBOUND, RESYNC)
    control_topics_written: ClassVar[Sequence[str]] = TOPICS
    metadata: ClassVar[MetaData | None] = metadata
    migrations: ClassVar[str | None] = "dingbridge.consumers.outbound.migrations"

    def __init__(self) -> None:
        self.own = OutboundSettings.load()
        self.owners = load_owners(self.own.outbound_owners)
        self.metrics = OutboundMetrics()

    @cached_property
    def _companies(self) -> Companies:
        return companies(self.settings)

    async def start(self) -> None:
        _ = self.dingtalk  # nothing works without it: fail now, with the remedy, rather than later
        self.metrics = OutboundMetrics(self.registry)

    async def background(self) -> None:
        """Work on what is due, and send what is to be sent; none of these waits for another."""
        parts = (self.database, self.dingtalk_of, self.owners, self.own, self.metrics)
        keep_days = retention_days(self.settings, control_topic(self.settings, OUTBOUND)) + SEGMENT_DAYS
        app_of = self.settings.app_of
        agent, requester = contacts.Agent(*parts, app_of=app_of), requests.RequestAgent(*parts, app_of=app_of)
        runs: tuple[Work, ...] = (
            partial(keep_working, agent.claim, agent.work, contacts.AT_ONCE),
            partial(keep_working, requester.claim, requester.work, requests.AT_ONCE),
            partial(keep_measuring, self.database, self.metrics, keep_days * DAY_MS),
            Sender(self.database, self.settings).run,
        )
        if self.database.dialect == "sqlite":  # one process alone uses it
            async with self.database.transaction() as tx:
                for queue in (QUEUE, REQUESTS):
                    await queue.free(tx)
        if await paused(self.database.reader()) is not None:
            warn_paused()
        never = asyncio.Event()
        await asyncio.gather(*(retry_until_available(run, self.name, never) for run in runs))

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        kind = KINDS.get(event.event_type)
        if event.type == RESYNC_REQUESTED:
            await self._resync(event, tx)
        elif kind is not None and event.subject:
            by = event.data.get("optStaffId") or event.data.get("OptStaffId")
            if not await refetch(tx, event.corp_id, kind, event.subject, str(by) if by else None):
                await report_unnamed(tx, event, kind, str(by) if by else None)
                self.metrics.change("reported")
        elif kind is not None:  # it names nobody: the bridge requests a resync, too
            log.info("outbound.event_without_ids", event_type=event.event_type, event_id=excerpt(event.id))
        elif event.event_type == "bpms_instance_change":
            await store_approval_event(tx, event)
        else:
            message = parse(event)
            app = message.app or self.settings.own_app
            if (words := self._companies.refusal(app, message.corp_id)) is not None:
                raise Reject(f"data.{words}")
            if message.kind in ("user", "department"):
                await want(tx, message, now_ms())
            else:
                await store_request(tx, message, now_ms(), doubt_ms=await doubt_since_ms(tx))

    async def restored(self, restored: Restored, tx: Transaction) -> None:
        await pause(tx, restored)
        await QUEUE.free(tx)
        await doubt_all(tx, restored.at_ms, now_ms())
        warn_paused()

    async def forget(self, person: Person, tx: Transaction) -> Forgotten:
        return await forget(tx, person)

    async def _resync(self, event: Event, tx: Transaction) -> None:
        """A resync request is a reconcile of its company, or of its app where it names none."""
        columns, part = outbound_entity.c, event.data.get("part")
        if part != "contacts" and event.corp_id != NO_CORP_ID:
            await refetch_approvals(tx, event.corp_id, now_ms())
        if part == "approvals":
            return
        if event.corp_id != NO_CORP_ID:
            which = columns.corp_id == event.corp_id
        elif self.settings.concerns_another_app(event.app):
            which = columns.app == event.app
        else:
            which = or_(columns.app == event.app, columns.app.is_(None))
        count = await make_due(tx, which, priority=RECONCILE)
        log.info("outbound.resync", reason=excerpt(event.data.get("reason")), entities=count)
