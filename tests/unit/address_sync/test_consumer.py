"""address-sync in memory: what each event makes of the tables."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from sqlalchemy import select

from dingbridge.consumers.address_sync.tables import (
    departments,
    entities,
    memberships,
    roles,
    user_roles,
    users,
)
from tests.unit.address_sync.company import CORP, Company, events
from tests.unit.address_sync.syncing import full, passes

T = 1731000000000


@pytest.fixture
def company():
    return Company()


async def deliver(sync, *args, **kwargs):
    for one in events(*args, **kwargs):
        outcome = await sync.deliver(one)
        assert outcome.kind == "done", outcome
        await sync.consumer.look_due()


async def one(sync, table, **key):
    found = await sync.rows(select(table).where(*(table.c[name] == value for name, value in key.items())))
    assert len(found) <= 1
    return found[0] if found else None


async def role_names(sync, userid):
    same = (roles.c.corp_id == user_roles.c.corp_id) & (roles.c.role_id == user_roles.c.role_id)
    names = select(roles.c.name).select_from(user_roles.join(roles, same))
    return [row.name for row in await sync.rows(names.where(user_roles.c.userid == userid))]


async def dept_ids(sync, userid):
    found = await sync.rows(select(memberships.c.dept_id).where(memberships.c.userid == userid))
    return sorted(row.dept_id for row in found)


async def test_a_person_has_one_company_whatever_the_events_name(sync, company, monkeypatch):
    """A push with an empty corpId was captured; whoever writes to Kafka may name any company."""
    monkeypatch.setattr(sync.consumer.settings, "dingtalk_corp_id", CORP)
    company.hire("u1")
    for at, named in enumerate((CORP, "", "dingother")):
        await deliver(sync, "user_modify_org", "u1", at_ms=T + at, CorpId=named)
    assert [row.corp_id for row in await sync.rows(select(users.c.corp_id))] == [CORP]
    assert {row.corp_id for row in await sync.rows(select(entities.c.corp_id))} == {CORP}


async def test_several_users_of_one_event_are_several_rows(sync, company):
    company.hire("u1")
    company.hire("u2")
    await deliver(sync, "user_add_org", "u1", "u2")
    assert len(await sync.rows(select(users))) == 2


async def test_an_unseen_department_list_leaves_memberships(sync, company):
    company.hire("u1")
    await deliver(sync, "user_add_org", "u1")
    company.hire("u1", dept_id_list=..., name="新名")
    await deliver(sync, "user_modify_org", "u1", at_ms=T)
    assert await dept_ids(sync, "u1") == [1]
    assert (await one(sync, users, userid="u1")).name == "新名"


async def test_equal_state_writes_nothing(sync, company):
    company.roles[7] = "财务"
    company.hire("u1")
    company.grant("u1", 7)
    await deliver(sync, "user_add_org", "u1")
    before = await sync.rows(select(users))
    await deliver(sync, "user_modify_org", "u1")
    await deliver(sync, "user_active_org", "u1")
    assert await sync.rows(select(users)) == before


async def test_who_comes_back_is_no_leaver(sync, company):
    company.hire("u1")
    await deliver(sync, "user_add_org", "u1")
    back = company.users.pop("u1")
    await deliver(sync, "user_leave_org", "u1")
    company.users["u1"] = back
    await deliver(sync, "user_add_org", "u1", at_ms=T + 1000)
    row = await one(sync, users, userid="u1")
    assert (row.left_at, row.active) == (None, True)
    assert (row.rehired_at is not None, row.reassigned_at) == (True, None)
    assert await dept_ids(sync, "u1") == [1]


async def test_a_leavers_userid_that_another_person_has_is_reassigned_and_not_rehired(sync, company):
    company.hire("u1", unionid="first", mobile="10000000001")
    await deliver(sync, "user_add_org", "u1")
    del company.users["u1"]
    await deliver(sync, "user_leave_org", "u1")
    company.hire("u1", unionid="second", mobile=...)
    await deliver(sync, "user_add_org", "u1", at_ms=T + 1000)
    row = await one(sync, users, userid="u1")
    assert (row.unionid, row.previous_unionid, row.mobile) == ("second", "first", None)
    assert (row.reassigned_at is not None, row.rehired_at, row.left_at) == (True, None, None)
    back = company.users.pop("u1")
    await deliver(sync, "user_leave_org", "u1", at_ms=T + 2000)
    company.users["u1"] = back
    await deliver(sync, "user_add_org", "u1", at_ms=T + 3000)
    now = await one(sync, users, userid="u1")
    assert now.rehired_at is not None
    assert (now.reassigned_at, now.previous_unionid) == (row.reassigned_at, "first")


async def test_who_reports_to_a_leaver_is_read(sync, company):
    """Of a new manager no event need tell, and the last of their own was a moment ago."""
    company.hire("u1")
    company.hire("u2", manager_userid="u1")
    await deliver(sync, "user_add_org", "u1", "u2")
    await passes(sync, 100)
    del company.users["u1"]
    company.users["u2"]["manager_userid"] = "u3"
    await deliver(sync, "user_leave_org", "u1")
    await passes(sync, 1)
    assert (await one(sync, users, userid="u2")).manager_userid == "u3"


async def test_an_event_that_names_nobody_reads_nothing(sync, company):
    """The bridge asks for a full sync beside it."""
    await deliver(sync, "user_modify_org")
    await deliver(sync, "org_dept_modify")
    assert company.calls.total() == 0


async def test_leaving_twice_unseen_in_between_ends_at_the_second_time(sync, company):
    company.hire("u1")
    await deliver(sync, "user_add_org", "u1")
    del company.users["u1"]
    for kind, at_ms in [("user_leave_org", T), ("user_add_org", T + 1000), ("user_leave_org", T + 2000)]:
        await deliver(sync, kind, "u1", at_ms=at_ms)
    first = datetime(2024, 11, 7, 17, 20, tzinfo=UTC)
    assert (await one(sync, users, userid="u1")).left_at == first + timedelta(seconds=2)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
async def test_the_time_of_leaving_is_what_the_event_said_in_whatever_order_they_come(sync, company, order):
    company.hire("u1")
    await deliver(sync, "user_add_org", "u1")
    del company.users["u1"]
    told = [("user_leave_org", T + 1000), ("user_modify_org", T + 5000), ("user_leave_org", T - 9000)]
    for number in order:
        kind, at_ms = told[number]
        await deliver(sync, kind, "u1", at_ms=at_ms)
    row = await one(sync, users, userid="u1")
    assert (row.left_at, row.left_reported) == (datetime(2024, 11, 7, 17, 20, 1, tzinfo=UTC), True)


async def test_the_event_of_leaving_corrects_what_a_full_sync_noticed(sync, company):
    company.hire("u1")
    await deliver(sync, "user_add_org", "u1")
    back = company.users.pop("u1")
    await full(sync, company)
    noticed = await one(sync, users, userid="u1")
    assert noticed.left_at > datetime(2025, 1, 1, tzinfo=UTC)
    assert noticed.left_reported is False
    await deliver(sync, "user_leave_org", "u1", at_ms=T)
    told = await one(sync, users, userid="u1")
    assert (told.left_at, told.left_reported) == (datetime(2024, 11, 7, 17, 20, tzinfo=UTC), True)
    await full(sync, company)
    assert await one(sync, users, userid="u1") == told
    company.users["u1"] = back
    await deliver(sync, "user_add_org", "u1", at_ms=T + 1)
    here = await one(sync, users, userid="u1")
    assert (here.left_at, here.left_reported) == (None, None)


async def test_an_event_about_somebody_long_gone_is_done_without_a_row(sync):
    await deliver(sync, "user_modify_org", "ghost")
    await deliver(sync, "user_leave_org", "ghost")
    assert await sync.rows(select(users)) == []


async def test_who_is_outside_of_the_scope_is_left_as_it_is(sync, company):
    company.hire("u1")
    await deliver(sync, "user_add_org", "u1")
    before = await one(sync, users, userid="u1")
    company.hidden.add("u1")
    await deliver(sync, "user_modify_org", "u1")
    assert await one(sync, users, userid="u1") == before


async def test_departments_are_written_renamed_and_marked(sync, company):
    company.department_of(2, "研发部")
    await deliver(sync, "org_dept_create", 2)
    assert (await one(sync, departments, dept_id=2)).name == "研发部"
    company.department_of(2, "研究院")
    await deliver(sync, "org_dept_modify", 2)
    assert (await one(sync, departments, dept_id=2)).name == "研究院"
    del company.departments[2]
    await deliver(sync, "org_dept_remove", 2, at_ms=T)
    row = await one(sync, departments, dept_id=2)
    assert (row.name, row.deleted_at) == ("研究院", datetime(2024, 11, 7, 17, 20, tzinfo=UTC))
    await deliver(sync, "org_dept_remove", 2, at_ms=T + 1)
    assert await one(sync, departments, dept_id=2) == row


async def test_a_removed_department_that_was_never_seen_is_done(sync):
    await deliver(sync, "org_dept_remove", 99)
    assert await sync.rows(select(departments)) == []


async def test_unknown_departments_of_a_user_are_fetched_once_with_their_ancestors(sync, company):
    company.department_of(2, "研发部")
    company.department_of(3, "后端组", parent=2)
    company.hire("u1", dept_id_list=[3, 77])
    company.hire("u2", dept_id_list=[3, 77])
    company.hidden.add(77)
    await deliver(sync, "user_add_org", "u1", "u2")
    names = {row.dept_id: row.name for row in await sync.rows(select(departments))}
    assert names == {1: "示例公司", 2: "研发部", 3: "后端组"}
    assert company.calls["v2/department/get"] == 4


async def test_enterprises_in_one_database_do_not_mix(sync, company, monkeypatch):
    monkeypatch.setattr(sync.consumer.settings, "dingtalk_corp_id", None)
    company.hire("u1")
    await deliver(sync, "user_add_org", "u1")
    await deliver(sync, "user_add_org", "u1", CorpId="dingcorp02")
    assert {row.corp_id for row in await sync.rows(select(users))} == {CORP, "dingcorp02"}


async def test_show_lists_employees_with_their_departments(sync, company):
    company.department_of(2, "研发部")
    company.hire("u1", dept_id_list=[1, 2])
    company.hire("u2")
    await deliver(sync, "user_add_org", "u1", "u2")
    del company.users["u2"]
    await deliver(sync, "user_leave_org", "u2")
    (title, columns, rows), (dept_title, _, dept_rows) = await sync.consumer.show(sync.database.reader())
    assert title == "employees: 1, and 1 who left; the latest 2, by hiring and by change"
    assert dict(zip(columns, rows[0], strict=True))["departments"] == "示例公司、研发部"
    assert dept_title == "departments: 2, and 0 deleted; the latest 2"
    assert {row[1]: row[3] for row in dept_rows} == {"示例公司": 1, "研发部": 1}


async def test_show_has_who_was_just_hired_though_all_details_came_later(sync, company):
    day_ms = 86_400_000
    for number in range(12):
        company.hire(f"old{number:02}", hired_date=1_500_000_000_000 + number * day_ms)
    company.hire("a-new-one", hired_date=1_700_000_000_000)
    await deliver(sync, "user_add_org", "a-new-one")
    await full(sync, company)
    edited = company.users["old03"]
    edited["title"] = "董事长"
    await deliver(sync, "user_modify_org", "old03")
    (_, _, rows), *_ = await sync.consumer.show(sync.database.reader())
    shown = [row[0] for row in rows]
    assert len(shown) == 10
    assert shown[0] == "a-new-one"
    assert "old03" in shown
