"""The tables as an OA system finds them: migrated with what was in them; the guide's joins as they stand."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import bindparam, insert, select, text

from consumers.address_sync import AddressSync
from consumers.address_sync.tables import roles, user_roles, users
from dingbridge import UtcDateTime, open_database
from dingbridge.testing.memory import MemoryRuntime
from dingbridge.worker.store.migrations import _run, _scripts, migrate, version_table
from tests.unit.address_sync.syncing import full, sample

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "tables.md"
AT = datetime(2026, 1, 31, 8, tzinfo=UTC)


async def test_roles_that_version_0_1_kept_beside_each_user_come_along(database_url):
    database = open_database(database_url)
    try:
        async with database.transaction() as tx:
            scripts = _scripts(AddressSync.migrations)
            await tx.connection.run_sync(_run, scripts, version_table(AddressSync.name), to="0001")
            for userid in ("u1", "u2"):
                await tx.execute(insert(users).values(corp_id="c", userid=userid, updated_at=AT))
                await tx.execute(
                    text("INSERT INTO user_roles VALUES ('c', :userid, 7, '财务', '职务')"),
                    {"userid": userid},
                )
        await migrate(database, AddressSync)
        (row,) = (await database.reader().execute(select(roles))).all()
        assert (row.role_id, row.name, row.group_name, row.deleted_at) == (7, "财务", "职务", None)
        assert row.updated_at == AT
        found = await database.reader().execute(select(user_roles).order_by(user_roles.c.userid))
        assert [tuple(one) for one in found] == [("c", "u1", 7), ("c", "u2", 7)]
    finally:
        await database.close()


@pytest.fixture
async def synced(database_url):
    company = sample()
    async with MemoryRuntime(AddressSync(), database_url=database_url, dingtalk=company) as runtime:
        await full(runtime, company)
        yield runtime


async def test_the_joins_of_the_guide_run_as_they_stand_there(synced):
    own = re.search(r"## address-sync\n(.*?)\n## ", GUIDE.read_text(encoding="utf-8"), re.DOTALL)[1]
    statements = [
        statement.strip()
        for block in re.findall(r"```sql\n(.*?)```", own, re.DOTALL)
        for statement in block.split(";")
        if statement.strip()
    ]
    async with synced.database.transaction() as tx:
        await tx.execute(text("CREATE TABLE oa_employees (job_number TEXT, login TEXT, enabled BOOLEAN)"))
        await tx.execute(
            text("INSERT INTO oa_employees VALUES ('E00001', 'zhang1', true), ('E00002', 'zhang2', true)")
        )
        await tx.execute(users.update().where(users.c.userid == "u001").values(left_at=AT))
    values = {"since": AT, "dept_id": 2, "role": "财务", "role_group": "职务"}
    found = []
    for statement in statements:
        named = {name: values[name] for name in re.findall(r":(\w+)", statement)}
        types = [bindparam("since", type_=UtcDateTime())] if "since" in named else []
        found.append(
            (await synced.database.reader().execute(text(statement).bindparams(*types), named)).all()
        )
    polled, unknown, may_log_in, below, managers, have_role = found
    assert {row.department for row in polled} == {"示例公司", "部门2", "部门3", "部门4", "部门5"}
    assert len(unknown) == 10
    assert [(row.login, row.left_at is None) for row in may_log_in] == [("zhang2", False)]
    assert {row.userid for row in below} == {"u001", "u002", "u003", "u006", "u007", "u008", "u011"}
    assert len(managers) == 11
    assert {row.userid for row in have_role} == {"u000", "u003", "u006", "u009"}
