"""One person, department or role that DingTalk refuses, or never answers, does not hold up a full sync; a
call that works for nobody does."""

import pytest
import structlog
from sqlalchemy import select

from dingbridge.consumers.address_sync.schedule import Schedule
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.sync.full_sync import result
from dingbridge.consumers.address_sync.sync.runs import Runs
from dingbridge.consumers.address_sync.sync.tables import todo
from dingbridge.consumers.address_sync.sync.worklist import GIVEN_UP_AFTER_S
from dingbridge.consumers.address_sync.tables import user_roles
from dingbridge.dingtalk.errors import Unavailable
from tests.unit.address_sync.company import CORP, Company
from tests.unit.address_sync.syncing import (
    Clock,
    change_everything,
    contents,
    current,
    differences,
    first_full,
    full,
    left_over,
)


def broken(company, call, *ids):
    """``call`` answers 502 for these ids, and for ``None`` for all."""
    real = getattr(Company, call)

    def check(an_id):
        company.calls[f"{call} {an_id}"] += 1
        if None in ids or an_id in ids:
            raise Unavailable("DingTalk answers 502", api=call)

    async def one(an_id):
        check(an_id)
        return await real(company, an_id)

    async def listing(an_id):
        if None in ids:
            check(an_id)
        async for item in real(company, an_id):
            yield item
        check(an_id)  # a later page

    setattr(company, call, listing if call in ("department_users", "role_users") else one)


async def test_it_ends_beside_one_that_is_never_answered(sync, company):
    """One of each call at once, which is one of each for that call."""
    never = {"sub_departments": 10, "department": 9, "department_users": 4, "role_users": 7}
    await first_full(sync, company)
    await change_everything(company)
    company.department_of(10, "另一个", 2)
    for call, an_id in never.items():
        broken(company, call, an_id)
    run = await full(sync, company)
    assert run.state == "done"
    assert {kind: unread["ids"] for kind, unread in run.unread.items()} == {
        "departments": dict.fromkeys(("4", "9", "10"), "Unavailable"),
        "roles": {"7": "Unavailable"},
    }
    assert "u007" not in await current(sync)
    wrong = await differences(sync, company)
    assert all(any(f"{an_id}" in found for an_id in never.values()) for found in wrong), wrong
    assert all(company.calls[f"{call} {an_id}"] < 20 for call, an_id in never.items())
    assert await left_over(sync) == 0


async def test_people_who_are_never_answered_stay_and_are_named(sync, company):
    await first_full(sync, company)
    company.hidden.add(4)  # so that its members are asked for by name
    members = {u for u, user in company.users.items() if user["dept_id_list"] == [4]}
    left = members.pop()
    del company.users[left]
    broken(company, "user", *members)
    with structlog.testing.capture_logs() as logs:
        run = await full(sync, company)
    assert run.unread["people"] == {"count": len(members), "ids": dict.fromkeys(members, "Unavailable")}
    assert await current(sync) == set(company.users)
    said = [log for log in logs if log["event"] == "address_sync.not_read"]
    assert [(log["kind"], log["count"]) for log in said] == [("people", len(members)), ("departments", 1)]
    words = f"people that could not be read, and stay as they were: {len(members)}: "
    assert [line for line in result(run) if line.startswith(words)]


async def test_an_entity_that_answers_again_is_not_given_up(sync, company):
    await first_full(sync, company)
    company.departments[4]["name"] = "改名"
    real, failures = Company.department_users, iter(range(4))

    async def department_users(dept_id):
        if dept_id == 4 and next(failures, None) is not None:
            raise Unavailable("DingTalk answers 502", api="v2/user/list")
        async for user in real(company, dept_id):
            yield user

    company.department_users = department_users
    run = await full(sync, company)
    assert next(failures, None) is None
    assert (run.state, run.unread) == ("done", {})
    assert await differences(sync, company) == []


async def test_a_call_that_works_for_nobody_is_waited_for(sync, company):
    await first_full(sync, company)
    before = await contents(sync)
    await change_everything(company)
    broken(company, "department", None)
    clock = Clock()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await full(sync, company, clock=clock)
        await clock.sleep(2 * GIVEN_UP_AFTER_S)
    assert await contents(sync) == before
    del company.department
    run = await full(sync, company)
    assert (run.state, run.unread) == ("done", {})
    assert await differences(sync, company) == []


async def test_who_has_a_role_that_could_not_be_read_keeps_it(sync, company):
    await first_full(sync, company)
    before = await sync.rows(select(user_roles).where(user_roles.c.role_id == 7).order_by("userid"))
    assert before
    broken(company, "role_users", 7)
    for user in company.users.values():
        user["title"] = "经理"  # all are written
    await full(sync, company)
    now = await sync.rows(select(user_roles).where(user_roles.c.role_id == 7).order_by("userid"))
    assert now == before


async def test_a_department_of_no_other_call_is_left_out(sync, company):
    """Family-school contacts: listings name a department -1."""
    company.departments[-1] = {"dept_id": -1, "name": "家校通讯录", "parent_id": 1}
    run = await full(sync, company)
    assert (run.state, run.unread) == ("done", {})
    assert company.calls["v2/department/get"] == 5


async def test_the_last_runs_end_is_in_show_and_metrics(sync, company):
    await first_full(sync, company)
    company.hidden |= {4}
    await full(sync, company)
    titles = {title: rows for title, _, rows in await sync.consumer.show(sync.database.reader())}
    (title,) = [title for title in titles if "not read" in title]
    assert [(row[0], row[1], row[2]) for row in titles[title]] == [("departments", "4", "50002")]
    settings, consumer = AddressSyncSettings(), sync.consumer
    order, on_synced = consumer._order_sync, consumer._show_synced
    await Schedule(sync.database, settings, CORP, order, on_synced=on_synced).look()
    counted = {
        kind: consumer.metrics.not_read.labels(kind)._value.get() for kind in ("people", "departments")
    }
    assert counted == {"people": 0, "departments": 1}
    company.hidden.clear()
    await full(sync, company)
    assert not [t for t, _, _ in await consumer.show(sync.database.reader()) if "not read" in t]


async def test_what_failed_waits_while_the_rest_goes_on(sync, company):
    """The entry that is tried changes, also over a crash."""
    await first_full(sync, company)
    runs = Runs(sync.database, CORP)
    company.departments[4]["name"] = "改名"
    broken(company, "department_users", None)
    with pytest.raises(Unavailable):
        await full(sync, company)
    failed = await sync.rows(select(todo.c.entity_id).where(todo.c.failed_ms.is_not(None)))
    assert len(failed) == 3
    run = await runs.unfinished("command")
    assert run is not None
    del company.department_users
    assert (await full(sync, company)).run_id == run.run_id
    assert await differences(sync, company) == []
