"""A part of the company, chosen by departments: who is outside is not stored, or is marked and no leaver."""

import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.tables import departments, entities, users
from dingbridge.errors import SettingsError
from dingbridge.mirror.chosen import Chosen
from dingbridge.mirror.dry_run import dry_run
from dingbridge.testing import MemoryRuntime
from tests.support.sizes import sized
from tests.unit.address_sync.company import CORP, event
from tests.unit.address_sync.late import Clock
from tests.unit.address_sync.syncing import contents, full, passes, sample

PARTS = [((2,), ()), ((), (4,)), ((1, 5), (4,)), ((2,), (4,)), ((5,), ())]


def part(included, excluded):
    return Chosen(frozenset(included), frozenset(excluded))


def choose(sync, chosen):
    """As a start with other settings."""
    sync.consumer.chosen = sync.consumer.engine.full_sync.chosen = chosen
    sync.consumer.engine.kinds["department"]._tree.chosen = chosen
    sync.consumer.engine.kinds["user"]._tree.chosen = chosen


def wanted(company, chosen):
    """The departments and people of the part, from the lists and the company's whole tree."""

    def inside(dept_id):
        while dept_id not in chosen.included | chosen.excluded and dept_id != 1:
            dept_id = company.departments[dept_id]["parent_id"]
        return dept_id in chosen.included or (not chosen.included and dept_id not in chosen.excluded)

    tree = {dept_id for dept_id in company.departments if inside(dept_id)}
    return tree, {userid for userid, user in company.users.items() if tree & set(user["dept_id_list"])}


async def kept(sync):
    """The departments and people that are there, and not marked."""
    tree = select(departments.c.dept_id).where(
        departments.c.deleted_at.is_(None), departments.c.out_of_scope_at.is_(None)
    )
    people = select(users.c.userid).where(users.c.left_at.is_(None), users.c.out_of_scope_at.is_(None))
    return {row[0] for row in await sync.rows(tree)}, {row[0] for row in await sync.rows(people)}


@pytest.mark.parametrize(("included", "excluded"), PARTS)
async def test_a_full_sync_reads_and_stores_the_part_alone(sync, company, included, excluded):
    choose(sync, part(included, excluded))
    tree, people = wanted(company, part(included, excluded))
    await full(sync, company)
    assert await kept(sync) == (tree, people)
    assert {row.userid for row in await sync.rows(select(users.c.userid))} == people
    assert {row.dept_id for row in await sync.rows(select(departments.c.dept_id))} == tree
    assert company.calls["v2/user/list"] == len(tree)
    assert company.calls["v2/user/get"] == len(people)
    assert company.calls["v2/department/get"] <= len(company.departments)
    assert [one async for one in dry_run(sync.consumer.engine, sync.database, company, CORP)] == []


async def test_events_about_excluded_departments_and_their_people_store_nothing(sync, company):
    choose(sync, part((), (4,)))
    await full(sync, company)
    before = await contents(sync)
    company.calls.clear()
    company.department_of(6, "新部门", 5)
    company.hire("u900", dept_id_list=[6])
    await sync.deliver(event("user_add_org", "u900"))
    await sync.deliver(event("org_dept_modify", 4))
    await passes(sync, 7200)
    assert await contents(sync) == before
    assert company.calls["v2/department/get"] == 1  # of 6, which was not known
    company.calls.clear()
    company.hire("u901", dept_id_list=[6])
    await sync.deliver(event("user_add_org", "u901"))
    await passes(sync, 600)
    assert company.calls == {"v2/user/get": 1}
    assert await contents(sync) == before


async def test_who_moves_out_is_marked_as_last_known_and_who_comes_back_is_not(sync, company):
    choose(sync, part((2,), ()))
    await full(sync, company)
    moved = next(userid for userid, user in company.users.items() if user["dept_id_list"] == [4])
    company.users[moved] |= {"dept_id_list": [3], "mobile": "19999999999"}
    await sync.deliver(event("user_modify_org", moved))
    await passes(sync, 7200)
    [row] = await sync.rows(select(users).where(users.c.userid == moved))
    assert row.out_of_scope_at is not None
    assert (row.left_at, row.mobile != "19999999999") == (None, True)
    company.users[moved]["dept_id_list"] = [2]
    await full(sync, company)
    [row] = await sync.rows(select(users).where(users.c.userid == moved))
    assert (row.out_of_scope_at, row.left_at, row.mobile) == (None, None, "19999999999")


