"""address-sync: keeps an OA database's employees, departments and roles equal to DingTalk's.

A contact event carries ids only and comes in any order, once or twice; it is taken as *fetch this user
again*, whatever it says happened. ``prepare`` fetches (``fetcher.py``), once for all that wait,
and ``handle`` writes what differs. What no event told is found by a full sync (``sync``),
for which there is an order in the inbox: of the schedule, of an event that names nobody, or of the ingress.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import ClassVar

import structlog
from sqlalchemy import MetaData

from consumers.address_sync import report
from consumers.address_sync.fetcher import (
    ROLES,
    Fetched,
    Fetcher,
    is_hidden,
    write,
)
from consumers.address_sync.metrics import AddressSyncMetrics
from consumers.address_sync.schedule import LOOK_EVERY_S, Schedule, company
from consumers.address_sync.settings import AddressSyncSettings
from consumers.address_sync.sync.details import Details, for_s
from consumers.address_sync.sync.full_sync import FullSync
from consumers.address_sync.sync.runs import Runs
from consumers.address_sync.sync.tables import runs
from dingbridge import (
    Consumer,
    Context,
    DependencyUnavailable,
    Event,
    Reader,
    Reject,
    Retry,
    Transaction,
)
from dingbridge.dingtalk.error_codes import PERMISSION_AGAIN_S
from dingbridge.dingtalk.errors import ApiError, PermissionDenied
from dingbridge.errors import KafkaUnavailable
from dingbridge.events.control import RESYNC_REQUESTED, resync_requested
from dingbridge.events.envelope import NOBODY
from dingbridge.kafka.inbox import write_to_inbox
from dingbridge.throttle import Throttle
from dingbridge.worker.consumer import Table
from dingbridge.worker.metrics import full_comparison

log = structlog.get_logger(__name__)

USER_TOPICS = (
    "user_add_org",
    "user_modify_org",
    "user_leave_org",
    "user_active_org",
    "org_admin_add",
    "org_admin_remove",
    "label_user_change",
)
DEPARTMENT_TOPICS = ("org_dept_create", "org_dept_modify", "org_dept_remove")
ROLE_TOPICS = ("label_conf_add", "label_conf_modify", "label_conf_del")
COMPANY_TOPIC = "org_change"
"""Names nothing: the company itself has changed, which DingTalk shows as its root department."""

ROOT = 1

SLICE_S = 20.0
"""How long a full sync works before it lets the worker look whether it must hand over or stop, in s."""


class AddressSync(Consumer):
    """Employees, departments, memberships and roles as tables, level-triggered."""

    name: ClassVar[str] = "address-sync"
    topics: ClassVar[Sequence[str]] = (*USER_TOPICS, *DEPARTMENT_TOPICS, *ROLE_TOPICS, COMPANY_TOPIC)
    metadata: ClassVar[MetaData | None] = runs.metadata
    migrations: ClassVar[str | None] = "consumers.address_sync.migrations"
    handler_timeout_s: ClassVar[float] = 300  # a slice, and a step of it: all members of a large department

    def __init__(self) -> None:
        self.sync_settings = AddressSyncSettings.load()
        self.pace = Throttle(self.sync_settings.resync_calls_per_s)
        self.metrics = AddressSyncMetrics()

    async def start(self) -> None:
        self.dingtalk  # noqa: B018 - every event needs it: end in words now rather than at the first
        self.metrics = AddressSyncMetrics(self.registry)
        self.metrics.reconcile_every.set(self.sync_settings.reconcile_every_days * 86_400)
        self._synced = full_comparison(self.name, self.registry)

    async def background(self) -> None:
        """The schedule of full syncs, and the details that follow one; what ends either ends both."""
        schedule = Schedule(self.database, self.sync_settings, self._order_sync, on_synced=self._synced.set)
        tasks = [asyncio.create_task(one) for one in (schedule.run(), self._fetch_details())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def fetches(self, event: Event) -> tuple[str, str | None]:
        return _entity(event)

    async def prepare(self, event: Event, ctx: Context) -> Fetched | None:
        """Fetch what ``event`` names. None when nothing is to be written: it is outside of the app's scope,
        or it asked for a full sync, which writes by itself."""
        if event.type == RESYNC_REQUESTED:
            await self._sync(event, ctx)
            return None
        kind, entity_id = _entity(event)
        if not entity_id:  # the bridge asks for a full sync, in the inbox
            log.warning("address_sync.event_without_ids", event_type=event.event_type, event_id=event.id)
            return None
        db, corp_id = ctx.db, event.corp_id
        fetcher = Fetcher(ctx.dingtalk)
        try:
            if kind == "user":
                return await fetcher.user(db, corp_id, entity_id)
            if kind == "department":
                return await fetcher.department(db, corp_id, int(entity_id))
            return await fetcher.roles(db, corp_id)
        except PermissionDenied as error:
            if not is_hidden(error):
                raise
            log.warning(
                "entity.not_visible", event_type=event.event_type, event_id=event.id, errcode=error.errcode
            )
            return None

    async def handle(self, event: Event, tx: Transaction, prepared: Fetched | None) -> None:
        if prepared is None:
            return
        left = [one.time for one in tx.ctx.together if one.event_type == "user_leave_org"]
        gone_at = max(left, default=event.time)
        changed = await write(tx, event.corp_id, prepared, gone_at=gone_at, told=bool(left))
        log.debug(f"{prepared.snapshot.kind}.written", event_id=event.id, changed=changed)

    async def show(self, db: Reader) -> list[Table]:
        return await report.tables(db)

    # Full syncs

    async def _fetch_details(self) -> None:
        """Never returns. Raises what ``Details.work`` raises when DingTalk or the database is down."""
        own = self.sync_settings
        details: Details | None = None
        while True:
            if details is None and len(found := await company(self.database.reader(), own)) == 1:
                details = Details(self.database, found[0], self.dingtalk, self.pace)
            if details is not None:
                pending = await details.pending()
                self.metrics.details_pending.set(pending)
                try:
                    if pending and await details.work(for_s(SLICE_S)):
                        continue
                except ApiError as error:
                    if error.unavailable:
                        raise
                    log.error(
                        "address_sync.details_refused", reason=str(error), again_in_s=PERMISSION_AGAIN_S
                    )
                    await asyncio.sleep(PERMISSION_AGAIN_S)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _order_sync(self, id: str, corp_id: str, reason: str) -> None:
        """Ask this consumer's group for a full sync; the same ``id`` is one order, however often it comes."""
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

    async def _sync(self, event: Event, ctx: Context) -> None:
        """Carry out an order, a slice of it at a time. Orders of a company have one key, so one member of the
        group works on one at a time; who comes after a crash goes on with the same run."""
        reason = str(event.data.get("reason"))
        corp_id = await self._ordered_for(event, ctx.db)
        if corp_id is None or event.data.get("part") == "approvals":
            log.info("address_sync.order_for_nobody", event_id=event.id, reason=reason)
            return
        company_runs = Runs(self.database, corp_id)
        if await company_runs.covers(event.time):
            return  # a full sync has begun since, and read what this order is about
        run_id = hashlib.sha256(f"{event.source}\n{event.id}".encode()).hexdigest()[:32]
        run = await company_runs.begin("order", run_id)
        if not run.is_open:
            return
        if not run.calls:
            log.info("address_sync.resync", run=run.run_id, event_id=event.id, reason=reason)

        def left(done: int, known: int) -> None:
            self.metrics.steps_left.set(known - done)

        sync = FullSync(company_runs, run, self.dingtalk, self.sync_settings, self.pace, left)
        try:
            done = await sync.work(SLICE_S)
        except ApiError as error:
            if error.unavailable:
                raise
            log.error("address_sync.failed", run=run.run_id, reason=str(error))
            raise DependencyUnavailable(f"full sync: {error}", after=PERMISSION_AGAIN_S) from error
        if not done:
            raise Retry("the full sync goes on", after=0, counts=False)

    async def _ordered_for(self, event: Event, db: Reader) -> str | None:
        """The company that this consumer syncs, by ``CONSUMER_APP``; an order may not know it. None when
        nothing says which, and for an order of another app's company."""
        found = await company(db, self.sync_settings)
        named = event.corp_id if event.corp_id != NOBODY else None
        if named not in (None, *found[:1]) and self.settings.concerns_another_app(event.app):
            return None
        return found[0] if len(found) == 1 else named


def _entity(event: Event) -> tuple[str, str | None]:
    """Kind and id of what ``event`` asks to be fetched. Raises ``Reject``."""
    if event.event_type in ROLE_TOPICS:
        return "roles", ROLES
    if event.event_type == COMPANY_TOPIC:
        return "department", str(ROOT)
    if event.event_type not in DEPARTMENT_TOPICS:
        return "user", event.subject
    subject = event.subject
    if subject and not (subject.isascii() and subject.isdigit()):
        raise Reject(f"{event.event_type}: the department's id is no number")
    return "department", str(int(subject)) if subject else None
