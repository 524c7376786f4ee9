"""Approved instances that others change or take back: what is in force, and what happens to actions."""

import asyncio
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dingbridge import Reject
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.actions.declaration import Action
from dingbridge.consumers.approval.actions.pending_actions import call, pending
from dingbridge.consumers.approval.archive.query import Filter
from dingbridge.consumers.approval.examples import forget_leave, leave_ledger, record_leave
from dingbridge.consumers.approval.tables import approval_actions, approval_instances, entities
from dingbridge.testing.memory import MemoryRuntime
from tests.support.sizes import sized
from tests.unit.approval.office import LEAVE, Office, T, deliver, field, instance, look

LONGER = [field(name, value) for name, value in (LEAVE | {"时长(天)": "5"}).items()]
DAY = 86_400_000
NAMES = {"pi-1": 0, "pi-2": 1, "pi-3": 2}


def change(office, id_="pi-2", main="pi-1", kind="MODIFY", **more):
    office.finish(id_, bizAction=kind, mainProcessInstanceId=main, **{"form": LONGER} | more)


def finish(id_="pi-1", day=0):
    return instance("finish", T + 100_000 + day * DAY, processInstanceId=id_)


async def in_force(archive):
    """By instance: what replaces it, what takes it back."""
    rows = await archive.rows(select(approval_instances))
    return {row.instance_id: (row.replaced_by, row.revoked_by) for row in rows}


async def states(archive):
    return {row.instance_id: row.state for row in await archive.rows(select(approval_actions))}


async def ledger(archive):
    return {row.instance_id: int(row.days) for row in await archive.rows(select(leave_ledger))}


async def test_an_action_sees_what_its_form_replaces_and_its_undo_why(office):
    seen = []

    async def act(approval, tx):
        seen.append(("act", approval.instance_id, approval.changes, approval.form["时长(天)"]))

    async def undo(approval, tx):
        seen.append(("undo", approval.instance_id, approval.revoked_by, approval.form["时长(天)"]))

    office.finish()
    change(office)
    async with MemoryRuntime(Approval({"PROC-LEAVE": Action(act, undo)}), dingtalk=office) as archive:
        await deliver(archive, finish())
        await deliver(archive, finish("pi-2", 1))
        office.delete("pi-2")
        await deliver(archive, instance("delete", T + 3 * DAY, processInstanceId="pi-2"))
    assert seen == [
        ("act", "pi-1", None, "2"),
        ("undo", "pi-1", "modified", "2"),
        ("act", "pi-2", "pi-1", "5"),
        ("undo", "pi-2", "deleted", "5"),
    ]


FAMILIES = {
    # a second change of the first one
    "changed twice": ([("pi-2", "pi-1", "MODIFY"), ("pi-3", "pi-1", "MODIFY")], "pi-3", None),
    # a change of the change
    "change changed": ([("pi-2", "pi-1", "MODIFY"), ("pi-3", "pi-2", "MODIFY")], "pi-3", None),
    "changed, revoked": ([("pi-2", "pi-1", "MODIFY"), ("pi-3", "pi-1", "REVOKE")], "pi-2", "pi-3"),
    "change revoked": ([("pi-2", "pi-1", "MODIFY"), ("pi-3", "pi-2", "REVOKE")], "pi-2", "pi-3"),
}


async def told(family, events):
    office = Office()
    office.finish(attachedProcessInstanceIds=[id_ for id_, _, _ in family])
    for id_, main, kind in family:
        change(office, id_, main, kind)
    async with MemoryRuntime(Approval(), dingtalk=office) as archive:
        for event in events:
            assert (await archive.deliver(event)).kind in ("done", "seen")
            await look(archive)
        return await in_force(archive), await states(archive), await ledger(archive)


@settings(max_examples=sized(16, 160, quick=5), deadline=None)
@given(name=st.sampled_from([*FAMILIES]), data=st.data())
def test_whatever_is_read_first_the_same_is_in_force_and_acted_on(name, data):
    family, changed_by, revoked_by = FAMILIES[name]
    events = [instance("start", processInstanceId=id_) for id_ in NAMES]
    events += [finish(id_, day) for id_, day in NAMES.items()]
    drawn = data.draw(st.permutations(events[::-1])) + data.draw(
        st.lists(st.sampled_from(events), max_size=2)
    )
    said, acted, booked = asyncio.run(told(family, drawn))
    kinds = {id_: kind for id_, _, kind in family}
    for id_ in NAMES:
        if kinds.get(id_) == "REVOKE":
            assert (said[id_], acted[id_]) == ((None, None), "skipped")
        else:
            assert said[id_] == (None if id_ == changed_by else changed_by, revoked_by)
            assert acted[id_] == ("done" if id_ == changed_by and revoked_by is None else "revoked")
    assert booked == ({} if revoked_by else {changed_by: 5})


@pytest.mark.parametrize("undo", [None, Reject("booked already")], ids=["none", "rejects"])
async def test_what_is_not_undone_is_not_done_a_second_time(office, undo):
    async def rejects(approval, tx):
        raise undo

    office.finish()
    change(office)
    declared = {"PROC-LEAVE": Action(record_leave, rejects if undo else None)}
    async with MemoryRuntime(Approval(declared), dingtalk=office) as archive:
        await deliver(archive, finish())
        await deliver(archive, finish("pi-2", 1))
        assert await states(archive) == {"pi-1": "not_undone", "pi-2": "skipped"}
        assert await ledger(archive) == {"pi-1": 2}
        runner = archive.consumer.runner
        runner.actions = {"PROC-LEAVE": Action(record_leave, forget_leave)}
        due = [one async for one in pending(archive.database, runner, Filter())]
        assert [(one.instance_id, one.kind) for one in due] == [("pi-1", "undo")]
        assert await call(archive.database, archive.consumer.entities, runner, due[0]) == "revoked"
        assert await states(archive) == {"pi-1": "revoked", "pi-2": "done"}
        assert await ledger(archive) == {"pi-2": 5}


