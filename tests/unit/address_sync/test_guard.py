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
from dingbridge.dingtalk.errors import NotFound
from dingbridge.mirror.entities import LEASE_S
from dingbridge.testing.memory import MemoryRuntime
from tests.support.sizes import sized
from tests.unit.address_sync.company import Company, event
from tests.unit.address_sync.late import Clock
from tests.unit.address_sync.syncing import passes


class Hands:
    """Does by hand what the loop does, so that a test can choose when an answer is written."""

    def __init__(self, runtime, company):
        self.runtime, self.engine, self.company = runtime, runtime.consumer.engine, company

    async def report(self, an_event):
        assert (await self.runtime.deliver(an_event)).kind in ("done", "seen")

    async def look(self):
        """Claim what is due first, and ask DingTalk; None: nothing is due."""
        rows = await self.engine.entities.queue.claim(self.runtime.database, 1)
        if not rows:
            return None
        try:
            return rows[0], await self.engine.kinds[rows[0].kind].read(self.company, rows[0].entity_id)
        except NotFound:
            return rows[0], None

    async def write(self, look):
        row, answer = look
        await self.engine._answered(row, answer, self.engine.entities.now_ms())


@pytest.fixture
def company():
    return Company()


async def test_who_was_claimed_again_is_not_overwritten_by_the_older_look(company):
    async with MemoryRuntime(AddressSync(), dingtalk=company) as runtime:
        clock = runtime.consumer.clock = Clock()
        hands = Hands(runtime, company)
        company.hire("u1", name="甲")
        await hands.report(event("user_add_org", "u1"))
        frozen = await hands.look()
        clock.now += LEASE_S + 1
        company.hire("u1", name="乙")
        await hands.write(await hands.look())
        with pytest.raises(Conflict):
            await hands.write(frozen)
        (row,) = await runtime.rows(select(users.c.name).where(users.c.userid == "u1"))
        assert row.name == "乙"


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
        runtime.consumer.clock = Clock()
        hands = Hands(runtime, company)
        for kind, which, variant in steps:
            if kind in ("user", "department"):
                pending += change(company, kind, which, variant)
            elif kind == "look":
                if pending:  # a doubled event comes again
                    number = which % len(pending)
                    await hands.report(pending[number] if variant else pending.pop(number))
                looks += filter(None, [await hands.look()])
            elif kind == "write" and looks:
                await hands.write(looks.pop(which % len(looks)))
        for look in looks:
            await hands.write(look)
        for an_event in pending:
            await hands.report(an_event)
        await passes(runtime, 100_000)
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


@settings(max_examples=sized(12, 500, quick=6))
@given(STEPS)
def test_any_interleaving_ends_with_the_state_of_the_source(steps):
    asyncio.run(live(steps))
