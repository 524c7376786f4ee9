"""What is read without an event of its own, and what refuses to be read: a few calls, and not for ever."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dingbridge.availability import GIVE_UP_AFTER_S
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.instances import AGAIN_S
from dingbridge.consumers.approval.refused import ask_again, refused
from dingbridge.consumers.approval.tables import (
    INSTANCE,
    approval_attachments,
    approval_comments,
    approval_instances,
    approval_operations,
    entities,
)
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.errors import BudgetSpent, NotFound, PermissionDenied, Unavailable
from dingbridge.snapshots.late_answers import LOOK_AGAIN_S
from dingbridge.testing.memory import MemoryRuntime
from tests.support.sizes import sized
from tests.support.waiting import eventually
from tests.unit.approval.office import CORP, Office, T, deliver, entity, hear, instance, look, only, task

GONE = NotFound("no such instance", api=INSTANCES, name="processInstanceNotExist")
REFUSED = PermissionDenied("not this one", api=INSTANCES, name="noPermission", about="entity")
BUSY = Unavailable("systemError", api=INSTANCES)


async def ask(archive, *ids):
    async with archive.database.transaction() as tx:
        await archive.consumer.entities.ask(tx, "default", CORP, INSTANCE, ids)


async def waiting(archive):
    """Which are read later, and which were given up."""
    rows = await archive.rows(select(entities).where(entities.c.kind == INSTANCE))
    due = {row.entity_id for row in rows if row.due_ms is not None}
    return due, {row.entity_id for row in rows if row.state == "refused"}


async def archived(archive):
    return {row.instance_id for row in await archive.rows(select(approval_instances))}


def answers(office, monkeypatch, errors):
    """``errors`` by instance id are raised; the ids that are asked for are counted."""
    asked, answer = Counter(), office.approval

    async def approval(instance_id):
        asked[instance_id] += 1
        if instance_id in errors:
            raise errors[instance_id]
        return await answer(instance_id)

    monkeypatch.setattr(office, "approval", approval)
    return asked


async def test_a_comment_whose_answer_is_older_is_looked_at_again_for_its_file(archive, office, passes):
    office.finish()
    await deliver(archive, instance("finish"))
    await deliver(archive, task("comment", T + 300_000, content="附件"))
    assert len(await archive.rows(select(approval_comments))) == 1
    for wait_s in LOOK_AGAIN_S[:2]:
        assert await look(archive) == 0
        passes(wait_s)
        assert await look(archive) == 1
    file = {"fileId": "9", "fileName": "a.txt"}
    office.approvals["pi-1"]["operationRecords"].append({"type": "ADD_REMARK", "attachments": [file]})
    passes(LOOK_AGAIN_S[2])
    assert await look(archive) == 1
    assert len(await archive.rows(select(approval_operations))) == 3
    assert (await only(archive, approval_attachments)).attachment_id == "file:9"
    assert await waiting(archive) == (set(), set())


async def test_a_comment_that_no_answer_shows_costs_a_few_calls(archive, office, passes):
    office.finish()
    await deliver(archive, instance("finish"))
    await deliver(archive, task("comment", T + 300_000, content="附件"))
    for _ in range(6):
        passes(60)
        await look(archive)
    assert office.calls[INSTANCES] == 2 + len(LOOK_AGAIN_S)
    assert await waiting(archive) == (set(), set())


@pytest.mark.parametrize(
    ("error", "calls"), [(GONE, 1), (REFUSED, 1 + len(AGAIN_S))], ids=["gone", "refused"]
)
async def test_what_only_documents_name_and_nobody_may_see_costs_a_few_calls(
    archive, office, monkeypatch, passes, error, calls
):
    named = [f"old-{number}" for number in range(3)]
    office.finish(attachedProcessInstanceIds=named)
    await deliver(archive, instance("finish"))
    asked = answers(office, monkeypatch, dict.fromkeys(named, error))
    for _ in range(10):
        passes(3600)
        await look(archive)
    assert asked == dict.fromkeys(named, calls)
    assert await waiting(archive) == (set(), set(named))
    assert await archived(archive) == {"pi-1"}
    office.approvals["pi-1"]["ccUserIds"] = ["u9"]
    await deliver(archive, task("comment", T + 300_000, content="好"))
    assert await waiting(archive) == (set(), set(named)), "its document names them once more"


async def test_one_that_is_refused_for_a_while_is_archived_in_the_end(archive, office, monkeypatch, passes):
    """One template's right was missing when its approval ended."""
    office.finish()
    errors = {"pi-1": REFUSED}
    answers(office, monkeypatch, errors)
    await deliver(archive, instance("finish"))
    for wait_s in AGAIN_S[:-1]:
        passes(wait_s)
        await look(archive)
    errors.clear()
    passes(AGAIN_S[-1])
    await look(archive)
    assert (await only(archive, approval_instances)).outcome == "approved"


