"""The approval consumer in memory: when an action is called or undone, what happens to one that fails."""

from datetime import date

import pytest
from sqlalchemy import insert, select
from structlog.testing import capture_logs

from dingbridge import Reject, Retry
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.actions.declaration import Action
from dingbridge.consumers.approval.examples import forget_leave, leave_ledger, record_leave
from dingbridge.consumers.approval.instances import AGAIN_S
from dingbridge.consumers.approval.tables import approval_actions, approval_instances
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import (
    LATER,
    LEAVE,
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


async def test_an_approved_leave_is_in_the_ledger_once(archive, office):
    office.finish()
    await deliver(archive, instance("finish"))
    await deliver(archive, instance("finish", T + 100_001))
    office.finish(ccUserIds=["u9"])
    await deliver(archive, instance("finish", T + 100_002))
    row = await only(archive, leave_ledger)
    assert (row.userid, row.leave_type, row.days, row.reason) == ("u001", "年假", 2, "回老家")
    assert (row.starts_on, row.ends_on) == (date(2024, 11, 11), date(2024, 11, 12))
    assert (row.starts_raw, row.instance_id) == ("2024-11-11", "pi-1")
    done = await only(archive, approval_actions)
    assert (done.state, done.action) == ("done", "dingbridge.consumers.approval.examples.record_leave")


@pytest.mark.parametrize(
    ("event", "document", "days"),
    [("agree", "refuse", []), ("refuse", "agree", [2]), (..., "agree", [2]), ("agree", "", [])],
)
async def test_the_document_decides_whatever_the_event_says(archive, office, event, document, days):
    office.finish(result=document)
    await deliver(archive, instance("finish", result=event))
    assert [row.days for row in await archive.rows(select(leave_ledger))] == days


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


async def test_a_rejected_action_is_tried_again_by_a_replay_at_no_further_call(archive, office):
    office.finish()
    event, actions = instance("finish"), archive.consumer.runner.actions
    archive.consumer.runner.actions = {"PROC-LEAVE": Action(rejects)}
    await deliver(archive, event)
    assert (await only(archive, approval_actions)).state == "rejected"
    archive.consumer.runner.actions = actions
    await hear(archive, event, replay_id="r1")
    await look(archive)
    assert (await only(archive, leave_ledger)).leave_type == "年假"
    done = await only(archive, approval_actions)
    assert (done.state, done.reason) == ("done", None)
    assert office.calls.total() == 1


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


@pytest.mark.parametrize("function", [writes_then_fails, writes_then_retries, fails_in_sql])
async def test_an_action_that_fails_is_archived_as_that_and_tried_again(office, passes, function):
    office.finish()
    async with MemoryRuntime(Approval({"PROC-LEAVE": Action(function)}), dingtalk=office) as archive:
        await deliver(archive, instance("finish"))
        assert (await only(archive, approval_instances)).outcome == "approved"
        assert (await only(archive, approval_actions)).state == "failed"
        assert await archive.rows(select(leave_ledger)) == []
        archive.consumer.runner.actions = {"PROC-LEAVE": Action(record_leave)}
        passes(60)
        await look(archive)
        assert (await only(archive, approval_actions)).state == "done"
        assert len(await archive.rows(select(leave_ledger))) == 1
    assert office.calls.total() == 1


@pytest.mark.parametrize("kind", ["delete", "terminate"])
async def test_an_undo_waits_for_dingtalks_own_word_and_without_it_the_event_is_left_out(
    archive, office, passes, kind
):
    office.finish()
    await deliver(archive, instance("finish"))
    calls, event = office.calls.total(), instance(kind, T + 200_000, result=...)
    with capture_logs() as logs:
        await deliver(archive, event)
        for wait_s in AGAIN_S:
            assert (await entity(archive)).due_ms is not None
            passes(wait_s - 1)
            assert await look(archive) == 0, "not before its time"
            passes(1)
            assert await look(archive) == 1
    assert [e["event"] for e in logs if e["log_level"] == "warning"] == ["approval.event_contradicted"]
    assert office.calls.total() - calls == len(AGAIN_S) + 1
    assert len(await archive.rows(select(leave_ledger))) == 1
    row = await only(archive, approval_instances)
    assert (row.outcome, row.deleted_at) == ("approved", None)
    assert kind not in row.raw_events
    assert (await only(archive, approval_actions)).state == "done"


@pytest.mark.parametrize(
    ("kind", "document"), [("delete", None), ("terminate", {"status": "TERMINATED", "result": ""})]
)
async def test_an_undo_runs_as_soon_as_dingtalk_says_the_same(archive, office, passes, kind, document):
    office.finish()
    await deliver(archive, instance("finish"))
    await deliver(archive, instance(kind, T + 200_000, result=...))
    assert len(await archive.rows(select(leave_ledger))) == 1, "the answer may be older than the event"
    office.delete()
    if document is not None:
        office.finish(**document)
    passes(AGAIN_S[0])
    await look(archive)
    assert await archive.rows(select(leave_ledger)) == []
    assert (await only(archive, approval_actions)).state == "revoked"


async def test_an_answer_that_is_older_than_the_archive_confirms_no_deletion(archive, office):
    office.finish()
    await deliver(archive, instance("finish"))
    office.finish(status="RUNNING", result="")
    await deliver(archive, instance("delete", T + 200_000))
    assert (await only(archive, approval_instances)).deleted_at is None
    assert len(await archive.rows(select(leave_ledger))) == 1


async def rejects(approval, tx):
    raise Reject("cannot be taken back")


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        (
            {"PROC-LEAVE": Action(record_leave)},
            "dingbridge.consumers.approval.examples.record_leave has no undo",
        ),
        ({"PROC-LEAVE": Action(record_leave, rejects)}, "cannot be taken back"),
        ({}, "no action is declared for PROC-LEAVE any more"),
    ],
)
async def test_what_cannot_be_undone_says_so_and_is_tried_again(archive, office, declared, reason):
    office.finish()
    await deliver(archive, instance("finish"))
    runner = archive.consumer.runner
    actions, runner.actions = runner.actions, declared
    office.delete()
    await deliver(archive, instance("delete", T + 200_000))
    row = await only(archive, approval_actions)
    assert (row.state, row.reason) == ("not_undone", reason)
    assert len(await archive.rows(select(leave_ledger))) == 1
    runner.actions = actions
    await deliver(archive, instance("delete", T + 200_001))
    assert (await only(archive, approval_actions)).state == "revoked"
    assert await archive.rows(select(leave_ledger)) == []


async def test_an_undo_that_fails_is_tried_again(office, passes):
    async def fails(approval, tx):
        await forget_leave(approval, tx)
        raise RuntimeError

    office.finish()
    async with MemoryRuntime(
        Approval({"PROC-LEAVE": Action(record_leave, fails)}), dingtalk=office
    ) as archive:
        await deliver(archive, instance("finish"))
        office.delete()
        await deliver(archive, instance("delete", T + 200_000))
        assert (await only(archive, approval_actions)).state == "not_undone"
        assert len(await archive.rows(select(leave_ledger))) == 1
        archive.consumer.runner.actions = {"PROC-LEAVE": Action(record_leave, forget_leave)}
        passes(60)
        await look(archive)
        assert (await only(archive, approval_actions)).state == "revoked"
        assert await archive.rows(select(leave_ledger)) == []


async def test_actions_are_counted_by_what_became_of_them(archive, office):
    def value(outcome):
        name = "dingbridge_approval_actions_total"
        return archive.consumer.registry.get_sample_value(name, {"outcome": outcome})

    office.finish()
    await deliver(archive, instance("finish"))
    office.delete()
    await deliver(archive, instance("delete"))
    assert (value("done"), value("revoked"), value("rejected")) == (1, 1, None)
