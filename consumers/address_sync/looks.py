"""Looks at users, departments and roles through the Open API, and what each saw made rows.

``Looks`` fetches (no transaction is open), ``write`` writes under the guard of ``dingbridge/snapshots``. Used
for events and, at another priority, by a full sync. Not here: which event asks for which look
(``consumer.py``), and the rows themselves (``mapping.py``, ``store.py``).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import select

from consumers.address_sync import store
from consumers.address_sync.mapping import Row, UserState, department_row, roles_state, user_state
from consumers.address_sync.store import Change
from consumers.address_sync.tables import departments, guard, roles
from dingbridge import Reader, Transaction
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.error_codes import OUT_OF_SCOPE
from dingbridge.dingtalk.errors import NotFound, PermissionDenied
from dingbridge.snapshots import Snapshot

ROLES = "*"
"""The one entity of kind ``roles``: the list of all roles is read as a whole."""


@dataclass(frozen=True, slots=True)
class DepartmentSeen:
    """A look at a department; ``row`` is None when it does not exist, or is not ``shown`` to us. ``below``:
    those that stand below one that is gone in our tables."""

    look: Snapshot
    dept_id: int
    row: Row | None
    shown: bool = True
    below: list["DepartmentSeen"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RolesSeen:
    """A look at the list of roles, by role_id."""

    look: Snapshot
    rows: dict[int, Row]


@dataclass(frozen=True, slots=True)
class UserSeen:
    """A look at a user; ``state`` is None when the user does not exist. ``departments`` are those that the
    user is in and that we had never looked at, with their ancestors; ``roles`` was looked at because the
    user has one that we did not know. ``fetched`` is False when an earlier look told."""

    look: Snapshot
    state: UserState | None
    departments: list[DepartmentSeen] = field(default_factory=list)
    roles: RolesSeen | None = None
    fetched: bool = True


Seen = UserSeen | DepartmentSeen | RolesSeen


def hidden(error: PermissionDenied) -> bool:
    """Whether only this user or department is out of our sight; else the app lacks a permission."""
    return error.decisive in OUT_OF_SCOPE


class Looks:
    """Fetches at the priority of ``client``. Each raises ``ApiError``."""

    def __init__(self, client: DingTalkClient) -> None:
        self._client = client

    async def user(self, db: Reader, corp_id: str, userid: str, look: Snapshot | None = None) -> UserSeen:
        """Raises ``PermissionDenied`` for one who is ``hidden``."""
        look = look or await guard.snapshot(db, corp_id, "user", userid)
        try:
            state = user_state(await self._client.user(userid))
        except NotFound:
            return UserSeen(look, None)
        unknown = await self._unknown_departments(corp_id, state.memberships or (), db)
        return UserSeen(look, state, unknown, await self._unknown_roles(corp_id, state, db))

    async def department(
        self, db: Reader, corp_id: str, dept_id: int, look: Snapshot | None = None
    ) -> DepartmentSeen:
        """Raises ``PermissionDenied`` for one that is ``hidden``."""
        look = look or await guard.snapshot(db, corp_id, "department", str(dept_id))
        try:
            return DepartmentSeen(look, dept_id, department_row(await self._client.department(dept_id)))
        except NotFound:
            return DepartmentSeen(look, dept_id, None, below=await self._below(db, corp_id, dept_id))

    async def roles(self, db: Reader, corp_id: str, look: Snapshot | None = None) -> RolesSeen:
        look = look or await guard.snapshot(db, corp_id, "roles", ROLES)
        return RolesSeen(look, roles_state(await self._client.role_groups()))

    async def _below(self, db: Reader, corp_id: str, dept_id: int) -> list[DepartmentSeen]:
        """A look at each department that stands below ``dept_id`` in our tables: it may have gone along."""
        seen: dict[int, DepartmentSeen] = {}
        parents = [dept_id]
        while parents:
            children = await db.execute(
                select(departments.c.dept_id).where(
                    departments.c.corp_id == corp_id,
                    departments.c.parent_id.in_(parents),
                    departments.c.deleted_at.is_(None),
                )
            )
            parents = [row.dept_id for row in children if row.dept_id not in seen]
            for child in parents:
                seen[child] = await self._one_department(db, corp_id, child)
        return _ordered(seen)

    async def _unknown_departments(
        self, corp_id: str, dept_ids: Iterable[int], db: Reader
    ) -> list[DepartmentSeen]:
        """Those of ``dept_ids``, and of their ancestors, that were never looked at. Each costs one call once,
        whether it exists and is shown to us or not."""
        found: dict[int, DepartmentSeen] = {}
        wanted = list(dept_ids)
        visited: set[int] = set()
        while wanted:
            dept_id = wanted.pop()
            if dept_id in visited:
                continue
            visited.add(dept_id)
            look = await guard.snapshot(db, corp_id, "department", str(dept_id))
            if look.generation:
                continue
            seen = found[dept_id] = await self._one_department(db, corp_id, dept_id, look)
            if seen.row is not None and seen.row["parent_id"] is not None:
                wanted.append(seen.row["parent_id"])
        return _ordered(found)

    async def _one_department(
        self, db: Reader, corp_id: str, dept_id: int, look: Snapshot | None = None
    ) -> DepartmentSeen:
        look = look or await guard.snapshot(db, corp_id, "department", str(dept_id))
        try:
            return DepartmentSeen(look, dept_id, department_row(await self._client.department(dept_id)))
        except NotFound:
            return DepartmentSeen(look, dept_id, None)
        except PermissionDenied as error:
            if not hidden(error):
                raise
            return DepartmentSeen(look, dept_id, None, shown=False)

    async def _unknown_roles(self, corp_id: str, state: UserState, db: Reader) -> RolesSeen | None:
        if not state.roles:
            return None
        known = await db.execute(
            select(roles.c.role_id).where(
                roles.c.corp_id == corp_id, roles.c.role_id.in_(state.roles), roles.c.deleted_at.is_(None)
            )
        )
        if state.roles <= {row.role_id for row in known}:
            return None
        look = await guard.snapshot(db, corp_id, "roles", ROLES)
        try:
            return await self.roles(db, corp_id, look)
        except PermissionDenied:  # the names that the user's own answer has must do; nobody else lists them
            return None


async def write(
    tx: Transaction, corp_id: str, seen: Seen, *, gone_at: datetime | None = None, told: bool = False
) -> Change | None:
    """Write what was seen under its guard. Raises ``Conflict`` when somebody else has looked since.

    ``gone_at`` is when a user or department that does not exist is said to have gone (now, unless given), and
    ``told`` that an event about leaving says so.
    """
    now = datetime.now(UTC)
    gone_at = gone_at or now
    if isinstance(seen, RolesSeen):
        await guard.claim(tx, seen.look)
        return "changed" if await store.write_roles(tx, corp_id, seen.rows, at=now) else None
    if isinstance(seen, DepartmentSeen):
        await guard.claim(tx, seen.look)
        for child in seen.below:
            await _bring(tx, corp_id, child, gone_at, now)
        return await _department(tx, corp_id, seen, gone_at, now)
    await guard.claim(tx, seen.look, fetched=seen.fetched)
    for department in seen.departments:
        await _bring(tx, corp_id, department, gone_at, now)
    # somebody else's look at the roles is as good as ours
    if seen.roles is not None and await guard.try_claim(tx, seen.roles.look):
        await store.write_roles(tx, corp_id, seen.roles.rows, at=now)
    userid = seen.look.entity_id
    if seen.state is None:
        return await store.mark_left(tx, corp_id, userid, left_at=gone_at, told=told, at=now)
    if seen.roles is None and seen.state.role_names:
        await store.name_roles(tx, corp_id, seen.state.role_names, at=now)
    return await store.write_user(tx, corp_id, userid, seen.state, at=now)


async def _bring(
    tx: Transaction, corp_id: str, seen: DepartmentSeen, gone_at: datetime, now: datetime
) -> None:
    """Write a department that was looked at along the way: if it changed since, its own event says so."""
    if await guard.try_claim(tx, seen.look):
        await _department(tx, corp_id, seen, gone_at, now)


async def _department(
    tx: Transaction, corp_id: str, seen: DepartmentSeen, gone_at: datetime, now: datetime
) -> Change | None:
    if seen.row is not None:
        return await store.write_department(tx, corp_id, seen.dept_id, seen.row, at=now)
    if not seen.shown:
        return None
    return await store.mark_deleted(tx, corp_id, seen.dept_id, deleted_at=gone_at, at=now)


def _ordered(seen: dict[int, DepartmentSeen]) -> list[DepartmentSeen]:
    """In one order everywhere, else two transactions that claim the same departments could deadlock."""
    return [seen[dept_id] for dept_id in sorted(seen)]
