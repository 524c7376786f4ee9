"""address-sync: keeps an OA database's employees and departments equal to DingTalk's.

A contact event carries ids only and comes in any order, once or twice; it is taken as *look again at this
user*, whatever it says happened. ``prepare`` looks, under the guard of ``consumers/mirror``, and ``handle``
writes what differs. Not here: how DingTalk's fields become columns (``mapping.py``), and the writing
(``store.py``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

import structlog
from sqlalchemy import MetaData

from consumers.address_sync import report, store
from consumers.address_sync.mapping import Row, UserState, department_row, user_state
from consumers.address_sync.tables import guard, metadata
from consumers.mirror import Look
from consumers.runtime import Consumer, Event, Reader, Reject, Transaction
from consumers.runtime.consumer import Table
from dingtalk.errors import NotFound, PermissionDenied

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

OUT_OF_SCOPE = frozenset({50002, 50004})
"""The app works, but this user or department lies outside of what it may see (server-api-error-codes-1)."""


@dataclass(frozen=True, slots=True)
class DepartmentSeen:
    """A look at a department; ``row`` is None when it does not exist, or is not shown to us."""

    look: Look
    dept_id: int
    row: Row | None


@dataclass(frozen=True, slots=True)
class UserSeen:
    """A look at a user; ``state`` is None when the user does not exist. ``departments`` are those that the
    user is in and that we had never looked at, with their ancestors."""

    look: Look
    state: UserState | None
    departments: list[DepartmentSeen] = field(default_factory=list)


class AddressSync(Consumer):
    """Employees, departments and memberships as tables, level-triggered."""

    name: ClassVar[str] = "address-sync"
    topics: ClassVar[Sequence[str]] = (*USER_TOPICS, *DEPARTMENT_TOPICS)
    metadata: ClassVar[MetaData | None] = metadata
    migrations: ClassVar[str | None] = "consumers.address_sync.migrations"

    async def start(self) -> None:
        _ = self.dingtalk  # every event needs it: end in words now rather than at the first one

    async def prepare(self, event: Event, db: Reader) -> UserSeen | DepartmentSeen | None:
        """Look at the user or department that ``event`` names; None when it is outside of the app's scope."""
        if not event.subject:
            raise Reject(f"{event.event_type} names no user or department")
        try:
            if event.event_type in DEPARTMENT_TOPICS:
                return await self._look_at_department(event, db)
            return await self._look_at_user(event, db)
        except PermissionDenied as error:
            if error.errcode not in OUT_OF_SCOPE:
                raise
            log.warning(
                "entity.not_visible", event_type=event.event_type, event_id=event.id, errcode=error.errcode
            )
            return None

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        if isinstance(prepared, UserSeen):
            await self._write_user(event, tx, prepared)
        elif isinstance(prepared, DepartmentSeen):
            await self._write_department(event, tx, prepared)

    async def show(self, db: Reader) -> list[Table]:
        return await report.tables(db)

    async def _look_at_user(self, event: Event, db: Reader) -> UserSeen:
        userid = str(event.subject)
        look = await guard.look(db, event.corp_id, "user", userid)
        try:
            state = user_state(await self.dingtalk.user(userid))
        except NotFound:
            return UserSeen(look, None)
        unknown = await self._unknown_departments(event.corp_id, state.memberships or (), db)
        return UserSeen(look, state, unknown)

    async def _look_at_department(self, event: Event, db: Reader) -> DepartmentSeen:
        subject = str(event.subject)
        if not (subject.isascii() and subject.isdigit()):
            raise Reject(f"{event.event_type}: the department's id is no number")
        dept_id = int(subject)
        look = await guard.look(db, event.corp_id, "department", str(dept_id))
        try:
            row: Row | None = department_row(await self.dingtalk.department(dept_id))
        except NotFound:
            row = None
        return DepartmentSeen(look, dept_id, row)

    async def _unknown_departments(
        self, corp_id: str, dept_ids: Iterable[int], db: Reader
    ) -> list[DepartmentSeen]:
        """Those of ``dept_ids``, and of their ancestors, that were never looked at: the company is older than
        our first event. Each costs one call once, whether it exists and is shown to us or not."""
        found: dict[int, DepartmentSeen] = {}
        wanted = list(dept_ids)
        visited: set[int] = set()
        while wanted:
            dept_id = wanted.pop()
            if dept_id in visited:
                continue
            visited.add(dept_id)
            look = await guard.look(db, corp_id, "department", str(dept_id))
            if look.generation:
                continue
            row: Row | None = None
            try:
                row = department_row(await self.dingtalk.department(dept_id))
            except NotFound:
                pass
            except PermissionDenied as error:
                if error.errcode not in OUT_OF_SCOPE:
                    raise
            found[dept_id] = DepartmentSeen(look, dept_id, row)
            if row is not None and row["parent_id"] is not None:
                wanted.append(row["parent_id"])
        # in one order everywhere, else two transactions that claim the same departments could deadlock
        return [found[dept_id] for dept_id in sorted(found)]

    async def _write_user(self, event: Event, tx: Transaction, seen: UserSeen) -> None:
        await guard.claim(tx, seen.look)
        now = datetime.now(UTC)
        userid = seen.look.entity_id
        if seen.state is not None:
            changed = await store.write_user(tx, event.corp_id, userid, seen.state, at=now)
        else:
            told = event.event_type == "user_leave_org"
            changed = await store.mark_left(tx, event.corp_id, userid, left_at=event.time, told=told, at=now)
        for department in seen.departments:
            # somebody else's look is as good as ours: if the department changed since, its own event says so
            if await guard.try_claim(tx, department.look) and department.row is not None:
                await store.write_department(tx, event.corp_id, department.dept_id, department.row, at=now)
        log.debug("user.written", event_id=event.id, exists=seen.state is not None, changed=changed)

    async def _write_department(self, event: Event, tx: Transaction, seen: DepartmentSeen) -> None:
        await guard.claim(tx, seen.look)
        now = datetime.now(UTC)
        if seen.row is not None:
            changed = await store.write_department(tx, event.corp_id, seen.dept_id, seen.row, at=now)
        else:
            changed = await store.mark_deleted(tx, event.corp_id, seen.dept_id, deleted_at=event.time, at=now)
        log.debug("department.written", event_id=event.id, exists=seen.row is not None, changed=changed)
