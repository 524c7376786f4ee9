"""The kinds of address-sync: users, departments, and the list of roles.

A write makes other entities due: a user's departments that the tables lack, the departments below a deleted
one, and the people who reported to a leaver. Where departments are chosen (``tree.py``), people outside of
them are not stored, or are marked.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

import structlog
from sqlalchemy import Select, Text, cast, literal, select

from dingbridge import Transaction
from dingbridge.consumers.address_sync import store
from dingbridge.consumers.address_sync.mapping import (
    Fields,
    UserState,
    department_row,
    roles_state,
    user_state,
)
from dingbridge.consumers.address_sync.tables import departments, memberships, users
from dingbridge.consumers.address_sync.tree import UNKNOWN_AGAIN_S, Tree
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import PermissionDenied
from dingbridge.mirror import DEPARTMENT, USER, Entities, Entity, Gone, Kind, Written
from dingbridge.mirror.answers import SETTLES_S
from dingbridge.mirror.entities import LISTING, WHOLE
from dingbridge.mirror.withheld import HIDEABLE, Withheld
from dingbridge.work_queue import ORDINARY

log = structlog.get_logger(__name__)

ROLES = "roles"
"""A kind of one entity, and what a user's roles are called in reports."""

_COLUMNS = {"hired_date": "hired_at", "role_list": ROLES}
"""What the tables call a user's field, where its name is another."""

UNLISTED_AGAIN_S = 60.0
"""When the list of roles is read again after one that lacked a role, in s."""


class Users(Kind):
    """``v2/user/get`` decides which departments, manager and roles somebody has."""

    limited: ClassVar[bool] = True
    _CURRENT = (users.c.left_at.is_(None), users.c.out_of_scope_at.is_(None))

    def __init__(self, entities: Entities, tree: Tree, fields: Fields) -> None:
        self._entities, self._tree, self._fields = entities, tree, fields
        columns = {_COLUMNS.get(key, key): key for key in sorted(HIDEABLE)}
        hideable = {column: key for column, key in columns.items() if column == ROLES or fields.keeps(column)}
        hideable |= dict.fromkeys(fields.extension.values(), "extension")
        self._withheld = Withheld(entities, users, hideable, {ROLES: store.has_roles()})

    async def read(self, client: DingTalkClient, entity_id: str) -> Mapping[str, Any]:
        return await client.user(entity_id)

    async def here(self, tx: Transaction, corp_id: str, ids: Collection[str]) -> set[str]:
        here = (users.c.corp_id == corp_id, users.c.userid.in_(ids), *self._CURRENT)
        return {row.userid for row in await tx.execute(select(users.c.userid).where(*here))}

    def known(self, corp_id: str, after: str, most: int) -> Select[tuple[str]]:
        here = (users.c.corp_id == corp_id, *self._CURRENT, users.c.userid > after)
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
        state = user_state(answer, self._fields)
        named = self._tree.chosen.named
        found = [str(one) for one in state.memberships or () if named(one) is not False]
        await self._entities.ask(tx, app, corp_id, DEPARTMENT, found, priority=ORDINARY, new_only=True)
        before = await self._before(tx, entity)
        inside = await self._inside(tx, corp_id, state, before)
        if inside is None:
            return Written(again_s=UNKNOWN_AGAIN_S)
        if not inside:
            key = {"corp_id": corp_id, "userid": userid}
            return Written(await store.mark_out_of_scope(tx, users, key, at=at))
        if await store.name_roles(tx, corp_id, state.role_names, at=at):
            await self._entities.ask(tx, app, corp_id, ROLES, [WHOLE], priority=ORDINARY)
        if before is not None and store.reassigned(before, state):  # nothing of the other person stays
            before = None
        kept, again_s = await self._withheld.keep(tx, entity, app, answer, before, at)
        row = {name: value for name, value in state.row.items() if name not in kept}
        state = replace(state, row=row, roles=None if ROLES in kept else state.roles)
        return Written(await store.write_user(tx, corp_id, userid, state, at=at), again_s, kept)

    async def differences(self, tx: Transaction, entity: Entity, answer: Any) -> list[str]:
        before = await self._before(tx, entity)
        if answer is None:
            return ["left_at"]
        state = user_state(answer, self._fields)
        if await self._inside(tx, entity.corp_id, state, before) is False:
            return [] if before is None or before["out_of_scope_at"] is not None else ["out_of_scope_at"]
        if before is None:
            return ["new"]
        kept = [] if store.reassigned(before, state) else self._withheld.lacking(answer, before)
        row = {name: value for name, value in state.row.items() if name not in kept}
        changed = [name for name, value in row.items() if before[name] != value]
        held = await store.held_roles(tx, entity.corp_id, entity.entity_id)
        if ROLES not in kept and set(state.roles or ()) != held:
            changed.append(ROLES)
        of_user = (memberships.c.corp_id == entity.corp_id, memberships.c.userid == entity.entity_id)
        found = {
            row.dept_id: {"leader": row.leader, "sort_order": row.sort_order}
            for row in await tx.execute(select(memberships).where(*of_user))
        }
        return [*changed, *([] if state.memberships in (None, found) else ["departments"])]

    async def listed(
        self, tx: Transaction, corp_id: str, dept_id: int, items: Mapping[str, Any], at: datetime
    ) -> None:
        if await self._tree.has(tx, corp_id, [dept_id]) is not False:
            await store.write_listed(tx, corp_id, dept_id, items, self._fields, at=at)

    async def _before(self, tx: Transaction, entity: Entity) -> Mapping[str, Any] | None:
        """Return the user's row, with ``roles``: None for somebody who has none."""
        row = await store.user_row(tx, entity.corp_id, entity.entity_id)
        if row is None:
            return None
        this = (users.c.corp_id == entity.corp_id, users.c.userid == entity.entity_id)
        return {**row, ROLES: await tx.scalar(select(users.c.userid).where(*this, store.has_roles()))}

    async def _inside(
        self, tx: Transaction, corp_id: str, state: UserState, before: Mapping[str, Any] | None
    ) -> bool | None:
        """Return whether the person is in one of the chosen departments; None: not known yet. An answer
        without the departments changes nothing."""
        if state.memberships is None and before is not None and self._tree.chosen:
            return before["out_of_scope_at"] is None
        return await self._tree.has(tx, corp_id, state.memberships or ())


