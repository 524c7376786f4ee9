"""Whatever happens to roles, in whatever order their events come, and however late reads are within the
policy's bounds: in the end the tables are the company, and nothing waits to be looked at."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.tables import user_roles
from dingbridge.testing.memory import MemoryRuntime
from tests.support.sizes import sized
from tests.unit.address_sync.late import LateCompany, Life
from tests.unit.address_sync.syncing import UNPACED

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
        consumer.engine.pace = UNPACED
        life = Life(runtime, company)
        await life.deliver(company.hires("u1"))
        for number, (role_id, what, since, comes_in) in enumerate(steps):
            await life.all_until(came, company.clock.now + since)
            event = happens_to_a_role(company, role_id, what, number)
            came.append((company.clock.now + comes_in, number, event))
        for seconds in (400, 3600):
            await life.all_until(came, company.clock.now + seconds)
            assert await life.roles() == company.roles
            has = await runtime.rows(select(user_roles.c.role_id))
            roles = company.users["u1"].get("role_list", [])
            assert {row.role_id for row in has} == {one["id"] for one in roles}
        assert await life.waiting() == 0


@settings(max_examples=sized(10, 500, quick=4), deadline=None)
@given(st.lists(ROLE_STEP, max_size=8), st.sampled_from((0, 0.7, 4, 30, 60)))
def test_any_life_of_roles_ends_with_the_roles(steps, lag_s):
    asyncio.run(live_with_roles(steps, lag_s))
