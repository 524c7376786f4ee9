"""Documents that no event will bring are fetched by several processes, one call each, and not for ever."""

import asyncio
import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dingbridge.availability import GIVE_UP_AFTER_S, Availability
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.queues.fetches import fetch_later
from dingbridge.consumers.approval.reconcile.reconciler import Reconciler, Scope
from dingbridge.consumers.approval.reconcile.refetch import Refetch
from dingbridge.consumers.approval.tables import (
    approval_attachments,
    approval_comments,
    approval_fetches,
    approval_instances,
    approval_operations,
)
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.errors import BudgetSpent, NotFound, PermissionDenied, Unavailable
from dingbridge.snapshots.late_answers import LOOK_AGAIN_S
from dingbridge.testing.memory import MemoryRuntime
from dingbridge.work_queue import WorkQueue
from tests.support.sizes import sized
from tests.unit.approval.office import CORP, LATER, Office, T, deliver, instance, once, only, task

GONE = NotFound("no such instance", api=INSTANCES, name="processInstanceNotExist")
REFUSED = PermissionDenied("not this one", api=INSTANCES, name="noPermission", about="entity")
BUSY = Unavailable("systemError", api=INSTANCES)


def refetch(archive):
    return Refetch(archive.consumer.fetcher, archive.consumer.client_of)


async def wanted(archive, *ids, app="default"):
    async with archive.database.transaction() as tx:
        for instance_id in ids:
            await fetch_later(tx, {"corp_id": CORP, "instance_id": instance_id}, app, after_s=0)


async def waiting(archive):
    """Which are fetched later, and which not any more."""
    rows = await archive.rows(select(approval_fetches))
    due = {row.instance_id for row in rows if row.due_ms is not None}
    return due, {row.instance_id for row in rows} - due


async def archived(archive):
    return {row.instance_id for row in await archive.rows(select(approval_instances))}


def answers(office, monkeypatch, errors):
    """``errors`` by instance id are raised; the ids that are asked for are counted."""
    asked, answer = Counter(), office.approval

    async def approval(instance_id):
        asked[instance_id] += 1
        if instance_id in errors:
            raise errors[instance_id]
        return await answer(instance_id)

    monkeypatch.setattr(office, "approval", approval)
    return asked


async def until_idle(*workers):
    while sum(await asyncio.gather(*(once(work) for work in workers))):
        pass


async def test_three_processes_fetch_each_document_with_one_call(archive, office):
    ids = [f"pi-{number}" for number in range(10)]
    for instance_id in ids:
        office.finish(instance_id)
    await wanted(archive, *ids)
    await until_idle(*(refetch(archive) for _ in range(3)))
    assert office.calls[INSTANCES] == 10
    assert await archived(archive) == set(ids)
    assert await waiting(archive) == (set(), set())


async def test_a_comment_whose_answer_is_older_is_looked_at_again_for_its_file(archive, office, passes):
    office.finish()
    await deliver(archive, instance("finish"))
    await deliver(archive, task("comment", T + 300_000, received_ms=LATER, content="附件"))
    assert len(await archive.rows(select(approval_comments))) == 1
    work = refetch(archive)
    for wait in LOOK_AGAIN_S[:2]:
        assert await once(work) == 0
        passes(wait)
        assert await once(work) == 1
    file = {"fileId": "9", "fileName": "a.txt"}
    office.approvals["pi-1"]["operationRecords"].append({"type": "ADD_REMARK", "attachments": [file]})
    passes(LOOK_AGAIN_S[2])
    assert await once(work) == 1
    assert len(await archive.rows(select(approval_operations))) == 3
    assert (await only(archive, approval_attachments)).attachment_id == "file:9"
    assert await waiting(archive) == (set(), set())


async def test_a_comment_that_no_answer_shows_costs_a_few_calls(archive, office, passes):
    office.finish()
    await deliver(archive, instance("finish"))
    await deliver(archive, task("comment", T + 300_000, received_ms=LATER, content="附件"))
    work = refetch(archive)
    for _ in range(6):
        passes(60)
        await once(work)
    assert office.calls[INSTANCES] == 2 + len(LOOK_AGAIN_S)
    assert await waiting(archive) == (set(), set())


@pytest.mark.parametrize("error", [GONE, REFUSED], ids=["gone", "refused"])
async def test_what_only_documents_name_and_nobody_may_see_costs_a_few_calls(
    archive, office, monkeypatch, passes, error
):
    named = [f"old-{number}" for number in range(3)]
    office.finish(attachedProcessInstanceIds=named)
    await deliver(archive, instance("finish"))
    asked = answers(office, monkeypatch, dict.fromkeys(named, error))
    work = refetch(archive)
    for _ in range(10):
        passes(60)
        await until_idle(work)
    assert asked == dict.fromkeys(named, 1 + len(LOOK_AGAIN_S))
    assert await waiting(archive) == (set(), set(named))
    assert await archived(archive) == {"pi-1"}
    office.approvals["pi-1"]["ccUserIds"] = ["u9"]
    await deliver(archive, task("comment", T + 300_000, received_ms=LATER, content="好"))
    assert await waiting(archive) == (set(), set(named)), "its document names them once more"
    now = datetime.now(UTC)
    scope = Scope(CORP, "default", now - timedelta(days=30), now, ("PROC-LEAVE",))
    assert await Reconciler(archive.consumer.fetcher, office, scope).list_ids() == {}, "nor by a resync"


