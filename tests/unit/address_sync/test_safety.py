"""Whom a full sync may mark as gone, and whom not: the limit, and what is out of the app's sight."""

import pytest
from sqlalchemy import select

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.sync.full_sync import result
from dingbridge.consumers.address_sync.sync.runs import Runs
from dingbridge.consumers.address_sync.tables import departments, memberships, users
from dingbridge.dingtalk.errors import PermissionDenied, QuotaSpent
from dingbridge.testing import MemoryRuntime
from tests.unit.address_sync.company import CORP, Company
from tests.unit.address_sync.syncing import (
    contents,
    current,
    differences,
    first_full,
    full,
    leave,
    left_over,
    runs_in,
    sample,
)

# -- the limit


@pytest.mark.parametrize(("gone", "state"), [(10, "done"), (11, "stopped")])
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


async def test_a_stopped_run_is_applied_without_reading_again_if_as_many_are_confirmed(large):
    sync, company = large
    await leave(company, 20)
    before = await contents(sync)
    run = await full(sync, company, confirmed=19)
    assert run.state == "stopped"
    assert await contents(sync) == before
    runs = Runs(sync.database, CORP)
    listed = company.calls["v2/user/list"]
    await runs.reopen(run)
    run = await full(sync, company, confirmed=20)
    assert run.state == "done"
    assert run.changed["people_gone"] == 20
    assert company.calls["v2/user/list"] == listed
    assert await differences(sync, company) == []
    assert await left_over(sync) == 0


async def test_a_new_run_supersedes_a_stopped_one(large):
    sync, company = large
    kept = company.users.copy()
    await leave(company, 20)
    stopped = await full(sync, company)
    company.users.update(kept)
    run = await full(sync, company)
    assert (run.state, run.changed) == ("done", {})
    ended = await runs_in(sync, "superseded")
    assert [one.run_id for one in ended] == [stopped.run_id]
    assert await left_over(sync) == 0


# -- reduced visibility
async def test_a_smaller_scope_marks_nobody_and_still_repairs_what_is_seen(sync, company):
    await first_full(sync, company)
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
    await first_full(sync, company)
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


async def test_one_who_is_neither_listed_nor_shown_stays_and_is_named_and_who_left_is_marked(sync, company):
    await first_full(sync, company)

    async def some(dept_id):
        async for user in Company.department_users(company, dept_id):
            if user["userid"] not in company.hidden:
                yield user

    company.hidden.add("u002")
    company.department_users = some
    company.users.pop("u001")
    run = await full(sync, company)
    assert (run.incomplete, run.unread) == (None, {"people": {"count": 1, "ids": {"u002": "50002"}}})
    assert await current(sync) == set(company.users)


async def test_a_department_out_of_sight_marks_nobody(sync, company):
    """Nobody of whom DingTalk has not said by name that he is not there: a refused listing proves nothing."""
    await first_full(sync, company)
    before = await current(sync)
    company.hidden.add(4)
    hidden = next(userid for userid, user in company.users.items() if user["dept_id_list"] == [4])
    company.hidden.add(hidden)
    company.users.pop("u001")
    run = await full(sync, company)
    assert (run.state, run.incomplete) == ("done", None)
    assert run.unread["departments"] == {"count": 1, "ids": {"4": "50002"}}
    assert run.unread["people"] == {"count": 1, "ids": {hidden: "50002"}}
    assert await current(sync) == before - {"u001"}
    assert not await sync.rows(select(departments).where(departments.c.deleted_at.is_not(None)))
    assert "departments that could not be read, and stay as they were: 1: 4 (50002)" in result(run)
    assert "contact scope" in result(run)[-1]


async def test_more_leavers_than_the_limit_stop_a_run_with_a_department_out_of_sight_too(large):
    sync, company = large
    company.hidden.add(4)
    before = await contents(sync)
    await leave(company, 11)
    run = await full(sync, company)
    assert (run.state, run.leavers) == ("stopped", 11)
    assert await contents(sync) == before


async def test_confirming_is_advised_where_it_marks_who_left(sync, company):
    await first_full(sync, company)
    company.users.pop("u001")
    company.users.pop("u002")
    counted, company.user_count = company.user_count, lambda only_active: counted_more(counted)
    run = await full(sync, company)
    assert "DingTalk counts" in run.incomplete
    (said,) = [line for line in result(run) if "nobody was marked" in line]
    assert said.endswith(f"dingbridge resync --confirm-leavers {run.leavers}")
    await full(sync, company, confirmed=run.leavers)
    assert await current(sync) == set(company.users)


async def counted_more(counted):
    return await counted(only_active=False) + 2


async def test_who_is_missing_but_out_of_sight_is_not_marked_even_when_confirmed(sync, company):
    await first_full(sync, company)
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


async def test_who_moved_out_of_the_scope_stays_as_known_and_keeps_nobody_else_from_being_marked():
    """More of them than may leave in a day."""
    company, moved = sample(25), 11
    company.scope, inside = [2], seen_in(company, {2, 4, 5})
    company.hidden |= {1, 3} | company.users.keys() - set(inside)
    async with MemoryRuntime(AddressSync(), dingtalk=company) as sync:
        await first_full(sync, company)
        for userid in inside[:moved]:
            company.users[userid]["dept_id_list"] = [3]
            company.hidden.add(userid)
        before = await sync.rows(
            moved_memberships := select(memberships).where(memberships.c.userid.in_(inside[:moved]))
        )
        assert before
        for left in inside[moved : moved + 2]:  # week after week: they stay out of sight
            del company.users[left]
            company.departments[4]["name"] += "改"
            run = await full(sync, company)
            assert (run.state, run.incomplete, run.leavers) == ("done", None, 1)
            assert run.changed == {"people_gone": 1, "departments_changed": 1}
            assert await left_over(sync) == 0
        assert await current(sync) == set(inside[:moved]) | set(inside[moved + 2 :])
        assert await sync.rows(moved_memberships) == before


def seen_in(company, dept_ids):
    return [userid for userid, user in company.users.items() if dept_ids & set(user["dept_id_list"])]


async def test_where_the_scope_is_not_told_and_the_root_refused_it_says_so(sync, company):
    company.refused.add("auth/scopes")
    company.hidden.add(1)
    run = await full(sync, company)
    assert await current(sync) == set()
    assert "departments that could not be read, and stay as they were: 1: 1 (50002)" in result(run)


@pytest.mark.parametrize(
    "refusal",
    [
        QuotaSpent("spent", api="auth/scopes", errcode=90020),
        PermissionDenied("no permission", api="auth/scopes", errcode=60011),
    ],
    ids=lambda refusal: type(refusal).__name__,
)
async def test_without_the_one_call_that_counts_it_reads_what_it_saw_last_and_marks_nobody(refusal):
    company = sample(10)
    company.scope, inside = [2], seen_in(company, {2, 4, 5})
    company.hidden |= {1, 3} | company.users.keys() - set(inside)

    def refused():
        raise refusal

    async with MemoryRuntime(AddressSync(), dingtalk=company) as sync:
        await first_full(sync, company)
        company.before["auth/scopes"] = refused
        company.users[inside[1]]["name"] = "改名"
        company.hire("u900", dept_id_list=[4])
        del company.users[inside[0]]
        run = await full(sync, company)
        assert (run.changed, run.leavers) == ({"people_new": 1, "people_changed": 1}, 1)
        assert run.incomplete == "DingTalk did not return what the app may see, and did before"
        assert await current(sync) == {*inside, "u900"}
