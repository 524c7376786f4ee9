"""Writes what was seen of users and departments, only where it differs. The caller holds their guard.

Each function returns whether something was written.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select

from consumers.address_sync.mapping import LEAVER, UserState
from consumers.address_sync.tables import departments, memberships, user_roles, users
from consumers.mirror import replace_children, write_if_changed
from consumers.runtime import Transaction


async def write_user(tx: Transaction, corp_id: str, userid: str, state: UserState, *, at: datetime) -> bool:
    """Make the user's row, memberships and roles equal to ``state``; ``at`` is the ``updated_at`` (UTC)."""
    key = {"corp_id": corp_id, "userid": userid}
    touched = await replace_children(tx, user_roles, key, "role_id", state.roles)
    if state.memberships is not None:
        touched |= await replace_children(tx, memberships, key, "dept_id", state.memberships)
    return await write_if_changed(tx, users, key, state.row, at=at, touch=touched)


async def mark_left(
    tx: Transaction, corp_id: str, userid: str, *, left_at: datetime, told: bool, at: datetime
) -> bool:
    """Mark a user who does not exist any more; nothing for one who was never written.

    ``told`` says that ``left_at`` comes from an event about leaving: a later one of those moves the mark
    of somebody who left, came back and left again while nobody looked.
    """
    key = {"corp_id": corp_id, "userid": userid}
    row = (
        await tx.execute(select(users.c.left_at).where(users.c.corp_id == corp_id, users.c.userid == userid))
    ).one_or_none()
    if row is None:
        return False
    values: dict[str, Any] = dict(LEAVER)
    if row.left_at is None or (told and left_at > row.left_at):
        values["left_at"] = left_at
    touched = await replace_children(tx, user_roles, key, "role_id", {})
    touched |= await replace_children(tx, memberships, key, "dept_id", {})
    return await write_if_changed(tx, users, key, values, at=at, touch=touched)


async def write_department(
    tx: Transaction, corp_id: str, dept_id: int, row: Mapping[str, Any], *, at: datetime
) -> bool:
    """Make the department's row equal to ``row``."""
    return await write_if_changed(tx, departments, {"corp_id": corp_id, "dept_id": dept_id}, row, at=at)


async def mark_deleted(
    tx: Transaction, corp_id: str, dept_id: int, *, deleted_at: datetime, at: datetime
) -> bool:
    """Mark a department that does not exist any more; nothing for one that was never written.

    Its memberships go with the users' own events: only a look at the user says where the user is now.
    """
    found = (
        await tx.execute(
            select(departments.c.deleted_at).where(
                departments.c.corp_id == corp_id, departments.c.dept_id == dept_id
            )
        )
    ).one_or_none()
    if found is None or found.deleted_at is not None:
        return False
    key = {"corp_id": corp_id, "dept_id": dept_id}
    return await write_if_changed(tx, departments, key, {"deleted_at": deleted_at}, at=at)
