"""The approval consumer in memory: what each event makes of the archive."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from dingbridge import Conflict, Context
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.reconcile.refetch import Refetch
from dingbridge.consumers.approval.tables import (
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_table_cells,
    approval_tasks,
)
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.dingtalk.replies import read
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import (
    LATER,
    LEAVE,
    Office,
    T,
    deliver,
    field,
    instance,
    once,
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
    assert [r.name for r in await archive.rows(select(approval_form_values))] == [*LEAVE, "明细"]
    assert (await only(archive, approval_table_cells)).value == "笔"
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
    archive, office, lacks
):
    office.finish(**lacks)
    if not lacks:
        office.approvals["pi-1"] = {}
    outcome = await archive.attempt(instance("finish"))
    assert (outcome.kind, outcome.counts) == ("retry", True)
    assert await archive.rows(select(approval_instances)) == []
    office.finish()
    await deliver(archive, instance("finish"))
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
    assert (await archive.deliver(event, replay_id="again")).kind == "done"
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


async def test_an_older_document_never_overwrites_a_newer_one(archive, office):
    consumer, reader = archive.consumer, archive.database.reader()
    first, second = instance("finish"), task("comment", received_ms=LATER)
    office.finish(operation_records=[])
    a = await consumer.prepare(first, Context(reader, lambda: consumer.dingtalk))
    office.finish()
    b = await consumer.prepare(first, Context(reader, lambda: consumer.dingtalk))
    async with archive.database.transaction() as tx:
        await consumer.handle(first, tx, b)
    with pytest.raises(Conflict):
        async with archive.database.transaction() as tx:
            await consumer.handle(second, tx, a)
    assert len(await archive.rows(select(approval_operations))) == 2


async def test_a_missing_right_is_retried_and_a_dead_api_waits(archive, office, monkeypatch):
    async def refuse(instance_id):
        return read(INSTANCES, 403, b'{"code":"Forbidden.AccessDenied.AccessTokenPermissionDenied"}')

    async def down(instance_id):
        raise Unavailable("no answer", api=INSTANCES)

    monkeypatch.setattr(office, "approval", refuse)
    with capture_logs() as logs:
        for id_ in ("pi-1", "pi-2"):
            assert (await archive.deliver(instance("finish", processInstanceId=id_))).kind == "unavailable"
    (said,) = [line for line in logs if line["event"] == "approval.right_missing"]
    assert said["permission"] == "Workflow.Instance.Read"
    assert "Tick Workflow.Instance.Read" in said["reason"]
    monkeypatch.setattr(office, "approval", down)
    assert (await archive.deliver(instance("finish"))).kind == "unavailable"


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (503, b'{"code":"ServiceUnavailable","message":"a temporary failure of the server"}', "unavailable"),
        (500, b'{"errcode":500,"errmsg":"system error"}', "unavailable"),
        (429, b'{"code":"Throttling.User","message":"slow down"}', "unavailable"),
        (200, b'{"errcode":123456,"errmsg":"nobody knows"}', "retry"),
        (400, b'{"code":"nobodyKnows","message":"?"}', "retry"),
    ],
    ids=["503", "500", "429", "errcode", "name"],
)
async def test_only_an_answer_that_says_so_means_that_the_instance_is_not_there(
    archive, office, monkeypatch, status, answer, kind
):
    async def trouble(instance_id):
        return read(INSTANCES, status, answer)

    office.finish()
    with monkeypatch.context() as during:
        during.setattr(office, "approval", trouble)
        assert (await archive.deliver(instance("finish"))).kind == kind
    assert await archive.rows(select(approval_instances)) == []
    await deliver(archive, instance("finish"))
    assert (await only(archive, approval_instances)).document_state == "full"
    assert len(await archive.rows(select(leave_ledger))) == 1


@pytest.mark.parametrize(
    ("status", "answer"),
    [(200, b'{"errcode":400002,"errmsg":"x"}'), (400, b'{"code":"processInstanceNotExist","message":"x"}')],
    ids=["errcode", "name"],
)
async def test_an_instance_that_is_not_there_is_looked_at_again_before_it_counts_as_an_attempt(
    archive, office, monkeypatch, status, answer
):
    async def gone(instance_id):
        return read(INSTANCES, status, answer)

    monkeypatch.setattr(office, "approval", gone)
    outcome = await archive.deliver(instance("finish"))
    assert (outcome.kind, outcome.counts) == ("retry", False)
    assert await archive.rows(select(approval_instances)) == []


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
    assert not_got == ("documents not got: 0; the latest 0", ["corp_id", "instance_id", "app"], [])


async def test_of_two_companies_each_is_asked_about_its_own_by_its_own_app(passes):
    """Two companies with a template of one name: the code, and so the action, is that of the event's one."""
    offices = {"ours": Office(), "theirs": Office()}
    for app, office in offices.items():
        office.templates_by_name["请假"] = "PROC-LEAVE" if app == "ours" else "PROC-OTHER"
        office.finish(f"pi-{app}", attachedProcessInstanceIds=[f"pj-{app}"])
    consumer = Approval()
    consumer.clients = lambda app, corp_id: offices[app or "ours"]
    async with MemoryRuntime(consumer) as archive:
        for app in offices:
            more = {"processInstanceId": f"pi-{app}", "corpId": f"ding{app}", "processCode": ...}
            await deliver(archive, instance("finish", app=app, **more))
        rows = await archive.rows(select(approval_instances))
        assert {row.app: row.process_code for row in rows} == {"ours": "PROC-LEAVE", "theirs": "PROC-OTHER"}
        for app, office in offices.items():
            office.finish(f"pj-{app}")
        passes(100)
        assert await once(Refetch(consumer.fetcher, consumer.client_of)) == 2
        rows = await archive.rows(select(approval_instances))
        assert {row.app: row.instance_id for row in rows if row.instance_id.startswith("pj")} == {
            app: f"pj-{app}" for app in offices
        }
        assert [row.corp_id for row in await archive.rows(select(leave_ledger))] == ["dingours"]
    assert {app: office.calls[INSTANCES] for app, office in offices.items()} == {
        "ours": 2,
        "theirs": 2,
    }
