"""The generation guard: an older look never overwrites a newer one, in any interleaving."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dingbridge import Conflict
from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.mapping import department_row, user_state
from dingbridge.consumers.address_sync.tables import departments, memberships, users
from dingbridge.testing.memory import MemoryRuntime
from tests.support.sizes import sized
from tests.unit.address_sync.company import Company, event


class Hands:
    """Does by hand what the worker does, so that a test can choose the order."""

    def __init__(self, runtime):
        self.runtime, self.consumer = runtime, runtime.consumer

    async def look(self, an_event):
        return await self.consumer.prepare(an_event, self.runtime.context(an_event))

    async def write(self, an_event, seen):
        async with self.runtime.database.transaction(self.runtime.context(an_event)) as tx:
            await self.consumer.handle(an_event, tx, seen)

    async def name(self, userid):
        (row,) = await self.runtime.rows(select(users.c.name).where(users.c.userid == userid))
        return row.name


@pytest.fixture
def company():
    return Company()


@pytest.fixture
async def hands(company):
    async with MemoryRuntime(AddressSync(), dingtalk=company) as runtime:
        yield Hands(runtime)


async def test_a_look_that_changed_nothing_still_outdates_an_older_one(hands, company):
    modified = event("user_modify_org", "u1")
    company.hire("u1", name="甲")
    await hands.write(modified, await hands.look(modified))
    (before,) = await hands.runtime.rows(select(users))
    company.hire("u1", name="乙")
    a = await hands.look(modified)
    company.hire("u1", name="甲")
    company.users["u1"]["job_number"] = before.job_number
    company.users["u1"]["mobile"] = before.mobile
    await hands.write(modified, await hands.look(modified))
    assert await hands.runtime.rows(select(users)) == [before]
    with pytest.raises(Conflict):
        await hands.write(modified, a)
    assert await hands.name("u1") == "甲"


async def test_a_department_that_a_user_brought_along_gives_way_to_its_own_event(hands, company):
    company.department_of(2, "旧")
    company.hire("u1", dept_id_list=[2])
    added, renamed = event("user_add_org", "u1"), event("org_dept_modify", 2)
    a = await hands.look(added)
    company.department_of(2, "新")
    await hands.write(renamed, await hands.look(renamed))
    await hands.write(added, a)
    (row,) = await hands.runtime.rows(select(departments.c.name).where(departments.c.dept_id == 2))
    assert row.name == "新"
    assert await hands.name("u1") == "张u1"


USERS, DEPARTMENTS = ["u1", "u2"], [2, 3]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("user"), st.sampled_from(USERS), st.integers(0, 4)),
        st.tuples(st.just("department"), st.sampled_from(DEPARTMENTS), st.integers(0, 2)),
        st.tuples(st.just("look"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("write"), st.integers(0, 9), st.just(None)),
    ),
    max_size=40,
)


def change(company, kind, which, variant):
    """Change the company; the events that tell of it."""
    if kind == "department":
        if variant == 0:
            company.departments.pop(which, None)
            return [event("org_dept_remove", which)]
        company.department_of(which, f"部门{which}-{variant}")
        return [event("org_dept_modify", which)]
    if variant == 0:
        company.users.pop(which, None)
        return [event("user_leave_org", which)]
    company.hire(
        which, name=f"名{variant % 2}", job_number="E1", mobile="1", dept_id_list=[1, 2, 3][:variant]
    )
    return [event("user_modify_org", which)]


async def live(steps):
    company = Company()
    pending, looks = [], []
    async with MemoryRuntime(AddressSync(), dingtalk=company) as runtime:
        hands = Hands(runtime)

        async def write(number):
            an_event, seen = looks.pop(number % len(looks))
            try:
                await hands.write(an_event, seen)
            except Conflict:
                pending.append(an_event)

        for kind, which, variant in steps:
            if kind in ("user", "department"):
                pending += change(company, kind, which, variant)
            elif kind == "look" and pending:
                # a doubled event stays pending while it is looked at
                number = which % len(pending)
                an_event = pending[number] if variant else pending.pop(number)
                looks.append((an_event, await hands.look(an_event)))
            elif kind == "write" and looks:
                await write(which)
        while looks:
            await write(-1)
        while pending:
            an_event = pending.pop()
            looks.append((an_event, await hands.look(an_event)))
            await write(-1)
        await compare(company, runtime)


async def compare(company, runtime):
    found = {row.userid: row._mapping for row in await runtime.rows(select(users))}
    for userid, row in found.items():
        assert (row["left_at"] is None) == (userid in company.users)
    members = {(row.userid, row.dept_id) for row in await runtime.rows(select(memberships))}
    wanted = set()
    for userid, result in company.users.items():
        state = user_state(result)
        assert {name: found[userid][name] for name in state.row} == state.row
        wanted |= {(userid, dept_id) for dept_id in state.memberships}
    assert members == wanted
    rows = {row.dept_id: row._mapping for row in await runtime.rows(select(departments))}
    for dept_id, row in rows.items():
        assert (row["deleted_at"] is None) == (dept_id in company.departments)
        if dept_id in company.departments:
            state = department_row(company.departments[dept_id])
            assert {name: row[name] for name in state} == state


@settings(max_examples=sized(25, 500, quick=8))
@given(STEPS)
def test_any_interleaving_ends_with_the_state_of_the_source(steps):
    asyncio.run(live(steps))
