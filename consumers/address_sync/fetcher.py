"""Fetches users, departments and roles through the Open API, and writes what was found.

``Fetcher`` fetches (no transaction is open), ``write`` writes under the version guard of
``dingbridge/snapshots``. Used for events and by a full sync. Not here: which event asks for what
(``consumer.py``), and the rows themselves (``mapping.py``, ``store.py``).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from sqlalchemy import select

from dingbridge import Reader, Transaction
from dingbridge.consumers.address_sync import store
from dingbridge.consumers.address_sync.mapping import Row, UserState, department_row, roles_state, user_state
from dingbridge.consumers.address_sync.store import Change
from dingbridge.consumers.address_sync.tables import departments, guard, roles
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import NotFound, PermissionDenied
from dingbridge.snapshots import FetchAttempt

ROLES = "*"
"""The one entity of kind ``roles``: the list of all roles is read as a whole."""


@dataclass(frozen=True, slots=True)
class FetchedDepartment:
    """A department as fetched; ``row`` is None when it does not exist, or is not ``shown`` to us. ``below``:
    those that stand below one that is gone in our tables."""

    attempt: FetchAttempt
    dept_id: int
    row: Row | None
    shown: bool = True
    below: list["FetchedDepartment"] = field(default_factory=list)

    @property
    def exists(self) -> bool:
        return self.row is not None


@dataclass(frozen=True, slots=True)
class FetchedRoles:
    """The list of roles as fetched, by role_id."""

    attempt: FetchAttempt
    rows: dict[int, Row]
    exists: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class FetchedUser:
    """A user as fetched; ``state`` is None when the user does not exist. ``departments`` are those that the
    user is in and that were never fetched before, with their ancestors; ``roles`` was fetched because the
    user has one that we did not know."""

    attempt: FetchAttempt
    state: UserState | None
    departments: list[FetchedDepartment] = field(default_factory=list)
    roles: FetchedRoles | None = None

    @property
    def exists(self) -> bool:
        return self.state is not None


Fetched = FetchedUser | FetchedDepartment | FetchedRoles


def is_hidden(error: PermissionDenied) -> bool:
    """Whether only this user or department is out of the app's scope; else the app lacks a permission."""
    return error.about == "entity"


class Fetcher:
    """Each method raises ``ApiError``."""

    def __init__(self, client: DingTalkClient) -> None:
        self._client = client

    async def user(
        self, db: Reader, corp_id: str, userid: str, attempt: FetchAttempt | None = None
    ) -> FetchedUser:
        """Raises ``PermissionDenied`` for one who is ``hidden``."""
        attempt = attempt or await guard.begin(db, corp_id, "user", userid)
        try:
            state = user_state(await self._client.user(userid))
        except NotFound:
            return FetchedUser(attempt, None)
        unknown = await self._unknown_departments(corp_id, state.memberships or (), db)
        return FetchedUser(attempt, state, unknown, await self._unknown_roles(corp_id, state, db))

    async def department(
        self, db: Reader, corp_id: str, dept_id: int, attempt: FetchAttempt | None = None
    ) -> FetchedDepartment:
        """Raises ``PermissionDenied`` for one that is ``hidden``."""
        attempt = attempt or await guard.begin(db, corp_id, "department", str(dept_id))
        try:
            return FetchedDepartment(attempt, dept_id, department_row(await self._client.department(dept_id)))
        except NotFound:
            return FetchedDepartment(attempt, dept_id, None, below=await self._below(db, corp_id, dept_id))

    async def roles(self, db: Reader, corp_id: str, attempt: FetchAttempt | None = None) -> FetchedRoles:
        attempt = attempt or await guard.begin(db, corp_id, "roles", ROLES)
        return FetchedRoles(attempt, roles_state(await self._client.role_groups()))

    async def _below(self, db: Reader, corp_id: str, dept_id: int) -> list[FetchedDepartment]:
        """Fetches each department that stands below ``dept_id`` in our tables: it may have gone along."""
        seen: dict[int, FetchedDepartment] = {}
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
    ) -> list[FetchedDepartment]:
        """Those of ``dept_ids``, and of their ancestors, that were never fetched. Each costs one call, once,
        also one that does not exist or is not shown to the app."""
        found: dict[int, FetchedDepartment] = {}
        wanted = list(dept_ids)
        visited: set[int] = set()
        while wanted:
            dept_id = wanted.pop()
            if dept_id in visited:
                continue
            visited.add(dept_id)
            attempt = await guard.begin(db, corp_id, "department", str(dept_id))
            if attempt.generation:
                continue
            seen = found[dept_id] = await self._one_department(db, corp_id, dept_id, attempt)
            if seen.row is not None and seen.row["parent_id"] is not None:
                wanted.append(seen.row["parent_id"])
        return _ordered(found)

    async def _one_department(
        self, db: Reader, corp_id: str, dept_id: int, attempt: FetchAttempt | None = None
    ) -> FetchedDepartment:
        attempt = attempt or await guard.begin(db, corp_id, "department", str(dept_id))
        try:
            return FetchedDepartment(attempt, dept_id, department_row(await self._client.department(dept_id)))
        except NotFound:
            return FetchedDepartment(attempt, dept_id, None)
        except PermissionDenied as error:
            if not is_hidden(error):
                raise
            return FetchedDepartment(attempt, dept_id, None, shown=False)

    async def _unknown_roles(self, corp_id: str, state: UserState, db: Reader) -> FetchedRoles | None:
        if not state.roles:
            return None
        known = await db.execute(
            select(roles.c.role_id).where(
                roles.c.corp_id == corp_id, roles.c.role_id.in_(state.roles), roles.c.deleted_at.is_(None)
            )
        )
        if state.roles <= {row.role_id for row in known}:
            return None
        attempt = await guard.begin(db, corp_id, "roles", ROLES)
        try:
            return await self.roles(db, corp_id, attempt)
        except PermissionDenied:  # the names that the user's own answer has must do; nobody else lists them
            return None


