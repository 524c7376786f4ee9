"""Whom a full sync may mark as gone, and whom not: the limit, and what is out of the app's sight."""

import pytest
from sqlalchemy import select

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.tables import departments, users
from dingbridge.dingtalk.errors import NotFound
from dingbridge.testing import MemoryRuntime
from tests.unit.address_sync.company import CORP, Company, event
from tests.unit.address_sync.syncing import (
    contents,
    current,
    differences,
    first_full,
    full,
    in_state,
    leave,
    passes,
    sample,
)


@pytest.mark.parametrize(("gone", "marked"), [(10, True), (11, False)])
async def test_of_more_leavers_than_the_share_nobody_is_marked_until_as_many_are_confirmed(
    large, gone, marked
):
    sync, company = large
    before = await current(sync)
    await leave(company, gone)
    company.hire("u999")
    company.departments[3]["name"] = "改名"
    await full(sync, company, within_s=3600)  # not before the hour is over
    assert await current(sync) == before | {"u999"}
    await passes(sync, 200)
    assert (await differences(sync, company) == []) is marked
    if not marked:
        assert await current(sync) == before | {"u999"}
        leavers = sync.consumer.engine.leavers
        assert await leavers.confirm(sync.database, CORP, gone - 1) == gone
        await passes(sync, 100)
        assert await current(sync) == before | {"u999"}
        assert await leavers.confirm(sync.database, CORP, gone) == gone
        await passes(sync, 100)
        assert await differences(sync, company) == []


@pytest.mark.parametrize(
    ("setting", "employees", "allowed"),
    [("5%", 1000, 50), ("5%", 100, 10), ("5%", 0, 10), ("20 %", 1000, 200), ("3", 1000, 3), ("0", 1000, 0)],
)
def test_the_share_is_of_the_employees_and_at_least_ten(setting, employees, allowed):
    assert AddressSyncSettings(max_leavers=setting).leavers_allowed(employees) == allowed


@pytest.mark.parametrize("told", ["a full sync", "edits"])
async def test_half_an_hour_in_which_dingtalk_knows_nobody_marks_nobody(large, told):
    """Whatever the limit is: the answers are not believed for an hour."""
    sync, company = large
    sync.consumer.own = AddressSyncSettings(max_leavers="100%")
    before, real = await contents(sync), company.user

    async def nobody(userid):
        raise NotFound("no such user", api="v2/user/get", errcode=60121)

    company.user = nobody
    if told == "edits":
        for userid in company.users:
            await sync.deliver(event("user_modify_org", userid))
        await passes(sync, 1800)
    else:
        await full(sync, company, within_s=1800)
    assert await contents(sync) == before
    company.user = real
    await passes(sync, 7200)
    assert await contents(sync) == before
    assert await in_state(sync, "missing") == set()


async def test_a_smaller_scope_or_a_refused_department_marks_nobody(sync, company):
    await first_full(sync, company)
    before = await current(sync)
    company.scope = [3]
    company.hidden |= {4, "u002"}
    company.users["u001"]["name"] = "改名"
    gone = "u005"
    company.users.pop(gone)
    await full(sync, company)
    assert await current(sync) == before - {gone}
    assert (await sync.rows(select(users.c.name).where(users.c.userid == "u001")))[0].name == "改名"
    assert not await sync.rows(select(departments).where(departments.c.deleted_at.is_not(None)))
    refused = {("department", "4"), ("listing", "4"), ("user", "u002")}
    assert await in_state(sync, "refused") == refused


async def test_fewer_listed_than_there_are_marks_nobody_and_reads_all(sync, company):
    await first_full(sync, company)

    async def some(dept_id):
        async for user in Company.department_users(company, dept_id):
            if user["userid"] == "u000":
                yield user

    company.department_users = some
    company.users["u006"]["title"] = "经理"
    await full(sync, company)
    assert await differences(sync, company) == []


async def test_who_is_missing_but_out_of_sight_is_not_marked_even_when_confirmed(sync, company):
    await first_full(sync, company)
    before = await current(sync)
    company.hidden |= set(company.users)
    await full(sync, company)
    assert await sync.consumer.engine.leavers.confirm(sync.database, CORP, 12) == 0
    await passes(sync, 7200)
    assert await current(sync) == before


async def test_a_part_of_the_company_is_synced_for_an_app_that_sees_a_part(sync, company):
    company.scope = [2]
    company.hidden |= {1, 3} | {
        userid for userid, user in company.users.items() if not {2, 4, 5} & set(user["dept_id_list"])
    }
    await full(sync, company)
    visible = {userid for userid in company.users if userid not in company.hidden}
    assert await current(sync) == visible
    gone, moved = sorted(visible)[:2]
    del company.users[gone]
    company.hidden.add(moved)  # out of the scope: stays as known
    await full(sync, company)
    assert await current(sync) == visible - {gone}


async def test_where_the_root_is_refused_it_says_so():
    company = sample(3)
    company.hidden.add(1)
    async with MemoryRuntime(AddressSync(), dingtalk=company) as sync:
        await full(sync, company)
        assert await current(sync) == set()
        assert ("listing", "1") in await in_state(sync, "refused")
        assert "not read" in (await sync.consumer.show(sync.database.reader()))[-1][0]
