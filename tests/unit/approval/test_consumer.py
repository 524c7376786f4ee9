"""The approval consumer in memory: what each event makes of the archive."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.instances import AGAIN_S
from dingbridge.consumers.approval.tables import (
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_tasks,
)
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.dingtalk.replies import read
from dingbridge.mirror.entities import LEASE_S
from dingbridge.snapshots.late_answers import ABSENT_AGAIN_S
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import (
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
    values = await archive.rows(select(approval_form_values))
    assert [value.name for value in values] == [*LEAVE, "明细"]
    assert (values[-1].value, values[-1].value_json) == (table["value"], None), "cells are kept once"
    assert len(await archive.rows(select(approval_operations))) == 2
    assert (await only(archive, approval_tasks)).task_id == "61056035232"


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
    office.approvals["pi-1"] = {"status": "COMPLETED", "businessId": "2", "formComponentValues": []}
    bare = instance(
        "finish", url=..., title=..., staffId=..., processCode=..., businessId=..., createTime=...
    )
    await deliver(archive, bare)
    row = await only(archive, approval_instances)
    assert (row.outcome, row.process_code, row.title, row.started_at) == ("finished", None, None, None)
    assert await archive.rows(select(leave_ledger)) == [], "DingTalk does not say that it was approved"


@pytest.mark.parametrize(
    "lacks",
    [
        {},
        {"status": ...},
        {"status": ""},
        {"businessId": ...},
        {"formComponentValues": ...},
        {"formComponentValues": None},
    ],
    ids=["all", "status", "empty-status", "number", "form", "null-form"],
)
async def test_an_answer_without_what_every_approval_has_is_a_failure_of_this_approval(
    archive, office, passes, lacks
):
    office.finish(**lacks)
    if not lacks:
        office.approvals["pi-1"] = {}
    await deliver(archive, instance("finish"))
    assert (await entity(archive)).due_ms is not None
    assert (await only(archive, approval_instances)).outcome is None, "the event alone decides nothing"
    assert await archive.rows(select(leave_ledger)) == []
    office.finish()
    passes(600)
    await look(archive)
    assert (await only(archive, leave_ledger)).leave_type == "年假"


async def test_what_the_api_forgot_the_archive_keeps(archive, office):
    office.finish()
    await deliver(archive, instance("finish"))
    office.approvals.clear()
    await deliver(archive, instance("finish", T + 100_001))
    assert (await only(archive, approval_instances)).document_state == "full"
    assert len(await archive.rows(select(approval_operations))) == 2


async def test_a_deletion_that_names_no_time_of_its_own_is_as_old_as_its_receipt(archive, office):
    office.finish()
    await deliver(archive, instance("finish"))
    office.delete()
    await deliver(archive, instance("delete", finishTime=..., received_ms=T + 300_000))
    row = await only(archive, approval_instances)
    assert row.deleted_at == datetime(2024, 11, 7, 17, 25, tzinfo=UTC)
    assert row.finished_at == datetime(2024, 11, 7, 17, 21, 40, tzinfo=UTC)


async def test_equal_state_writes_nothing(archive, office):
    office.finish()
    event = instance("finish")
    await deliver(archive, event)
    before = await only(archive, approval_instances)
    await hear(archive, event, replay_id="again")
    await look(archive)
    assert await only(archive, approval_instances) == before


@pytest.mark.parametrize("status", ["RUNNING", "COMPLETED"])
async def test_an_unknown_type_of_event_costs_no_call(archive, office, status):
    office.finish(status=status)
    if status == "COMPLETED":
        await deliver(archive, instance("finish"))
    calls = office.calls.total()
    for kind in ("urge", "redirect", ...):
        await deliver(archive, instance(kind, T + 90_000, type=kind, result=...))
    assert office.calls.total() == calls
    assert (await only(archive, approval_instances)).outcome == ((calls and "approved") or None)


async def test_task_events_that_can_tell_nothing_new_cost_no_call(archive, office):
    await deliver(archive, task("start"))
    assert office.calls.total() == 0
    office.finish()
    await deliver(archive, instance("finish"))
    await deliver(archive, task("finish", T + 100_000))
    assert office.calls.total() == 1


async def test_an_older_answer_never_overwrites_a_newer_one(archive, office, passes):
    """A process is frozen for longer than its lease, while another reads the approval."""
    office.finish(operationRecords=[])
    whole, frozen = office.approval, []

    async def slow(instance_id):
        answer = await whole(instance_id)
        if not frozen:
            frozen.append(answer)
            passes(LEASE_S + 1)
            office.finish()
            await look(archive)
        return answer

    office.approval = slow
    await deliver(archive, instance("finish"))
    assert frozen
    assert len(await archive.rows(select(approval_operations))) == 2


async def test_an_event_that_comes_while_the_instance_is_read_is_believed_by_a_later_answer_alone(
    archive, office
):
    """Invariant 8: the undo needs DingTalk's own word from after the event."""
    office.finish()
    await deliver(archive, instance("finish"))
    whole = office.approval

    async def meanwhile(instance_id):
        office.approval = whole
        answer = await whole(instance_id)
        await hear(archive, instance("delete", T + 300_000))
        return answer

    office.approval = meanwhile
    await deliver(archive, task("comment", T + 200_000))
    assert len(await archive.rows(select(leave_ledger))) == 1
    office.delete()
    await deliver(archive, instance("delete", T + 300_001))
    assert await archive.rows(select(leave_ledger)) == []


