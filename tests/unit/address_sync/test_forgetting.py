"""Leavers' rows go after ``LEAVERS_RETENTION_DAYS``, and what is fetched meanwhile brings nobody back."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from dingbridge import Person
from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.forgetting import forget_leavers
from dingbridge.consumers.address_sync.tables import entities, memberships, users
from dingbridge.testing.memory import MemoryRuntime
from tests.support.waiting import eventually
from tests.unit.address_sync.company import CORP, Company, event, listed
from tests.unit.address_sync.syncing import first_full, full

NOW = datetime.now(UTC)


@pytest.fixture
def company():
    company = Company()
    for userid in ("here", "left-long-ago", "left-lately"):
        company.hire(userid)
    return company


async def left(sync, userid, days):
    async with sync.database.transaction() as tx:
        gone = {"left_at": NOW - timedelta(days=days), "left_reported": True}
        await tx.execute(update(users).where(users.c.userid == userid).values(**gone))


async def userids(sync, table=users):
    return sorted({row.userid for row in await sync.rows(select(table.c.userid))})


async def test_who_left_long_ago_goes_and_the_generation_stays(sync, company):
    await first_full(sync, company)
    await left(sync, "left-long-ago", 40)
    await left(sync, "left-lately", 20)
    own = sync.consumer.engine.entities
    known = {row.entity_id: row.claims for row in await sync.rows(select(entities))}
    assert await forget_leavers(sync.database, own, NOW - timedelta(days=30)) == 1
    assert await userids(sync) == ["here", "left-lately"]
    assert await userids(sync, memberships) == ["here", "left-lately"]
    after = {row.entity_id: row.claims for row in await sync.rows(select(entities))}
    assert after == known | {"left-long-ago": known["left-long-ago"] + 1}
    assert await forget_leavers(sync.database, own, NOW - timedelta(days=30)) == 0


async def test_the_running_consumer_forgets_them_by_itself(company, monkeypatch):
    monkeypatch.setenv("LEAVERS_RETENTION_DAYS", "30")
    monkeypatch.setenv("DINGTALK_CORP_ID", CORP)
    async with MemoryRuntime(AddressSync(), dingtalk=company) as sync:
        await first_full(sync, company)
        await left(sync, "left-long-ago", 40)

        work = asyncio.create_task(sync.consumer.background())
        try:
            await eventually(lambda: _gone(sync))
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


async def _gone(sync):
    return "left-long-ago" not in await userids(sync)


async def test_a_read_that_began_before_writes_nobody_back_nor_does_a_listing(sync, company):
    """DingTalk answers late: the person is read as still there, and forgotten before that is written."""
    await first_full(sync, company)
    came, real = event("user_modify_org", "left-lately"), company.user

    async def user(userid):
        found = await real(userid)
        async with sync.database.transaction() as tx:
            counts = (await sync.consumer.forget(Person(CORP, "left-lately"), tx)).deleted
        assert counts["users"] == 1
        return found

    company.user = user
    assert (await sync.deliver(came)).kind == "done"
    await sync.consumer.look_due()
    company.user = real
    assert "left-lately" not in await userids(sync)
    listing = company.users.copy()
    del company.users["left-lately"]

    async def lagging(dept_id):
        for one in listing.values():
            yield listed(one, dept_id)

    company.department_users = lagging
    await full(sync, company)
    assert "left-lately" not in await userids(sync)
