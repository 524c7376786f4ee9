"""The fields that are stored of a person, where a setting names them: nothing else stays in the database."""

import asyncio
import os
import subprocess
import sys

import pytest
from sqlalchemy import select

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.mapping import Fields, listed_state, user_state
from dingbridge.consumers.address_sync.tables import users
from dingbridge.testing import MemoryRuntime
from tests.unit.address_sync.company import CORP, Company, listed
from tests.unit.address_sync.syncing import contents, full, sample

PRIVATE = ("13800000001", "secret@example.com", "喜欢旅游")
OWN = '{"工号2":"0017","爱好":"喜欢旅游"}'


def test_a_key_of_the_enterprises_own_fields_has_its_column_and_no_other_key_has():
    user = Company().hire("u1", extension=OWN, mobile=PRIVATE[0])
    fields = Fields(frozenset({"name"}), {"工号2": "badge"})
    for state in (user_state(user, fields), listed_state(listed(user, 1), 1, fields)):
        found = {name for name, value in state.row.items() if isinstance(value, str)}
        assert found == {"unionid", "name", "badge"}
        assert state.row["badge"] == "0017"
    assert user_state({"extension": "[1]"}, fields).row["badge"] is None


async def test_fields_that_are_not_named_are_not_stored_and_what_was_stored_is_emptied(monkeypatch):
    company = sample(3)
    for user in company.users.values():
        user |= {"mobile": PRIVATE[0], "email": PRIVATE[1], "extension": OWN}
    async with MemoryRuntime(AddressSync(), dingtalk=company) as sync:
        await full(sync, company)
        text = str(await contents(sync))
        assert all(one in text for one in PRIVATE)
        monkeypatch.setenv("USER_FIELDS", "name, job_number")
        sync.consumer.engine.kinds = AddressSync().kinds()
        sync.consumer.engine.full_sync._kinds = sync.consumer.engine.kinds
        company.users["u000"].pop("mobile")  # a field that the answer lacks is not kept, either
        await full(sync, company)
        text = str(await contents(sync))
        assert not any(one in text for one in PRIVATE)
        [row] = await sync.rows(select(users).where(users.c.userid == "u000"))
        assert (row.name, row.job_number, row.title) == ("张u000", "E00001", None)


async def synced(url):
    company = sample(2)
    async with MemoryRuntime(AddressSync(), dingtalk=company, database_url=url) as sync:
        await full(sync, company)


_STARTED_LATER = """
import asyncio, sys
from sqlalchemy import select
from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.tables import users
from dingbridge.testing import MemoryRuntime
from tests.unit.address_sync.syncing import full, sample

async def main():
    company = sample(2)
    company.users["u000"]["extension"] = sys.argv[2]
    async with MemoryRuntime(AddressSync(), dingtalk=company, database_url=sys.argv[1]) as sync:
        await full(sync, company)
        rows = await sync.rows(select(users.c.userid, users.c.badge, users.c.extension))
        assert sorted(map(tuple, rows)) == [("u000", "0017", None), ("u001", None, None)], rows
        company.users["u000"].pop("extension")
        await full(sync, company)
        rows = await sync.rows(select(users.c.badge).where(users.c.userid == "u000"))
        assert rows == [(None,)], rows

asyncio.run(main())
"""


@pytest.mark.parametrize("there", [False, True], ids=["a new database", "one with people"])
def test_a_column_of_the_enterprises_own_is_made_at_the_start(tmp_path, there):
    """In a process of its own: the columns belong to the table as long as that lives."""
    url = f"sqlite:///{tmp_path / 'people.db'}"
    if there:
        asyncio.run(synced(url))
    own = {"DINGTALK_CORP_ID": CORP, "EXTENSION_COLUMNS": "工号2=badge", "USER_FIELDS": "name"}
    command = [sys.executable, "-c", _STARTED_LATER, url, OWN]
    ran = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]