async def test_what_was_given_up_is_asked_for_again_by_command(archive, office, monkeypatch, passes):
    """F8: the right was granted a week later."""
    ids = {"pi-1", "pi-2"}
    for id_ in ids:
        office.finish(id_)
    errors = {"pi-1": REFUSED, "pi-2": REFUSED}
    answers(office, monkeypatch, errors)
    for id_ in sorted(ids):
        await deliver(archive, instance("finish", processInstanceId=id_))
    for wait_s in AGAIN_S:
        passes(wait_s)
        await look(archive)
    assert await waiting(archive) == (set(), ids)
    errors.clear()
    found = await refused(archive.database.reader(), "noPermission")
    assert [one["entity_id"] for one in found] == ["pi-1", "pi-2"]
    assert await refused(archive.database.reader(), "another reason") == []
    async with archive.database.transaction() as tx:
        await ask_again(tx, archive.consumer.entities, found)
    await look(archive)
    assert {row.outcome for row in await archive.rows(select(approval_instances))} == {"approved"}
    assert await waiting(archive) == (set(), set())


@pytest.mark.parametrize("right", [False, True], ids=["month", "right"])
async def test_what_is_about_every_approval_is_nobodys_failure_and_holds_the_app_up(
    archive, office, monkeypatch, passes, right
):
    error = (
        PermissionDenied("no right", api=INSTANCES, errcode=60011, retry_after_s=900.0)
        if right
        else BudgetSpent("spent", api=INSTANCES, retry_after_s=30 * 86_400.0)
    )
    ids = {f"pi-{number}" for number in range(12)}
    for instance_id in ids:
        office.finish(instance_id)
    await ask(archive, *ids)
    errors = dict.fromkeys(ids, error)
    asked = answers(office, monkeypatch, errors)
    for _ in range(6):
        await look(archive)
        passes(3600)
    assert asked.total() <= 8 + 5, "and not each of them each time"
    assert (await waiting(archive))[1] == set(), "none is given up"
    errors.clear()
    for _ in ids:
        passes(3600)
        await look(archive)
    assert await archived(archive) == ids


async def test_an_open_resync_gives_nothing_up_when_the_months_calls_are_spent(
    archive, office, monkeypatch, passes
):
    """It is older than an hour by then."""
    ids = {"pi-1", "pi-2"}
    for instance_id in ids:
        office.finish(instance_id)
    long_ago = archive.consumer.entities.now_ms() - 7_200_000
    async with archive.database.transaction() as tx:
        await archive.consumer.entities.ask(tx, "default", CORP, INSTANCE, ids, run_ms=long_ago)
    errors = dict.fromkeys(ids, BudgetSpent("spent", api=INSTANCES, retry_after_s=86_400.0))
    answers(office, monkeypatch, errors)
    for _ in range(4):
        await look(archive)
        passes(86_400)
    assert await waiting(archive) == (ids, set())


@settings(max_examples=sized(3, 50, quick=1), deadline=None)
@given(st.data())
def test_whoever_is_refused_for_ever_holds_nobody_up_and_is_given_up_in_an_hour(data):
    """Trouble of the platform that stays for a few looks like trouble with all."""
    ids = [f"pi-{number}" for number in range(6)]
    bad = data.draw(st.sets(st.sampled_from(ids), min_size=1, max_size=5))
    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(_refused_for_ever(ids, bad, patch))


async def _refused_for_ever(ids, bad, monkeypatch):
    now = [1_700_000_000.0]
    office = Office()
    for instance_id in ids:
        office.finish(instance_id)
    asked = answers(office, monkeypatch, dict.fromkeys(bad, BUSY))
    consumer = Approval({})
    consumer.clock = lambda: now.append(now[-1] + 0.001) or now[-1]
    async with MemoryRuntime(consumer, dingtalk=office) as archive:
        await ask(archive, *ids)
        for _ in range(15):
            await look(archive)
            now.append(now[-1] + 20)
        assert await archived(archive) == set(ids) - bad
        for new in range(12):
            # somebody else's document is wanted now and then
            office.finish(f"new-{new}")
            await ask(archive, f"new-{new}")
            await look(archive)
            now.append(now[-1] + GIVE_UP_AFTER_S / 6)
        assert await waiting(archive) == (set(), bad)
        assert all(asked[instance_id] < 80 for instance_id in bad)


async def test_an_outage_gives_nothing_up(archive, office, monkeypatch, passes):
    ids = {f"pi-{number}" for number in range(6)}
    for instance_id in ids:
        office.finish(instance_id)
    await ask(archive, *ids)
    errors = dict.fromkeys(ids, BUSY)
    answers(office, monkeypatch, errors)
    for _ in range(12):
        await look(archive)
        passes(600)
    assert (await waiting(archive))[0] == ids
    errors.clear()
    for _ in ids:
        passes(300)
        await look(archive)
    assert await archived(archive) == ids


async def test_the_consumer_does_it_beside_its_events_also_without_a_folder_for_files(archive, office):
    office.finish()
    await hear(archive, instance("finish"))
    background = asyncio.create_task(archive.consumer.background())

    async def is_read():
        return (await entity(archive)).read_ms is not None

    try:
        await eventually(is_read)
    finally:
        background.cancel()
        await asyncio.wait([background])
    assert background.cancelled()
    assert await archived(archive) == {"pi-1"}
