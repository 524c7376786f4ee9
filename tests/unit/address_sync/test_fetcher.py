"""Looks: how many an event costs, and what each brings along."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from dingbridge import Transaction
from dingbridge.consumers.address_sync import store
from dingbridge.consumers.address_sync.tables import departments, roles, user_roles, users
from tests.unit.address_sync.company import CORP, Company, event, events
from tests.unit.address_sync.syncing import passes, roles_settle

T = 1731000000000


@pytest.fixture
def company():
    return Company()


async def deliver(sync, an_event, **kwargs):
    """The event, and what it makes due."""
    await together(sync, an_event, **kwargs)
    await sync.consumer.look_due()


async def together(sync, *came, **kwargs):
    """Events that come before anything is read."""
    for one in came:
        outcome = await sync.deliver(one, **kwargs)
        assert outcome.kind == "done", outcome


async def test_fifty_events_that_wait_cost_one_call(sync, company):
    company.hire("u1", name="新")
    await together(sync, *(event("user_modify_org", "u1", at_ms=T + number) for number in range(50)))
    await sync.consumer.look_due()
    assert company.calls["v2/user/get"] == 1
    assert (await sync.rows(select(users.c.name)))[0].name == "新"


async def test_leaving_told_before_another_event_gives_its_time(sync, company):
    company.hire("u1")
    await deliver(sync, event("user_add_org", "u1"))
    del company.users["u1"]
    left, later = event("user_leave_org", "u1", at_ms=T), event("user_modify_org", "u1", at_ms=T + 9000)
    await together(sync, left, later)
    await sync.consumer.look_due()
    (row,) = await sync.rows(select(users.c.left_at))
    assert row.left_at == left.time
    assert company.calls["v2/user/get"] == 2


async def test_somebody_out_of_sight_is_not_written(sync, company):
    company.hire("u1")
    company.hidden.add("u1")
    await deliver(sync, event("user_modify_org", "u1", at_ms=T))
    assert await sync.rows(select(users)) == []


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
    await passes(sync, 3 * 3700)  # each level is believed after an hour
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
    await roles_settle(sync)
    del company.roles[7]
    company.grant("u1", 8)
    for number in range(2):
        await deliver(sync, event("label_conf_del", 7, at_ms=T + number))
    await passes(sync, 100)
    assert [row.role_id for row in await sync.rows(select(user_roles))] == [8]
    assert (await sync.rows(select(users)))[0].updated_at > before.updated_at


async def test_a_look_that_saw_a_deleted_role_does_not_bring_it_back(sync, company):
    company.roles |= {7: "财务"}
    company.hire("u1")
    company.grant("u1", 7)
    await deliver(sync, event("label_conf_add", 7))
    await roles_settle(sync)
    real = company.user

    async def user(userid):
        seen = await real(userid)
        company.user = real
        del company.roles[7]
        company.grant("u1")
        async with sync.database.transaction() as tx:
            for number in range(2):
                at = datetime.now(UTC) + timedelta(seconds=number)
                await store.write_roles(tx, CORP, {}, at=at)
        return seen

    company.user = user
    await deliver(sync, event("user_add_org", "u1"))
    assert await sync.rows(select(user_roles)) == []


async def known_holders(sync, company):
    """Three people with the role 7, which has been there for long."""
    company.roles |= {7: "财务"}
    for userid in ("u1", "u2", "u3"):
        company.hire(userid)
        company.grant(userid, 7)
        await deliver(sync, event("user_add_org", userid))
    await roles_settle(sync)


async def roles_of_people(sync):
    return sorted(tuple(row) for row in await sync.rows(select(user_roles.c.userid, user_roles.c.role_id)))


async def test_one_list_without_a_role_takes_it_from_nobody_and_two_in_a_row_ask_who_has_it(sync, company):
    await known_holders(sync, company)
    before = await roles_of_people(sync)
    for number in range(5):  # every other list is cut short
        company.roles = {} if number % 2 == 0 else {7: "财务"}
        await deliver(sync, event("label_conf_modify", 7, at_ms=T + number))
        assert [row.deleted_at for row in await sync.rows(select(roles))] == [None]
    assert await roles_of_people(sync) == before
    del company.users["u3"]["role_list"]
    await deliver(sync, event("label_conf_modify", 7, at_ms=T + 5))
    (gone,) = await sync.rows(select(roles))
    assert gone.deleted_at is not None
    assert await roles_of_people(sync) == before
    await passes(sync, 100)
    assert await roles_of_people(sync) == [("u1", 7), ("u2", 7)]  # as their own answers have it


async def test_a_role_that_a_list_lacks_is_looked_for_in_a_second_list_without_another_event(sync, company):
    consumer, now = sync.consumer, time.time()
    consumer.clock = lambda: now
    await known_holders(sync, company)
    company.roles = {8: "人事"}  # the same list has news, too
    await deliver(sync, event("label_conf_modify", 7, at_ms=round(now * 1000)))
    now += 2
    await consumer.look_due()
    assert {row.role_id: row.deleted_at is None for row in await sync.rows(select(roles))} == {
        7: False,
        8: True,
    }


async def test_a_list_older_than_a_role_takes_it_from_nobody(sync, company):
    company.roles |= {7: "财务"}
    company.hire("u1")
    company.grant("u1", 7)
    await deliver(sync, event("user_add_org", "u1"))
    del company.roles[7]
    await deliver(sync, event("label_conf_add", 7))
    assert [row.role_id for row in await sync.rows(select(user_roles))] == [7]


async def test_an_app_that_may_not_list_roles_takes_their_names_from_the_user(sync, company):
    company.roles |= {7: "财务"}
    company.refused.add("role/list")
    company.hire("u1")
    company.grant("u1", 7)
    await deliver(sync, event("user_add_org", "u1"))
    (row,) = await sync.rows(select(roles))
    assert (row.role_id, row.name, row.group_name) == (7, "财务", "职务")
    assert [row.role_id for row in await sync.rows(select(user_roles))] == [7]


async def test_a_list_of_two_hundred_roles_is_written_in_few_statements(sync, company, monkeypatch):
    company.roles |= {number: f"角色{number}" for number in range(1, 201)}
    statements, execute = [], Transaction.execute

    async def counted(tx, statement, parameters=None):
        statements.append(statement)
        return await execute(tx, statement, parameters)

    monkeypatch.setattr(Transaction, "execute", counted)
    await deliver(sync, event("label_conf_add", 7))
    assert len(await sync.rows(select(roles))) == 200
    assert len(statements) < 15
