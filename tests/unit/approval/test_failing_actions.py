"""An action that fails where no event asked for it: in a comparison, a backfill, a second look."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from consumers.approval import Approval
from consumers.approval.actions import Action
from consumers.approval.backfill import Asked, Backfill
from consumers.approval.examples import forget_leave, leave_ledger, record_leave
from consumers.approval.pending import Filter, call, pending
from consumers.approval.reconcile import Reconciles
from consumers.approval.second_looks import SecondLooks
from consumers.approval.tables import approval_actions, approval_backfills, approval_instances
from dingbridge import Conflict, DependencyUnavailable, Retry
from dingbridge.events.control import resync_requested
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import CORP, Office, T, deliver, instance, only

NOW = datetime.now(UTC)
SOON = NOW + timedelta(days=4000)
ALL = {f"pi-{number}" for number in range(6)}
POISON = "pi-2"


class Poison:
    """Fails for one instance with ``error`` while there is one, after it has written. ``calls`` are its
    instances, in order."""

    def __init__(self, error):
        self.error, self.calls = error, []

    async def __call__(self, approval, tx):
        self.calls.append(approval.instance_id)
        await record_leave(approval, tx)
        if approval.instance_id == POISON and self.error is not None:
            raise self.error


@pytest.fixture
def office():
    """Six approved leaves of five hours ago, of which nobody has heard."""
    office = Office()
    started = int((NOW - timedelta(hours=5)).timestamp() * 1000)
    for instance_id in sorted(ALL):
        office.finish(instance_id)
        office.started.setdefault("PROC-LEAVE", []).append((started, instance_id))
    return office


@pytest.fixture(params=[KeyError("秘密"), Retry("later"), Conflict()], ids=["bug", "retry", "again"])
def poison(request):
    return Poison(request.param)


@pytest.fixture
async def archive(office, poison, monkeypatch):
    monkeypatch.setenv("DINGTALK_CORP_ID", CORP)
    async with MemoryRuntime(Approval({"PROC-LEAVE": Action(poison)}), dingtalk=office) as runtime:
        yield runtime


async def states(archive):
    return {row.instance_id: row.state for row in await archive.rows(select(approval_actions))}


async def booked(archive):
    return {row.instance_id for row in await archive.rows(select(leave_ledger))}


async def pending_ids(archive):
    return [one.instance_id async for one in pending(archive.consumer, Filter())]


def order():
    now_ms = int(NOW.timestamp() * 1000)
    return resync_requested(
        id="o-1",
        app="default",
        corp_id=None,
        now_ms=now_ms,
        since_ms=now_ms - 86_400_000,
        part="all",
        reason="a page of the failed list may be gone",
    ).value


async def test_one_action_that_fails_does_not_stop_a_comparison(archive, poison):
    await archive.deliver(order())
    assert await Reconciles(archive.consumer.looks).once() == 1
    assert {row.instance_id for row in await archive.rows(select(approval_instances))} == ALL
    assert await states(archive) == dict.fromkeys(ALL, "done") | {POISON: "failed"}
    assert await booked(archive) == ALL - {POISON}
    assert poison.calls.count(POISON) == 1, "not again and again at once"
    assert (await only(archive, approval_backfills)).state == "done"
    assert await Reconciles(archive.consumer.looks).once() == 0

    assert await pending_ids(archive) == [POISON]
    poison.error = None
    assert [await call(archive.consumer, one) async for one in pending(archive.consumer, Filter())] == [
        "done"
    ]
    assert await booked(archive) == ALL
    assert await pending_ids(archive) == []


async def test_the_reason_says_where_and_nothing_of_the_form(archive, poison):
    await archive.deliver(order())
    await Reconciles(archive.consumer.looks).once()
    (row,) = await archive.rows(select(approval_actions).where(approval_actions.c.state == "failed"))
    assert ("KeyError" if isinstance(poison.error, KeyError) else "Retry") in row.reason
    assert "test_failing_actions" in row.reason
    assert "秘密" not in row.reason
    assert row.done_at is None


async def test_a_backfill_counts_it_and_the_next_run_tries_it_again(archive, office, poison):
    asked = Asked(CORP, NOW - timedelta(days=1), None, with_actions=True)
    work = Backfill(archive.consumer.looks)
    run = await work.begin(asked)
    await work.keep(run, asked)
    assert await work.fetch(await work.list_ids(run)) == {"done": 5, "missing": 0, "failed": 1}
    assert await pending_ids(archive) == [POISON]

    poison.error = None
    office.calls.clear()
    again = await work.begin(asked)
    assert again.resumed
    assert await work.fetch(again) == {"done": 6, "missing": 0, "failed": 0}
    assert office.calls["processinstance/get"] == 0
    assert await booked(archive) == ALL


async def test_its_event_calls_it_again(archive, poison):
    await archive.deliver(order())
    await Reconciles(archive.consumer.looks).once()
    assert (await archive.deliver(instance("finish", processInstanceId=POISON))).kind == "retry"
    poison.error = None
    await deliver(archive, instance("finish", processInstanceId=POISON))
    assert await states(archive) == dict.fromkeys(ALL, "done")


async def test_a_second_look_is_written_without_it_and_not_repeated(archive, office, poison):
    lagging = {"status": "RUNNING", "result": "", "form_component_values": []}
    for instance_id in (POISON, "pi-3"):
        office.finish(instance_id, **lagging)
        # an action that has no form to act on rejects it: the event is done
        await deliver(archive, instance("finish", processInstanceId=instance_id))
        office.finish(instance_id)
    poison.calls.clear()
    looks = SecondLooks(archive.consumer.looks)
    assert await looks.once(SOON) == 2
    assert await states(archive) == {POISON: "failed", "pi-3": "done"}
    assert poison.calls.count(POISON) == 1
    assert await pending_ids(archive) == [POISON]
    assert await looks.once(SOON + timedelta(days=9999)) == 0, "the document is whole now"


async def test_what_cannot_be_archived_at_all_is_claimed_and_waits_like_the_others(
    archive, office, poison, monkeypatch
):
    office.finish(POISON, status="RUNNING", result="", form_component_values=[])
    await deliver(archive, instance("finish", processInstanceId=POISON))
    office.finish(POISON)
    guard = archive.consumer.metadata.tables["approval_generations"]
    before = await only(archive, guard)

    async def breaks(*arguments, **more):
        raise ZeroDivisionError

    monkeypatch.setattr(type(archive.consumer.archive), "write", breaks)
    assert await SecondLooks(archive.consumer.looks).once(SOON) == 1
    after = await only(archive, guard)
    assert after.fetched_at > before.fetched_at
    await archive.deliver(order())
    reconciles = Reconciles(archive.consumer.looks)
    assert await reconciles.once() == 0, "the next round begins in an hour"
    assert reconciles.not_before.keys() == {"o-1"}


@pytest.mark.parametrize("poison", [Poison(DependencyUnavailable("the ledger is away"))], ids=["world"])
async def test_a_world_that_is_down_is_no_failure_of_the_action(archive, poison):
    await archive.deliver(order())
    with pytest.raises(DependencyUnavailable):
        await Reconciles(archive.consumer.looks).once()
    assert "failed" not in (await states(archive)).values()
    poison.error = None
    assert await Reconciles(archive.consumer.looks).once() == 1
    assert await booked(archive) == ALL


async def test_an_undo_that_fails_leaves_the_effect_and_says_so(office, monkeypatch):
    """The revoking instance is what is looked at; the undo is the other one's."""
    monkeypatch.setenv("DINGTALK_CORP_ID", CORP)
    broken = True

    async def undo(approval, tx):
        await forget_leave(approval, tx)
        if broken:
            raise KeyError("秘密")

    actions = {"PROC-LEAVE": Action(record_leave, undo)}
    office.finish("pi-9", biz_action="REVOKE", main_process_instance_id="pi-1")
    office.started["PROC-LEAVE"] = [(int((NOW - timedelta(hours=1)).timestamp() * 1000), "pi-9")]
    async with MemoryRuntime(Approval(actions), dingtalk=office) as archive:
        await deliver(archive, instance("finish", T + 100_000))
        assert await booked(archive) == {"pi-1"}
        await archive.deliver(order())
        assert await Reconciles(archive.consumer.looks).once() == 1
        assert await states(archive) == {"pi-1": "not_undone", "pi-9": "skipped"}
        assert await booked(archive) == {"pi-1"}
        (one,) = [one async for one in pending(archive.consumer, Filter(instance_ids=["pi-1"]))]
        assert one.kind == "undo"
        broken = False
        assert await call(archive.consumer, one) == "revoked"
        assert await booked(archive) == set()
