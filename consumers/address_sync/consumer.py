"""address-sync: keeps an OA database's employees, departments and roles equal to DingTalk's.

A contact event carries ids only and comes in any order, once or twice; it is taken as *look again at this
user*, whatever it says happened. ``prepare`` looks (``looks.py``), unless an earlier look began after the
event had come, and ``handle`` writes what differs. What no event told is found by a full sync, which
``background`` runs (``schedule.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import structlog
from sqlalchemy import MetaData

from consumers.address_sync import report, sync_tables
from consumers.address_sync.looks import ROLES, DepartmentSeen, Looks, Seen, UserSeen, hidden, write
from consumers.address_sync.resync import company
from consumers.address_sync.runs import Part, request
from consumers.address_sync.schedule import Schedule
from consumers.address_sync.settings import AddressSyncSettings
from consumers.address_sync.tables import guard
from dingbridge import Consumer, Context, DependencyUnavailable, Event, Reader, Reject, Transaction
from dingbridge.dingtalk.errors import BudgetSpent, PermissionDenied, QuotaSpent
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.envelope import NOBODY
from dingbridge.snapshots import FetchCache
from dingbridge.worker.consumer import Table
from dingbridge.worker.context import next_fetch_sequence

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


@dataclass(frozen=True, slots=True)
class _Ordered:
    """A full sync that the bridge asks for. ``corp_id`` None: nobody knows of which company."""

    corp_id: str | None
    part: Part


@dataclass(frozen=True, slots=True)
class _Looked:
    """A look for an event; ``sequence`` was drawn before its fetch."""

    seen: Seen
    sequence: int


class AddressSync(Consumer):
    """Employees, departments, memberships and roles as tables, level-triggered."""

    name: ClassVar[str] = "address-sync"
    topics: ClassVar[Sequence[str]] = (*USER_TOPICS, *DEPARTMENT_TOPICS, *ROLE_TOPICS, COMPANY_TOPIC)
    metadata: ClassVar[MetaData | None] = sync_tables.runs.metadata
    migrations: ClassVar[str | None] = "consumers.address_sync.migrations"

    def __init__(self) -> None:
        self.sync_settings = AddressSyncSettings.load()

    async def start(self) -> None:
        _ = self.dingtalk  # every event needs it: end in words now rather than at the first
        self._recent = FetchCache()
        self._schedule = Schedule(self.database, self.dingtalk, self.sync_settings)

    async def background(self) -> None:
        await self._schedule.run()

    async def prepare(self, event: Event, ctx: Context) -> _Looked | _Ordered | Part | None:
        """Look at what ``event`` names. A part of the company when it names nothing that could be looked
        at; None when nothing is to be done: an earlier look serves, or it is outside of the app's scope."""
        db = ctx.db
        if event.type == RESYNC_REQUESTED:
            part: Part = "departments" if event.data.get("part") == "departments" else "all"
            return _Ordered(await self._ordered_for(event, db), part)
        kind, entity_id = _entity(event)
        if not entity_id:
            return "all" if kind == "user" else "departments"
        look = await guard.snapshot(db, event.corp_id, kind, entity_id)
        if self._recent.serves_hidden(look, ctx.fetch_sequence):
            return None
        served = self._recent.serves(look, ctx.fetch_sequence)
        if served is not None:
            drawn, exists = served
            if exists or event.event_type != "user_leave_org":
                return None
            return _Looked(UserSeen(look, None, fetched=False), drawn)  # only the time of leaving is news
        drawn = next_fetch_sequence()
        looks = Looks(ctx.dingtalk)
        try:
            if kind == "user":
                return _Looked(await looks.user(db, event.corp_id, entity_id, look), drawn)
            if kind == "department":
                return _Looked(await looks.department(db, event.corp_id, int(entity_id), look), drawn)
            return _Looked(await looks.roles(db, event.corp_id, look), drawn)
        except (BudgetSpent, QuotaSpent) as error:
            # the same as the error, with its words in the log: they say until when
            raise DependencyUnavailable(str(error), after=error.retry_after_s) from error
        except PermissionDenied as error:
            if not hidden(error):
                raise
            self._recent.hidden(look, drawn)
            log.warning(
                "entity.not_visible", event_type=event.event_type, event_id=event.id, errcode=error.errcode
            )
            return None

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        if isinstance(prepared, str):
            await request(tx, event.corp_id, "departments" if prepared == "departments" else "all")
            log.warning("address_sync.event_without_ids", event_type=event.event_type, resync=prepared)
        if isinstance(prepared, _Ordered):
            reason = event.data.get("reason")
            if prepared.corp_id is None:
                # another app's company; or no table has anything yet, and the first full sync is to come
                log.warning("address_sync.order_for_nobody", event_id=event.id, reason=reason)
                return
            await request(tx, prepared.corp_id, prepared.part)
            log.warning("address_sync.ordered", resync=prepared.part, event_id=event.id, reason=reason)
        if not isinstance(prepared, _Looked):
            return
        seen = prepared.seen
        told = event.event_type == "user_leave_org"
        changed = await write(tx, event.corp_id, seen, gone_at=event.time, told=told)
        exists = not (
            (isinstance(seen, UserSeen) and seen.state is None)
            or (isinstance(seen, DepartmentSeen) and seen.row is None)
        )
        fetched = not isinstance(seen, UserSeen) or seen.fetched
        self._recent.wrote(seen.look, prepared.sequence, exists=exists, fetched=fetched)
        log.debug(f"{seen.look.kind}.written", event_id=event.id, exists=exists, changed=changed)

    async def show(self, db: Reader) -> list[Table]:
        return await report.tables(db)

    async def _ordered_for(self, event: Event, db: Reader) -> str | None:
        """The company that this consumer syncs; an order may not know it. None also for an order of another
        app that names another company."""
        found = await company(db, self.sync_settings)
        named = event.corp_id if event.corp_id != NOBODY else None
        if len(found) != 1:
            return named
        elsewhere = named not in (None, found[0]) and self.settings.concerns_another_app(event.app)
        return None if elsewhere else found[0]


def _entity(event: Event) -> tuple[str, str | None]:
    """Kind and id of what ``event`` asks to be looked at. Raises ``Reject``."""
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
