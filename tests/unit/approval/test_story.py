"""An approval's life as one story: however late, doubled or swapped its events, the same rows are left."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.actions.declaration import Action
from dingbridge.consumers.approval.archive.writer import stored
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.instances import AGAIN_S
from dingbridge.consumers.approval.tables import (
    approval_actions,
    approval_comments,
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_tasks,
)
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.testing.memory import MemoryRuntime
from tests.support.sizes import sized
from tests.unit.approval.office import (
    LATER,
    LEAVE,
    Office,
    T,
    deliver,
    entity,
    field,
    hear,
    instance,
    look,
    only,
    task,
)

STORY = [
    instance("start", T),
    task("start", T, received_ms=LATER),
    task("start", T, taskId=62, staffId="u7"),
    task("finish", T + 90_000, taskId=62, staffId="u7", result="redirect", createTime=T),
    task("start", T + 90_000, taskId=63, staffId="u8"),
    task("cancel", T + 100_040, taskId=63, staffId="u8", createTime=T + 90_000),
    task("finish", T + 100_040, received_ms=LATER, result="agree", finishTime=T + 100_040),
    instance("finish"),
    instance("finish", T + 100_001, url=..., title="另一个题目"),
    task("comment", T + 150_000, received_ms=LATER, taskId=..., content="好"),
    task("comment", T + 150_000, received_ms=LATER, taskId=..., content="再好"),
]
"""An approved leave: of two approvers, one hands over to a third, who is no longer needed in the end."""


ENDS = {
    "approved": ([], 1),
    "deleted": ([instance("delete", T + 200_000)], 0),
    "terminated": ([instance("terminate", T + 200_000)], 0),
    "revoked": ([instance("finish", T + 200_000, processInstanceId="pi-2", title="撤销")], 0),
    "modified": ([instance("finish", T + 200_000, processInstanceId="pi-2", title="修改")], 1),
}
"""What comes after, and how many leaves are in the ledger then."""


async def final_rows(events, end):
    office = Office()
    office.finish()
    biz_action = "MODIFY" if end == "modified" else "REVOKE"
    office.finish("pi-2", bizAction=biz_action, mainProcessInstanceId="pi-1")
    async with MemoryRuntime(Approval(), dingtalk=office) as archive:
        for event in events:
            kind = event.data["type"]
            if kind == "terminate":
                office.approvals["pi-1"] |= {"status": "TERMINATED", "result": ""}
            # a deleted one is not there, but answers to the other events may be older
            there = office.approvals.pop("pi-1") if kind == "delete" else None
            assert (await archive.deliver(event)).kind in ("done", "seen")
            await look(archive)
            if there is not None:
                office.approvals["pi-1"] = there
        tables = [
            approval_form_values,
            approval_operations,
            approval_tasks,
            approval_comments,
            leave_ledger,
            approval_actions,
            approval_instances,
        ]
        rows = {
            table.name: [
                row._asdict() for row in await archive.rows(select(table).order_by(*table.primary_key))
            ]
            for table in tables
        }
    for row in (row for found in rows.values() for row in found):
        for when_we_did_it in ("updated_at", "recorded_at", "done_at", "undone_at"):
            row.pop(when_we_did_it, None)
    return rows


@pytest.fixture(scope="module")
def in_order():
    return {end: asyncio.run(final_rows([*STORY, *more], end)) for end, (more, _) in ENDS.items()}


@settings(max_examples=sized(15, 250, quick=5))
@given(end=st.sampled_from([*ENDS]), data=st.data())
def test_late_doubled_and_swapped_events_end_in_the_same_rows(in_order, end, data):
    story = [*STORY, *ENDS[end][0]]
    events = data.draw(st.permutations(story[::-1]))
    doubled = data.draw(st.lists(st.sampled_from(story), max_size=4))
    assert asyncio.run(final_rows([*events, *doubled], end)) == in_order[end]


@pytest.mark.parametrize("end", ENDS)
def test_the_story_ends_as_it_should(in_order, end):
    rows = in_order[end]
    assert len(rows["leave_ledger"]) == ENDS[end][1]
    assert rows["approval_actions"][0]["state"] == ("done" if end == "approved" else "revoked")
    assert rows["approval_instances"][0]["outcome"] == ("terminated" if end == "terminated" else "approved")
    assert len(rows["approval_comments"]) == 2
    tasks = {
        row["task_id"]: (row["userid"], row["status"], row["result"])
        for row in rows["approval_tasks"]
        if row["instance_id"] == "pi-1"
    }
    assert tasks == {
        "61056035232": ("u002", "COMPLETED", "AGREE"),
        "62": ("u7", "COMPLETED", "REDIRECTED"),
        "63": ("u8", "CANCELED", None),
    }


# -- A document may be older than the event that it is asked about: an approval is believed at its end only


def form(days: str) -> list[dict[str, object]]:
    return [field(name, value) for name, value in (LEAVE | {"时长(天)": days}).items()]


LATE = {
    "running": {"status": "RUNNING", "result": "", "finishTime": ..., "form": form("1000")},
    "new": {"status": "NEW", "result": "", "form": form("1000")},
    "unknown": {"status": "ARCHIVING", "result": "agree", "form": form("1000")},
    "absent": None,
}


def late_answer(office, late):
    if LATE[late] is not None:
        office.finish(**LATE[late])


async def looks(archive, passes):
    """Let the times of all further reads pass."""
    for wait_s in AGAIN_S:
        passes(wait_s)
        await look(archive)


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("read", range(len(AGAIN_S)))
async def test_the_form_that_is_booked_is_the_one_at_the_end(archive, office, passes, late, read):
    """An approver changed 1000 to 800, and the first answers are older than that."""
    late_answer(office, late)
    await hear(archive, instance("start", T))
    await deliver(archive, instance("finish"))
    for wait_s in AGAIN_S[:read]:
        passes(wait_s)
        await look(archive)
    assert await archive.rows(select(leave_ledger)) == []
    office.finish(form=form("800"))
    passes(AGAIN_S[read])
    await look(archive)
    assert (await only(archive, leave_ledger)).days == 800
    assert (await only(archive, approval_instances)).document_state == "full"
    await looks(archive, passes)
    assert office.calls[INSTANCES] == 2 + read


@pytest.mark.parametrize("kind", ["finish", "terminate"])
@pytest.mark.parametrize("late", LATE)
async def test_what_is_never_seen_at_its_end_is_never_believed(archive, office, passes, late, kind):
    late_answer(office, late)
    await hear(archive, instance("start", T))
    await deliver(archive, instance(kind))
    await looks(archive, passes)
    await looks(archive, passes)
    assert office.calls == {INSTANCES: 1 + len(AGAIN_S)}, "and nothing else is asked for meanwhile"
    row, kept = await entity(archive), await only(archive, approval_instances)
    assert (row.state, row.due_ms) == ("refused", None)
    assert row.code == ("not_there" if late == "absent" else "not_at_its_end")
    assert (kept.outcome, kept.document_state) == (None, "pending")
    assert await archive.rows(select(leave_ledger)) == []


@pytest.mark.parametrize("late", ["running", "absent"])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("order", [1, -1])
async def test_one_that_is_deleted_meanwhile_waits_for_nothing(
    archive, office, passes, late, together, order
):
    """Nobody will ever see this instance at its end."""
    late_answer(office, late)
    events = [instance("start", T), *[instance("finish"), instance("delete", T + 200_000)][::order]]
    for event in events:
        await (hear if together else deliver)(archive, event)
    await look(archive)
    row = await only(archive, approval_instances)
    assert (row.outcome, row.deleted_at is not None) == (None, True)
    calls = office.calls.total()
    await looks(archive, passes)
    assert (office.calls.total(), calls <= 2) == (calls, True)
    assert await archive.rows(select(leave_ledger)) == []


async def test_a_life_that_waits_together_is_one_read_and_the_same_rows(archive, office):
    office.finish()
    told = (
        instance("start", T),
        task("start", T),
        task("finish", T + 50_000, result="agree"),
        task("comment", T + 60_000, content="好"),
        instance("finish"),
    )
    for event in told:
        await hear(archive, event)
    assert await look(archive) == 1
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


@pytest.mark.parametrize(("kind", "after_ms"), [("comment", 1), ("finish", 60_001)])
@pytest.mark.parametrize("skew_ms", [-600_000, 0, 600_000])
async def test_what_comes_after_the_end_is_read_however_the_clocks_differ(
    archive, office, kind, after_ms, skew_ms
):
    """A comment's file is in the document alone. All times that count are DingTalk's."""
    office.finish()
    await deliver(archive, instance("finish"))
    for late_ms, calls in ((0, 1), (after_ms, 2)):
        at_ms = T + 100_000 + late_ms
        await deliver(archive, task(kind, at_ms, received_ms=at_ms + skew_ms, content="附件", result=...))
        assert office.calls[INSTANCES] == calls


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
        consumer, event = archive.consumer, instance("finish")
        key = {"corp_id": event.corp_id, "instance_id": "pi-1"}
        async with archive.database.transaction() as tx:
            await consumer.archive.hear(tx, key, event)
            known = await stored(tx, key)
            document = office.approvals["pi-1"]
            written = await consumer.archive.write(tx, key, known, app="default", document=document)
            await consumer.runner.settle_family(tx, key, written.stored, without_event="all")
        entry = await only(archive, approval_actions)
    assert entry.state == "skipped"
    assert "at its end" in entry.reason


async def never(approval, tx):
    await tx.execute(insert(leave_ledger).values(corp_id="called"))
