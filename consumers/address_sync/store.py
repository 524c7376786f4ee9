"""Writes users, departments and roles as fetched, where they differ. The caller has claimed their guard."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import delete, select, update

from dingbridge import Transaction
from dingbridge.consumers.address_sync.mapping import LEAVER, Row, UserState
from dingbridge.consumers.address_sync.tables import (
    departments,
    details,
    memberships,
    roles,
    user_roles,
    users,
)
from dingbridge.snapshots import replace_children, replace_children_of, write_if_changed, write_rows
from dingbridge.snapshots.late_answers import LOOK_AGAIN_S
from dingbridge.work_queue import ORDINARY, RECONCILE, WorkQueue

Change = Literal["new", "back", "changed", "gone"]
"""How an entity changed: first seen, here again, other than before, left or deleted."""

_SETTLED_AFTER = timedelta(seconds=sum(LOOK_AGAIN_S))
"""How long after a change an answer may still be older than it."""


async def write_user(
    tx: Transaction, corp_id: str, userid: str, state: UserState, *, at: datetime
) -> Change | None:
    """Make the user's row, memberships and roles equal to ``state``, from ``v2/user/get``; ``at`` is the
    ``updated_at`` (UTC). Returns None when it was equal already."""
    return (await write_users(tx, corp_id, {userid: state}, at=at)).get(userid)


async def write_users(
    tx: Transaction, corp_id: str, states: Mapping[str, UserState], *, at: datetime, listed: bool = False
) -> dict[str, Change]:
    """``write_user`` for many, in few statements; returns how those changed who were not equal.

    ``listed`` states have less than the details: somebody new or different in them gets ``details_pending``
    and is fetched later (``sync/details.py``). States with details end that.
    """
    shared = {"corp_id": corp_id}
    roles_of = {userid: state.roles for userid, state in states.items() if state.roles is not None}
    wanted = await _without_deleted(tx, corp_id, roles_of, at)
    differ: set[str] = set()
    if listed:  # Invariant 9: a list takes no role from anybody; whoever differs is asked for by id
        has = await _roles_of(tx, corp_id, roles_of)
        differ = {userid for userid, role_ids in roles_of.items() if has[userid] != role_ids}
        wanted = {userid: of | {role_id: {} for role_id in has[userid]} for userid, of in wanted.items()}
    touched = differ | await replace_children_of(tx, user_roles, shared, "userid", "role_id", wanted)
    member_of = {userid: s.memberships for userid, s in states.items() if s.memberships is not None}
    touched |= await replace_children_of(tx, memberships, shared, "userid", "dept_id", member_of)
    rows = {userid: state.row for userid, state in states.items()}
    besides = {"details_pending": True} if listed else None
    written = await write_rows(tx, users, shared, "userid", rows, at=at, touched=touched, besides=besides)
    if listed:
        known = {userid for userid, before in written.items() if before is not None}
        pending = await tx.execute(
            select(users.c.userid).where(
                users.c.corp_id == corp_id, users.c.userid.in_(states), users.c.details_pending
            )
        )
        await ask_for_details(tx, corp_id, {row.userid: row.userid in known for row in pending})
    else:
        await no_details(tx, corp_id, states)
    return {userid: _change(before, "left_at") for userid, before in written.items()}


async def _roles_of(tx: Transaction, corp_id: str, userids: Collection[str]) -> dict[str, set[int]]:
    """The ids of the roles that these people have in the tables."""
    of_people = (user_roles.c.corp_id == corp_id, user_roles.c.userid.in_(userids))
    found: dict[str, set[int]] = defaultdict(set)
    for row in await tx.execute(select(user_roles.c.userid, user_roles.c.role_id).where(*of_people)):
        found[row.userid].add(row.role_id)
    return found


async def _without_deleted(
    tx: Transaction, corp_id: str, roles_of: Mapping[str, frozenset[int]], at: datetime
) -> dict[str, dict[int, Row]]:
    """``roles_of`` these people by their own answers, without roles that are new to them and were deleted a
    moment ago: such an answer is older than that. Locked, so that one which is being deleted is waited for
    (PostgreSQL; SQLite has one writer)."""
    role_ids: frozenset[int] = frozenset().union(*roles_of.values())
    deleted: set[int] = set()
    has: dict[str, set[int]] = {}
    if role_ids:
        rows = await tx.execute(
            select(roles.c.role_id, roles.c.deleted_at)
            .where(roles.c.corp_id == corp_id, roles.c.role_id.in_(role_ids))
            .order_by(roles.c.role_id)
            .with_for_update(read=True)
        )
        since = at - _SETTLED_AFTER
        deleted = {row.role_id for row in rows if row.deleted_at is not None and row.deleted_at > since}
    if deleted:
        has = await _roles_of(tx, corp_id, roles_of)
    return {
        userid: {role_id: {} for role_id in had if role_id not in deleted or role_id in has[userid]}
        for userid, had in roles_of.items()
    }


async def ask_for_details(
    tx: Transaction, corp_id: str, userids: Mapping[str, bool], *, after: timedelta = timedelta(0)
) -> None:
    """Queue these people for a fetch in the background, ``after`` some time; True: before the others, since
    their rows may be outdated."""
    queue = WorkQueue(details)
    at_ms = queue.now_ms() + round(after.total_seconds() * 1000)
    for known, priority in ((True, ORDINARY), (False, RECONCILE)):
        due = {"due_ms": at_ms, "priority": priority}
        rows = [{"corp_id": corp_id, "userid": u, **due} for u in sorted(userids) if userids[u] is known]
        statement = tx.insert(details).on_conflict_do_update(
            index_elements=["corp_id", "userid"], set_=queue.due(priority, at_ms)
        )
        if rows:
            await tx.execute(statement, rows)


async def no_details(tx: Transaction, corp_id: str, userids: Collection[str]) -> None:
    """Take these people from the queue of details."""
    await tx.execute(delete(details).where(details.c.corp_id == corp_id, details.c.userid.in_(userids)))


async def mark_left(
    tx: Transaction, corp_id: str, userid: str, *, left_at: datetime, reported: bool, at: datetime
) -> Change | None:
    """Mark a user who does not exist any more; nothing for one who was never written.

    ``reported``: ``left_at`` is from an event about leaving. That time stays, whatever was noticed before or
    after it. Of two reported times the later counts: somebody may leave, come back and leave again between
    two fetches.
    """
    key = {"corp_id": corp_id, "userid": userid}
    await no_details(tx, corp_id, [userid])
    row = (
        await tx.execute(
            select(users.c.left_at, users.c.left_reported).where(
                users.c.corp_id == corp_id, users.c.userid == userid
            )
        )
    ).one_or_none()
    if row is None:
        return None
    values: dict[str, Any] = dict(LEAVER)
    if row.left_at is None or (reported and (not row.left_reported or left_at > row.left_at)):
        values |= {"left_at": left_at, "left_reported": reported}
    touched = await replace_children(tx, user_roles, key, "role_id", {})
    touched |= await replace_children(tx, memberships, key, "dept_id", {})
    return "gone" if await write_if_changed(tx, users, key, values, at=at, touch=touched) else None


async def write_department(
    tx: Transaction, corp_id: str, dept_id: int, row: Mapping[str, Any], *, at: datetime
) -> Change | None:
    """Make the department's row equal to ``row``."""
    return (await write_departments(tx, corp_id, {dept_id: row}, at=at)).get(dept_id)


