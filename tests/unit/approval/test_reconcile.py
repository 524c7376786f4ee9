"""Comparing the archive with DingTalk: what it archives, what it costs, how it goes on, who asks for it."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from dingbridge import Reject
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.actions.action_state import BEFORE_BRIDGE
from dingbridge.consumers.approval.actions.pending_actions import call, pending
from dingbridge.consumers.approval.archive.query import Filter
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.reconcile import reconciler
from dingbridge.consumers.approval.reconcile.reconciler import (
    Reconciler,
    Scope,
    reachable,
    template_codes,
    windows,
)
from dingbridge.consumers.approval.reconcile.refetch import Refetch
from dingbridge.consumers.approval.reconcile.requests import RequestedResyncs
from dingbridge.consumers.approval.tables import approval_actions, approval_instances, approval_resyncs
from dingbridge.dingtalk.api.approvals import IDS, INSTANCES, TEMPLATES
from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.errors import BadRequest, BudgetSpent, PermissionDenied, RateLimited, Unavailable
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import CORP, Office, T, deliver, heard, instance, once, resync_request

NOW = datetime.now(UTC)
DAY_MS = 86_400_000
ALL = {f"pi-{number}" for number in range(4)}
BUSY = Unavailable("busy", api=INSTANCES, name="systemError")


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture
def office():
    """Three leaves and an expense, started half a day to 30 days ago, of which nobody has heard."""
    office = Office()
    for number, days in enumerate((0.5, 10, 20, 30)):
        office.finish(f"pi-{number}")
        code = "PROC-EXPENSE" if number == 3 else "PROC-LEAVE"
        office.started.setdefault(code, []).append((int(ago(days).timestamp() * 1000), f"pi-{number}"))
    return office


@pytest.fixture
async def archive(office, monkeypatch):
    monkeypatch.setenv("DINGTALK_CORP_ID", CORP)
    async with MemoryRuntime(Approval(), dingtalk=office) as runtime:
        yield runtime


async def run(archive, office, since=100.0, until=0.0, codes=(), without_event="none"):
    """A whole run: how many it found, its calls, and how they ended."""
    codes = codes or await template_codes(office)
    scope = Scope(CORP, "default", ago(since), ago(until), codes, without_event)
    work = Reconciler(archive.consumer.fetcher, office, scope)
    ids = await work.list_ids()
    calls = await work.count_calls(list(ids))
    counts = await work.archive(ids)
    return len(ids), calls, (counts.archived, counts.missing, len(counts.left))


def resyncs(archive, on_compared=lambda: None):
    consumer = archive.consumer
    return RequestedResyncs(consumer.fetcher, consumer.client_of, on_compared=on_compared)


async def archived(archive):
    return {row.instance_id: row.outcome for row in await archive.rows(select(approval_instances))}


async def booked(archive):
    return {row.instance_id for row in await archive.rows(select(leave_ledger))}


@given(st.integers(0, 400 * DAY_MS), st.integers(0, 400 * DAY_MS))
def test_the_spans_cover_the_time_without_gap_and_are_as_short_as_dingtalk_lists(start, length):
    spans = list(windows(start, start + length))
    assert (spans[0][0], spans[-1][1]) == (start, start + length)
    assert all(last - first < 120 * DAY_MS for first, last in spans)
    assert all(left[1] + 1 == right[0] for left, right in pairwise(spans))


async def test_what_was_started_in_the_time_is_archived_with_its_template(archive, office):
    assert await run(archive, office, since=25) == (3, 3, (3, 0, 0))
    rows = await archive.rows(select(approval_instances))
    assert {row.instance_id: row.process_code for row in rows} == dict.fromkeys(
        ["pi-0", "pi-1", "pi-2"], "PROC-LEAVE"
    )
    assert {(row.outcome, row.document_state) for row in rows} == {("approved", "full")}


async def test_what_the_archive_has_whole_costs_no_call(archive, office):
    await deliver(archive, instance("finish"))
    office.calls.clear()
    assert await run(archive, office) == (4, 3, (4, 0, 0))
    assert office.calls[INSTANCES] == 3


async def test_what_began_earlier_and_has_not_ended_in_the_archive_is_asked_for(archive, office):
    await deliver(archive, instance("start", processInstanceId="pi-2"))
    assert await run(archive, office, since=1) == (2, 2, (2, 0, 0))
    assert await archived(archive) == {"pi-0": "approved", "pi-2": "approved"}


async def test_actions_are_not_called_for_what_is_old_unless_asked_for(archive, office):
    await run(archive, office)
    assert await booked(archive) == set()
    states = {row.instance_id: row.state for row in await archive.rows(select(approval_actions))}
    assert states == dict.fromkeys(["pi-0", "pi-1", "pi-2"], "skipped")
    # its finish event was on its way
    await deliver(archive, instance("finish"))
    assert await booked(archive) == {"pi-1"}
    office.calls.clear()
    await run(archive, office, without_event="all")
    assert await booked(archive) == {"pi-0", "pi-1", "pi-2"}
    assert office.calls[INSTANCES] == 0


async def test_a_span_with_more_ids_than_dingtalk_lists_is_halved(archive, office, monkeypatch):
    monkeypatch.setattr(reconciler, "IDS_MOST", 2)
    office.most_listed = 2
    assert (await run(archive, office))[0] == 4
    assert set(await archived(archive)) == ALL


async def test_one_that_fails_leaves_out_no_other_and_is_tried_again(archive, office, monkeypatch):
    whole = office.approval

    async def not_that_one(instance_id):
        if instance_id == "pi-2":
            raise PermissionDenied("no", api=INSTANCES, about=about, name="x")
        return await whole(instance_id)

    about = "entity"
    monkeypatch.setattr(office, "approval", not_that_one)
    assert (await run(archive, office))[2] == (3, 0, 1)
    about = "busy"  # DingTalk's own trouble with this one looks like trouble with all
    assert (await run(archive, office))[2] == (3, 0, 1)
    about = "right"  # every other would be refused as well, at a call each
    with pytest.raises(PermissionDenied):
        await run(archive, office)
    monkeypatch.undo()
    assert await run(archive, office) == (4, 1, (4, 0, 0))


async def test_a_platform_that_is_busy_with_all_of_them_ends_the_run_at_once(archive, office, monkeypatch):
    async def busy(instance_id):
        office.calls["busy"] += 1
        raise BUSY

    monkeypatch.setattr(office, "approval", busy)
    with pytest.raises(Unavailable):
        await run(archive, office)
    assert office.calls["busy"] == reconciler.AT_ONCE


async def test_a_rate_limit_that_passes_is_waited_for_and_one_that_lasts_ends_the_run(
    archive, office, monkeypatch
):
    whole, refused, passes = office.approval, [], False

    async def too_fast(instance_id):
        if not passes or instance_id not in refused:
            refused.append(instance_id)
            raise RateLimited("slow down", api=INSTANCES, retry_after_s=0.001)
        return await whole(instance_id)

    monkeypatch.setattr(office, "approval", too_fast)
    with pytest.raises(RateLimited):
        await run(archive, office)
    refused.clear()
    passes = True
    assert (await run(archive, office))[2] == (4, 0, 0)


async def test_what_dingtalk_no_longer_has_is_counted(archive, office):
    del office.approvals["pi-1"]
    assert (await run(archive, office))[2] == (3, 1, 0)
    assert set(await archived(archive)) == ALL - {"pi-1"}


def test_dingtalk_is_asked_for_no_more_than_a_year():
    assert ago(365) < reachable(ago(900)) < ago(364)
    assert reachable(ago(3)) == ago(3)


async def test_a_request_is_acted_on_as_if_the_events_had_come(archive, office):
    await heard(archive, office)
    await deliver(archive, resync_request(since=ago(1)))
    assert await once(resyncs(archive)) == 1
    assert await archived(archive) == {"pi-0": "approved", "pi-heard": "approved"}
    assert await booked(archive) == {"pi-0"}
    assert await once(resyncs(archive)) == 0
    assert (await archive.deliver(resync_request(since=ago(1)))).kind == "seen"
    await deliver(archive, resync_request("r-2", since=ago(1), part="contacts"))
    assert await once(resyncs(archive)) == 0


@pytest.mark.parametrize("ended", [None, T + 300_000], ids=["no-event", "later"])
async def test_what_ended_before_the_first_event_waits_for_a_person(archive, office, ended):
    """It may have been booked by hand, and the bridge asks for the resync by itself."""
    if ended is not None:
        await heard(archive, office, ended)
    await deliver(archive, resync_request(since=ago(25)))
    assert await once(resyncs(archive)) == 1
    assert await booked(archive) == set()
    entries = await archive.rows(select(approval_actions))
    assert {entry.instance_id: entry.state for entry in entries} == dict.fromkeys(
        ["pi-0", "pi-1", "pi-2"], "skipped"
    )
    assert {entry.reason for entry in entries} == {BEFORE_BRIDGE}
    runner, chosen = archive.consumer.fetcher.actions, Filter(instance_ids=["pi-1"])
    named = [one async for one in pending(archive.database, runner, chosen)]
    assert [await call(archive.database, runner, one) for one in named] == ["done"]
    assert await booked(archive) == {"pi-1"}


async def test_a_change_of_what_ended_before_the_first_event_is_not_booked_by_a_request(archive, office):
    office.finish("pi-0", bizAction="MODIFY", mainProcessInstanceId="pi-1", finishTime="2024-11-18T01:21Z")
    await heard(archive, office, T + 300_000)
    await deliver(archive, resync_request(since=ago(25)))
    await once(resyncs(archive))
    assert await booked(archive) == set()
    states = {row.instance_id: row.state for row in await archive.rows(select(approval_actions))}
    assert states["pi-0"] == "skipped"


async def test_one_that_waits_is_widened_and_one_that_comes_meanwhile_is_done_after(
    archive, office, monkeypatch
):
    await deliver(archive, resync_request("r-1", since=ago(1)))
    await deliver(archive, resync_request("r-2", since=ago(15)))
    await deliver(archive, resync_request("r-3", since=ago(2)))
    [row] = await archive.rows(select(approval_resyncs))
    assert abs(row.since - ago(15)) < timedelta(seconds=1)
    templates = office.templates

    async def meanwhile():
        monkeypatch.undo()
        await deliver(archive, resync_request("r-4", since=ago(25)))
        return await templates()

    monkeypatch.setattr(office, "templates", meanwhile)
    work = resyncs(archive)
    assert [await once(work) for _ in range(3)] == [1, 1, 0]
    assert set(await archived(archive)) == {"pi-0", "pi-1", "pi-2"}
    assert await archive.rows(select(approval_resyncs)) == []


async def test_a_request_that_is_cut_off_is_gone_on_with_by_any_process_and_by_one_at_a_time(
    archive, office, monkeypatch, passes
):
    await deliver(archive, resync_request(since=ago(40)))
    whole, calls = office.approval, 0

    async def spent(instance_id):
        nonlocal calls
        calls += 1
        number = calls
        assert await once(resyncs(archive)) == 0, "another process leaves it alone"
        if number == 2:
            raise BudgetSpent("spent", api=INSTANCES, retry_after_s=5.0)
        return await whole(instance_id)

    monkeypatch.setattr(office, "approval", spent)
    await once(resyncs(archive))
    monkeypatch.setattr(office, "approval", whole)
    assert await once(resyncs(archive)) == 0, "not at once"
    passes(60)
    assert await once(resyncs(archive)) == 1
    assert set(await archived(archive)) == ALL


async def test_a_refusal_that_stays_is_said_and_asked_again_for_as_long_as_it_lasts(
    archive, office, monkeypatch, passes
):
    await deliver(archive, resync_request(since=ago(1)))
    templates, work = office.templates, resyncs(archive)

    async def denied():
        raise PermissionDenied("no", api=TEMPLATES, errcode=60011, retry_after_s=900.0)

    monkeypatch.setattr(office, "templates", denied)
    with structlog.testing.capture_logs() as logs:
        for _ in range(8):
            assert await once(work) == 1
            assert await once(work) == 0
            passes(901)
    assert {log["event"] for log in logs} == {"approval.resync_refused", "approval.app_paused"}
    monkeypatch.setattr(office, "templates", templates)
    await once(work)
    assert await archived(archive) == {"pi-0": "approved"}


@pytest.mark.parametrize("error", [BadRequest("?", api=INSTANCES, errcode=987654), BUSY], ids=["?", "busy"])
async def test_a_resync_ends_and_what_it_could_not_fetch_is_named_and_tried_again(
    archive, office, monkeypatch, passes, error
):
    """The next hour may know better, and no event will ever come."""
    whole, compared = office.approval, []

    async def refused(instance_id):
        if instance_id == "pi-0":
            office.calls["refused"] += 1
            raise error
        return await whole(instance_id)

    await heard(archive, office)
    monkeypatch.setattr(office, "approval", refused)
    await deliver(archive, resync_request("r-1", since=ago(40)))
    with structlog.testing.capture_logs() as logs:
        assert await once(resyncs(archive, lambda: compared.append(True))) == 1
    assert compared == [True]
    assert await archive.rows(select(approval_resyncs)) == []
    assert set(await archived(archive)) == ALL - {"pi-0"} | {"pi-heard"}
    assert [log["instance_id"] for log in logs if log["event"] == "approval.not_reconciled"] == ["pi-0"]
    assert [log["failed"] for log in logs if log["event"] == "approval.resynced"] == [1]
    assert office.calls["refused"] <= 3
    monkeypatch.setattr(office, "approval", whole)
    passes(10)
    assert await once(Refetch(archive.consumer.fetcher, archive.consumer.client_of)) == 1
    assert set(await archived(archive)) == ALL | {"pi-heard"}
    assert await booked(archive) == {"pi-0", "pi-1", "pi-2"}, "as if its event had come"


async def test_a_request_of_no_company_is_for_that_of_its_app(archive, office, monkeypatch):
    await deliver(archive, resync_request("r-1", since=ago(1)))
    assert [row.corp_id for row in await archive.rows(select(approval_resyncs))] == [CORP]
    monkeypatch.delenv("DINGTALK_CORP_ID")
    async with MemoryRuntime(Approval(), dingtalk=office) as nobodys:
        with structlog.testing.capture_logs() as logs:
            await deliver(nobodys, resync_request("r-1", since=ago(1)))
        assert "approval.resync_for_nobody" in [log["event"] for log in logs]
        assert await once(resyncs(nobodys)) == 0


@pytest.mark.parametrize("named", [["", CORP], [CORP, ""], ["", "dingother"]])
async def test_an_action_runs_once_whatever_company_the_events_name(archive, office, named):
    """Of an approval that a push without corpId reports, a second push and the bridge's own resync."""
    ended_ms = int(ago(0.5).timestamp() * 1000)
    for at, corp_id in enumerate(named):
        await deliver(archive, instance("finish", ended_ms + at, processInstanceId="pi-0", corpId=corp_id))
    await deliver(archive, resync_request("r-1", since=ago(1)))
    assert await once(resyncs(archive)) == 1
    assert [row.corp_id for row in await archive.rows(select(approval_instances.c.corp_id))] == [CORP]
    assert await booked(archive) == {"pi-0"}
    assert len(await archive.rows(select(leave_ledger))) == 1


