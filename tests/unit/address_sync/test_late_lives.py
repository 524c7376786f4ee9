"""Whatever happens to people, in whatever order their events come, and however late reads are within the
policy's bounds: in the end the table is the company, and nobody waits to be looked at."""

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.tables import user_roles
from dingbridge.testing.memory import MemoryRuntime
from tests.support.sizes import sized
from tests.unit.address_sync.late import LateCompany, Life
from tests.unit.address_sync.syncing import every_detail

PEOPLE = ("u1", "u2")
STEP = st.tuples(
    st.sampled_from(PEOPLE),
    st.sampled_from(("leave", "edit", "edit")),
    st.sampled_from((0.5, 1, 5, 30, 100)),  # s since the step before
    st.sampled_from((0, 0, 3, 20)),  # s until the event comes
)


def happens(company, who, what, number):
    """Who is not there can only be hired."""
    if who not in company.users:
        return company.hires(who, name=f"名{number}")
    return company.leaves(who) if what == "leave" else company.edits(who, name=f"名{number}")


async def live(steps, lag_s):
    company = LateCompany(lag_s)
    consumer = AddressSync()
    consumer.clock = company.clock
    came, left = [], {}
    async with MemoryRuntime(consumer, dingtalk=company) as runtime:
        life = Life(runtime, company)

        for number, (who, what, since, comes_in) in enumerate(steps):
            await life.all_until(came, company.clock.now + since)
            event = happens(company, who, what, number)
            if who not in company.users:
                left[who] = event.time
            came.append((company.clock.now + comes_in, number, event))
        await life.all_until(came, company.clock.now + 200)
        for who in PEOPLE:
            row, state = await life.person(who), company.users.get(who)
            assert (row.name if row and row.left_at is None else None) == (state and state["name"])
            if row is not None and state is None:
                assert (row.left_at, row.left_reported) == (left[who], True)
        await life.until(120_000)  # a hire that was believed absent, a leaver who was believed to be here
        assert await life.waiting() == 0


@settings(max_examples=sized(10, 500), deadline=None)
@given(st.lists(STEP, max_size=8), st.sampled_from((0, 0.7, 4, 30, 60)))
@example([("u1", "edit", 1, 0), ("u1", "edit", 100, 0), ("u1", "leave", 0.5, 3), ("u1", "edit", 1, 0)], 4)
@example([("u1", "edit", 1, 0), ("u1", "edit", 100, 5), ("u1", "edit", 3, 2), ("u1", "leave", 100, 0)], 4)
@example([("u1", "edit", 1, 0), ("u1", "leave", 100, 0), ("u1", "edit", 0.5, 0)], 4)
@example([("u1", "edit", 1, 0), ("u1", "leave", 100, 5), ("u1", "edit", 6, 0)], 4)
@example([("u1", "edit", 1, 0), ("u1", "leave", 1, 20), ("u1", "edit", 1, 0)], 0)
@example([("u1", "edit", 1, 0), ("u1", "edit", 150, 0), ("u1", "edit", 50, 0)], 60)
def test_any_life_ends_with_the_company(steps, lag_s):
    asyncio.run(live(steps, lag_s))


ROLES = (7, 8)
ROLE_STEP = st.tuples(
    st.sampled_from(ROLES),
    st.sampled_from(("label", "label", "rename", "grant")),
    st.sampled_from((0.5, 1, 5, 30, 100)),  # s since the step before
    st.sampled_from((0, 0, 3, 20)),  # s until the event comes
)


def happens_to_a_role(company, role_id, what, number):
    """A role that is not there can only be made; a grant gives all roles, or takes them."""
    if what == "grant":
        has = company.users["u1"].get("role_list")
        return company.grants("u1", *([] if has else company.roles))
    gone = what == "label" and role_id in company.roles
    return company.labels(role_id, None if gone else f"角{number}")


async def live_with_roles(steps, lag_s):
    company = LateCompany(lag_s)
    consumer = AddressSync()
    consumer.clock = company.clock
    came = []
    async with MemoryRuntime(consumer, dingtalk=company) as runtime:
        life = Life(runtime, company)
        await life.deliver(company.hires("u1"))
        for number, (role_id, what, since, comes_in) in enumerate(steps):
            await life.all_until(came, company.clock.now + since)
            event = happens_to_a_role(company, role_id, what, number)
            came.append((company.clock.now + comes_in, number, event))
        await life.all_until(came, company.clock.now + 400)
        await every_detail(runtime, company)
        assert await life.roles() == company.roles
        has = await runtime.rows(select(user_roles.c.role_id))
        assert {row.role_id for row in has} == {one["id"] for one in company.users["u1"].get("role_list", [])}
        assert await life.waiting() == 0


@settings(max_examples=sized(10, 500), deadline=None)
@given(st.lists(ROLE_STEP, max_size=8), st.sampled_from((0, 0.7, 4, 30, 60)))
def test_any_life_of_roles_ends_with_the_roles(steps, lag_s):
    asyncio.run(live_with_roles(steps, lag_s))
