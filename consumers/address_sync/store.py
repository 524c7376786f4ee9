"""Writes users, departments and roles as read, where they differ. The caller has the entity's row."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Table, select, update

from dingbridge import Transaction
from dingbridge.consumers.address_sync.mapping import LEAVER, Fields, Row, UserState, listed_state
from dingbridge.consumers.address_sync.tables import departments, memberships, roles, user_roles, users
from dingbridge.mirror.answers import SETTLES_S
from dingbridge.snapshots import replace_children, write_if_changed, write_rows

log = structlog.get_logger(__name__)

_SETTLED_AFTER = timedelta(seconds=SETTLES_S)
"""How long after a change an answer may still be older than it."""


async def user_row(tx: Transaction, corp_id: str, userid: str) -> Mapping[str, Any] | None:
    """The user's row as it stands."""
    found = await tx.execute(select(users).where(users.c.corp_id == corp_id, users.c.userid == userid))
    row = found.one_or_none()
    return None if row is None else dict(row._mapping)


def reassigned(before: Mapping[str, Any], state: UserState) -> bool:
    """Return whether the userid of the row ``before`` is another person's now."""
    found = state.row["unionid"]
    return bool(before["unionid"] and found and before["unionid"] != found)


async def write_user(tx: Transaction, corp_id: str, userid: str, state: UserState, *, at: datetime) -> bool:
    """Make the user's row, memberships and roles equal to ``state``, from ``v2/user/get``; ``at`` is the
    ``updated_at`` (UTC). Returns whether anything differed."""
    key, before = {"corp_id": corp_id, "userid": userid}, await user_row(tx, corp_id, userid)
    row = dict(state.row)
    if before is not None and before["left_at"] is not None:
        row["rehired_at"] = at
    if before is not None and reassigned(before, state):
        row |= {"reassigned_at": at, "previous_unionid": before["unionid"], "rehired_at": None}
        log.warning("address_sync.userid_reassigned", userid=userid)
    touched = False
    if state.roles is not None:
        held = await held_roles(tx, corp_id, userid)
        wanted = await _without_deleted(tx, corp_id, state.roles, held, at)
        touched = await replace_children(tx, user_roles, key, "role_id", {one: {} for one in wanted})
    if state.memberships is not None:
        touched |= await replace_children(tx, memberships, key, "dept_id", state.memberships)
    return await write_if_changed(tx, users, key, row, at=at, touch=touched)


async def mark_out_of_scope(tx: Transaction, table: Table, key: Row, *, at: datetime) -> bool:
    """Mark the user or department ``key`` as outside of the chosen departments; nothing for one without a
    row. Invariant 9: it is no leaver, and nothing of it is removed, however wrong the setting is."""
    here = [table.c[name] == value for name, value in key.items()]
    marked = await tx.execute(
        update(table)
        .where(*here, table.c.out_of_scope_at.is_(None))
        .values(out_of_scope_at=at, updated_at=at)
    )
    return bool(marked.rowcount)


async def write_listed(
    tx: Transaction, corp_id: str, dept_id: int, items: Mapping[str, Any], fields: Fields, *, at: datetime
) -> None:
    """Write those of ``items`` (by userid, as ``v2/user/list`` has them) that have no row."""
    states = {userid: listed_state(item, dept_id, fields) for userid, item in items.items()}
    rows = [
        {"corp_id": corp_id, "userid": userid, **state.row, "updated_at": at}
        for userid, state in states.items()
    ]
    members = [
        {"corp_id": corp_id, "userid": userid, "dept_id": one, **values}
        for userid, state in states.items()
        for one, values in (state.memberships or {}).items()
    ]
    for table, found in ((users, rows), (memberships, members)):
        if found:
            await tx.execute(tx.insert(table).on_conflict_do_nothing(), found)


async def held_roles(tx: Transaction, corp_id: str, userid: str) -> set[int]:
    """The ids of the roles that the user has in the tables."""
    of_user = (user_roles.c.corp_id == corp_id, user_roles.c.userid == userid)
    return {row.role_id for row in await tx.execute(select(user_roles.c.role_id).where(*of_user))}


def has_roles() -> ColumnElement[bool]:
    """The condition that somebody of ``users`` has a role that is not deleted."""
    of_user = (user_roles.c.corp_id == users.c.corp_id, user_roles.c.userid == users.c.userid)
    here = (roles.c.corp_id == user_roles.c.corp_id, roles.c.role_id == user_roles.c.role_id)
    return select(user_roles.c.role_id).where(*of_user, *here, roles.c.deleted_at.is_(None)).exists()


