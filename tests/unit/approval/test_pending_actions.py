"""What ``dingbridge approvals actions`` shows and calls; templates with and without an action."""

import pytest
from sqlalchemy import select

from dingbridge import Reject
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.actions.declaration import Action
from dingbridge.consumers.approval.actions.pending_actions import call, pending
from dingbridge.consumers.approval.actions.templates import listed
from dingbridge.consumers.approval.archive.query import Filter
from dingbridge.consumers.approval.examples import forget_leave, leave_ledger, record_leave
from dingbridge.consumers.approval.tables import approval_actions
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import Office, T, deliver, instance

LEAVE = Action(record_leave, forget_leave)
EVERYTHING = Filter()


@pytest.fixture
async def archive():
    """Two approved leaves, one of them deleted, a refused one and an expense; without any action."""
    office = Office()
    for number in range(4):
        office.finish(f"pi-{number}", result="refuse" if number == 2 else "agree")
    async with MemoryRuntime(Approval({}), dingtalk=office) as runtime:
        for number, code in enumerate(["PROC-LEAVE", "PROC-LEAVE", "PROC-LEAVE", "PROC-EXPENSE"]):
            result = "refuse" if number == 2 else "agree"
            event = instance("finish", processInstanceId=f"pi-{number}", processCode=code, result=result)
            await deliver(runtime, event)
        await deliver(runtime, instance("delete", T + 200_000, processInstanceId="pi-1"))
        yield runtime


def use(archive, actions):
    archive.consumer.runner.actions = actions


def found(archive, wanted):
    return pending(archive.database, archive.consumer.runner, wanted)


async def shown(archive, wanted=EVERYTHING):
    return [(one.instance_id, one.kind, one.calls) async for one in found(archive, wanted)]


async def call_all(archive):
    return [
        await call(archive.database, archive.consumer.entities, archive.consumer.runner, one)
        async for one in found(archive, EVERYTHING)
    ]


async def test_an_action_that_was_declared_later_is_shown_and_called_once(archive):
    assert await shown(archive) == []
    use(archive, {"PROC-LEAVE": LEAVE})
    expected = [("pi-0", "action", "dingbridge.consumers.approval.examples.record_leave")]
    assert await shown(archive) == expected
    assert await shown(archive) == expected, "showing calls nothing"
    assert await archive.rows(select(leave_ledger)) == []
    assert await call_all(archive) == ["done"]
    assert [row.instance_id for row in await archive.rows(select(leave_ledger))] == ["pi-0"]
    assert await shown(archive) == []
    assert await call_all(archive) == []


async def test_an_undo_that_was_missing_is_shown_and_called(archive):
    use(archive, {"PROC-LEAVE": Action(record_leave)})
    await call_all(archive)
    archive.consumer.dingtalk.delete("pi-0")
    await deliver(archive, instance("delete", processInstanceId="pi-0"))
    use(archive, {"PROC-LEAVE": LEAVE})
    assert await shown(archive) == [("pi-0", "undo", "dingbridge.consumers.approval.examples.forget_leave")]
    assert await call_all(archive) == ["revoked"]
    assert await archive.rows(select(leave_ledger)) == []


async def test_a_filter_leaves_out_the_others(archive):
    use(archive, {"PROC-LEAVE": LEAVE, "PROC-EXPENSE": LEAVE})
    assert [id_ for id_, *_ in await shown(archive)] == ["pi-0", "pi-3"]
    assert [id_ for id_, *_ in await shown(archive, Filter(process_codes=["PROC-EXPENSE"]))] == ["pi-3"]
    assert [id_ for id_, *_ in await shown(archive, Filter(instance_ids=["pi-3"]))] == ["pi-3"]


async def test_an_action_that_rejects_or_fails_is_called_again_the_next_time(archive):
    async def rejects(approval, tx):
        raise Reject("no days")

    async def fails(approval, tx):
        await record_leave(approval, tx)
        raise RuntimeError

    use(archive, {"PROC-LEAVE": Action(rejects)})
    assert await call_all(archive) == ["rejected"]
    use(archive, {"PROC-LEAVE": Action(fails)})
    assert await call_all(archive) == ["failed"]
    assert await archive.rows(select(leave_ledger)) == []
    (row,) = await archive.rows(select(approval_actions).where(approval_actions.c.instance_id == "pi-0"))
    assert row.state == "failed"
    assert "RuntimeError" in row.reason
    use(archive, {"PROC-LEAVE": LEAVE})
    assert await call_all(archive) == ["done"]


async def test_templates_are_listed_with_and_without_action(archive):
    use(archive, {"PROC-LEAVE": LEAVE, "PROC-NEW": Action(record_leave)})
    await call_all(archive)
    found = await listed(
        archive.database.reader(), archive.consumer.runner.actions, {"PROC-SEAL": "用印申请"}
    )
    assert [(t.process_code, t.name, t.approvals, t.approved, t.action is not None) for t in found] == [
        ("PROC-LEAVE", "请假", 3, 2, True),
        ("PROC-EXPENSE", "请假", 1, 1, False),
        ("PROC-NEW", "", 0, 0, True),
        ("PROC-SEAL", "用印申请", 0, 0, False),
    ]
    assert found[0].states == {"done": 1}
    assert found[0].undo == "dingbridge.consumers.approval.examples.forget_leave"
    assert found[2].undo is None
