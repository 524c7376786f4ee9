"""address-sync's tables against the simulator's company, row by row, in pieces, whatever its size."""

from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any, Final

from sqlalchemy import func, select

from dingbridge import Database, Reader
from dingbridge.consumers.address_sync.mapping import UserState, department_row, roles_state, user_state
from dingbridge.consumers.address_sync.tables import departments, memberships, roles, user_roles, users
from dingbridge.simulator.company.company import Company
from dingbridge.simulator.server import Simulator

_PIECE: Final = 1_000
_MOST: Final = 100


async def differences(database: Database, simulator: Simulator) -> list[str]:
    """Where the tables are not what the platform's API would say, at most 100; empty when they are."""
    found: list[str] = []
    async for difference in _all(database.reader(), simulator.platform.company):
        found.append(difference)
        if len(found) == _MOST:
            break
    return found


async def _all(reader: Reader, company: Company) -> AsyncIterator[str]:
    waiting = iter(company.users.values())
    members = holders = 0
    while piece := [company.user_result(user) for user in islice(waiting, _PIECE)]:
        states = {result["userid"]: user_state(result) for result in piece}
        members += sum(len(state.memberships or ()) for state in states.values())
        holders += sum(len(state.roles or ()) for state in states.values())
        async for difference in _people(reader, states):
            yield difference
    current = select(func.count()).select_from(users).where(users.c.left_at.is_(None))
    for what, count, statement in (
        ("people", len(company.users), current),
        ("memberships", members, select(func.count()).select_from(memberships)),
        ("roles of people", holders, select(func.count()).select_from(user_roles)),
    ):
        if (rows := await reader.scalar(statement)) != count:
            yield f"{rows} rows of {what}, of which there are {count}"
    tree = {
        row.dept_id: row._mapping
        for row in await reader.execute(select(departments).where(departments.c.deleted_at.is_(None)))
    }
    wanted = {d.dept_id: department_row(company.department_result(d)) for d in company.departments.values()}
    for dept_id in tree.keys() ^ wanted.keys():
        yield f"department {dept_id} is in one of the two"
    for dept_id in tree.keys() & wanted.keys():
        for name, value in wanted[dept_id].items():
            if tree[dept_id][name] != value:
                yield f"department {dept_id}: {name}"
    labels = {
        row.role_id: {"name": row.name, "group_name": row.group_name, "deleted_at": None}
        for row in await reader.execute(select(roles).where(roles.c.deleted_at.is_(None)))
    }
    names = roles_state(company.roles.groups_result())
    for role_id in labels.keys() | names.keys():
        if labels.get(role_id) != names.get(role_id):
            yield f"label {role_id}"


async def _people(reader: Reader, states: dict[str, UserState]) -> AsyncIterator[str]:
    rows = await reader.execute(select(users).where(users.c.userid.in_(states), users.c.left_at.is_(None)))
    people = {row.userid: row._mapping for row in rows}
    member_of: dict[str, dict[int, Any]] = defaultdict(dict)
    for row in await reader.execute(select(memberships).where(memberships.c.userid.in_(states))):
        member_of[row.userid][row.dept_id] = {"leader": row.leader, "sort_order": row.sort_order}
    roles_of: dict[str, set[int]] = defaultdict(set)
    for row in await reader.execute(select(user_roles).where(user_roles.c.userid.in_(states))):
        roles_of[row.userid].add(row.role_id)
    for userid, state in states.items():
        if userid not in people:
            yield f"user {userid} is not in the tables"
            continue
        for name, value in state.row.items():
            if people[userid][name] != value:
                yield f"user {userid}: {name}"
        if member_of[userid] != (state.memberships or {}):
            yield f"memberships of {userid}"
        if roles_of[userid] != (state.roles or frozenset()):
            yield f"roles of {userid}"
