"""What the tests of full syncs share: a run from its beginning to its end, and the tables as values."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, text, update

from dingbridge.consumers.address_sync.mapping import department_row, user_state
from dingbridge.consumers.address_sync.tables import (
    departments,
    entities,
    memberships,
    roles,
    user_roles,
    users,
)
from dingbridge.mirror.entities import COMPANY
from dingbridge.testing import MemoryRuntime
from dingbridge.throttle import Throttle
from tests.unit.address_sync.company import CORP, Company
from tests.unit.address_sync.late import Clock

UNPACED = Throttle(1e6)

_after_first: dict[str, tuple[sqlite3.Connection, float]] = {}
"""The database after the first full sync of a company, and the time then, by all that the company shows."""


async def first_full(sync: MemoryRuntime, company: Company) -> None:
    """The first full sync of ``company``: it is made once a session, and then copied. Its calls are not
    counted."""
    hidden = sorted(map(str, company.hidden))
    shown = repr((company.users, company.departments, company.roles, company.scope, hidden))
    [main] = await sync.rows(text("PRAGMA database_list"))
    with closing(sqlite3.connect(main.file)) as database:
        if (made := _after_first.get(shown)) is not None:
            made[0].backup(database)
            sync.consumer.clock = Clock()
            sync.consumer.clock.now = max(sync.consumer.clock.now, made[1])
        else:
            await full(sync, company)
            _after_first[shown] = sqlite3.connect(":memory:"), sync.consumer.clock()
            database.backup(_after_first[shown][0])
    company.calls.clear()


async def begun(sync: MemoryRuntime) -> None:
    """A full sync is asked for, and nothing of it is done."""
    if not isinstance(sync.consumer.clock, Clock):
        sync.consumer.clock = Clock()
    sync.consumer.engine.pace = UNPACED
    async with sync.database.transaction() as tx:
        await sync.consumer.engine.full_sync.request(tx, "default", CORP)


async def full(sync: MemoryRuntime, company: Any, *, within_s: float = 7200.0) -> dict[str, Any]:
    """A full sync, and all reads that follow it within so many s. Returns the row of the company."""
    await begun(sync)
    await passes(sync, within_s)
    [row] = await sync.rows(select(entities).where(entities.c.kind == COMPANY))
    return dict(row._mapping)


async def passes(sync: MemoryRuntime, seconds: float) -> None:
    """Let so many pass, and whatever is due on the way be read."""
    clock = sync.consumer.clock
    if not isinstance(clock, Clock):
        clock = sync.consumer.clock = Clock()
    end = clock.now + seconds
    first = select(func.min(entities.c.due_ms))
    while clock.now <= end and (due := (await sync.rows(first))[0][0]) and due / 1000 <= end:
        clock.now = max(clock.now, due / 1000)
        if not await sync.consumer.look_due():  # a pause, since DingTalk does not work
            clock.now += 15
    clock.now = end


async def in_state(sync: MemoryRuntime, state: str) -> set[tuple[str, str]]:
    """Kind and id of the entities in a state."""
    found = await sync.rows(select(entities.c.kind, entities.c.entity_id).where(entities.c.state == state))
    return {(row.kind, row.entity_id) for row in found}


async def left_over(sync: MemoryRuntime) -> int:
    """What is still to be read, but for the next full sync."""
    due = (entities.c.kind != COMPANY, entities.c.due_ms.is_not(None))
    return len(await sync.rows(select(entities.c.kind).where(*due)))


async def contents(sync: MemoryRuntime) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the tables that an OA system joins against, ``updated_at`` included."""
    return {
        table.name: sorted(tuple(row) for row in await sync.rows(select(table)))
        for table in (users, departments, memberships, roles, user_roles)
    }


async def differences(sync: MemoryRuntime, company: Company) -> list[str]:
    """Where the tables are not exactly the company."""
    return [found async for found in _differences(sync, company)]


