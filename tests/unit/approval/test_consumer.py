"""The approval consumer in memory: what each event makes of the archive, and when an action is called."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select
from structlog.testing import capture_logs

from consumers.approval import Approval
from consumers.approval.actions import Action
from consumers.approval.examples import forget_leave, leave_ledger, record_leave
from consumers.approval.tables import (
    approval_actions,
    approval_attachments,
    approval_comments,
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_table_cells,
    approval_tasks,
)
from consumers.runtime import Again, Reject, Retry
from consumers.runtime.memory import MemoryRuntime
from dingtalk.errors import PermissionDenied, Unavailable
from tests.unit.approval.office import LEAVE, Office, T, field, instance, task

LATER = T + 10 * 365 * 86_400_000
"""Received by the bridge long after any fetch of these tests."""


@pytest.fixture
def office():
    return Office()


@pytest.fixture
async def archive(office):
    async with MemoryRuntime(Approval(), dingtalk=office) as runtime:
        yield runtime


async def deliver(archive, event):
    outcome = await archive.deliver(event)
    assert outcome.kind == "done", outcome


async def only(archive, table):
    (row,) = await archive.rows(select(table))
    return row


async def test_an_approved_instance_is_archived_whole(archive, office):
    table = field("明细", '[{"rowValue":[{"label":"名称","value":"笔"}]}]', "TableField")
    office.finish(form=[*(field(*item) for item in LEAVE.items()), table])
    await deliver(archive, instance("finish"))
    row = await only(archive, approval_instances)
    assert (row.instance_id, row.process_code, row.outcome) == ("pi-1", "PROC-LEAVE", "approved")
    assert (row.url, row.originator_dept_name) == ("https://aflow.dingtalk.com/pi-1", "研发部")
    assert row.finished_at == datetime(2024, 11, 7, 17, 21, 40, tzinfo=UTC)
    assert row.document_state == "full"
    assert "年假" in row.raw_document
    assert [r.name for r in await archive.rows(select(approval_form_values))] == [*LEAVE, "明细"]
    assert (await only(archive, approval_table_cells)).value == "笔"
    assert len(await archive.rows(select(approval_operations))) == 2
    assert (await only(archive, approval_tasks)).task_id == "61056035232"


async def test_an_approved_leave_is_in_the_ledger_once(archive, office):
    office.finish()
    await deliver(archive, instance("finish"))
    await deliver(archive, instance("finish", T + 100_001))
    office.finish(cc_userids=["u9"])
    await deliver(archive, instance("finish", T + 100_002))
    row = await only(archive, leave_ledger)
    assert (row.userid, row.leave_type, row.days, row.reason) == ("u001", "年假", 2, "回老家")
    assert row.starts_at == datetime(2024, 11, 10, 16, tzinfo=UTC)
    assert row.ends_at == datetime(2024, 11, 12, 16, tzinfo=UTC)
    assert (row.starts_at_raw, row.instance_id) == ("2024-11-11", "pi-1")
    done = await only(archive, approval_actions)
    assert (done.state, done.action) == ("done", "consumers.approval.examples.record_leave")


async def test_a_start_is_done_without_looking(archive, office):
    await deliver(archive, instance("start"))
    assert office.calls.total() == 0
    row = await only(archive, approval_instances)
    assert (row.outcome, row.document_state, row.process_code) == (None, "pending", "PROC-LEAVE")


@pytest.mark.parametrize(
    ("event", "document", "outcome"),
    [
        (instance("finish", result="refuse"), {"result": "refuse"}, "refused"),
        (instance("terminate"), {"status": "TERMINATED", "result": ""}, "terminated"),
    ],
)
async def test_what_was_not_approved_is_archived_without_action(archive, office, event, document, outcome):
    office.finish(**document)
    await deliver(archive, event)
    assert (await only(archive, approval_instances)).outcome == outcome
    assert await archive.rows(select(leave_ledger)) == []


async def test_absent_fields_are_no_error(archive, office):
    office.approvals["pi-1"] = {}
    bare = instance(
        "finish", url=..., title=..., staffId=..., processCode=..., businessId=..., createTime=...
    )
    await deliver(archive, bare)
    row = await only(archive, approval_instances)
    assert (row.outcome, row.process_code, row.title, row.started_at) == ("approved", None, None, None)


async def test_an_instance_that_the_api_does_not_know_is_archived_from_its_event(archive):
    await deliver(archive, instance("finish"))
    row = await only(archive, approval_instances)
    assert (row.document_state, row.outcome, row.title) == ("missing", "approved", "张三提交的请假")
    assert await archive.rows(select(leave_ledger)) == []


async def test_the_action_follows_when_the_document_does(archive, office):
    await deliver(archive, instance("finish"))
    office.finish()
    await deliver(archive, instance("finish", T + 100_001))
    assert (await only(archive, approval_instances)).document_state == "full"
    assert (await only(archive, leave_ledger)).userid == "u001"


async def test_what_the_api_forgot_the_archive_keeps(archive, office):
    office.finish()
    await deliver(archive, instance("finish"))
    office.approvals.clear()
    await deliver(archive, instance("finish", T + 100_001))
    assert (await only(archive, approval_instances)).document_state == "full"
    assert len(await archive.rows(select(approval_operations))) == 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_deletion_is_noted_whenever_it_arrives(archive, office, order):
    office.finish()
    events = [instance("finish"), instance("delete", T + 200_000)]
    for number in order:
        await deliver(archive, events[number])
    row = await only(archive, approval_instances)
    assert (row.outcome, row.document_state) == ("approved", "full")
    assert row.deleted_at == datetime(2024, 11, 7, 17, 23, 20, tzinfo=UTC)
    assert office.calls.total() == 1


async def test_a_deletion_that_names_no_time_of_its_own_is_as_old_as_its_receipt(archive, office):
    office.finish()
    await deliver(archive, instance("finish"))
    await deliver(archive, instance("delete", finishTime=..., received_ms=T + 300_000))
    row = await only(archive, approval_instances)
    assert row.deleted_at == datetime(2024, 11, 7, 17, 25, tzinfo=UTC)
    assert row.finished_at == datetime(2024, 11, 7, 17, 21, 40, tzinfo=UTC)


async def test_equal_state_writes_nothing(archive, office):
    office.finish()
    event = instance("finish")
    await deliver(archive, event)
    before = await only(archive, approval_instances)
    assert (await archive.deliver(event, replay_id="again")).kind == "done"
    assert await only(archive, approval_instances) == before


async def test_a_comment_after_the_end_reaches_the_archive(archive, office):
    office.finish()
    await deliver(archive, instance("finish"))
    office.approvals["pi-1"]["operation_records"].append({"userid": "u3", "operation_type": "ADD_REMARK"})
    await deliver(archive, task("comment", T + 300_000, received_ms=LATER))
    assert len(await archive.rows(select(approval_operations))) == 3


async def test_task_events_that_can_tell_nothing_new_cost_no_call(archive, office):
    await deliver(archive, task("start"))
    assert office.calls.total() == 0
    office.finish()
    await deliver(archive, instance("finish"))
    await deliver(archive, task("finish", T + 100_000))
    assert office.calls.total() == 1


async def test_an_older_document_never_overwrites_a_newer_one(archive, office):
    consumer, reader = archive.consumer, archive.database.reader()
    first, second = instance("finish"), task("comment", received_ms=LATER)
    office.finish(operation_records=[])
    a = await consumer.prepare(first, reader)
    office.finish()
    b = await consumer.prepare(first, reader)
    async with archive.database.transaction() as tx:
        await consumer.handle(first, tx, b)
    with pytest.raises(Again):
        async with archive.database.transaction() as tx:
            await consumer.handle(second, tx, a)
    assert len(await archive.rows(select(approval_operations))) == 2


async def test_a_template_without_action_is_archived_and_counted(archive, office):
    office.finish()
    with capture_logs() as logs:
        await deliver(archive, instance("finish", processCode="PROC-OTHER"))
        await deliver(archive, task("comment", T + 300_000, received_ms=LATER))
    assert (await only(archive, approval_instances)).outcome == "approved"
    (said,) = [line for line in logs if line["event"] == "approval.without_action"]
    assert said["process_code"] == "PROC-OTHER"
    counted = archive.consumer.registry.get_sample_value("dingbridge_approval_without_action_total")
    assert counted == 1


@pytest.mark.parametrize("biz_action", ["REVOKE", "MODIFY"])
async def test_taking_back_a_leave_does_not_count_it_again(archive, office, biz_action):
    office.finish(biz_action=biz_action, main_process_instance_id="pi-0")
    await deliver(archive, instance("finish"))
    assert (await only(archive, approval_instances)).main_instance_id == "pi-0"
    assert await archive.rows(select(leave_ledger)) == []
    assert (await only(archive, approval_actions)).state == "skipped"


@pytest.mark.parametrize(
    "changes",
    [
        {"开始时间": "秘密"},
        {"开始时间": "2024-11-13"},
        {"时长(天)": "-1"},
        {"时长(天)": None},
        {"请假类型": ""},
    ],
)
async def test_a_bad_leave_form_is_archived_and_its_action_rejected_in_words(archive, office, changes):
    office.finish(form=[field(name, value) for name, value in (LEAVE | changes).items()])
    with capture_logs() as logs:
        await deliver(archive, instance("finish"))
    assert (await only(archive, approval_instances)).outcome == "approved"
    assert await archive.rows(select(leave_ledger)) == []
    rejected = await only(archive, approval_actions)
    assert rejected.state == "rejected"
    assert rejected.reason
    assert "秘密" not in str(logs)


async def test_a_rejected_action_is_tried_again_by_a_replay(archive, office):
    office.finish(form=[field("请假类型", "年假")])
    event = instance("finish")
    await deliver(archive, event)
    office.finish()
    assert (await archive.deliver(event, replay_id="r1")).kind == "done"
    assert (await only(archive, leave_ledger)).leave_type == "年假"
    done = await only(archive, approval_actions)
    assert (done.state, done.reason) == ("done", None)


async def writes_then_rejects(approval, tx):
    await record_leave(approval, tx)
    raise Reject("too late")


async def writes_then_fails(approval, tx):
    await record_leave(approval, tx)
    raise RuntimeError


async def writes_then_retries(approval, tx):
    await record_leave(approval, tx)
    raise Retry(after=30)


async def fails_in_sql(approval, tx):
    await tx.execute(insert(leave_ledger).values(corp_id="c", instance_id="pi"))


async def test_what_a_rejecting_action_wrote_is_undone(office):
    office.finish()
    async with MemoryRuntime(
        Approval({"PROC-LEAVE": Action(writes_then_rejects)}), dingtalk=office
    ) as archive:
        await deliver(archive, instance("finish"))
        assert (await only(archive, approval_instances)).outcome == "approved"
        assert await archive.rows(select(leave_ledger)) == []
        assert (await only(archive, approval_actions)).reason == "too late"


@pytest.mark.parametrize(
    ("function", "after"), [(writes_then_fails, None), (writes_then_retries, 30), (fails_in_sql, None)]
)
async def test_an_action_that_fails_is_retried_with_its_event(office, function, after):
    office.finish()
    async with MemoryRuntime(Approval({"PROC-LEAVE": Action(function)}), dingtalk=office) as archive:
        outcome = await archive.deliver(instance("finish"))
        assert (outcome.kind, outcome.after) == ("retry", after)
        for table in (approval_instances, leave_ledger, approval_actions):
            assert await archive.rows(select(table)) == []


async def test_an_action_sees_the_approval(office):
    seen = []

    async def keep(approval, tx):
        seen.append(approval)

    office.finish()
    async with MemoryRuntime(Approval({"PROC-LEAVE": Action(keep)}), dingtalk=office) as archive:
        await deliver(archive, instance("finish"))
    (approval,) = seen
    assert (approval.instance_id, approval.originator_userid) == ("pi-1", "u001")
    assert approval.started_at == datetime(2024, 11, 7, 17, 20, tzinfo=UTC)
    assert approval.finished_at - approval.started_at == timedelta(seconds=100)
    assert approval.form["请假类型"] == "年假"
    assert approval.document["status"] == "COMPLETED"


async def test_a_missing_right_is_retried_and_a_dead_api_waits(archive, office, monkeypatch):
    async def refuse(instance_id):
        raise PermissionDenied("no right", api="processinstance/get", errcode=60011)

    async def down(instance_id):
        raise Unavailable("no answer", api="processinstance/get")

    monkeypatch.setattr(office, "approval", refuse)
    assert (await archive.deliver(instance("finish"))).kind == "retry"
    monkeypatch.setattr(office, "approval", down)
    assert (await archive.deliver(instance("finish"))).kind == "world_down"


async def test_an_event_without_instance_is_rejected_in_words(archive):
    outcome = await archive.deliver(instance("finish", processInstanceId=...))
    assert outcome.kind == "reject"
    assert "names no approval instance" in str(outcome.error)


async def test_show_lists_the_archive_and_the_ledger(archive, office):
    office.finish()
    await deliver(archive, instance("finish"))
    (
        (title, columns, rows),
        (ledger_title, _, ledger),
        (actions, _, open_ones),
        files,
    ) = await archive.consumer.show(archive.database.reader())
    assert title == "approvals archived: 1; the latest 1 (1 approved)"
    assert dict(zip(columns, rows[0], strict=True))["process_code"] == "PROC-LEAVE"
    assert ledger_title == "leave ledger: 1; the latest 1"
    assert ledger[0][:2] == ("u001", "年假")
    assert (actions, open_ones) == ("actions (1 done); those rejected or not undone", [])
    assert files == ("attachments", ["state", "reason", "files", "bytes"], [])


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
}
"""What comes after, and how many leaves are in the ledger then."""


async def final_rows(events):
    office = Office()
    office.finish()
    office.finish("pi-2", biz_action="REVOKE", main_process_instance_id="pi-1")
    async with MemoryRuntime(Approval(), dingtalk=office) as archive:
        for event in events:
            assert (await archive.deliver(event)).kind in ("done", "seen")
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
    return {end: asyncio.run(final_rows([*STORY, *more])) for end, (more, _) in ENDS.items()}


@pytest.mark.parametrize("end", ENDS)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_late_doubled_and_swapped_events_end_in_the_same_rows(in_order, end, data):
    story = [*STORY, *ENDS[end][0]]
    events = data.draw(st.permutations(story))
    doubled = data.draw(st.lists(st.sampled_from(story), max_size=4))
    assert asyncio.run(final_rows([*events, *doubled])) == in_order[end]


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


async def test_the_undo_of_an_action_runs_once_and_knows_why(office):
    seen = []

    async def undo(approval, tx):
        seen.append((approval.revoked_by, approval.form["请假类型"]))

    office.finish()
    async with MemoryRuntime(
        Approval({"PROC-LEAVE": Action(record_leave, undo)}), dingtalk=office
    ) as archive:
        await deliver(archive, instance("finish"))
        await deliver(archive, instance("delete", T + 200_000))
        await deliver(archive, instance("delete", T + 200_001))
        await deliver(archive, instance("terminate", T + 200_002))
        row = await only(archive, approval_actions)
    assert seen == [("deleted", "年假")]
    assert (row.state, row.done_at is not None, row.undone_at is not None) == ("revoked", True, True)


async def rejects(approval, tx):
    raise Reject("cannot be taken back")


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"PROC-LEAVE": Action(record_leave)}, "consumers.approval.examples.record_leave has no undo"),
        ({"PROC-LEAVE": Action(record_leave, rejects)}, "cannot be taken back"),
        ({}, "no action is declared for PROC-LEAVE any more"),
    ],
)
async def test_what_cannot_be_undone_says_so_and_is_tried_again(archive, office, declared, reason):
    office.finish()
    await deliver(archive, instance("finish"))
    actions = archive.consumer.actions
    archive.consumer.actions = declared
    archive.consumer.open_archive()
    await deliver(archive, instance("delete", T + 200_000))
    row = await only(archive, approval_actions)
    assert (row.state, row.reason) == ("not_undone", reason)
    assert len(await archive.rows(select(leave_ledger))) == 1
    archive.consumer.actions = actions
    archive.consumer.open_archive()
    await deliver(archive, instance("delete", T + 200_001))
    assert (await only(archive, approval_actions)).state == "revoked"
    assert await archive.rows(select(leave_ledger)) == []


async def test_an_undo_that_fails_is_retried_with_its_event(office):
    async def fails(approval, tx):
        await forget_leave(approval, tx)
        raise RuntimeError

    office.finish()
    async with MemoryRuntime(
        Approval({"PROC-LEAVE": Action(record_leave, fails)}), dingtalk=office
    ) as archive:
        await deliver(archive, instance("finish"))
        assert (await archive.deliver(instance("delete", T + 200_000))).kind == "retry"
        assert (await only(archive, approval_actions)).state == "done"
        assert (await only(archive, approval_instances)).deleted_at is None
        assert len(await archive.rows(select(leave_ledger))) == 1


async def test_a_missing_process_code_is_looked_up_once_by_the_templates_name(archive, office):
    office.templates_by_name["请假"] = "PROC-LEAVE"
    for number in range(3):
        office.finish(f"pi-{number}")
        await deliver(archive, instance("finish", processInstanceId=f"pi-{number}", processCode=...))
    codes = {row.process_code for row in await archive.rows(select(approval_instances))}
    assert codes == {"PROC-LEAVE"}
    assert office.calls["process/get_by_name"] == 1
    assert len(await archive.rows(select(leave_ledger))) == 3


@pytest.mark.parametrize("title", ["张三提交的没有", "没有作者"])
async def test_a_title_that_names_no_template_leaves_it_unknown(archive, office, title):
    for number in range(2):
        office.finish(f"pi-{number}", title=title)
        await deliver(archive, instance("finish", processInstanceId=f"pi-{number}", processCode=""))
    assert {row.process_code for row in await archive.rows(select(approval_instances))} == {None}
    assert office.calls["process/get_by_name"] == title.count("提交的")


async def test_actions_are_counted_by_what_became_of_them(archive, office):
    def value(outcome):
        name = "dingbridge_approval_actions_total"
        return archive.consumer.registry.get_sample_value(name, {"outcome": outcome})

    office.finish()
    await deliver(archive, instance("finish"))
    await deliver(archive, instance("delete"))
    assert (value("done"), value("revoked"), value("rejected")) == (1, 1, None)


FILES = '[{"spaceId":"1","fileId":"9","fileName":"../发票.pdf","fileSize":"3","fileType":"pdf"}]'


async def test_without_a_folder_attachments_are_visibly_switched_off(archive, office):
    office.finish(form=[*(field(*item) for item in LEAVE.items()), field("发票", FILES, "DDAttachment")])
    await deliver(archive, instance("finish"))
    row = await only(archive, approval_attachments)
    assert (row.state, row.file_name, row.field_name) == ("off", "../发票.pdf", "发票")
    assert "ARCHIVE_DIR" in row.reason
