"""The kinds of address-sync: users, departments, and the list of roles.

A write makes other entities due: a user's departments that the tables lack, the departments below a deleted
one, and the people who reported to a leaver.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

import structlog
from sqlalchemy import Select, Text, cast, literal, select

from dingbridge import Transaction
from dingbridge.consumers.address_sync import store
from dingbridge.consumers.address_sync.mapping import department_row, roles_state, user_state
from dingbridge.consumers.address_sync.tables import departments, memberships, users
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import PermissionDenied
from dingbridge.mirror import Entities, Entity, Gone, Kind, Written
from dingbridge.mirror.answers import SETTLES_S
from dingbridge.mirror.entities import WHOLE
from dingbridge.mirror.withheld import HIDEABLE, Withheld
from dingbridge.work_queue import ORDINARY

log = structlog.get_logger(__name__)

USER, DEPARTMENT, ROLES = "user", "department", "roles"

_COLUMNS = {"hired_date": "hired_at"}
"""Where a column of a user has another name than the field."""

UNLISTED_AGAIN_S = 60.0
"""When the list of roles is read again after one that lacked a role, in s."""


class Users(Kind):
    """``v2/user/get`` decides which departments, manager and roles somebody has."""

    limited: ClassVar[bool] = True

    def __init__(self, entities: Entities) -> None:
        self._entities = entities
        self._withheld = Withheld(entities, users, {_COLUMNS.get(key, key): key for key in sorted(HIDEABLE)})

    async def read(self, client: DingTalkClient, entity_id: str) -> Mapping[str, Any]:
        return await client.user(entity_id)

    async def here(self, tx: Transaction, corp_id: str, ids: Collection[str]) -> set[str]:
        here = (users.c.corp_id == corp_id, users.c.userid.in_(ids), users.c.left_at.is_(None))
        return {row.userid for row in await tx.execute(select(users.c.userid).where(*here))}

    def known(self, corp_id: str, after: str, most: int) -> Select[tuple[str]]:
        here = (users.c.corp_id == corp_id, users.c.left_at.is_(None), users.c.userid > after)
        return select(users.c.userid).where(*here).order_by(users.c.userid).limit(most)

    async def write(
        self, tx: Transaction, entity: Entity, app: str, answer: Any, gone: Gone | None, at: datetime
    ) -> Written:
        corp_id, userid = entity.corp_id, entity.entity_id
        if gone is not None:
            changed = await store.mark_left(
                tx, corp_id, userid, left_at=gone.at, reported=gone.reported, at=at
            )
            if changed:  # they have another manager now
                reports = await store.reports_of(tx, corp_id, userid)
                await self._entities.ask(tx, app, corp_id, USER, reports, priority=ORDINARY)
            return Written(changed)
        state = user_state(answer)
        found = [str(one) for one in state.memberships or ()]
        await self._entities.ask(tx, app, corp_id, DEPARTMENT, found, priority=ORDINARY, new_only=True)
        if await store.name_roles(tx, corp_id, state.role_names, at=at):
            await self._entities.ask(tx, app, corp_id, ROLES, [WHOLE], priority=ORDINARY)
        before = await store.user_row(tx, corp_id, userid)
        if before is not None and store.reassigned(before, state):  # nothing of the other person stays
            before = None
        kept, again_s = await self._withheld.keep(tx, entity, app, answer, before, at)
        row = {name: value for name, value in state.row.items() if name not in kept}
        state = replace(state, row=row)
        return Written(await store.write_user(tx, corp_id, userid, state, at=at), again_s, kept)

    async def differences(self, tx: Transaction, entity: Entity, answer: Any) -> list[str]:
        before = await store.user_row(tx, entity.corp_id, entity.entity_id)
        if answer is None:
            return ["left_at"]
        if before is None:
            return ["new"]
        state = user_state(answer)
        kept = [] if store.reassigned(before, state) else self._withheld.lacking(answer, before)
        row = {name: value for name, value in state.row.items() if name not in kept}
        changed = [name for name, value in row.items() if before[name] != value]
        if set(state.roles or ()) != await store.held_roles(tx, entity.corp_id, entity.entity_id):
            changed.append("roles")
        of_user = (memberships.c.corp_id == entity.corp_id, memberships.c.userid == entity.entity_id)
        found = {
            row.dept_id: {"leader": row.leader, "sort_order": row.sort_order}
            for row in await tx.execute(select(memberships).where(*of_user))
        }
        return [*changed, *([] if state.memberships in (None, found) else ["departments"])]

    async def listed(
        self, tx: Transaction, corp_id: str, dept_id: int, items: Mapping[str, Any], at: datetime
    ) -> None:
        await store.write_listed(tx, corp_id, dept_id, items, at=at)


class Departments(Kind):
    """``v2/department/get``; what a department has below it comes with a full sync."""

    def __init__(self, entities: Entities) -> None:
        self._entities = entities

    async def read(self, client: DingTalkClient, entity_id: str) -> Mapping[str, Any]:
        return await client.department(int(entity_id))

    async def here(self, tx: Transaction, corp_id: str, ids: Collection[str]) -> set[str]:
        c = departments.c
        here = (c.corp_id == corp_id, c.dept_id.in_(map(int, ids)), c.deleted_at.is_(None))
        return {str(row.dept_id) for row in await tx.execute(select(c.dept_id).where(*here))}

    def known(self, corp_id: str, after: str, most: int) -> Select[Any]:
        c, dept_id = departments.c, cast(departments.c.dept_id, Text)
        here = (c.corp_id == corp_id, c.deleted_at.is_(None), dept_id > after)
        return select(dept_id).where(*here).order_by(dept_id).limit(most)

    async def write(
        self, tx: Transaction, entity: Entity, app: str, answer: Any, gone: Gone | None, at: datetime
    ) -> Written:
        corp_id, dept_id = entity.corp_id, int(entity.entity_id)
        if gone is not None:
            changed = await store.mark_deleted(tx, corp_id, dept_id, deleted_at=gone.at, at=at)
            below = await tx.execute(self._below(corp_id, dept_id))  # they may be gone along with it
            ids = [str(row.dept_id) for row in below]
            await self._entities.ask(tx, app, corp_id, DEPARTMENT, ids, priority=ORDINARY)
            return Written(changed)
        row = department_row(answer)
        if row["parent_id"] is not None:
            parent = [str(row["parent_id"])]
            await self._entities.ask(tx, app, corp_id, DEPARTMENT, parent, priority=ORDINARY, new_only=True)
        return Written(await store.write_department(tx, corp_id, dept_id, row, at=at))

    def _below(self, corp_id: str, dept_id: int) -> Select[tuple[int]]:
        c = departments.c
        return select(c.dept_id).where(c.corp_id == corp_id, c.parent_id == dept_id, c.deleted_at.is_(None))

    async def differences(self, tx: Transaction, entity: Entity, answer: Any) -> list[str]:
        if answer is None:
            return ["deleted_at"]
        c = departments.c
        this = (c.corp_id == entity.corp_id, c.dept_id == int(entity.entity_id))
        before = (await tx.execute(select(departments).where(*this))).mappings().one_or_none()
        if before is None:
            return ["new"]
        return [name for name, value in department_row(answer).items() if before[name] != value]


class Roles(Kind):
    """The list of all roles, as one entity; who has them is in each person's own answer."""

    def __init__(self, entities: Entities) -> None:
        self._entities = entities

    async def read(self, client: DingTalkClient, entity_id: str) -> Any:
        """Returns the groups; an empty tuple where the app may not list roles: they stay as they are."""
        try:
            return await client.role_groups()
        except PermissionDenied as error:
            log.warning("address_sync.roles_not_read", errcode=error.errcode)
            return ()

    async def here(self, tx: Transaction, corp_id: str, ids: Collection[str]) -> set[str]:
        return set(ids)

    def known(self, corp_id: str, after: str, most: int) -> Select[Any] | None:
        return None if after else select(literal(WHOLE))

    async def write(
        self, tx: Transaction, entity: Entity, app: str, answer: Any, gone: Gone | None, at: datetime
    ) -> Written:
        if answer == ():
            return Written()
        changed, holders = await store.write_roles(tx, entity.corp_id, roles_state(answer), at=at)
        # their own answers may be older than the deletion, too
        await self._entities.ask(tx, app, entity.corp_id, USER, holders, priority=ORDINARY, after_s=SETTLES_S)
        unlisted = await store.any_unlisted(tx, entity.corp_id)
        return Written(changed, UNLISTED_AGAIN_S if unlisted else None)

    async def differences(self, tx: Transaction, entity: Entity, answer: Any) -> list[str]:
        return []
