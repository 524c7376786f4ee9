"""Comparing the archive with DingTalk: what is read, what it costs, how it goes on, who asks for it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import structlog
from sqlalchemy import select

from dingbridge.consumers.approval import Approval, resync
from dingbridge.consumers.approval.actions.action_state import BEFORE_BRIDGE
from dingbridge.consumers.approval.actions.pending_actions import call, pending
from dingbridge.consumers.approval.archive.query import Filter
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.resync import list_ids
from dingbridge.consumers.approval.tables import TEMPLATE, approval_actions, approval_instances, entities
from dingbridge.dingtalk.api.approvals import IDS, INSTANCES, TEMPLATES
from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.errors import BadRequest, BudgetSpent, PermissionDenied, RateLimited, Unavailable
from dingbridge.mirror.entities import COMPANY, WHOLE
from dingbridge.mirror.full_sync import CHECK_EVERY_S
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import (
    CORP,
    Office,
    T,
    deliver,
    entity,
    hear,
    heard,
    instance,
    look,
    resync_request,
)

NOW = datetime.now(UTC)
ALL = {f"pi-{number}" for number in range(4)}
BUSY = Unavailable("busy", api=INSTANCES, name="systemError")


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@pytest.fixture
def office():
    """Three leaves and an expense, started half a day to 30 days ago, of which nobody has heard."""
    office = Office()
    for number, days in enumerate((0.5, 10, 20, 30)):
        office.finish(f"pi-{number}")
        code = "PROC-EXPENSE" if number == 3 else "PROC-LEAVE"
        office.started.setdefault(code, []).append((ms(ago(days)), f"pi-{number}"))
    return office


@pytest.fixture
async def strange(office, monkeypatch):
    """An archive that has heard of nothing."""
    monkeypatch.setenv("DINGTALK_CORP_ID", CORP)
    async with MemoryRuntime(Approval(), dingtalk=office) as runtime:
        yield runtime


@pytest.fixture
async def archive(strange, office):
    await heard(strange, office)
    office.calls.clear()
    return strange


async def archived(archive):
    rows = await archive.rows(select(approval_instances))
    return {row.instance_id for row in rows if row.document_state == "full"} - {"pi-heard"}


async def booked(archive):
    return {row.instance_id for row in await archive.rows(select(leave_ledger))}


async def test_a_request_is_acted_on_as_if_the_events_had_come(archive, passes):
    compared = archive.consumer.metrics.compared
    await deliver(archive, resync_request(since=ago(15)))
    assert await archived(archive) == await booked(archive) == {"pi-0", "pi-1"}
    assert compared._value.get() == 0
    passes(CHECK_EVERY_S)
    await look(archive)
    assert compared._value.get() > 0
    assert (await entity(archive, WHOLE)).due_ms is None
    assert (await archive.deliver(resync_request(since=ago(15)))).kind == "seen"
    await deliver(archive, resync_request("r-2", since=ago(30), part="contacts"))
    assert await archived(archive) == {"pi-0", "pi-1"}


async def test_a_resync_lists_the_templates_that_the_archive_or_an_action_knows(archive, office, passes):
    """F9c: 200 templates cost a call each, whatever they are."""
    office.started |= {f"PROC-{number}": [] for number in range(200)}
    await deliver(archive, resync_request(since=ago(40)))
    assert await archived(archive) == {"pi-0", "pi-1", "pi-2"}, "PROC-LEAVE has an action"
    assert (office.calls[IDS], office.calls[TEMPLATES]) == (2, 0), "PROC-OTHER is that of pi-heard"
    await hear(archive, instance("start", processInstanceId="pi-known", processCode="PROC-EXPENSE"))
    await hear(archive, resync_request("r-2", since=ago(40)))
    for _ in range(2):
        passes(CHECK_EVERY_S)
        await look(archive)
    assert await archived(archive) == ALL


async def test_what_began_earlier_and_has_not_ended_in_the_archive_is_read_the_newest_first(
    archive, office, monkeypatch
):
    """Its finish is among the events that were lost; a deleted one never ends."""
    for number in range(5):
        more = {"processInstanceId": f"run-{number}", "createTime": T + number}
        await hear(archive, instance("start", T + number, **more))
        office.finish(f"run-{number}")
    await deliver(archive, instance("delete", T + 10, processInstanceId="run-4"))
    monkeypatch.setattr(resync, "RUNNING_MOST", 3)
    office.calls.clear()
    await deliver(archive, resync_request(since=ago(0.2)))
    assert await archived(archive) == {"run-3", "run-2", "run-1"}
    assert office.calls[INSTANCES] == 3


async def test_what_the_archive_has_whole_costs_no_call(archive, office):
    await deliver(archive, instance("finish"))
    office.calls.clear()
    await deliver(archive, resync_request(since=ago(25)))
    assert await archived(archive) == {"pi-0", "pi-1", "pi-2"}
    assert office.calls[INSTANCES] == 2


async def test_the_newest_come_first(archive, office, monkeypatch):
    for days in (200, 340):
        office.finish(f"old-{days}")
        office.started["PROC-LEAVE"].append((ms(ago(days)), f"old-{days}"))
    asked, whole = [], office.approval

    async def approval(instance_id):
        asked.append(instance_id)
        return await whole(instance_id)

    monkeypatch.setattr(office, "approval", approval)
    await deliver(archive, resync_request(since=ago(364)))
    assert set(asked[:3]) == {"pi-0", "pi-1", "pi-2"}
    assert asked[3:] == ["old-200", "old-340"]


async def test_dingtalk_is_asked_for_no_more_than_a_year(archive, office, monkeypatch, passes):
    spans, listed = [], office.approval_ids

    def ids(code, *, start_ms, end_ms):
        spans.append((code, start_ms, end_ms))
        return listed(code, start_ms=start_ms, end_ms=end_ms)

    monkeypatch.setattr(office, "approval_ids", ids)
    await hear(archive, resync_request(since=ago(900)))
    for _ in range(5):
        await look(archive)
        passes(1)
    of_leave = sorted((start, end) for code, start, end in spans if code == "PROC-LEAVE")
    assert ago(365) < datetime.fromtimestamp(of_leave[0][0] / 1000, UTC) < ago(364)
    assert len(of_leave) == 4
    assert all(end - start < 120 * 86_400_000 for start, end in of_leave)
    assert all(left[1] + 1 == right[0] for left, right in pairwise(of_leave))


async def test_a_span_with_more_ids_than_dingtalk_lists_is_halved(office, monkeypatch):
    monkeypatch.setattr(resync, "IDS_MOST", 2)
    office.most_listed = 2
    found = await list_ids(office, "PROC-LEAVE", ms(ago(40)), ms(NOW))
    assert set(found) == {"pi-0", "pi-1", "pi-2"}


async def test_one_that_fails_leaves_out_no_other_and_is_read_again(archive, office, monkeypatch, passes):
    whole, errors = office.approval, [BadRequest("?", api=INSTANCES, errcode=987654)]

    async def not_that_one(instance_id):
        if instance_id == "pi-0" and errors:
            raise errors[0]
        return await whole(instance_id)

    monkeypatch.setattr(office, "approval", not_that_one)
    await deliver(archive, resync_request(since=ago(25)))
    assert await archived(archive) == {"pi-1", "pi-2"}
    assert (await entity(archive, WHOLE)).run_ms is not None, "it is not done yet"
    errors.clear()
    passes(600)
    await look(archive)
    assert await booked(archive) == {"pi-0", "pi-1", "pi-2"}
    passes(CHECK_EVERY_S)
    await look(archive)
    assert (await entity(archive, WHOLE)).run_ms is None


@pytest.mark.parametrize(
    "error",
    [
        BUSY,
        RateLimited("slow down", api=INSTANCES, retry_after_s=5.0),
        BudgetSpent("spent", api=INSTANCES, retry_after_s=5.0),
    ],
    ids=["busy", "rate", "month"],
)
async def test_a_platform_that_gives_none_of_them_is_waited_for(archive, office, monkeypatch, passes, error):
    """What was listed is not listed again."""
    whole, asked = office.approval, []

    async def fails(instance_id):
        asked.append(instance_id)
        raise error

    monkeypatch.setattr(office, "approval", fails)
    await deliver(archive, resync_request(since=ago(25)))
    lists = office.calls[IDS]
    for _ in range(5):
        passes(600)
        await look(archive)
    assert len(asked) < 40
    monkeypatch.setattr(office, "approval", whole)
    for _ in range(5):
        passes(3600)
        await look(archive)
    assert await booked(archive) == {"pi-0", "pi-1", "pi-2"}
    assert office.calls[IDS] == lists


async def test_a_template_that_cannot_be_listed_stops_no_other(archive, office, monkeypatch, passes):
    listed = office.approval_ids

    def ids(code, **span):
        if code == "PROC-OTHER":
            raise PermissionDenied("no such template", api=IDS, name="processCodeError", about="entity")
        return listed(code, **span)

    monkeypatch.setattr(office, "approval_ids", ids)
    await deliver(archive, resync_request(since=ago(25)))
    for _ in range(20):
        passes(300)
        await look(archive)
    assert await archived(archive) == {"pi-0", "pi-1", "pi-2"}
    (template,) = await archive.rows(select(entities).where(entities.c.state == "refused"))
    assert (template.kind, template.entity_id) == (TEMPLATE, "PROC-OTHER")
    assert (await entity(archive, WHOLE)).run_ms is None, "and the resync ends"


@pytest.mark.parametrize("ended", [None, T + 300_000], ids=["no-event", "later"])
async def test_what_ended_before_the_first_event_waits_for_a_person(strange, office, ended):
    """It may have been booked by hand, and the bridge asks for the resync by itself."""
    archive = strange
    if ended is not None:
        await heard(archive, office, ended)
    await deliver(archive, resync_request(since=ago(25)))
    assert await booked(archive) == set()
    entries = await archive.rows(select(approval_actions))
    assert {entry.instance_id: entry.state for entry in entries} == dict.fromkeys(
        ["pi-0", "pi-1", "pi-2"], "skipped"
    )
    assert {entry.reason for entry in entries} == {BEFORE_BRIDGE}
    consumer, chosen = archive.consumer, Filter(instance_ids=["pi-1"])
    (named,) = [one async for one in pending(archive.database, consumer.runner, chosen)]
    assert await call(archive.database, consumer.entities, consumer.runner, named) == "done"
    assert await booked(archive) == {"pi-1"}
    # its finish event was on its way
    await deliver(archive, instance("finish", processInstanceId="pi-2"))
    assert await booked(archive) == {"pi-1", "pi-2"}


async def test_a_change_of_what_ended_before_the_first_event_is_not_booked_by_a_request(strange, office):
    archive = strange
    office.finish("pi-0", bizAction="MODIFY", mainProcessInstanceId="pi-1", finishTime="2024-11-18T01:21Z")
    await heard(archive, office, T + 300_000)
    await deliver(archive, resync_request(since=ago(25)))
    assert await booked(archive) == set()
    states = {row.instance_id: row.state for row in await archive.rows(select(approval_actions))}
    assert states["pi-0"] == "skipped"


async def test_one_that_waits_is_widened_and_one_that_comes_meanwhile_is_done_after(
    archive, office, monkeypatch, passes
):
    await hear(archive, resync_request("r-1", since=ago(1)))
    await hear(archive, resync_request("r-2", since=ago(15)))
    await hear(archive, resync_request("r-3", since=ago(2)))
    assert abs((await entity(archive, WHOLE)).from_ms - ms(ago(15))) < 2
    whole = office.approval

    async def meanwhile(instance_id):
        monkeypatch.setattr(office, "approval", whole)
        await hear(archive, resync_request("r-4", since=ago(25)))
        return await whole(instance_id)

    monkeypatch.setattr(office, "approval", meanwhile)
    for _ in range(3):
        await look(archive)
        passes(CHECK_EVERY_S)
    assert await archived(archive) == {"pi-0", "pi-1", "pi-2"}
    row = await entity(archive, WHOLE)
    assert (row.kind, row.due_ms, row.run_ms, row.from_ms) == (COMPANY, None, None, None)


async def test_a_request_of_no_company_is_for_that_of_its_app(strange, office, monkeypatch):
    await hear(strange, resync_request("r-1", since=ago(1)))
    assert (await entity(strange, WHOLE)).corp_id == CORP
    monkeypatch.delenv("DINGTALK_CORP_ID")
    async with MemoryRuntime(Approval(), dingtalk=office) as nobodys:
        with structlog.testing.capture_logs() as logs:
            await deliver(nobodys, resync_request("r-1", since=ago(1)))
        assert "approval.resync_for_nobody" in [log["event"] for log in logs]
        assert await entity(nobodys, WHOLE) is None


@pytest.mark.parametrize("named", [["", CORP], [CORP, ""], ["", "dingother"]])
async def test_an_action_runs_once_whatever_company_the_events_name(strange, named):
    """Of an approval that a push without corpId reports, a second push and the bridge's own resync."""
    archive, ended_ms = strange, ms(ago(0.5))
    for at, corp_id in enumerate(named):
        await deliver(archive, instance("finish", ended_ms + at, processInstanceId="pi-0", corpId=corp_id))
    await deliver(archive, resync_request("r-1", since=ago(1)))
    assert [row.corp_id for row in await archive.rows(select(approval_instances.c.corp_id))] == [CORP]
    assert await booked(archive) == {"pi-0"}
    assert len(await archive.rows(select(leave_ledger))) == 1


async def test_when_the_months_calls_run_short_events_come_first_and_then_files(archive, office, monkeypatch):
    """F9c: a resync leaves attachments their share."""
    priorities = []
    monkeypatch.setattr(office, "at", lambda priority: priorities.append(priority) or office)
    await deliver(archive, instance("finish", processInstanceId="pi-0"))
    assert priorities == []
    await deliver(archive, resync_request(since=ago(25)))
    assert set(priorities) == {Priority.RECONCILE}
    assert Priority.RECONCILE > Priority.RESYNC, "which is that of files"


async def test_of_a_requests_own_texts_a_log_holds_200_characters_escaped(archive):
    text, asked = "\n" + "x" * 400_000, resync_request(since=ago(1))
    with structlog.testing.capture_logs() as logs:
        event = replace(asked, id=f"{text}{CORP}", data=asked.data | {"reason": text})
        await deliver(archive, event)
    (log,) = [log for log in logs if log["event"] == "approval.resync_requested"]
    assert log["reason"] == log["event_id"] == "\\n" + "x" * 197 + "…"
