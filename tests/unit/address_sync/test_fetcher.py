"""Looks: how many an event costs, and what each brings along."""

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from consumers.address_sync import AddressSync
from consumers.address_sync.fetcher import is_hidden
from consumers.address_sync.tables import departments, roles, user_roles, users
from dingbridge import Context
from dingbridge.dingtalk.error_codes import error_for
from dingbridge.worker.context import next_fetch_sequence
from tests.unit.address_sync.company import Company, event, events

T = 1731000000000


@pytest.fixture
def company():
    return Company()


async def deliver(sync, an_event, **kwargs):
    outcome = await sync.deliver(an_event, **kwargs)
    assert outcome.kind == "done", outcome


async def test_fifty_events_that_came_within_a_moment_cost_one_call(sync, company):
    company.hire("u1")
    came = [(event("user_modify_org", "u1", at_ms=T + number), next_fetch_sequence()) for number in range(50)]
    for an_event, arrived in came:
        await deliver(sync, an_event, fetch_sequence=arrived)
    assert company.calls["v2/user/get"] == 1


async def test_what_came_after_the_fetch_began_is_looked_at(sync, company):
    company.hire("u1", name="旧")
    before = next_fetch_sequence()
    await deliver(sync, event("user_modify_org", "u1", at_ms=T), fetch_sequence=before)
    company.hire("u1", name="新")
    after = next_fetch_sequence()
    await deliver(sync, event("user_modify_org", "u1", at_ms=T + 1), fetch_sequence=before)
    assert company.calls["v2/user/get"] == 1
    await deliver(sync, event("user_modify_org", "u1", at_ms=T + 2), fetch_sequence=after)
    assert company.calls["v2/user/get"] == 2
    assert (await sync.rows(select(users.c.name)))[0].name == "新"


async def test_an_event_that_comes_during_the_fetch_is_not_served_by_it(sync, company):
    company.hire("u1", name="旧")
    during = []

    def happens():
        if not during:
            during.append(next_fetch_sequence())

    company.before["v2/user/get"] = happens
    await deliver(sync, event("user_modify_org", "u1", at_ms=T))
    company.users["u1"]["name"] = "新"
    await deliver(sync, event("user_modify_org", "u1", at_ms=T + 1), fetch_sequence=during[0])
    assert company.calls["v2/user/get"] == 2
    assert (await sync.rows(select(users.c.name)))[0].name == "新"


async def test_a_fetch_whose_write_was_rolled_back_serves_nobody(sync, company):
    company.hire("u1", name="甲")
    came = next_fetch_sequence()
    consumer, reader = sync.consumer, sync.database.reader()
    modified = event("user_modify_org", "u1", at_ms=T)
    prepared = await consumer.prepare(modified, Context(reader, lambda: consumer.dingtalk))

    async def write_and_fail():
        async with sync.database.transaction() as tx:
            await consumer.handle(modified, tx, prepared)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write_and_fail()
    await deliver(sync, event("user_modify_org", "u1", at_ms=T + 1), fetch_sequence=came)
    assert company.calls["v2/user/get"] == 2
    assert (await sync.rows(select(users.c.name)))[0].name == "甲"


async def test_a_look_of_another_process_in_between_is_not_taken_for_ours(sync, company):
    company.hire("u1", name="甲")
    came = next_fetch_sequence()
    await deliver(sync, event("user_modify_org", "u1", at_ms=T), fetch_sequence=came)
    other = AddressSync()
    other.database, other.dingtalk, other.settings = sync.database, company, sync.consumer.settings
    other.registry = CollectorRegistry()
    await other.start()
    modified = event("user_modify_org", "u1", at_ms=T + 1)
    seen = await other.prepare(modified, Context(sync.database.reader(), lambda: company))
    async with sync.database.transaction() as tx:
        await other.handle(modified, tx, seen)
    await deliver(sync, event("user_modify_org", "u1", at_ms=T + 2), fetch_sequence=came)
    assert company.calls["v2/user/get"] == 3


async def test_leaving_told_late_still_gives_its_time_without_a_call(sync, company):
    company.hire("u1")
    await deliver(sync, event("user_add_org", "u1"))
    del company.users["u1"]
    came = next_fetch_sequence()
    await deliver(sync, event("user_modify_org", "u1", at_ms=T), fetch_sequence=came)
    (row,) = await sync.rows(select(users.c.left_at))
    await deliver(sync, event("user_leave_org", "u1", at_ms=T + 9000), fetch_sequence=came)
    (later,) = await sync.rows(select(users.c.left_at))
    assert (later.left_at - row.left_at).total_seconds() == 9
    await deliver(sync, event("user_modify_org", "u1", at_ms=T + 9001), fetch_sequence=came)
    assert company.calls["v2/user/get"] == 2


