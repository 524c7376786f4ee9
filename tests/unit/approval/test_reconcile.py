"""An order to compare: what it archives, what it asks for, and how it goes on."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from sqlalchemy import select

from consumers.approval import Approval, reconcile
from consumers.approval.examples import leave_ledger
from consumers.approval.reconcile import ORDERED, Reconciles
from consumers.approval.tables import approval_backfills, approval_instances
from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.errors import BadRequest, BudgetSpent, PermissionDenied
from dingbridge.events import decode
from dingbridge.events.control import resync_requested
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import CORP, Office, instance

NOW = datetime.now(UTC)


def order(id="o-1", *, days=1.0, corp_id=None, app="default"):
    return resync_requested(
        id=id,
        app=app,
        corp_id=corp_id,
        now_ms=int(NOW.timestamp() * 1000),
        since_ms=int((NOW - timedelta(days=days)).timestamp() * 1000),
        part="all",
        reason="a page of the failed list may be gone",
    ).value


@pytest.fixture
def office():
    """A leave of half a day ago and one of ten days ago, neither of which anybody has heard of."""
    office = Office()
    for number, days in enumerate((0.5, 10)):
        office.finish(f"pi-{number}")
        started = int((NOW - timedelta(days=days)).timestamp() * 1000)
        office.started.setdefault("PROC-LEAVE", []).append((started, f"pi-{number}"))
    return office


@pytest.fixture
async def archive(office, monkeypatch):
    monkeypatch.setenv("DINGTALK_CORP_ID", CORP)
    async with MemoryRuntime(Approval(), dingtalk=office) as runtime:
        yield runtime


async def archived(archive):
    return {
        row.instance_id: row.outcome
        for row in await archive.rows(select(approval_instances.c.instance_id, approval_instances.c.outcome))
    }


async def test_what_began_since_is_archived_and_acted_on_as_if_its_events_had_come(archive, office):
    assert (await archive.deliver(order())).kind == "done"
    assert await Reconciles(archive.consumer.looks).once() == 1
    assert await archived(archive) == {"pi-0": "approved"}
    assert [row.instance_id for row in await archive.rows(select(leave_ledger))] == ["pi-0"]
    assert await Reconciles(archive.consumer.looks).once() == 0
    assert (await archive.deliver(order())).kind == "seen"


async def test_what_began_earlier_and_has_not_ended_in_the_archive_is_asked_for(archive, office):
    await archive.deliver(instance("start", processInstanceId="pi-1"))
    assert await archived(archive) == {"pi-1": None}
    await archive.deliver(order())
    await Reconciles(archive.consumer.looks).once()
    assert await archived(archive) == {"pi-0": "approved", "pi-1": "approved"}


async def test_what_the_archive_has_whole_costs_no_call(archive, office):
    await archive.deliver(instance("finish", processInstanceId="pi-0", result="agree"))
    before = office.calls["processinstance/get"]
    await archive.deliver(order())
    await Reconciles(archive.consumer.looks).once()
    assert office.calls["processinstance/get"] == before


async def test_several_orders_are_one_until_it_is_begun(archive, office):
    await archive.deliver(order("o-1"))
    await archive.deliver(order("o-2", days=20))
    [row] = await archive.rows(select(approval_backfills))
    assert (row.state, row.since < NOW - timedelta(days=19)) == (ORDERED, True)
    assert await Reconciles(archive.consumer.looks).once() == 1
    assert await archived(archive) == {"pi-0": "approved", "pi-1": "approved"}
    assert (await archive.deliver(order("o-3"))).kind == "done"
    assert await Reconciles(archive.consumer.looks).once() == 1


async def test_an_order_of_another_company_of_several_is_not_for_this_one(
    archive, office, monkeypatch, tmp_path
):
    await archive.deliver(instance("start", processInstanceId="pi-1"))
    monkeypatch.setattr(archive.consumer.settings, "dingtalk_apps_file", tmp_path / "apps.toml")
    for own in (CORP, None):
        monkeypatch.setattr(archive.consumer._own, "dingtalk_corp_id", own)
        await archive.deliver(order(f"o-{own}", app="hr", corp_id="dingother"))
        assert await Reconciles(archive.consumer.looks).once() == 0
        await archive.deliver(order(f"s-{own}", app="hr", corp_id=CORP))  # another app of the same company
        assert await Reconciles(archive.consumer.looks).once() == 1


async def test_one_that_is_cut_off_is_gone_on_with(archive, office, monkeypatch):
    await archive.deliver(order(days=20))
    calls, fetch = 0, office.approval

    async def spent(instance_id):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise BudgetSpent("spent", api="processinstance/get", retry_after_s=5.0)
        return await fetch(instance_id)

    monkeypatch.setattr(office, "approval", spent)
    with pytest.raises(BudgetSpent):
        await Reconciles(archive.consumer.looks).once()
    listings = office.calls["processinstance/listids"]
    assert await Reconciles(archive.consumer.looks).once() == 1
    assert office.calls["processinstance/listids"] == listings
    assert len(await archived(archive)) == 2


async def test_a_refusal_that_stays_is_said_and_waits(archive, office, monkeypatch):
    await archive.deliver(order())

    async def denied(userid=None):
        raise PermissionDenied("no", api="process/listbyuserid", errcode=60011)

    monkeypatch.setattr(office, "templates", denied)
    with structlog.testing.capture_logs() as logs:
        assert await Reconciles(archive.consumer.looks).once() == 0
    assert "approval.reconcile_failed" in [log["event"] for log in logs]
    monkeypatch.undo()
    assert await Reconciles(archive.consumer.looks).once() == 1


async def test_an_instance_that_could_not_be_fetched_is_asked_for_again_and_holds_up_no_other_order(
    archive, office, monkeypatch
):
    """A code that nobody knows: the next hour may know better, and no event will ever come."""
    whole, troubled = office.approval, True

    async def approval(instance_id):
        if troubled and instance_id == "pi-0":
            office.calls["troubled"] += 1
            raise BadRequest("no idea", api="processinstance/get", errcode=987654)
        return await whole(instance_id)

    monkeypatch.setattr(office, "approval", approval)
    await archive.deliver(order("o-1"))
    reconciles = Reconciles(archive.consumer.looks)
    assert await reconciles.once() == 0
    await archive.deliver(order("o-2", days=20))
    office.started["PROC-LEAVE"].pop(0)  # so that the second order hears of the other leave alone
    assert await reconciles.once() == 1
    assert await archived(archive) == {"pi-1": "approved"}
    assert office.calls["troubled"] == 1, "not again at once"

    troubled = False
    reconciles.not_before.clear()
    assert await reconciles.once() == 1
    assert await archived(archive) == {"pi-0": "approved", "pi-1": "approved"}
    assert await Reconciles(archive.consumer.looks).once() == 0


async def test_what_is_refused_for_hours_is_left_and_said(archive, office, monkeypatch):
    monkeypatch.setattr(reconcile, "RETRY_AFTER", timedelta(0))

    async def approval(instance_id):
        office.calls["refused"] += 1
        raise BadRequest("no idea", api="processinstance/get", errcode=987654)

    monkeypatch.setattr(office, "approval", approval)
    await archive.deliver(order())
    with structlog.testing.capture_logs() as logs:
        assert await Reconciles(archive.consumer.looks).once() == 1
    assert office.calls["refused"] == reconcile.ROUNDS
    left = [log["last"] for log in logs if log["event"] == "approval.reconcile_left"]
    assert left == [False] * (reconcile.ROUNDS - 1) + [True]
    assert await Reconciles(archive.consumer.looks).once() == 0


async def test_an_order_of_no_company_is_for_the_only_one_of_the_archive(office, monkeypatch):
    monkeypatch.delenv("DINGTALK_CORP_ID", raising=False)
    async with MemoryRuntime(Approval(), dingtalk=office) as archive:
        with structlog.testing.capture_logs() as logs:
            assert (await archive.deliver(order("o-1"))).kind == "done"
        assert "approval.order_for_nobody" in [log["event"] for log in logs]
        assert await Reconciles(archive.consumer.looks).once() == 0
        await archive.deliver(instance("finish", processInstanceId="pi-1", result="agree"))
        await archive.deliver(order("o-2"))
        assert await Reconciles(archive.consumer.looks).once() == 1
        assert set(await archived(archive)) == {"pi-0", "pi-1"}


def test_the_order_is_an_event_that_dingtalk_could_not_have_sent():
    event = decode(order(corp_id=CORP))
    assert (event.type, event.event_type) == ("com.dingbridge.resync_requested",) * 2
    assert (event.corp_id, event.subject, event.app) == (CORP, None, "default")


async def test_comparing_and_downloading_spend_the_months_calls_behind_events(archive, office, monkeypatch):
    compared, priorities = asyncio.Event(), []

    async def once(self):
        compared.set()
        return 0

    monkeypatch.setattr(office, "at", lambda priority: priorities.append(priority) or office)
    monkeypatch.setattr(Reconciles, "once", once)
    background = asyncio.create_task(archive.consumer.background())
    try:
        await asyncio.wait_for(compared.wait(), 30)
    finally:
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
    assert priorities == [Priority.RESYNC] * 2
