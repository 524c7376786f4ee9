"""address-sync's tables against the simulator's company, row by row: what the tests of full syncs share."""

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from consumers.address_sync.mapping import department_row, roles_state, user_state
from consumers.address_sync.sync.tables import runs
from consumers.address_sync.tables import departments, memberships, roles, user_roles, users
from dingbridge import Database
from dingbridge.worker.store.errors import is_missing_table
from simulator.server import Simulator


async def ended(database: Database) -> list[tuple[str, str]]:
    """Cause and state of every run that has ended, the oldest first; none before the tables are there."""
    statement = select(runs.c.cause, runs.c.state).where(runs.c.ended_at.is_not(None))
    try:
        found = await database.reader().execute(statement.order_by(runs.c.began_at))
    except DBAPIError as error:
        if not is_missing_table(error):
            raise
        return []
    return [(row.cause, row.state) for row in found]


async def differences(database: Database, simulator: Simulator) -> list[str]:
    """Where the tables are not exactly what the platform's API would say; empty when they are."""
    company, reader = simulator.platform.company, database.reader()
    found: list[str] = []
    wanted = {userid: user_state(company.user_result(user)) for userid, user in company.users.items()}
    current = await reader.execute(select(users).where(users.c.left_at.is_(None)))
    people = {row.userid: row._mapping for row in current}
    found += [f"user {userid} is in one of the two" for userid in people.keys() ^ wanted.keys()]
    for userid in people.keys() & wanted.keys():
        state = wanted[userid]
        found += [f"user {userid}: {n}" for n, v in state.row.items() if people[userid][n] != v]
    held = {
        (row.userid, row.dept_id, row.leader, row.sort_order)
        for row in await reader.execute(select(memberships))
    }
    should = {
        (userid, dept_id, row["leader"], row["sort_order"])
        for userid, state in wanted.items()
        for dept_id, row in (state.memberships or {}).items()
    }
    found += [f"membership {one}" for one in held ^ should]
    has = {tuple(row) for row in await reader.execute(select(user_roles.c.userid, user_roles.c.role_id))}
    may = {(userid, role_id) for userid, state in wanted.items() for role_id in state.roles or ()}
    found += [f"role {one}" for one in has ^ may]
    tree = {
        row.dept_id: row._mapping
        for row in await reader.execute(select(departments).where(departments.c.deleted_at.is_(None)))
    }
    rows = {d.dept_id: department_row(company.department_result(d)) for d in company.departments.values()}
    found += [f"department {dept_id} is in one of the two" for dept_id in tree.keys() ^ rows.keys()]
    for dept_id in tree.keys() & rows.keys():
        found += [f"department {dept_id}: {n}" for n, v in rows[dept_id].items() if tree[dept_id][n] != v]
    labels = {
        row.role_id: (row.name, row.group_name)
        for row in await reader.execute(select(roles).where(roles.c.deleted_at.is_(None)))
    }
    names = {
        role_id: (row["name"], row["group_name"])
        for role_id, row in roles_state(company.roles.groups_result()).items()
    }
    found += [
        f"label {role_id}"
        for role_id in labels.keys() | names.keys()
        if labels.get(role_id) != names.get(role_id)
    ]
    return found