class Departments(Kind):
    """``v2/department/get``; what a department has below it comes with a full sync, and where departments are
    chosen with one that moves."""

    _CURRENT = (departments.c.deleted_at.is_(None), departments.c.out_of_scope_at.is_(None))

    def __init__(self, entities: Entities, tree: Tree) -> None:
        self._entities, self._tree = entities, tree

    async def read(self, client: DingTalkClient, entity_id: str) -> Mapping[str, Any]:
        return await client.department(int(entity_id))

    async def here(self, tx: Transaction, corp_id: str, ids: Collection[str]) -> set[str]:
        c = departments.c
        here = (c.corp_id == corp_id, c.dept_id.in_(map(int, ids)), *self._CURRENT)
        return {str(row.dept_id) for row in await tx.execute(select(c.dept_id).where(*here))}

    def known(self, corp_id: str, after: str, most: int) -> Select[Any]:
        c, dept_id = departments.c, cast(departments.c.dept_id, Text)
        here = (c.corp_id == corp_id, *self._CURRENT, dept_id > after)
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
        parent_id = row["parent_id"]
        inside = await self._tree.has_department(tx, corp_id, dept_id, parent_id)
        if parent_id is not None and (inside is None or not self._tree.chosen):
            parent = [str(parent_id)]
            await self._entities.ask(tx, app, corp_id, DEPARTMENT, parent, priority=ORDINARY, new_only=True)
        if inside is None:
            return Written(again_s=UNKNOWN_AGAIN_S)
        was = bool(self._tree.chosen and await self.here(tx, corp_id, [entity.entity_id]))
        if inside:
            changed = await store.write_department(tx, corp_id, dept_id, row, at=at)
        else:
            await self._tree.note_outside(tx, corp_id, dept_id, parent_id)
            key = {"corp_id": corp_id, "dept_id": dept_id}
            changed = await store.mark_out_of_scope(tx, departments, key, at=at)
        if self._tree.chosen and inside != was:
            await self._moved(tx, entity, app, inside)
        return Written(changed)

    async def _moved(self, tx: Transaction, entity: Entity, app: str, inside: bool) -> None:
        """Read what came into the part along with the department, or went out of it."""
        corp_id, dept_id = entity.corp_id, int(entity.entity_id)
        if not inside:
            members = select(memberships.c.userid).where(
                memberships.c.corp_id == corp_id, memberships.c.dept_id == dept_id
            )
            for kind, chosen in ((DEPARTMENT, self._below(corp_id, dept_id)), (USER, members)):
                ids = [str(row[0]) for row in await tx.execute(chosen)]
                await self._entities.ask(tx, app, corp_id, kind, ids, priority=ORDINARY)
            return
        run_ms = select(self._entities.table.c.run_ms).where(*self._entities.at(entity))
        if await tx.scalar(run_ms) is None:  # else a full sync lists it
            now_ms, ids = self._entities.now_ms(), [entity.entity_id]
            await self._entities.ask(tx, app, corp_id, LISTING, ids, run_ms=now_ms, since_ms=now_ms)

    def _below(self, corp_id: str, dept_id: int) -> Select[tuple[int]]:
        c = departments.c
        return select(c.dept_id).where(c.corp_id == corp_id, c.parent_id == dept_id, c.deleted_at.is_(None))

    async def differences(self, tx: Transaction, entity: Entity, answer: Any) -> list[str]:
        if answer is None:
            return ["deleted_at"]
        c = departments.c
        this = (c.corp_id == entity.corp_id, c.dept_id == int(entity.entity_id))
        before = (await tx.execute(select(departments).where(*this))).mappings().one_or_none()
        row = department_row(answer)
        if (
            await self._tree.has_department(tx, entity.corp_id, int(entity.entity_id), row["parent_id"])
            is False
        ):
            return [] if before is None or before["out_of_scope_at"] is not None else ["out_of_scope_at"]
        if before is None:
            return ["new"]
        return [name for name, value in row.items() if before[name] != value]


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