async def _without_deleted(
    tx: Transaction, corp_id: str, found: Collection[int], held: set[int], at: datetime
) -> set[int]:
    """Return the roles ``found`` in a person's answer, without roles that are new to the person and were
    deleted a moment ago: the answer is older than the deletion. The rows are locked, so that this waits for
    a deletion in another process (PostgreSQL; SQLite has one writer)."""
    new = set(found) - held
    if not new:
        return set(found)
    rows = await tx.execute(
        select(roles.c.role_id, roles.c.deleted_at)
        .where(roles.c.corp_id == corp_id, roles.c.role_id.in_(new))
        .order_by(roles.c.role_id)
        .with_for_update(read=True)
    )
    since = at - _SETTLED_AFTER
    return set(found) - {row.role_id for row in rows if row.deleted_at is not None and row.deleted_at > since}


async def mark_left(
    tx: Transaction, corp_id: str, userid: str, *, left_at: datetime, reported: bool, at: datetime
) -> bool:
    """Mark a user as a leaver, if the user was ever written.

    ``reported``: ``left_at`` is from an event about leaving. That time stays, whatever was noticed before or
    after it. Of two reported times the later counts: somebody may leave, come back and leave again between
    two reads.
    """
    key, row = {"corp_id": corp_id, "userid": userid}, await user_row(tx, corp_id, userid)
    if row is None:
        return False
    values: dict[str, Any] = dict(LEAVER)
    before = row["left_at"]
    if before is None or (reported and (not row["left_reported"] or left_at > before)):
        values |= {"left_at": left_at, "left_reported": reported}
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
    """Mark a department as deleted, if it was ever written.

    Its memberships go with the users' own events: only a read of the user shows where the user is now.
    """
    this = (departments.c.corp_id == corp_id, departments.c.dept_id == dept_id)
    gone = await tx.execute(
        update(departments)
        .where(*this, departments.c.deleted_at.is_(None))
        .values(deleted_at=deleted_at, updated_at=at)
    )
    return bool(gone.rowcount)


async def write_roles(
    tx: Transaction, corp_id: str, wanted: Mapping[int, Row], *, at: datetime
) -> tuple[bool, set[str]]:
    """Make the roles equal to ``wanted``, a list of all, by role_id. Returns whether any differed, and the
    holders of roles that are gone: only ``v2/user/get`` takes a role from somebody.

    A role that is not listed stays until a later list lacks it, too (``any_unlisted``), and is not deleted
    when it came or changed a moment ago: the list may be older.
    """
    of_company = roles.c.corp_id == corp_id
    found = await tx.execute(
        select(roles.c.role_id, roles.c.unlisted_at, roles.c.updated_at).where(
            of_company, roles.c.deleted_at.is_(None)
        )
    )
    missing = [row for row in found if row.role_id not in wanted]
    changed = await write_rows(tx, roles, {"corp_id": corp_id}, "role_id", wanted, at=at)
    listed = (of_company, roles.c.role_id.in_(wanted), roles.c.unlisted_at.is_not(None))
    await tx.execute(update(roles).where(*listed).values(unlisted_at=None))
    # Invariant 9: missing from one list, a role is not removed
    unlisted = sorted(row.role_id for row in missing if row.unlisted_at is None)
    lacked_again = [row for row in missing if row.unlisted_at is not None]
    gone = sorted(row.role_id for row in lacked_again if row.updated_at <= at - _SETTLED_AFTER)
    for role_ids, values in ((unlisted, {"unlisted_at": at}), (gone, {"deleted_at": at, "updated_at": at})):
        if role_ids:
            await tx.execute(update(roles).where(of_company, roles.c.role_id.in_(role_ids)).values(**values))
    of_gone = (user_roles.c.corp_id == corp_id, user_roles.c.role_id.in_(gone))
    holders = await tx.execute(select(user_roles.c.userid).where(*of_gone).distinct())
    return changed or bool(gone), {row.userid for row in holders}


async def any_unlisted(tx: Transaction, corp_id: str) -> bool:
    """Return whether the last list of roles lacked a role that is not deleted yet."""
    of_company = (roles.c.corp_id == corp_id, roles.c.deleted_at.is_(None), roles.c.unlisted_at.is_not(None))
    return await tx.scalar(select(roles.c.role_id).where(*of_company).limit(1)) is not None


async def name_roles(tx: Transaction, corp_id: str, names: Mapping[int, Row], *, at: datetime) -> bool:
    """Write those of ``names`` that have no row yet, for an app that may not list the roles; returns whether
    there were any."""
    rows = [
        {"corp_id": corp_id, "role_id": role_id, **names[role_id], "updated_at": at}
        for role_id in sorted(names)
    ]
    if not rows:
        return False
    known = select(roles.c.role_id).where(roles.c.corp_id == corp_id, roles.c.role_id.in_(names))
    if len((await tx.execute(known)).all()) == len(rows):
        return False
    await tx.execute(tx.insert(roles).on_conflict_do_nothing(), rows)
    return True


async def reports_of(tx: Transaction, corp_id: str, userid: str) -> list[str]:
    """The userids of those who have the user as their manager."""
    reports = (users.c.corp_id == corp_id, users.c.manager_userid == userid, users.c.left_at.is_(None))
    return [row.userid for row in await tx.execute(select(users.c.userid).where(*reports))]