async def test_a_wrong_setting_removes_nothing_and_the_right_one_mends_it(sync, company):
    await full(sync, company)
    before = await contents(sync)
    choose(sync, part((99,), ()))
    differing = [one async for one in dry_run(sync.consumer.engine, sync.database, company, CORP)]
    assert {one.fields for one in differing} == {("out_of_scope_at",)}
    assert len(differing) == len(company.users) + len(company.departments)
    await full(sync, company)
    assert await kept(sync) == (set(), set())
    assert "12 outside of the chosen" in (await sync.consumer.show(sync.database.reader()))[0][0]
    for name, rows in (await contents(sync)).items():
        assert len(rows) == len(before[name])
    choose(sync, Chosen())
    await full(sync, company)
    for name, rows in (await contents(sync)).items():  # all but updated_at, which is last
        assert [row[:-1] for row in rows] == [row[:-1] for row in before[name]]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("moves"), st.sampled_from((2, 3, 4, 5)), st.sampled_from((1, 2, 3, 4, 5))),
        st.tuples(
            st.just("works"),
            st.sampled_from(("u000", "u001", "u002", "u003", "new")),
            st.lists(st.sampled_from((1, 2, 3, 4, 5)), min_size=1, max_size=2, unique=True),
        ),
        st.tuples(st.just("chosen"), st.sampled_from(PARTS), st.none()),
    ),
    max_size=8,
)


def happens(company, at_ms, what, which, where):
    """Change the company; returns its event, or None where nothing has changed."""
    if what == "works":
        if which not in company.users:
            company.hire(which, dept_id_list=where)
            return event("user_add_org", which, at_ms=at_ms)
        company.users[which]["dept_id_list"] = where
        return event("user_modify_org", which, at_ms=at_ms)
    above = where
    while above != 1 and above != which:
        above = company.departments[above]["parent_id"]
    if above == which:
        return None
    company.departments[which]["parent_id"] = where
    return event("org_dept_modify", which, at_ms=at_ms)


async def live(chosen, steps):
    company = sample(6)
    async with MemoryRuntime(AddressSync(), dingtalk=company) as sync:
        sync.consumer.clock = Clock()
        choose(sync, part(*chosen))
        await full(sync, company)
        for number, (what, which, where) in enumerate(steps):
            if what == "chosen":
                choose(sync, part(*which))
                await full(sync, company)
            elif (one := happens(company, 1731000000000 + number, what, which, where)) is not None:
                await sync.deliver(one)
                await passes(sync, 7200)
            assert await kept(sync) == wanted(company, sync.consumer.chosen), (what, which, where)
        reads = entities.c.kind != "company"
        assert not await sync.rows(select(entities).where(reads, entities.c.due_ms.is_not(None)))


@settings(max_examples=sized(15, 500, quick=6), deadline=None)
@given(st.sampled_from(PARTS), STEPS)
@example(((2,), ()), [("moves", 4, 3), ("works", "new", [5]), ("moves", 4, 2)])
def test_whatever_moves_the_tables_have_the_part_within_the_delays_and_without_a_full_sync(chosen, steps):
    asyncio.run(live(chosen, steps))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"departments_include": "2,x"}, "DEPARTMENTS_INCLUDE: must be a valid integer"),
        ({"departments_include": "2,4", "departments_exclude": "4"}, "both name 4"),
        ({"departments_exclude": "1"}, "1 is the whole company"),
        ({"user_fields": "name,mobil"}, "'mobil' is none of unionid"),
        ({"extension_columns": "工号2=badge,编号=badge"}, "each column once"),
        ({"extension_columns": "badge"}, "must be key=column"),
        ({"extension_columns": "手机=mobile"}, "users has a column mobile"),
    ],
)
def test_settings_that_contradict_each_other_or_name_nothing_are_refused(values, says):
    with pytest.raises(SettingsError, match=says):
        AddressSyncSettings.load(**values)