async def _differences(sync: MemoryRuntime, company: Company) -> Any:
    people = await sync.rows(select(users).where(users.c.left_at.is_(None)))
    found = {row.userid: row._mapping for row in people}
    for userid in found.keys() ^ company.users.keys():
        yield f"user {userid} is in one of the two"
    member = {tuple(row) for row in await sync.rows(select(memberships.c.userid, memberships.c.dept_id))}
    has = {tuple(row) for row in await sync.rows(select(user_roles.c.userid, user_roles.c.role_id))}
    leads = {(row.userid, row.dept_id): row.leader for row in await sync.rows(select(memberships))}
    wanted_members, wanted_roles = set(), set()
    for userid, result in company.users.items():
        state = user_state(result)
        for name in state.row:
            if userid in found and found[userid][name] != state.row[name]:
                yield f"user {userid}: {name}"
        wanted_members |= {(userid, dept_id) for dept_id in state.memberships or ()}
        wanted_roles |= {(userid, role_id) for role_id in state.roles or ()}
        for dept_id, row in (state.memberships or {}).items():
            if leads.get((userid, dept_id)) != row["leader"]:
                yield f"user {userid}: leads {dept_id}"
    for one in member ^ wanted_members:
        yield f"membership {one}"
    for one in has ^ wanted_roles:
        yield f"role {one}"
    tree = await sync.rows(select(departments).where(departments.c.deleted_at.is_(None)))
    rows = {row.dept_id: row._mapping for row in tree}
    for dept_id in rows.keys() ^ company.departments.keys():
        yield f"department {dept_id} is in one of the two"
    for dept_id in rows.keys() & company.departments.keys():
        state_row = department_row(company.departments[dept_id])
        for name, value in state_row.items():
            if rows[dept_id][name] != value:
                yield f"department {dept_id}: {name}"
    labels = await sync.rows(select(roles).where(roles.c.deleted_at.is_(None)))
    if {row.role_id: row.name for row in labels} != company.roles:
        yield "roles"


async def roles_settle(sync: MemoryRuntime) -> None:
    """The roles have been there for longer than a list may lag."""
    async with sync.database.transaction() as tx:
        await tx.execute(update(roles).values(updated_at=datetime(2024, 1, 1, tzinfo=UTC)))


def sample(people: int = 12) -> Company:
    """A company of three levels, with leaders, roles, and people in several departments."""
    company = Company()
    company.roles |= {7: "财务", 8: "人事"}
    for dept_id, parent in ((2, 1), (3, 1), (4, 2), (5, 4)):
        company.department_of(dept_id, f"部门{dept_id}", parent)
    for number, dept_ids in zip(range(people), _departments(), strict=False):
        userid = f"u{number:03}"
        company.hire(
            userid,
            dept_id_list=dept_ids,
            leader_in_dept=[
                {"dept_id": dept_id, "leader": number % 4 == 0 and dept_id == dept_ids[0]}
                for dept_id in dept_ids
            ],
            dept_order_list=[{"dept_id": dept_id, "order": number} for dept_id in dept_ids],
        )
        company.grant(userid, *([7] if number % 3 == 0 else []), *([8] if number % 5 == 0 else []))
    return company


def _departments() -> Iterator[list[int]]:
    while True:
        yield from ([1], [2, 3], [4], [5, 1], [3])


async def current(sync: MemoryRuntime) -> set[str]:
    """Who is employed by the tables."""
    return {row.userid for row in await sync.rows(select(users).where(users.c.left_at.is_(None)))}


async def change_everything(company: Company) -> None:
    """A change of every kind, of which no event tells."""
    company.users["u001"]["name"] = "改名"
    company.users["u002"]["dept_id_list"] = [3, 5]
    company.users["u003"]["manager_userid"] = "u001"
    company.users["u003"]["title"] = "经理"
    company.users["u004"]["leader_in_dept"] = [{"dept_id": 3, "leader": True}]
    company.users["u005"]["admin"] = True
    company.grant("u006", 8)
    del company.users["u007"]
    company.hire("u900", dept_id_list=[5])
    company.department_of(9, "新部门", 3)
    company.departments[3]["name"] = "改名部门"
    company.departments[4]["parent_id"] = 3
    del company.departments[5]
    for user in company.users.values():
        user["dept_id_list"] = [d for d in user["dept_id_list"] if d != 5] or [1]
    company.roles[8] = "人力"
    company.roles[9] = "法务"
    for user in company.users.values():
        for role in user.get("role_list", []):
            role["name"] = company.roles[role["id"]]


async def leave(company: Company, count: int) -> None:
    for userid in list(company.users)[:count]:
        del company.users[userid]