@pytest.mark.parametrize("right", [False, True], ids=["month", "right"])
async def test_what_is_about_every_approval_is_nobodys_failure_and_holds_the_app_up(
    archive, office, monkeypatch, passes, right
):
    error = (
        PermissionDenied("no right", api=INSTANCES, errcode=60011, retry_after_s=900.0)
        if right
        else BudgetSpent("spent", api=INSTANCES, retry_after_s=30 * 86_400.0)
    )
    ids = {f"pi-{number}" for number in range(6)}
    for instance_id in ids:
        office.finish(instance_id)
    await wanted(archive, *ids)
    errors = dict.fromkeys(ids, error)
    asked = answers(office, monkeypatch, errors)
    work = refetch(archive)
    for _ in range(6):
        await until_idle(work)
        passes(3600)
    assert asked.total() <= 6 * work.at_once < 6 * len(ids), "and not each of them each time"
    errors.clear()
    for _ in ids:
        passes(3600)
        await until_idle(work)
    assert await archived(archive) == ids


@settings(max_examples=sized(3, 50, quick=1), deadline=None)
@given(st.data())
def test_whoever_is_refused_for_ever_holds_nobody_up_and_is_given_up_in_an_hour(data):
    """Trouble of the platform that stays for a few looks like trouble with all."""
    ids = [f"pi-{number}" for number in range(6)]
    bad = data.draw(st.sets(st.sampled_from(ids), min_size=1, max_size=5))
    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(_refused_for_ever(ids, bad, patch))


async def _refused_for_ever(ids, bad, monkeypatch):
    passed, ticks = [0.0], itertools.count(datetime.now(UTC).timestamp(), 0.001)
    monkeypatch.setattr("time.time", lambda: next(ticks) + passed[0])
    office = Office()
    for instance_id in ids:
        office.finish(instance_id)
    errors = dict.fromkeys(bad, BUSY)
    asked = answers(office, monkeypatch, errors)
    async with MemoryRuntime(Approval({}), dingtalk=office) as archive:
        work = refetch(archive)
        await wanted(archive, *ids)
        while passed[0] < 300:
            await until_idle(work)
            passed[0] += 20
        assert await archived(archive) == set(ids) - bad
        new = 0
        while passed[0] < 2 * GIVE_UP_AFTER_S:
            # somebody else's document is wanted now and then
            new += 1
            office.finish(f"new-{new}")
            await wanted(archive, f"new-{new}")
            await until_idle(work)
            passed[0] += 600
        assert await waiting(archive) == (set(), bad)
        assert all(asked[instance_id] < 80 for instance_id in bad)


async def test_an_outage_gives_nothing_up(archive, office, monkeypatch, passes):
    ids = {f"pi-{number}" for number in range(6)}
    for instance_id in ids:
        office.finish(instance_id)
    await wanted(archive, *ids)
    errors = dict.fromkeys(ids, BUSY)
    answers(office, monkeypatch, errors)
    work = refetch(archive)
    for _ in range(12):
        await until_idle(work)
        passes(600)
    assert (await waiting(archive))[0] == ids
    errors.clear()
    for _ in ids:
        passes(300)
        await until_idle(work)
    assert await archived(archive) == ids


async def test_the_consumer_does_it_beside_its_events_also_without_a_folder_for_files(archive, monkeypatch):
    looked = asyncio.Event()

    async def claim(self, most):
        looked.set()
        return ()

    monkeypatch.setattr(Refetch, "claim", claim)
    background = asyncio.create_task(archive.consumer.background())
    try:
        await asyncio.wait_for(looked.wait(), 30)
    finally:
        background.cancel()
        await asyncio.wait([background])
    assert background.cancelled()


def test_one_that_fails_for_a_month_costs_about_a_thousand_calls():
    """Alone, so that nobody can tell whose failure it is."""
    began = now = 1_700_000_000.0
    queue, seen, calls = WorkQueue(approval_fetches, clock=lambda: now), Availability(), 0
    row = SimpleNamespace(attempts=0, failed_ms=None, failing_since_ms=None)
    while now < began + 30 * 86_400:
        calls += 1
        values = queue.failure(row, seen, BUSY)
        now = values.pop("due_ms") / 1000
        row = SimpleNamespace(**values)
    assert calls < 1200