async def test_a_missing_right_is_said_once_in_words_and_a_dead_api_waits(
    archive, office, monkeypatch, passes
):
    async def refuse(instance_id):
        return read(INSTANCES, 403, b'{"code":"Forbidden.AccessDenied.AccessTokenPermissionDenied"}')

    async def down(instance_id):
        raise Unavailable("no answer", api=INSTANCES)

    with monkeypatch.context() as during, capture_logs() as logs:
        during.setattr(office, "approval", refuse)
        for id_ in ("pi-1", "pi-2"):
            await deliver(archive, instance("finish", processInstanceId=id_))
    (said,) = [line for line in logs if line["event"] == "mirror.not_read"]
    assert said["permission"] == "Workflow.Instance.Read"
    assert "Tick Workflow.Instance.Read" in said["reason"]
    with monkeypatch.context() as during:
        during.setattr(office, "approval", down)
        for _ in range(10):
            passes(900)
            await look(archive)
    for id_ in ("pi-1", "pi-2"):
        office.finish(id_)
        assert (await entity(archive, id_)).due_ms is not None, "an outage gives nothing up"
    for _ in range(3):
        passes(3600)
        await look(archive)
    assert len(await archive.rows(select(leave_ledger))) == 2


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (503, b'{"code":"ServiceUnavailable","message":"a temporary failure of the server"}'),
        (500, b'{"errcode":500,"errmsg":"system error"}'),
        (429, b'{"code":"Throttling.User","message":"slow down"}'),
        (200, b'{"errcode":123456,"errmsg":"nobody knows"}'),
        (400, b'{"code":"nobodyKnows","message":"?"}'),
        (200, b"<html>please sign in</html>"),
    ],
    ids=["503", "500", "429", "errcode", "name", "html"],
)
async def test_only_an_answer_that_says_so_means_that_the_instance_is_not_there(
    archive, office, monkeypatch, passes, status, answer
):
    async def trouble(instance_id):
        return read(INSTANCES, status, answer)

    office.finish()
    with monkeypatch.context() as during:
        during.setattr(office, "approval", trouble)
        await deliver(archive, instance("finish"))
    assert (await entity(archive)).state is None
    assert await archive.rows(select(leave_ledger)) == []
    passes(600)
    await look(archive)
    assert (await only(archive, approval_instances)).document_state == "full"
    assert len(await archive.rows(select(leave_ledger))) == 1


