"""Looks again on SQLite and PostgreSQL, of several processes, and as a running consumer does them."""

import asyncio
from contextlib import AsyncExitStack

from sqlalchemy import Column, MetaData, Text, select

from dingbridge import Mirror, people_table
from dingbridge.consumers.address_sync import AddressSync
from dingbridge.testing.memory import MemoryRuntime
from tests.support.waiting import eventually
from tests.unit.address_sync.late import LateCompany, Life


async def test_three_processes_that_share_the_looks_make_each_once(database_url):
    company = LateCompany(4)
    async with AsyncExitStack() as stack:
        lives = []
        for _ in range(3):
            consumer = AddressSync()
            consumer.clock = company.clock
            runtime = MemoryRuntime(consumer, database_url=database_url, dingtalk=company)
            lives.append(Life(await stack.enter_async_context(runtime), company))
        await lives[0].deliver(*(company.hires(f"u{number:02}") for number in range(20)))
        company.clock.now += 5
        company.calls.clear()
        await asyncio.gather(*(life.runtime.consumer.look_due() for life in lives))
        assert company.calls["v2/user/get"] == 20
        assert (await lives[0].person("u19")).left_at is None


async def test_a_running_mirror_does_what_is_due_by_itself(database_url):
    class Staff(Mirror):
        name = "staff"
        table = people_table("staff", MetaData(), Column("name", Text))

    company = LateCompany(0)
    hired = [company.hires(f"u{number:02}", name="甲") for number in range(30)]
    consumer = Staff()
    consumer.clock = company.clock
    async with MemoryRuntime(consumer, database_url=database_url, dingtalk=company) as runtime:
        await runtime.deliver(hired[0])
        background = asyncio.create_task(consumer.background())

        async def everybody():
            return len(await runtime.rows(select(Staff.table))) == 30

        await eventually(everybody)
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
