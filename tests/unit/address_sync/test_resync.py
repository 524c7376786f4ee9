"""A full sync: from nothing, over interruptions, beside events; what it may mark, and what it may not."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from consumers.address_sync import AddressSync
from consumers.address_sync.runs import Runs, RunTaken
from consumers.address_sync.settings import AddressSyncSettings
from consumers.address_sync.sync_tables import runs as runs_table
from consumers.address_sync.tables import departments, roles, user_roles, users
from consumers.runtime.memory import MemoryRuntime
from dingtalk.budget import Priority
from dingtalk.errors import BudgetSpent, PermissionDenied, Unavailable
from tests.unit.address_sync.company import CORP, Company, event, events
from tests.unit.address_sync.syncing import FAST, contents, differences, full, left_over, sample


@pytest.fixture
def company():
    return sample()


@pytest.fixture
async def sync(company):
    async with MemoryRuntime(AddressSync(), dingtalk=company) as runtime:
        yield runtime


async def current(sync):
    return {row.userid for row in await sync.rows(select(users).where(users.c.left_at.is_(None)))}


async def test_an_empty_database_becomes_the_company(sync, company):
    run = await full(sync, company, cause="first")
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
    assert run.calls == calls.total()
    assert set(company.priorities) == {Priority.RESYNC}


async def test_equal_state_writes_nothing_and_asks_for_nobody(sync, company):
    await full(sync, company)
    before = await contents(sync)
    asked = company.calls["v2/user/get"]
    run = await full(sync, company, cause="reconcile")
    assert run.changed == {}
    assert await contents(sync) == before
    assert company.calls["v2/user/get"] == asked
    assert company.priorities[Priority.RECONCILE] == run.calls


async def change_everything(company):
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


async def test_a_reconcile_finds_and_repairs_what_no_event_told(sync, company):
    await full(sync, company)
    await change_everything(company)
    run = await full(sync, company, cause="reconcile")
    assert await differences(sync, company) == []
    assert run.changed["people_gone"] == run.changed["people_new"] == 1
    assert run.changed["departments_gone"] == run.changed["departments_new"] == 1


async def test_details_looks_at_everybody_for_what_no_listing_tells(sync, company):
    await full(sync, company)
    company.users["u003"]["manager_userid"] = "u001"
    run = await full(sync, company)
    assert await differences(sync, company) == ["user u003: manager_userid"]
    run = await full(sync, company, details=True)
    assert await differences(sync, company) == []
    assert company.calls["v2/user/get"] == 24
    assert run.state == "done"


async def test_who_reported_to_somebody_who_left_is_asked_for(sync, company):
    company.users["u003"]["manager_userid"] = "u001"
    await full(sync, company)
    del company.users["u001"]
    company.users["u003"]["manager_userid"] = "u002"
    await full(sync, company)
    assert await differences(sync, company) == []


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
    del company.roles[7]
    for user in company.users.values():
        user["role_list"] = [role for role in user["role_list"] if role["id"] != 7]
    await full(sync, company)
    (gone,) = await sync.rows(select(roles).where(roles.c.role_id == 7))
    assert gone.deleted_at is not None
    assert await differences(sync, company) == []


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


# -- interrupted


async def test_it_goes_on_where_it_was_after_any_call_that_failed(sync, company):
    """Every third call fails, and with it the process: no step that was done is done again."""
    made, failed = 0, Counter()

    def failing(api):
        def fail():
            nonlocal made
            made += 1
            if made % 3 == 0:
                failed[api] += 1
                raise Unavailable("no answer", api=api)

        return fail

    apis = ("v2/department/listsub", "v2/department/get", "v2/user/list", "v2/user/get")
    for api in (*apis, "auth/scopes", "user/count", "role/list", "role/simplelist"):
        company.before[api] = failing(api)
    for _ in range(100):
        try:
            run = await full(sync, company)
            break
        except Unavailable:
            continue
    assert run.state == "done"
    assert await differences(sync, company) == []
    assert [company.calls[api] - failed[api] for api in apis] == [5, 5, 5, 12]
    assert sum(failed.values()) > 10
    assert await left_over(sync) == 0


async def test_a_spent_budget_keeps_what_was_read(sync, company):
    def spent():
        if company.calls["v2/user/list"] > 2:
            raise BudgetSpent("none left", api="v2/user/list", retry_after_s=1000)

    company.before["v2/user/list"] = spent
    with pytest.raises(BudgetSpent):
        await full(sync, company)
    assert await contents(sync) == {name: [] for name in await contents(sync)}
    del company.before["v2/user/list"]
    run = await full(sync, company)
    assert await differences(sync, company) == []
    assert company.calls["v2/department/listsub"] == 5
    assert run.state == "done"


async def test_half_a_page_marks_nobody(sync, company):
    await full(sync, company)
    before = await contents(sync)
    del company.users["u001"]

    async def half(dept_id):
        count = 0
        async for user in Company.department_users(company, dept_id):
            count += 1
            yield user
            if count == 2:
                raise Unavailable("the connection broke", api="v2/user/list")

    company.department_users = half
    for _ in range(3):
        with pytest.raises(Unavailable):
            await full(sync, company)
    assert await contents(sync) == before
    del company.department_users
    await full(sync, company)
    assert await differences(sync, company) == []


async def test_a_lost_permission_marks_nobody(sync, company):
    await full(sync, company)
    before = await contents(sync)
    del company.users["u001"]
    company.refused.add("v2/user/list")
    with pytest.raises(PermissionDenied):
        await full(sync, company)
    assert await contents(sync) == before


async def test_a_process_that_was_too_slow_writes_nothing_more(sync, company):
    slow = Runs(sync.database, CORP)
    run = await slow.begin("command", "all")
    async with sync.database.transaction() as tx:
        await tx.execute(update(runs_table).values(held_until=run.began_at - timedelta(days=1)))
    done = await full(sync, company)
    assert done.run_id == run.run_id
    with pytest.raises(RunTaken):
        async with sync.database.transaction() as tx:
            await slow.save(tx, run)
    ended = await Runs(sync.database, CORP).ended("done")
    assert [one.run_id for one in ended] == [run.run_id]


async def test_one_process_at_a_time_holds_a_run(sync, company):
    first, second = Runs(sync.database, CORP), Runs(sync.database, CORP)
    run = await first.begin("command", "all")
    assert await second.begin("command", "all") is None
    assert not await second.take(run)
    await first.let_go(run)
    assert await second.take(run)
    assert not await first.take(run)


# -- beside events


async def test_an_event_during_the_reading_is_not_overwritten_by_what_was_read_before(sync, company):
    await full(sync, company)
    told = asyncio.Event()

    async def users_of(dept_id):
        found = [user async for user in Company.department_users(company, dept_id)]
        if dept_id == 5 and not told.is_set():
            # after this page was read, and before it is applied
            company.users["u003"]["name"] = "新名"
            company.users.pop("u008")
            company.hire("u901", dept_id_list=[5])
            for one in (*events("user_modify_org", "u003"), *events("user_leave_org", "u008")):
                assert (await sync.deliver(one)).kind == "done"
            assert (await sync.deliver(event("user_add_org", "u901"))).kind == "done"
            told.set()
        for user in found:
            yield user

    company.department_users = users_of
    run = await full(sync, company)
    assert told.is_set()
    assert await differences(sync, company) == []
    assert run.state == "done"


async def test_somebody_who_moved_behind_the_reading_is_asked_for_and_stays(sync, company):
    await full(sync, company)

    async def users_of(dept_id):
        if dept_id == 2:
            company.users["u004"]["dept_id_list"] = [1]  # 1 was listed before 2, and 3 comes after
        async for user in Company.department_users(company, dept_id):
            yield user

    company.department_users = users_of
    run = await full(sync, company)
    assert "people_gone" not in run.changed
    assert await differences(sync, company) == []


async def test_an_event_without_ids_asks_for_the_smallest_part(sync, company):
    await full(sync, company)
    runs = Runs(sync.database, CORP)
    for name in ("org_dept_modify", "org_dept_create"):
        (nameless,) = events(name)
        assert (await sync.deliver(nameless)).kind == "done"
    assert [run.part for run in await runs.waiting()] == ["departments"]
    (nameless,) = events("user_modify_org")
    assert (await sync.deliver(nameless)).kind == "done"
    assert sorted(run.part for run in await runs.waiting()) == ["all", "departments"]
    company.departments[3]["name"] = "改名"
    before = company.calls.copy()
    run = await full(sync, company, part="departments")
    assert run.changed == {"departments_changed": 1}
    assert (company.calls - before).keys() == {"auth/scopes", "v2/department/listsub", "v2/department/get"}
    assert [run.part for run in await runs.waiting()] == ["all"]
    await full(sync, company)
    assert await runs.waiting() == []


# -- the brake


async def leave(company, count):
    for userid in list(company.users)[:count]:
        del company.users[userid]


@pytest.fixture
async def large():
    company = sample(40)
    async with MemoryRuntime(AddressSync(), dingtalk=company) as runtime:
        await full(runtime, company)
        yield runtime, company


@pytest.mark.parametrize(("gone", "state"), [(10, "done"), (11, "stopped"), (40, "stopped")])
async def test_more_leavers_than_the_share_stop_it_with_nothing_changed(large, gone, state):
    sync, company = large
    before = await contents(sync)
    await leave(company, gone)
    company.hire("u999")
    company.departments[3]["name"] = "改名"
    run = await full(sync, company)
    assert run.state == state
    if state == "stopped":
        assert await contents(sync) == before
        assert f"--confirm-leavers {gone}" in run.words
        assert run.leavers == gone
    else:
        assert await differences(sync, company) == []


@pytest.mark.parametrize(
    ("setting", "employees", "allowed"),
    [("5%", 1000, 50), ("5%", 100, 10), ("5%", 0, 10), ("20 %", 1000, 200), ("3", 1000, 3), ("0", 1000, 0)],
)
def test_the_share_is_of_the_employees_and_at_least_ten(setting, employees, allowed):
    assert AddressSyncSettings(max_leavers=setting).leavers_allowed(employees) == allowed


async def test_a_stopped_run_that_is_confirmed_is_applied_without_reading_again(large):
    sync, company = large
    await leave(company, 30)
    run = await full(sync, company)
    assert run.state == "stopped"
    runs = Runs(sync.database, CORP)
    listed = company.calls["v2/user/list"]
    assert await runs.reopen(run, state="reading")
    await runs.let_go(run)
    run = await full(sync, company, confirmed=30)
    assert run.state == "done"
    assert run.changed["people_gone"] == 30
    assert company.calls["v2/user/list"] == listed
    assert await differences(sync, company) == []
    assert await left_over(sync) == 0


async def test_fewer_confirmed_than_are_missing_is_no_confirmation(large):
    sync, company = large
    await leave(company, 30)
    before = await contents(sync)
    run = await full(sync, company, confirmed=29)
    assert run.state == "stopped"
    assert await contents(sync) == before


async def test_a_new_run_supersedes_a_stopped_one(large):
    sync, company = large
    kept = company.users.copy()
    await leave(company, 30)
    stopped = await full(sync, company)
    company.users.update(kept)
    run = await full(sync, company)
    assert (run.state, run.changed) == ("done", {})
    ended = await Runs(sync.database, CORP).ended("superseded")
    assert [one.run_id for one in ended] == [stopped.run_id]
    assert await left_over(sync) == 0


# -- reduced visibility


async def test_a_smaller_scope_marks_nobody_and_still_repairs_what_is_seen(sync, company):
    await full(sync, company)
    before = await current(sync)
    company.scope = [3]
    company.users["u001"]["name"] = "改名"
    run = await full(sync, company)
    assert run.state == "done"
    assert "scope" in run.incomplete
    assert await current(sync) == before
    assert (await sync.rows(select(users.c.name).where(users.c.userid == "u001")))[0].name == "改名"
    assert not await sync.rows(select(departments).where(departments.c.deleted_at.is_not(None)))


async def test_fewer_listed_than_counted_marks_nobody(sync, company):
    await full(sync, company)
    before = await current(sync)

    async def some(dept_id):
        async for user in Company.department_users(company, dept_id):
            if user["userid"] == "u000":
                yield user

    company.department_users = some
    company.users.pop("u001")
    run = await full(sync, company)
    assert "11 employees, and listed 1" in run.incomplete
    assert run.leavers == 11
    assert await current(sync) == before


async def test_one_who_is_neither_listed_nor_shown_makes_it_incomplete(sync, company):
    await full(sync, company)
    before = await current(sync)

    async def some(dept_id):
        async for user in Company.department_users(company, dept_id):
            if user["userid"] not in company.hidden:
                yield user

    company.hidden.add("u002")
    company.department_users = some
    company.users.pop("u001")
    run = await full(sync, company)
    assert "out of the app's sight" in run.incomplete
    assert await current(sync) == before


async def test_a_department_out_of_sight_marks_nobody(sync, company):
    await full(sync, company)
    before = await current(sync)
    company.hidden.add(4)
    company.users.pop("u001")
    run = await full(sync, company)
    assert "department 4 is out of the app's sight" in run.incomplete
    assert await current(sync) == before


async def test_who_is_missing_but_out_of_sight_is_not_marked_even_when_confirmed(sync, company):
    await full(sync, company)
    before = await current(sync)
    company.scope = [3]
    company.hidden |= set(company.users) - {
        userid for userid, user in company.users.items() if 3 in user["dept_id_list"]
    }
    run = await full(sync, company, confirmed=12)
    assert run.state == "done"
    assert await current(sync) == before


async def test_a_part_of_the_company_is_synced_for_an_app_that_sees_a_part(sync, company):
    company.scope = [2]
    company.hidden |= {1, 3} | {
        userid for userid, user in company.users.items() if not {2, 4, 5} & set(user["dept_id_list"])
    }
    run = await full(sync, company)
    assert run.incomplete is None
    visible = {userid for userid in company.users if userid not in company.hidden}
    assert await current(sync) == visible
    gone = next(iter(visible))
    del company.users[gone]
    run = await full(sync, company)
    assert run.changed.get("people_gone") == 1
    assert await current(sync) == visible - {gone}


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
    for name, value in (("max_leavers", "many"), ("max_leavers", "101%"), ("dingtalk_corp_id", "a/b")):
        with pytest.raises(ValueError, match="must be"):
            AddressSyncSettings(**{name: value})
    assert FAST.max_leavers == "5%"
