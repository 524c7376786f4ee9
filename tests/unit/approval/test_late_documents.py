"""A document may be older than the event that it is asked about: an approval is believed at its end only."""

import time

import pytest
from sqlalchemy import insert, select

from dingbridge import Context, Retry
from dingbridge.availability import GIVE_UP_AFTER_S
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.actions.declaration import Action
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.tables import (
    approval_actions,
    approval_comments,
    approval_form_values,
    approval_instances,
    approval_tasks,
)
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.snapshots.late_answers import LOOK_AGAIN_S
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import LATER, LEAVE, T, deliver, field, instance, only, task


def form(days: str) -> list[dict[str, object]]:
    return [field(name, value) for name, value in (LEAVE | {"时长(天)": days}).items()]


async def attempt(archive, event, number):
    """What the attempt ``number`` raises, None if it would be written."""
    ctx = Context(archive.database.reader(), lambda: archive.consumer.dingtalk, number)
    try:
        await archive.consumer.prepare(event, ctx)
    except Retry as error:
        return error
    return None


LATE = {
    "running": {"status": "RUNNING", "result": "", "finishTime": ..., "form": form("1000")},
    "new": {"status": "NEW", "result": "", "form": form("1000")},
    "unknown": {"status": "ARCHIVING", "result": "agree", "form": form("1000")},
    "absent": None,
}


@pytest.mark.parametrize("late", LATE)
async def test_the_form_that_is_booked_is_the_one_at_the_end(archive, office, late):
    """An approver changed 1000 to 800, and the first answers are older than that."""
    if LATE[late] is not None:
        office.finish(**LATE[late])
    event = instance("finish")
    for wait in LOOK_AGAIN_S:
        error = await attempt(archive, event, 1)
        assert (error.retry_after_s, error.counts) == (wait, False)
    office.finish(form=form("800"))
    await deliver(archive, event)
    assert (await only(archive, leave_ledger)).days == 800
    assert (await only(archive, approval_instances)).document_state == "full"


@pytest.mark.parametrize("kind", ["finish", "terminate"])
@pytest.mark.parametrize("late", LATE)
async def test_what_is_never_seen_at_its_end_is_never_believed(archive, office, late, kind):
    if LATE[late] is not None:
        office.finish(**LATE[late])
    event = instance(kind)
    held = [await attempt(archive, event, 1) for _ in LOOK_AGAIN_S]
    counted = [await attempt(archive, event, number) for number in range(1, Approval.max_attempts)]
    waits = [error.retry_after_s for error in counted]
    assert all(error.counts for error in counted)
    assert waits == sorted(waits)
    assert waits[0] > held[-1].retry_after_s
    assert 0.8 * GIVE_UP_AFTER_S < sum(waits) < 1.5 * GIVE_UP_AFTER_S, "a dead letter after an hour or so"
    assert isinstance(await attempt(archive, event, Approval.max_attempts), Retry)
    assert await archive.rows(select(approval_instances)) == []
    assert office.calls.total() == office.calls[INSTANCES], "nothing else is asked for meanwhile"


@pytest.mark.parametrize("late", ["running", "absent"])
async def test_one_that_is_deleted_meanwhile_waits_for_nothing(archive, office, late):
    """Its finish waits, and its delete comes behind it."""
    if LATE[late] is not None:
        office.finish(**LATE[late])
    events = instance("finish"), instance("delete", T + 200_000)
    ctx = Context(archive.database.reader(), lambda: archive.consumer.dingtalk, together=events)
    prepared = await archive.consumer.prepare(events[-1], ctx)
    async with archive.database.transaction() as tx:
        await archive.consumer.handle(events[-1], tx, prepared)
    row = await only(archive, approval_instances)
    assert (row.outcome, row.deleted_at is not None) == ("approved", True)
    assert await archive.rows(select(leave_ledger)) == []