async def write(tx: Transaction, corp_id: str, found: Fetched) -> Change | None:
    """Write what was fetched without an event, under its guard, which keeps the time of the last fetch for an
    event. Raises ``Conflict`` when it was fetched again since."""
    await guard.claim(tx, found.attempt, fetched=False)
    now = datetime.now(UTC)
    return await write_claimed(tx, corp_id, found, gone_at=now, reported=False, now=now)


async def write_claimed(
    tx: Transaction, corp_id: str, found: Fetched, *, gone_at: datetime, reported: bool, now: datetime
) -> Change | None:
    """Write what was fetched; the caller has claimed its guard. ``gone_at`` is when a user or department that
    does not exist is taken to have gone; ``reported``: that time is from an event about leaving."""
    if isinstance(found, FetchedRoles):
        return "changed" if await store.write_roles(tx, corp_id, found.rows, at=now) else None
    if isinstance(found, FetchedDepartment):
        for child in found.below:
            await _bring(tx, corp_id, child, gone_at, now)
        return await _department(tx, corp_id, found, gone_at, now)
    for department in found.departments:
        await _bring(tx, corp_id, department, gone_at, now)
    # if another process has written the roles meanwhile, its list is kept
    if found.roles is not None and await guard.try_claim(tx, found.roles.attempt):
        await store.write_roles(tx, corp_id, found.roles.rows, at=now)
    userid = found.attempt.entity_id
    if found.state is None:
        return await store.mark_left(tx, corp_id, userid, left_at=gone_at, reported=reported, at=now)
    if found.roles is None and found.state.role_names:
        await store.name_roles(tx, corp_id, found.state.role_names, at=now)
    return await store.write_user(tx, corp_id, userid, found.state, at=now)


async def _bring(
    tx: Transaction, corp_id: str, found: FetchedDepartment, gone_at: datetime, now: datetime
) -> None:
    """Write a department that was fetched along with another entity; its own event brings later changes."""
    if await guard.try_claim(tx, found.attempt):
        await _department(tx, corp_id, found, gone_at, now)


async def _department(
    tx: Transaction, corp_id: str, found: FetchedDepartment, gone_at: datetime, now: datetime
) -> Change | None:
    if found.row is not None:
        return await store.write_department(tx, corp_id, found.dept_id, found.row, at=now)
    if not found.shown:
        return None
    return await store.mark_deleted(tx, corp_id, found.dept_id, deleted_at=gone_at, at=now)


def _ordered(found: dict[int, FetchedDepartment]) -> list[FetchedDepartment]:
    """In one order everywhere, else two transactions that claim the same departments could deadlock."""
    return [found[dept_id] for dept_id in sorted(found)]
