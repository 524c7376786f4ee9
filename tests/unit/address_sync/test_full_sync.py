"""A full sync: from nothing, over what no event told, and as a dry run; what it makes of the tables."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.sync.full_sync import FullSync
from dingbridge.consumers.address_sync.sync.runs import RunMoved, Runs
from dingbridge.consumers.address_sync.sync.tables import runs as runs_table
from dingbridge.consumers.address_sync.tables import roles, user_roles, users
from dingbridge.dingtalk.errors import PermissionDenied, Unavailable
from tests.unit.address_sync.company import CORP, Company, event, events, listed
from tests.unit.address_sync.syncing import (
    SETTINGS,
    UNPACED,
    Clock,
    change_everything,
    contents,
    differences,
    first_full,
    full,
    leave,
    left_over,
    roles_settle,
    runs_in,
)


async def test_an_empty_database_becomes_the_company(sync, company):
    run = await full(sync, company)
    assert run.state == "done"
    assert await differences(sync, company) == []
    assert (run.found, run.employees, run.incomplete) == (12, 12, None)
    assert (run.changed["people_new"], run.changed["departments_new"]) == (12, 5)
    assert await left_over(sync) == 0
    calls = company.calls
    assert calls["v2/department/listsub"] == calls["v2/department/get"] == calls["v2/user/list"] == 5
    assert calls["role/simplelist"] == 2
    assert calls["v2/user/get"] == 12  # each once, for what the listing does not tell
    assert run.calls == calls.total() - 12  # which is after the run


async def test_equal_state_writes_nothing_and_asks_for_nobody(sync, company):
    await first_full(sync, company)
    before = await contents(sync)
    asked = company.calls["v2/user/get"]
    run = await full(sync, company)
    assert run.changed == {}
    assert await contents(sync) == before
    assert company.calls["v2/user/get"] == asked


async def test_it_finds_and_repairs_what_no_event_told_and_who_came_back(sync, company):
    await first_full(sync, company)
    back = company.users["u007"]
    await change_everything(company)
    run = await full(sync, company)
    assert await differences(sync, company) == []
    assert run.changed["people_gone"] == run.changed["people_new"] == 1
    assert run.changed["departments_gone"] == run.changed["departments_new"] == 1
    company.users["u007"] = back
    run = await full(sync, company)
    assert run.changed["people_back"] == 1
    assert await differences(sync, company) == []


async def test_a_role_that_is_gone_is_nobodys(sync, company):
    await first_full(sync, company)
    await roles_settle(sync)
    del company.roles[7]
    for user in company.users.values():
        user["role_list"] = [role for role in user["role_list"] if role["id"] != 7]
    for _ in range(2):  # two lists in a row lack it
        await full(sync, company)
    (gone,) = await sync.rows(select(roles).where(roles.c.role_id == 7))
    assert gone.deleted_at is not None
    assert await differences(sync, company) == []


@pytest.mark.parametrize("cut", ["role_groups", "role_users", "refused"])
async def test_a_list_of_roles_that_is_cut_short_or_refused_takes_a_role_from_nobody(
    sync, company, cut, monkeypatch
):
    await first_full(sync, company)
    await roles_settle(sync)
    before, whole, calls = await sync.rows(select(user_roles)), company.role_groups, []

    async def no_groups():
        calls.append(cut)
        return [] if len(calls) == 1 else await whole()

    async def no_members(role_id):
        for nobody in ():
            yield nobody

    if cut == "refused":
        company.refused.add("role/list")
    else:
        monkeypatch.setattr(company, cut, no_groups if cut == "role_groups" else no_members)
    run = await full(sync, company)
    assert run.state == "done"
    assert await sync.rows(select(user_roles)) == before
    assert [row.deleted_at for row in await sync.rows(select(roles))] == [None, None]


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
    await first_full(sync, company)
    before = await contents(sync)
    await change_everything(company)
    run = await full(sync, company, cause="dry_run")
    assert run.state == "dry_run"
    assert await contents(sync) == before
    assert await left_over(sync) == 0
    assert run.changed["people_new"] == run.changed["people_gone"] == 1
    assert run.changed["departments_new"] == run.changed["departments_gone"] == 1
    assert run.changed["people_changed"] >= 5
    assert company.calls["v2/user/get"] == 0


async def test_a_dry_run_says_that_the_real_one_would_stop(large):
    sync, company = large
    await leave(company, 20)
    run = await full(sync, company, cause="dry_run")
    assert run.state == "dry_run"
    assert "--confirm-leavers 20" in run.words
    assert run.changed["people_gone"] == 20


def test_settings_that_make_no_sense_are_refused():
    for name, value in (("max_leavers", "many"), ("max_leavers", "101%")):
        with pytest.raises(ValueError, match="must be"):
            AddressSyncSettings(**{name: value})
    assert SETTINGS.max_leavers == "5%"


# -- A full sync that is interrupted, or has events come beside it: it goes on, and overwrites nothing newer


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


async def test_half_a_page_or_a_lost_permission_marks_nobody(sync, company):
    await first_full(sync, company)
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
    with pytest.raises(Unavailable):
        await full(sync, company)
    del company.department_users
    company.refused.add("v2/user/list")
    with pytest.raises(PermissionDenied):
        await full(sync, company)
    assert await contents(sync) == before
    company.refused.clear()
    await full(sync, company)
    assert await differences(sync, company) == []


async def test_a_process_that_was_frozen_writes_nothing_more_to_a_run_that_ended(sync, company):
    runs = Runs(sync.database, CORP)
    frozen = FullSync(runs, await runs.begin("command"), company, SETTINGS, UNPACED)
    assert not await frozen.work(for_s=0)
    done = await full(sync, company)
    with pytest.raises(RunMoved):
        await frozen.work()
    [ended] = await runs_in(sync, "done")
    assert (ended.run_id, ended.calls) == (done.run_id, done.calls)
    assert await left_over(sync) == 0


async def test_what_nobody_finished_is_given_up_when_another_begins(sync, company):
    runs = Runs(sync.database, CORP)
    first = await runs.begin("order", "o1")
    await FullSync(runs, first, company, SETTINGS, UNPACED).work(for_s=0)
    by_hand = await runs.begin("command")
    assert (await runs.unfinished("order")).run_id == "o1"  # another's that is young is left alone
    await runs.begin("order", "o2")
    assert [run.run_id for run in await runs_in(sync, "superseded")] == ["o1"]
    async with sync.database.transaction() as tx:
        await tx.execute(update(runs_table).values(began_at=by_hand.began_at - timedelta(days=2)))
    await runs.begin("dry_run")
    assert {run.run_id for run in await runs_in(sync, "superseded")} == {"o1", "o2", by_hand.run_id}


# -- beside events
async def test_an_event_during_the_reading_is_not_overwritten_by_what_was_read_before(sync, company):
    await first_full(sync, company)
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
    await first_full(sync, company)

    async def users_of(dept_id):
        if dept_id == 2:
            company.users["u004"]["dept_id_list"] = [1]  # 1 was listed before 2, and 3 comes after
        async for user in Company.department_users(company, dept_id):
            yield user

    company.department_users = users_of
    run = await full(sync, company)
    assert "people_gone" not in run.changed
    assert await differences(sync, company) == []


async def test_a_listing_of_roles_does_not_undo_an_event_that_came_after_it(sync, company):
    """Somebody who is in no listing is asked for by name at the end: then that answer tells his roles."""
    await first_full(sync, company)
    company.users["u003"]["dept_id_list"] = [77]  # which nobody lists
    real, counted = company.user_count, 0

    async def user_count(only_active):
        nonlocal counted
        counted += 1
        if counted == 2:  # the last call of all, after the roles
            company.grant("u003", 8)
            assert (await sync.deliver(event("label_user_change", "u003"))).kind == "done"
        return await real(only_active)

    company.user_count = user_count
    await full(sync, company)
    assert counted == 2
    assert await differences(sync, company) == []


async def test_a_listing_that_is_older_than_an_event_changes_nothing(sync, company):
    """Reads of one person and listings lag each for themselves: the event's look was right, the listing, made
    after it, is not."""
    await first_full(sync, company)
    old = [dict(user) for user in company.users.values()]
    company.users["u003"]["name"] = "新名"
    del company.users["u008"]
    left_at = (event("user_leave_org", "u008")).time
    for one in (*events("user_modify_org", "u003"), *events("user_leave_org", "u008")):
        assert (await sync.deliver(one)).kind == "done"
    before = await contents(sync)

    async def lagging(dept_id):
        for user in old:
            if dept_id in user["dept_id_list"]:
                yield listed(user, dept_id)

    company.department_users = lagging
    await full(sync, company)
    assert await contents(sync) == before
    [(told,)] = await sync.rows(select(users.c.left_at).where(users.c.userid == "u008"))
    assert told == left_at


async def test_who_was_hired_a_moment_ago_is_not_marked_by_reads_that_lag(sync, company):
    await first_full(sync, company)
    company.hire("u901", dept_id_list=[5])
    assert (await sync.deliver(event("user_add_org", "u901"))).kind == "done"
    hired = {"u901": company.users.pop("u901")}  # as other replicas still have it

    class Later(Clock):
        async def sleep(self, seconds):
            await super().sleep(seconds)
            if self.ahead > 30:
                company.users.update(hired)

    run = await full(sync, company, clock=Later())
    assert run.changed == {}
    assert await differences(sync, company) == []


async def test_it_says_once_that_the_company_was_read_and_how_large_it_is(sync, company):
    with capture_logs() as logs:
        await full(sync, company)
    [line] = [log for log in logs if log["event"] == "address_sync.company_read"]
    sizes = (line["people"], line["departments"], line["roles"])
    assert sizes == (len(company.users), len(company.departments), len(company.roles))
    assert line["seconds"] >= 0
    with capture_logs() as logs:
        await full(sync, company, cause="dry_run")
    assert "address_sync.company_read" not in [log["event"] for log in logs]
