"""Documents that lag behind the end of their approval are asked for again, ever more rarely."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from consumers.approval import Approval
from consumers.approval.reconcile.reconciler import Reconciler, Scope
from consumers.approval.reconcile.refetch import FIRST, Refetch, due
from consumers.approval.tables import approval_instances, approval_operations
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.errors import BudgetSpent, NotFound, PermissionDenied, Unavailable
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


async def test_what_is_about_every_approval_is_nobodys_fetch_and_holds_the_app_up(archive, monkeypatch):
    guards = archive.consumer.metadata.tables["approval_generations"]
    (before,) = await archive.rows(select(guards))
    work = refetch(archive)
    for error in (
        BudgetSpent("spent", api=INSTANCES, retry_after_s=30 * 86_400.0),
        PermissionDenied("no right", api=INSTANCES, errcode=60011, retry_after_s=900.0),
    ):
        monkeypatch.setattr(archive.consumer.dingtalk, "approval", raising(error))
        assert await work.once(SOON) == 1
        assert await work.once(SOON + timedelta(seconds=30)) == 0, "not again at once"
        assert await archive.rows(select(guards)) == [before], "it is due as before"
        work._paused.clear()
    monkeypatch.setattr(archive.consumer.dingtalk, "approval", raising(error))
    assert await work.once(SOON) == 1
    assert await work.once(SOON + timedelta(hours=1)) == 1
    assert await status(archive) == ("approved", "RUNNING")


@pytest.mark.parametrize("about", ["entity", "busy"])
async def test_one_that_is_refused_for_ever_leaves_the_others_their_turn(archive, monkeypatch, about):
    """Trouble of the platform that stays for one id looks like trouble with all."""
    office, asked = archive.consumer.dingtalk, []
    answer = office.approval

    async def approval(instance_id):
        asked.append(instance_id)
        if instance_id == "pi-1":
            raise Unavailable("systemError", api=INSTANCES, about=about)
        return await answer(instance_id)

    office.finish("pi-2", status="RUNNING", result="")
    assert (await archive.deliver(instance("finish", processInstanceId="pi-2"))).kind == "done"
    office.finish("pi-2")
    monkeypatch.setattr(office, "approval", approval)
    work = refetch(archive)
    for look in range(2):
        await work.once(SOON + timedelta(seconds=30 * look))
    assert "pi-2" in asked


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such instance", api=INSTANCES, name="processInstanceNotExist"),
        PermissionDenied("not this one", api=INSTANCES, name="noPermission", about="entity"),
    ],
    ids=["gone", "refused"],
)
async def test_what_only_documents_name_and_nobody_may_see_costs_a_few_calls(archive, monkeypatch, error):
    office = archive.consumer.dingtalk
    office.finish("pi-9", attachedProcessInstanceIds=[f"old-{number}" for number in range(10)])
    assert (await archive.deliver(instance("finish", processInstanceId="pi-9"))).kind == "done"
    asked: Counter[str] = Counter()

    async def refuse(instance_id):
        asked[instance_id] += 1
        raise error

    monkeypatch.setattr(office, "approval", refuse)
    work, now = refetch(archive), datetime.now(UTC)
    for _ in range(60):
        now += timedelta(minutes=1)
        await work.once(now)
    columns = approval_instances.c
    rows = await archive.rows(select(columns.document_state).where(columns.instance_id.like("old-%")))
    assert [row.document_state for row in rows] == ["missing"] * 10
    assert len(asked) == 10, "and not pi-1, which was asked about just now"
    assert max(asked.values()) <= 5
    scope = Scope("dingcorp01", "default", NOW - timedelta(days=30), NOW, ("PROC-LEAVE",))
    ids = await Reconciler(archive.consumer.fetcher, office, scope).list_ids()
    assert not any(id_.startswith("old-") for id_ in ids), "a resync asks for none of them"


def raising(error):
    async def raises(instance_id):
        raise error

    return raises


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