@pytest.mark.parametrize("late", ["running", "absent"])
async def test_the_finish_of_one_that_is_known_to_be_deleted_waits_for_nothing(archive, office, late):
    """DingTalk sent it late, or it is replayed: nobody will ever see this instance at its end."""
    if LATE[late] is not None:
        office.finish(**LATE[late])
    await deliver(archive, instance("delete", T + 200_000))
    await deliver(archive, instance("finish"))
    row = await only(archive, approval_instances)
    assert (row.outcome, row.deleted_at is not None) == ("approved", True)
    assert await archive.rows(select(leave_ledger)) == []


async def test_a_life_that_waits_together_is_one_fetch_and_the_same_rows(archive, office):
    office.finish()
    told = (
        instance("start", T),
        task("start", T),
        task("finish", T + 50_000, result="agree"),
        task("comment", T + 60_000, content="好"),
        instance("finish"),
    )
    assert len({archive.consumer.fetches(event) for event in told}) == 1
    ctx = Context(archive.database.reader(), lambda: archive.consumer.dingtalk, together=told)
    prepared = await archive.consumer.prepare(told[-1], ctx)
    async with archive.database.transaction() as tx:
        await archive.consumer.handle(told[-1], tx, prepared)
    assert office.calls[INSTANCES] == 1
    tables = (approval_instances, approval_tasks, approval_comments, leave_ledger)
    together = [[row._asdict() for row in await archive.rows(select(table))] for table in tables]
    async with MemoryRuntime(Approval(), dingtalk=office) as one_by_one:
        for event in told:
            await deliver(one_by_one, event)
        alone = [[row._asdict() for row in await one_by_one.rows(select(table))] for table in tables]
    for rows in (*together, *alone):
        for row in rows:
            row.pop("updated_at", None), row.pop("recorded_at", None)
    assert together == alone


@pytest.mark.parametrize(("before_s", "asked"), [(1, True), (60, True), (100, False)])
async def test_a_comment_from_just_before_the_last_fetch_is_asked_for_since_that_may_not_have_it(
    archive, office, before_s, asked
):
    office.finish()
    await deliver(archive, instance("finish"))
    received = round((time.time() - before_s) * 1000)
    await deliver(archive, task("finish", T + 90_000, received_ms=received, result="agree"))
    assert office.calls[INSTANCES] == 1
    await deliver(archive, task("comment", T + 90_000, received_ms=received, content="附件"))
    assert office.calls[INSTANCES] == 1 + asked


async def test_a_late_answer_to_a_comment_leaves_the_archived_end_as_it_is(archive, office):
    office.finish(form=form("800"))
    await deliver(archive, instance("finish"))
    office.finish(**LATE["running"])
    await deliver(archive, task("comment", T + 300_000, received_ms=LATER, content="好"))
    row = await only(archive, approval_instances)
    assert (row.status, row.outcome) == ("COMPLETED", "approved")
    values = {row.name: row.value for row in await archive.rows(select(approval_form_values))}
    assert values["时长(天)"] == "800"


async def test_no_action_is_called_on_a_document_that_is_not_at_its_end(office):
    """Whatever brought it into the archive beside a finish."""
    office.finish()
    async with MemoryRuntime(Approval({"PROC-LEAVE": Action(never)}), dingtalk=office) as archive:
        office.approvals["pi-1"] |= {"status": "RUNNING", "result": ""}
        fetcher, event = archive.consumer.fetcher, instance("finish")
        key = {"corp_id": event.corp_id, "instance_id": "pi-1"}
        async with archive.database.transaction() as tx:
            written = await fetcher.archive.write(
                tx, key, app="default", new_events=[event], document=office.approvals["pi-1"]
            )
            await fetcher.actions.settle_family(tx, key, written.stored, without_event="all")
        entry = await only(archive, approval_actions)
    assert entry.state == "skipped"
    assert "at its end" in entry.reason


async def never(approval, tx):
    await tx.execute(insert(leave_ledger).values(corp_id="called"))