@pytest.mark.parametrize("undone", [True, False])
async def test_a_change_that_is_taken_back_gives_its_place_up_before_the_first_one_is_done_again(
    office, undone
):
    seen = []

    async def act(approval, tx):
        seen.append(("act", approval.instance_id))
        await record_leave(approval, tx)

    async def undo(approval, tx):
        seen.append(("undo", approval.instance_id))
        if approval.instance_id == "pi-2" and not undone:
            raise Reject("paid out already")
        await forget_leave(approval, tx)

    office.finish()
    change(office)
    async with MemoryRuntime(Approval({"PROC-LEAVE": Action(act, undo)}), dingtalk=office) as archive:
        await deliver(archive, finish())
        await deliver(archive, finish("pi-2", 1))
        office.approvals["pi-2"] |= {"status": "TERMINATED", "result": ""}
        await deliver(archive, instance("terminate", T + 2 * DAY, processInstanceId="pi-2"))
        expected = [("act", "pi-1"), ("undo", "pi-1"), ("act", "pi-2"), ("undo", "pi-2")]
        assert seen == expected + [("act", "pi-1")] * undone
        assert await ledger(archive) == ({"pi-1": 2} if undone else {"pi-2": 5})
        assert await states(archive) == {
            "pi-1": "done" if undone else "skipped",
            "pi-2": "revoked" if undone else "not_undone",
        }


async def test_a_change_of_what_was_booked_by_hand_before_the_bridge_is_not_booked(archive, office, passes):
    """The first one is known by its document alone: its finish never came through the bridge."""
    office.finish()
    change(office)
    await deliver(archive, finish("pi-2", 1))
    passes(61)
    assert await look(archive) == 1
    assert await in_force(archive) == {"pi-1": ("pi-2", None), "pi-2": (None, None)}
    assert await states(archive) == {"pi-1": "revoked", "pi-2": "skipped"}
    assert await ledger(archive) == {}
    runner = archive.consumer.runner
    due = [one async for one in pending(archive.database, runner, Filter())]
    assert [(one.instance_id, one.kind) for one in due] == [("pi-2", "action")]
    assert await call(archive.database, archive.consumer.entities, runner, due[0]) == "done"
    assert await ledger(archive) == {"pi-2": 5}


async def test_a_change_that_no_event_told_of_is_fetched_since_the_first_one_names_it(
    archive, office, passes
):
    office.finish(attachedProcessInstanceIds=["pi-2"])
    change(office)
    await deliver(archive, finish())
    assert await ledger(archive) == {"pi-1": 2}
    assert await look(archive) == 0, "its own event may be under way"
    passes(61)
    assert await look(archive) == 1
    assert await in_force(archive) == {"pi-1": ("pi-2", None), "pi-2": (None, None)}
    assert await ledger(archive) == {"pi-2": 5}
    passes(9999)
    assert await look(archive) == 0


async def test_a_change_that_is_not_approved_changes_nothing(archive, office):
    office.finish()
    change(office, result="refuse")
    change(office, "pi-3", kind="REVOKE", status="TERMINATED", result="")
    for event in (finish(), finish("pi-3", 2)):
        await deliver(archive, event)
    await deliver(archive, instance("finish", T + DAY, processInstanceId="pi-2", result="refuse"))
    assert set((await in_force(archive)).values()) == {(None, None)}
    assert await ledger(archive) == {"pi-1": 2}


@pytest.mark.parametrize("order", list(permutations(["pi-1", "pi-2"])))
async def test_instances_that_name_each_other_or_nobody_end_and_are_not_acted_on(archive, office, order):
    change(office, "pi-1", "pi-2")
    change(office, "pi-2", "pi-1")
    for day, id_ in enumerate(order):
        await deliver(archive, finish(id_, day))
    assert await in_force(archive) == {order[0]: (order[1], None), order[1]: (None, None)}
    assert await ledger(archive) == {}
    for more in ({"mainProcessInstanceId": "pi-3"}, {"mainProcessInstanceId": ""}, {}):
        office.finish("pi-3", bizAction="MODIFY", **more)
        await deliver(archive, instance("finish", processInstanceId="pi-3", title=str(more)))
    assert await ledger(archive) == {}


async def test_of_many_changes_a_few_are_looked_at(archive, office, monkeypatch):
    monkeypatch.setattr("dingbridge.consumers.approval.archive.links.MOST", 2)
    office.finish(attachedProcessInstanceIds=[f"x-{number}" for number in range(50)])
    for number in range(2, 6):
        change(office, f"pi-{number}", f"pi-{number - 1}")
    for number in range(1, 6):
        await deliver(archive, finish(f"pi-{number}", number))
    assert len(await in_force(archive)) == 5
    named = [row for row in await archive.rows(select(entities)) if row.entity_id.startswith("x-")]
    assert len(named) == 2
    assert len(await ledger(archive)) <= 1, "no leave is counted twice"


async def test_of_more_changes_than_are_looked_at_the_latest_is_in_force(archive, office, monkeypatch):
    monkeypatch.setattr("dingbridge.consumers.approval.archive.links.MOST", 3)
    office.finish()
    for number in range(2, 7):
        change(office, f"pi-{number}")
    for number in range(1, 7):
        await deliver(archive, finish(f"pi-{number}", number))
    assert await ledger(archive) == {"pi-6": 5}