async def write_departments(
    tx: Transaction, corp_id: str, rows: Mapping[int, Mapping[str, Any]], *, at: datetime
) -> dict[int, Change]:
    """``write_department`` for many, in few statements; returns how those changed that were not equal."""
    written = await write_rows(tx, departments, {"corp_id": corp_id}, "dept_id", rows, at=at)
    return {dept_id: _change(before, "deleted_at") for dept_id, before in written.items()}


async def mark_deleted(
    tx: Transaction, corp_id: str, dept_id: int, *, deleted_at: datetime, at: datetime
) -> Change | None:
    """Mark a department that does not exist any more; nothing for one that was never written.

    Its memberships go with the users' own events: only a fetch of the user shows where the user is now.
    """
    gone = await tx.execute(
        update(departments)
        .where(
            departments.c.corp_id == corp_id,
            departments.c.dept_id == dept_id,
            departments.c.deleted_at.is_(None),
        )
        .values(deleted_at=deleted_at, updated_at=at)
    )
    return "gone" if gone.rowcount else None


async def write_roles(tx: Transaction, corp_id: str, wanted: Mapping[int, Row], *, at: datetime) -> int:
    """Make the roles equal to ``wanted``, a list of all, by role_id; returns how many differed.

    A role that is not listed stays until a later list lacks it, too (``any_unlisted``), and is not deleted
    when it came or changed a moment ago: the list may be older. The holders of a role that is gone are
    then fetched by id: only ``v2/user/get`` takes a role from somebody.
    """
    found = await tx.execute(
        select(roles.c.role_id, roles.c.unlisted_at, roles.c.updated_at).where(
            roles.c.corp_id == corp_id, roles.c.deleted_at.is_(None)
        )
    )
    missing = [row for row in found if row.role_id not in wanted]
    changed = len(await write_rows(tx, roles, {"corp_id": corp_id}, "role_id", wanted, at=at))
    listed = (roles.c.corp_id == corp_id, roles.c.role_id.in_(wanted), roles.c.unlisted_at.is_not(None))
    await tx.execute(update(roles).where(*listed).values(unlisted_at=None))
    # Invariant 9: missing from one list, a role is not removed
    unlisted = sorted(row.role_id for row in missing if row.unlisted_at is None)
    lacked_again = [row for row in missing if row.unlisted_at is not None]
    gone = sorted(row.role_id for row in lacked_again if row.updated_at <= at - _SETTLED_AFTER)
    for role_ids, values in ((unlisted, {"unlisted_at": at}), (gone, {"deleted_at": at, "updated_at": at})):
        if role_ids:
            of_roles = (roles.c.corp_id == corp_id, roles.c.role_id.in_(role_ids))
            await tx.execute(update(roles).where(*of_roles).values(**values))
    if gone:
        of_gone = (user_roles.c.corp_id == corp_id, user_roles.c.role_id.in_(gone))
        holders = await tx.execute(select(user_roles.c.userid).where(*of_gone).distinct())
        # their own answers may be older than the deletion, too
        await ask_for_details(tx, corp_id, {row.userid: True for row in holders}, after=_SETTLED_AFTER)
    return changed + len(gone)


async def any_unlisted(tx: Transaction, corp_id: str) -> bool:
    """Whether the last list of roles lacked one that is not deleted yet."""
    of_company = (roles.c.corp_id == corp_id, roles.c.deleted_at.is_(None), roles.c.unlisted_at.is_not(None))
    return await tx.scalar(select(roles.c.role_id).where(*of_company).limit(1)) is not None


async def name_roles(tx: Transaction, corp_id: str, names: Mapping[int, Row], *, at: datetime) -> None:
    """Write those of ``names`` that have no row yet, for an app that may not list the roles."""
    rows = [
        {"corp_id": corp_id, "role_id": role_id, **names[role_id], "updated_at": at}
        for role_id in sorted(names)
    ]
    if not rows:
        return
    await tx.execute(tx.insert(roles).on_conflict_do_nothing(), rows)


def _change(before: Mapping[str, Any] | None, gone_at: str) -> Change:
    if before is None:
        return "new"
    return "changed" if before[gone_at] is None else "back"
