"""A full sync that is interrupted, or has events come beside it: it goes on, and overwrites nothing newer."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from consumers.address_sync import runs as runs_module
from consumers.address_sync.runs import Runs, RunTaken
from consumers.address_sync.sync_tables import runs as runs_table
from dingbridge.dingtalk.errors import BudgetSpent, PermissionDenied, Unavailable
from tests.unit.address_sync.company import CORP, Company, event, events
from tests.unit.address_sync.syncing import contents, differences, full, left_over


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


async def test_a_step_that_takes_long_is_not_taken_by_another_process(sync, company, monkeypatch):
    monkeypatch.setattr(runs_module, "PROLONG_EVERY_S", 0.001, raising=False)
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def slow(dept_id):
        under_way.set()
        await go_on.wait()
        async for user in Company.department_users(company, dept_id):
            yield user

    company.department_users = slow
    async with asyncio.timeout(60):
        syncing = asyncio.create_task(full(sync, company))
        await under_way.wait()
        other = Runs(sync.database, CORP)
        for _ in range(3):  # each time all of its hold has passed, and it is heard of again
            past = update(runs_table).values(held_until=datetime.now(UTC) - timedelta(seconds=1))
            async with sync.database.transaction() as tx:
                await tx.execute(past)
            while (await other.under_way()).held_until < datetime.now(UTC):  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0.001)
            assert await other.go_on() is None
        go_on.set()
        run = await syncing
    assert run.state == "done"
    assert await differences(sync, company) == []
    assert company.calls["v2/user/list"] == 5


async def test_who_ended_or_was_interrupted_holds_nothing(sync, company, monkeypatch):
    monkeypatch.setattr(runs_module, "PROLONG_EVERY_S", 0.001)
    company.before["v2/user/list"] = unavailable
    with pytest.raises(Unavailable):
        await full(sync, company)
    company.before.clear()
    await asyncio.sleep(0.01)
    other = Runs(sync.database, CORP)
    taken = await other.go_on()
    assert taken is not None
    mine = await other.under_way()
    await asyncio.sleep(0.01)
    assert (await other.under_way()).held_until == mine.held_until


def unavailable():
    raise Unavailable("no answer", api="v2/user/list")
