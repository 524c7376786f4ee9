"""Documents that lag behind the end of their approval are asked for again, ever more rarely."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from consumers.approval import Approval
from consumers.approval.reconcile.refetch import FIRST, Refetch, due
from consumers.approval.tables import approval_instances, approval_operations
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.errors import BudgetSpent, PermissionDenied
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import Office, instance

NOW = datetime.now(UTC)
SOON = NOW + timedelta(days=4000)
"""The approval of these tests ended in 2024: they are fetched again when as much time has gone by again."""


@pytest.fixture
async def archive():
    office = Office()
    office.finish(status="RUNNING", result="", operation_records=[])
    async with MemoryRuntime(Approval({}), dingtalk=office) as runtime:
        assert (await runtime.deliver(instance("finish"))).kind == "done"
        yield runtime


def refetch(archive):
    return Refetch(archive.consumer.fetcher, archive.consumer.client_of)


async def status(archive):
    (row,) = await archive.rows(select(approval_instances))
    return row.outcome, row.status


async def test_a_document_that_lagged_is_fetched_again(archive):
    office = archive.consumer.dingtalk
    assert await status(archive) == ("approved", "RUNNING")
    work = refetch(archive)
    assert await work.once(NOW) == 0, "not before its time"
    office.finish()
    assert await work.once(SOON) == 1
    assert await status(archive) == ("approved", "COMPLETED")
    assert len(await archive.rows(select(approval_operations))) == 2
    assert await work.once(SOON + timedelta(days=9999)) == 0
    assert office.calls[INSTANCES] == 2


async def test_an_approval_that_runs_is_left_alone(archive):
    office = archive.consumer.dingtalk
    assert (await archive.deliver(instance("start", processInstanceId="pi-2"))).kind == "done"
    office.finish()
    assert await refetch(archive).once(SOON) == 1
    assert office.calls[INSTANCES] == 2


@given(st.timedeltas(timedelta(0), timedelta(hours=1)))
def test_a_document_that_stays_wrong_costs_few_calls(first):
    ended, calls = NOW, 0
    fetched = ended + first
    now = fetched
    while now < ended + timedelta(days=365):
        if due(now, ended, fetched):
            fetched, calls = now, calls + 1
        now += max(FIRST, (now - ended) / 8)
    assert 5 <= calls <= 25


async def test_what_may_not_be_seen_is_not_asked_for_again_at_once(archive, monkeypatch):
    async def refuse(instance_id):
        raise PermissionDenied("no right", api=INSTANCES, errcode=60011)

    async def spent(instance_id):
        raise BudgetSpent("spent", api=INSTANCES)

    work = refetch(archive)
    (before,) = await archive.rows(select(archive.consumer.metadata.tables["approval_generations"]))
    monkeypatch.setattr(archive.consumer.dingtalk, "approval", spent)
    assert await work.once(SOON) == 1
    (same,) = await archive.rows(select(archive.consumer.metadata.tables["approval_generations"]))
    assert same == before, "nobody's fetch: it is due as before"
    monkeypatch.setattr(archive.consumer.dingtalk, "approval", refuse)
    assert await work.once(SOON) == 1
    (after,) = await archive.rows(select(archive.consumer.metadata.tables["approval_generations"]))
    assert after.fetched_at > before.fetched_at
    assert await status(archive) == ("approved", "RUNNING")


async def test_the_consumer_does_it_beside_its_events_also_without_a_folder_for_files(archive, monkeypatch):
    looked = asyncio.Event()

    async def once(self, now):
        looked.set()
        return 0

    monkeypatch.setattr(Refetch, "once", once)
    background = asyncio.create_task(archive.consumer.background())
    try:
        await asyncio.wait_for(looked.wait(), 30)
    finally:
        background.cancel()
        await asyncio.wait([background])
    assert background.cancelled()
