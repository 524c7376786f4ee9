"""address-sync: keeps an OA database's employees, departments and roles equal to DingTalk's.

``Mirror`` decides when an entity is fetched; here is what is fetched and written (``fetcher.py``). A full
sync (``sync``) finds what no event reported. It is requested through the inbox: by the schedule, by an event
that names nobody, or by the ingress.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import ClassVar

import sqlalchemy
import structlog
from sqlalchemy import MetaData, select

from dingbridge import (
    Context,
    DependencyUnavailable,
    Event,
    Forgotten,
    Person,
    Reader,
    Reject,
    Retry,
    Transaction,
)
from dingbridge.consumers.address_sync import report
from dingbridge.consumers.address_sync.fetcher import ROLES, Fetched, Fetcher, write_claimed
from dingbridge.consumers.address_sync.forgetting import forget_people, keep_forgetting
from dingbridge.consumers.address_sync.metrics import AddressSyncMetrics
from dingbridge.consumers.address_sync.schedule import Schedule
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.store import any_unlisted
from dingbridge.consumers.address_sync.sync.details import Details, for_s
from dingbridge.consumers.address_sync.sync.full_sync import FullSync
from dingbridge.consumers.address_sync.sync.runs import Run, Runs
from dingbridge.consumers.address_sync.sync.safety import leaver_limit
from dingbridge.consumers.address_sync.sync.tables import runs
from dingbridge.consumers.address_sync.tables import guard, look_again, users
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.error_codes import PERMISSION_AGAIN_S
from dingbridge.dingtalk.errors import ApiError
from dingbridge.errors import KafkaUnavailable
from dingbridge.events.control import resync_requested
from dingbridge.events.envelope import NO_CORP_ID
from dingbridge.kafka.inbox import write_to_inbox
from dingbridge.logging import excerpt
from dingbridge.mirror import Answer, Mirror
from dingbridge.mirror.leavers import LeaverLimit
from dingbridge.snapshots import FetchAttempt, VersionGuard
from dingbridge.throttle import Throttle
from dingbridge.worker.consumer import Table
from dingbridge.worker.metrics import full_comparison
from dingbridge.worker.store.forgetting import texts_in

log = structlog.get_logger(__name__)

DEPARTMENT_TOPICS = ("org_dept_create", "org_dept_modify", "org_dept_remove")
ROLE_TOPICS = ("label_conf_add", "label_conf_modify", "label_conf_del")
COMPANY_TOPIC = "org_change"
"""Names nothing: the company itself has changed, which DingTalk shows as its root department."""

ROOT = 1

AGAIN_S = 60.0
"""When a full sync goes on after a call that worked for nobody, in s."""

SLICE_S = 20.0
"""How long a full sync works before the worker checks whether it must hand over or stop, in s."""


class AddressSync(Mirror):
    """Employees, departments, memberships and roles as tables, level-triggered."""

    name: ClassVar[str] = "address-sync"
    topics: ClassVar[Sequence[str]] = (*Mirror.topics, *DEPARTMENT_TOPICS, *ROLE_TOPICS, COMPANY_TOPIC)
    metadata: ClassVar[MetaData | None] = runs.metadata
    migrations: ClassVar[str | None] = "dingbridge.consumers.address_sync.migrations"
    handler_timeout_s: ClassVar[float] = 300  # a slice, and a step of it: all members of a large department
    guard: ClassVar[VersionGuard] = guard
    look_again: ClassVar[sqlalchemy.Table] = look_again

    def __init__(self) -> None:
        self.sync_settings = AddressSyncSettings.load()
        self.pace = Throttle(self.sync_settings.resync_calls_per_s)
        self.metrics = AddressSyncMetrics()

    async def start(self) -> None:
        await super().start()
        self.metrics = AddressSyncMetrics(self.registry)
        self.metrics.reconcile_every.set(self.sync_settings.reconcile_every_days * 86_400)
        self._synced = full_comparison(self.name, self.registry)

    async def background(self) -> None:
        """Fetches entities again, schedules full syncs, fetches details after them, and forgets leavers; an
        error in one of these ends all."""
        corp_id = self.settings.required_company()
        order, on_synced = self._order_sync, self._show_synced
        schedule = Schedule(self.database, self.sync_settings, corp_id, order, on_synced=on_synced)
        work = [super().background(), schedule.run(), self._fetch_details(corp_id)]
        if (days := self.sync_settings.leavers_retention_days) is not None:
            work.append(keep_forgetting(self.database, days))
        tasks = [asyncio.create_task(one) for one in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def entity(self, event: Event) -> tuple[str, str] | None:
        if event.event_type in ROLE_TOPICS:
            return "roles", ROLES
        if event.event_type == COMPANY_TOPIC:
            return "department", str(ROOT)
        subject = event.subject
        if not subject or event.event_type not in DEPARTMENT_TOPICS:
            return ("user", subject) if subject else None
        if not (subject.isascii() and subject.isdigit()):
            raise Reject(f"{event.event_type}: the department's id is no number")
        return "department", str(int(subject))

    async def fetch(self, client: DingTalkClient, db: Reader, of: FetchAttempt) -> Fetched:
        fetcher = Fetcher(client)
        if of.kind == "user":
            return await fetcher.user(db, of.corp_id, of.entity_id, of)
        if of.kind == "department":
            return await fetcher.department(db, of.corp_id, int(of.entity_id), of)
        return await fetcher.roles(db, of.corp_id, of)

    @cached_property
    def leavers(self) -> LeaverLimit:
        return leaver_limit(self.sync_settings, app=self.settings.consumer_app, clock=lambda: self.clock())

    def exists(self, found: Fetched) -> bool:
        return found.exists

    async def write(self, tx: Transaction, answer: Answer, *, gone_at: datetime, reported: bool) -> bool:
        of, found = answer.of, answer.found
        now = datetime.fromtimestamp(self.clock(), UTC)
        change = await write_claimed(tx, of.corp_id, found, gone_at=gone_at, reported=reported, now=now)
        return change is not None

    async def undecided(self, tx: Transaction, of: FetchAttempt) -> bool:
        """A later list of roles decides whether one that was not listed is deleted."""
        return of.kind == "roles" and await any_unlisted(tx, of.corp_id)

    async def show(self, db: Reader) -> list[Table]:
        return await report.tables(db)

    async def forget(self, person: Person, tx: Transaction) -> Forgotten:
        of_person = (users.c.corp_id == person.corp_id, users.c.userid == person.userid)
        row = (await tx.execute(select(users).where(*of_person))).mappings().one_or_none()
        counts = await forget_people(tx, person.corp_id, [person.userid])
        return Forgotten(counts, texts=texts_in({} if row is None else dict(row)))

    # Full syncs

    def _show_synced(self, run: Run) -> None:
        if run.ended_at is not None:
            self._synced.set(run.ended_at.timestamp())
        for kind in ("people", "departments", "roles"):
            self.metrics.not_read.labels(kind).set(run.unread.get(kind, {}).get("count", 0))

    async def _fetch_details(self, corp_id: str) -> None:
        """Never returns. Raises ``DatabaseDown``."""
        details = Details(self.database, corp_id, self.dingtalk, self.pace, self.clock, self.leavers)
        while True:
            self.metrics.details_pending.set(await details.pending())
            try:
                wait_s = await details.work(for_s(SLICE_S))
            except ApiError as error:
                wait_s = details.pause_s(error)
                log.error("address_sync.details_refused", reason=str(error), again_in_s=wait_s)
            await asyncio.sleep(wait_s)

    async def _order_sync(self, id: str, corp_id: str, reason: str) -> None:
        """Request a full sync from this consumer's group; the same ``id`` is one order, however often
        sent."""
        now_ms = int(time.time() * 1000)
        record = resync_requested(
            id=id,
            app=self.settings.consumer_app,
            corp_id=corp_id,
            now_ms=now_ms,
            since_ms=now_ms,
            part="all",
            reason=reason,
        )
        try:
            await write_to_inbox(self.settings, self.name, record)
        except KafkaUnavailable as error:
            raise DependencyUnavailable(str(error)) from error

    async def resync(self, event: Event, ctx: Context) -> None:
        """Carry out an order, a slice at a time. Orders of a company have one key, so one member of the group
        works on one at a time; after a crash another one goes on with the same run."""
        about = {"event_id": excerpt(event.id), "reason": excerpt(event.data.get("reason"))}
        corp_id = self._ordered_for(event)
        if corp_id is None or event.data.get("part") == "approvals":
            log.info("address_sync.order_for_nobody", **about)
            return
        company_runs = Runs(self.database, corp_id)
        if await company_runs.covers(event.time):
            return  # a full sync has begun since, and read what this order is about
        run_id = hashlib.sha256(f"{event.source}\n{event.id}".encode()).hexdigest()[:32]
        run = await company_runs.begin("order", run_id)
        if not run.is_open:
            return
        if not run.calls:
            log.info("address_sync.resync", run=run.run_id, **about)

        def left(done: int, known: int) -> None:
            self.metrics.steps_left.set(known - done)

        sync = FullSync(
            company_runs,
            run,
            self.dingtalk,
            self.sync_settings,
            self.pace,
            left,
            limit=self.leavers,
            clock=self.clock,
        )
        try:
            done = await sync.work(SLICE_S)
        except ApiError as error:
            if error.about in ("address", "month", "token"):
                raise
            log.error("address_sync.failed", run=run.run_id, reason=str(error))
            # no event needs a listing: the others go on, and the order is never given up
            after = PERMISSION_AGAIN_S if error.about == "right" else AGAIN_S
            raise Retry(f"full sync: {error}", after=after, counts=False) from error
        if not done:
            raise Retry("the full sync goes on", after=0, counts=False)

    def _ordered_for(self, event: Event) -> str | None:
        """The company that this consumer syncs, by ``CONSUMER_APP``; an order may lack it. None when it is
        not known, and for an order of another app's company."""
        named = event.corp_id if event.corp_id != NO_CORP_ID else None
        own = self.settings.own_company()
        if named not in (None, own) and self.settings.concerns_another_app(event.app):
            return None
        return own or named
