"""What ``dingbridge consume address-sync --show`` prints: counts, and the latest rows of each table."""

from collections import defaultdict
from typing import Any

from sqlalchemy import Row, and_, func, select

from dingbridge import Reader
from dingbridge.consumers.address_sync.tables import departments, memberships, users
from dingbridge.worker.consumer import Table
from dingbridge.worker.reports import SHOWN


async def tables(db: Reader) -> list[Table]:
    """Return tables of employees and of departments, the latest first."""
    return [await _employees(db), await _departments(db)]


async def _employees(db: Reader) -> Table:
    outside = func.count().filter(users.c.left_at.is_(None), users.c.out_of_scope_at.is_not(None))
    counts = select(
        func.count().label("all"), func.count(users.c.left_at).label("gone"), outside.label("outside")
    )
    count = (await db.execute(counts.select_from(users))).one()
    latest = await _latest(db)
    names = await _department_names(db, [user.userid for user in latest])
    rows: list[tuple[Any, ...]] = [
        (
            user.userid,
            user.name,
            user.job_number,
            user.title,
            "、".join(names[user.corp_id, user.userid]),
            user.hired_at,
            user.left_at,
            user.updated_at,
        )
        for user in latest
    ]
    counted = f"employees: {count.all - count.gone - count.outside}, and {count.gone} who left"
    if count.outside:
        counted += f", {count.outside} outside of the chosen departments"
    title = f"{counted}; the latest {len(rows)}, by hiring and by change"
    return title, ["userid", "name", "job number", "title", "departments", "hired", "left", "updated"], rows


async def _latest(db: Reader) -> list[Row[Any]]:
    """Half of them by the date of hiring: after the first full sync, which fetches everybody's details, the
    person who was just hired is not among the latest changes."""
    here_first = users.c.left_at.is_not(None)
    hired = select(users).order_by(
        here_first, users.c.hired_at.desc().nulls_last(), users.c.updated_at.desc()
    )
    changed = select(users).order_by(here_first, users.c.updated_at.desc())
    rows = [*await db.execute(hired.limit(SHOWN // 2)), *await db.execute(changed.limit(SHOWN))]
    return list({(row.corp_id, row.userid): row for row in rows}.values())[:SHOWN]


async def _department_names(db: Reader, userids: list[str]) -> dict[tuple[str, str], list[str]]:
    same = and_(
        departments.c.corp_id == memberships.c.corp_id, departments.c.dept_id == memberships.c.dept_id
    )
    found = await db.execute(
        select(memberships.c.corp_id, memberships.c.userid, memberships.c.dept_id, departments.c.name)
        .select_from(memberships.outerjoin(departments, same))
        .where(memberships.c.userid.in_(userids))
        .order_by(memberships.c.dept_id)
    )
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in found:
        names[row.corp_id, row.userid].append(row.name or str(row.dept_id))
    return names


async def _departments(db: Reader) -> Table:
    counts = select(func.count().label("all"), func.count(departments.c.deleted_at).label("gone"))
    count = (await db.execute(counts.select_from(departments))).one()
    size = (
        select(func.count())
        .where(memberships.c.corp_id == departments.c.corp_id, memberships.c.dept_id == departments.c.dept_id)
        .scalar_subquery()
    )
    latest = await db.execute(
        select(
            departments.c.dept_id,
            departments.c.name,
            departments.c.parent_id,
            size.label("employees"),
            departments.c.deleted_at,
            departments.c.updated_at,
        )
        .order_by(departments.c.deleted_at.is_not(None), departments.c.updated_at.desc())
        .limit(SHOWN)
    )
    rows = [tuple(row) for row in latest]
    title = f"departments: {count.all - count.gone}, and {count.gone} deleted; the latest {len(rows)}"
    return title, ["dept_id", "name", "parent", "employees", "deleted", "updated"], rows
