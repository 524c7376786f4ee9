"""A full sync: from nothing, over what no event told, and as a dry run; what it makes of the tables."""

import pytest
from sqlalchemy import select

from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.tables import roles, user_roles
from tests.unit.address_sync.syncing import (
    SETTINGS,
    change_everything,
    contents,
    current,
    differences,
    full,
    leave,
    left_over,
    roles_settle,
)


async def test_an_empty_database_becomes_the_company(sync, company):
    run = await full(sync, company)
    assert run.state == "done"
    assert await differences(sync, company) == []
    assert (run.found, run.employees, run.incomplete) == (12, 12, None)
    assert (run.changed["people_new"], run.changed["departments_new"]) == (12, 5)
    assert await left_over(sync) == 0


async def test_it_pages_through_departments_and_counts_its_calls(sync, company):
    run = await full(sync, company)
    calls = company.calls
    assert calls["v2/department/listsub"] == calls["v2/department/get"] == calls["v2/user/list"] == 5
    assert calls["role/simplelist"] == 2
    assert calls["v2/user/get"] == 12  # each once, for what the listing does not tell
    assert run.calls == calls.total() - 12  # which is after the run


async def test_equal_state_writes_nothing_and_asks_for_nobody(sync, company):
    await full(sync, company)
    before = await contents(sync)
    asked = company.calls["v2/user/get"]
    run = await full(sync, company)
    assert run.changed == {}
    assert await contents(sync) == before
    assert company.calls["v2/user/get"] == asked


async def test_it_finds_and_repairs_what_no_event_told(sync, company):
    await full(sync, company)
    await change_everything(company)
    run = await full(sync, company)
    assert await differences(sync, company) == []
    assert run.changed["people_gone"] == run.changed["people_new"] == 1
    assert run.changed["departments_gone"] == run.changed["departments_new"] == 1


async def test_who_left_and_came_back_is_here_again(sync, company):
    await full(sync, company)
    back = company.users.pop("u001")
    await full(sync, company)
    assert "u001" not in await current(sync)
    company.users["u001"] = back
    run = await full(sync, company)
    assert run.changed == {"people_back": 1}
    assert await differences(sync, company) == []


async def test_a_role_that_is_gone_is_nobodys(sync, company):
    await full(sync, company)
    await roles_settle(sync)
    del company.roles[7]
    for user in company.users.values():
        user["role_list"] = [role for role in user["role_list"] if role["id"] != 7]
    await full(sync, company)
    (gone,) = await sync.rows(select(roles).where(roles.c.role_id == 7))
    assert gone.deleted_at is not None
    assert await differences(sync, company) == []


@pytest.mark.parametrize("cut", ["role_groups", "role_users"])
async def test_a_list_of_roles_that_is_cut_short_takes_a_role_from_nobody(sync, company, cut, monkeypatch):
    await full(sync, company)
    await roles_settle(sync)
    before, whole, calls = await sync.rows(select(user_roles)), getattr(company, cut), []

    async def no_groups():
        calls.append(cut)
        return [] if len(calls) == 1 else await whole()

    async def no_members(role_id):
        for nobody in ():
            yield nobody

    monkeypatch.setattr(company, cut, no_groups if cut == "role_groups" else no_members)
    run = await full(sync, company)
    assert run.state == "done"
    assert await sync.rows(select(user_roles)) == before
    assert [row.deleted_at for row in await sync.rows(select(roles))] == [None, None]


async def test_an_app_that_may_not_list_roles_leaves_them_as_they_are(sync, company):
    await full(sync, company)
    before = await sync.rows(select(user_roles))
    company.refused.add("role/list")
    run = await full(sync, company)
    assert run.state == "done"
    assert await sync.rows(select(user_roles)) == before


async def test_a_role_deleted_while_it_is_read_is_read_again(sync, company):
    def delete():
        if company.roles.pop(8, None):
            for user in company.users.values():
                user["role_list"] = [role for role in user["role_list"] if role["id"] != 8]

    company.before["role/simplelist"] = delete
    run = await full(sync, company)
    assert run.state == "done"
    assert await differences(sync, company) == []


# -- a dry run
async def test_a_dry_run_says_what_would_change_and_changes_nothing(sync, company):
    await full(sync, company)
    before = await contents(sync)
    await change_everything(company)
    run = await full(sync, company, cause="dry_run")
    assert run.state == "dry_run"
    assert await contents(sync) == before
    assert await left_over(sync) == 0
    assert run.changed["people_new"] == run.changed["people_gone"] == 1
    assert run.changed["departments_new"] == run.changed["departments_gone"] == 1
    assert run.changed["people_changed"] >= 5
    asked = company.calls["v2/user/get"]
    assert asked == 12  # only at the first sync


async def test_a_dry_run_says_that_the_real_one_would_stop(large):
    sync, company = large
    await leave(company, 30)
    run = await full(sync, company, cause="dry_run")
    assert run.state == "dry_run"
    assert "--confirm-leavers 30" in run.words
    assert run.changed["people_gone"] == 30


def test_settings_that_make_no_sense_are_refused():
    for name, value in (("max_leavers", "many"), ("max_leavers", "101%")):
        with pytest.raises(ValueError, match="must be"):
            AddressSyncSettings(**{name: value})
    assert SETTINGS.max_leavers == "5%"
