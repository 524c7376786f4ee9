"""The tables as an OA system finds them: the guide's joins as they stand."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import bindparam, text

from dingbridge import UtcDateTime
from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.tables import users
from dingbridge.testing.memory import MemoryRuntime
from tests.support.sizes import on_one_database
from tests.unit.address_sync.syncing import full, sample

pytestmark = on_one_database

GUIDE = Path(__file__).parents[2] / "docs" / "reference" / "tables.md"
AT = datetime(2026, 1, 31, 8, tzinfo=UTC)


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