@pytest.mark.parametrize(
    ("status", "answer"),
    [(200, b'{"errcode":400002,"errmsg":"x"}'), (400, b'{"code":"processInstanceNotExist","message":"x"}')],
    ids=["errcode", "name"],
)
@pytest.mark.parametrize("started", [True, False], ids=["started", "made-up"])
async def test_an_instance_that_is_not_there_is_read_again_if_its_start_was_heard_and_else_costs_one_call(
    archive, office, monkeypatch, passes, status, answer, started
):
    async def gone(instance_id):
        office.calls[INSTANCES] += 1
        return read(INSTANCES, status, answer)

    monkeypatch.setattr(office, "approval", gone)
    if started:
        await hear(archive, instance("start"))
    await deliver(archive, instance("finish"))
    for _ in range(5):
        passes(ABSENT_AGAIN_S)
        await look(archive)
    assert office.calls[INSTANCES] == (1 + len(AGAIN_S) if started else 1)
    row = await entity(archive)
    assert (row.state, row.code, row.due_ms) == ("refused", "not_there", None)
    assert (await only(archive, approval_instances)).outcome is None


async def test_an_event_without_instance_waits_for_the_comparison_that_comes_beside_it(archive):
    outcome = await archive.deliver(instance("finish", processInstanceId=...))
    assert outcome.kind == "done"
    assert await archive.rows(select(approval_instances)) == []


async def test_show_lists_the_archive_and_the_ledger(archive, office):
    office.finish()
    await deliver(archive, instance("finish"))
    (
        (title, columns, rows),
        (ledger_title, _, ledger),
        (actions, _, open_ones),
        files,
        not_got,
    ) = await archive.consumer.show(archive.database.reader())
    assert title == "approvals archived: 1; the latest 1 (1 approved)"
    assert dict(zip(columns, rows[0], strict=True))["process_code"] == "PROC-LEAVE"
    assert ledger_title == "leave ledger: 1; the latest 1"
    assert ledger[0][:2] == ("u001", "年假")
    assert (actions, open_ones) == ("actions (1 done); those rejected, failed or not undone", [])
    assert files == ("attachments", ["state", "reason", "files", "bytes"], [])
    assert not_got == ("documents not got: 0; the latest 0", ["corp_id", "entity_id", "code"], [])


async def test_of_two_companies_each_is_asked_about_its_own_by_its_own_app(passes):
    """An approval that only another one names has that one's template."""
    offices = {"ours": Office(), "theirs": Office()}
    for app, office in offices.items():
        office.finish(f"pi-{app}", attachedProcessInstanceIds=[f"pj-{app}"])
    consumer = Approval()
    consumer.clients = lambda app, corp_id: offices[app or "ours"]
    async with MemoryRuntime(consumer) as archive:
        for app in offices:
            code = "PROC-LEAVE" if app == "ours" else "PROC-OTHER"
            more = {"processInstanceId": f"pi-{app}", "corpId": f"ding{app}", "processCode": code}
            await deliver(archive, instance("finish", app=app, **more))
        for app, office in offices.items():
            office.finish(f"pj-{app}")
        passes(100)
        assert await look(archive) == 2
        rows = await archive.rows(select(approval_instances))
        assert {row.instance_id: (row.app, row.process_code) for row in rows} == {
            "pi-ours": ("ours", "PROC-LEAVE"),
            "pj-ours": ("ours", "PROC-LEAVE"),
            "pi-theirs": ("theirs", "PROC-OTHER"),
            "pj-theirs": ("theirs", "PROC-OTHER"),
        }
        assert [row.corp_id for row in await archive.rows(select(leave_ledger))] == ["dingours"]
    assert {app: office.calls[INSTANCES] for app, office in offices.items()} == {
        "ours": 2,
        "theirs": 2,
    }