async def test_events_about_somebody_out_of_sight_cost_one_call_too(sync, company):
    company.hire("u1")
    company.hidden.add("u1")
    came = next_fetch_sequence()
    for number in range(20):
        await deliver(sync, event("user_modify_org", "u1", at_ms=T + number), fetch_sequence=came)
    assert company.calls["v2/user/get"] == 1
    assert await sync.rows(select(users)) == []


@pytest.mark.parametrize(
    ("error", "out_of_sight"),
    [
        (error_for("v2/user/get", 50002, "out of scope"), True),
        (error_for("v2/user/get", 88, "auth", "50002"), True),
        (error_for("v2/user/get", 88, "auth [subcode=50004]"), True),
        (error_for("v2/user/get", 88, "auth", "60011"), False),
        (error_for("v2/user/get", 60011, "no permission"), False),
    ],
)
def test_out_of_sight_is_told_by_either_code(error, out_of_sight):
    assert is_hidden(error) is out_of_sight


async def test_departments_below_one_that_is_gone_are_looked_at_too(sync, company):
    company.department_of(2, "研发部")
    company.department_of(3, "后端组", parent=2)
    company.department_of(4, "支付组", parent=3)
    company.department_of(5, "前端组", parent=2)
    for one in events("org_dept_create", 2, 3, 4, 5):
        await deliver(sync, one)
    del company.departments[2], company.departments[3], company.departments[4]
    company.departments[5]["parent_id"] = 1  # it was moved away before
    await deliver(sync, event("org_dept_remove", 2, at_ms=T))
    found = {row.dept_id: row for row in await sync.rows(select(departments))}
    assert {dept_id for dept_id, row in found.items() if row.deleted_at is not None} == {2, 3, 4}
    assert found[5].parent_id == 1


async def test_the_company_itself_changed(sync, company):
    await deliver(sync, event("org_dept_create", 1))
    company.departments[1]["name"] = "新名公司"
    (nameless,) = events("org_change")
    await deliver(sync, nameless)
    assert (await sync.rows(select(departments.c.name)))[0].name == "新名公司"
    assert company.calls.total() == 2


async def test_roles_are_named_renamed_and_deleted_by_their_own_events(sync, company):
    company.roles |= {7: "财务", 8: "人事"}
    company.hire("u1")
    company.grant("u1", 7, 8)
    await deliver(sync, event("user_add_org", "u1"))
    assert {row.role_id: row.name for row in await sync.rows(select(roles))} == {7: "财务", 8: "人事"}
    before = (await sync.rows(select(users)))[0]
    company.roles[8] = "人力"
    for one in events("label_conf_modify", 8):
        await deliver(sync, one)
    assert {row.role_id: row.name for row in await sync.rows(select(roles))} == {7: "财务", 8: "人力"}
    assert (await sync.rows(select(users)))[0] == before
    del company.roles[7]
    company.grant("u1", 8)
    await deliver(sync, event("label_conf_del", 7, at_ms=T))
    assert [row.role_id for row in await sync.rows(select(user_roles))] == [8]
    assert (await sync.rows(select(users)))[0].updated_at > before.updated_at
    assert company.calls["role/list"] == 3


async def test_a_look_that_saw_a_deleted_role_does_not_bring_it_back(sync, company):
    company.roles |= {7: "财务"}
    company.hire("u1")
    company.grant("u1", 7)
    consumer, reader = sync.consumer, sync.database.reader()
    await deliver(sync, event("label_conf_add", 7))
    added = event("user_add_org", "u1")
    seen = await consumer.prepare(added, Context(reader, lambda: consumer.dingtalk))
    del company.roles[7]
    company.grant("u1")
    await deliver(sync, event("label_conf_del", 7, at_ms=T))
    async with sync.database.transaction() as tx:
        await consumer.handle(added, tx, seen)
    assert await sync.rows(select(user_roles)) == []


async def test_an_app_that_may_not_list_roles_takes_their_names_from_the_user(sync, company):
    company.roles |= {7: "财务"}
    company.refused.add("role/list")
    company.hire("u1")
    company.grant("u1", 7)
    await deliver(sync, event("user_add_org", "u1"))
    (row,) = await sync.rows(select(roles))
    assert (row.role_id, row.name, row.group_name) == (7, "财务", "职务")
    assert [row.role_id for row in await sync.rows(select(user_roles))] == [7]