async def test_a_request_of_an_app_without_credentials_is_said_and_waits(archive):
    def client_of(app, corp_id):
        raise Reject("the app other has no app_key here")

    await deliver(archive, resync_request(since=ago(1)))
    with structlog.testing.capture_logs() as logs:
        await once(RequestedResyncs(archive.consumer.fetcher, client_of))
    assert [log["event"] for log in logs] == ["approval.resync_refused"]
    [row] = await archive.rows(select(approval_resyncs))
    assert row.due_ms is not None


async def test_a_template_that_cannot_be_listed_stops_no_other(archive, office, monkeypatch):
    listed = office.approval_ids

    def ids(code, **span):
        if code == "PROC-GONE":
            raise BadRequest("no such template", api=IDS, name="processCodeError")
        return listed(code, **span)

    monkeypatch.setattr(office, "approval_ids", ids)
    fetcher, codes = archive.consumer.fetcher, ("PROC-GONE", "PROC-LEAVE")
    with structlog.testing.capture_logs() as logs:
        work = Reconciler(fetcher, office, Scope(CORP, "default", ago(40), ago(0), codes))
        assert set(await work.list_ids()) == ALL - {"pi-3"}
    assert [line["process_code"] for line in logs if line["event"] == "approval.template_not_listed"] == [
        "PROC-GONE"
    ]
    with pytest.raises(BadRequest):
        await Reconciler(fetcher, office, Scope(CORP, "default", ago(40), ago(0), codes[:1])).list_ids()


async def test_work_beside_the_events_spends_the_months_calls_behind_them(archive, office, monkeypatch):
    compared, priorities = asyncio.Event(), []

    async def claim(self, most):
        self._client_of("default", CORP)
        compared.set()
        return ()

    monkeypatch.setattr(office, "at", lambda priority: priorities.append(priority) or office)
    monkeypatch.setattr(RequestedResyncs, "claim", claim)
    background = asyncio.create_task(archive.consumer.background())
    try:
        await asyncio.wait_for(compared.wait(), 30)
    finally:
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
    assert set(priorities) == {Priority.RESYNC}
