"""An approval's life as one story: however late, doubled or swapped its events, the same rows are left."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.tables import (
    approval_actions,
    approval_comments,
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_tasks,
)
from dingbridge.testing.memory import MemoryRuntime
from tests.support.sizes import sized
from tests.unit.approval.office import LATER, Office, T, instance, task

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


@pytest.mark.parametrize("end", ENDS)
@settings(max_examples=sized(3, 50, quick=2))
@given(data=st.data())
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
