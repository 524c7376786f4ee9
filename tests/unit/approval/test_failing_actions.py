"""An action that fails where no event asked for it: in a resync, or a refetch."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from dingbridge import Conflict, DependencyUnavailable, Retry
from dingbridge.availability import GIVE_UP_AFTER_S
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.actions.declaration import Action
from dingbridge.consumers.approval.actions.pending_actions import call, pending
from dingbridge.consumers.approval.archive.query import Filter
from dingbridge.consumers.approval.examples import forget_leave, leave_ledger, record_leave
from dingbridge.consumers.approval.tables import approval_actions, approval_instances
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import CORP, Office, T, deliver, entity, heard, instance, look, resync_request

NOW = datetime.now(UTC)
ALL = {f"pi-{number}" for number in range(5)}
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
    """Five approved leaves of five hours ago, of which nobody has heard."""
    office = Office()
    started = int((NOW - timedelta(hours=5)).timestamp() * 1000)
    for instance_id in sorted(ALL):
        office.finish(instance_id)
        office.started.setdefault("PROC-LEAVE", []).append((started, instance_id))
    return office


@pytest.fixture
def poison():
    return Poison(KeyError("秘密"))


@pytest.fixture
async def archive(office, poison, monkeypatch):
    monkeypatch.setenv("DINGTALK_CORP_ID", CORP)
    async with MemoryRuntime(Approval({"PROC-LEAVE": Action(poison)}), dingtalk=office) as runtime:
        await heard(runtime, office)
        yield runtime


async def states(archive):
    return {row.instance_id: row.state for row in await archive.rows(select(approval_actions))}


async def booked(archive):
    return {row.instance_id for row in await archive.rows(select(leave_ledger))}


async def shown(archive, wanted=None):
    consumer = archive.consumer
    wanted = wanted or Filter()
    return [one async for one in pending(consumer.database, consumer.runner, wanted)]


async def pending_ids(archive):
    return [one.instance_id for one in await shown(archive)]


async def called(archive, one):
    return await call(archive.database, archive.consumer.entities, archive.consumer.runner, one)


def request():
    return resync_request(since=NOW - timedelta(days=1))


@pytest.mark.parametrize(
    "poison",
    [Poison(error) for error in (KeyError("秘密"), Retry("later"), Conflict())],
    ids=["bug", "retry", "again"],
)
async def test_one_action_that_fails_stops_no_resync_and_waits_for_a_hand_after_an_hour(
    archive, office, poison, passes
):
    await deliver(archive, request())
    assert {row.instance_id for row in await archive.rows(select(approval_instances))} == ALL | {"pi-heard"}
    assert await states(archive) == dict.fromkeys(ALL, "done") | {POISON: "failed"}
    assert await booked(archive) == ALL - {POISON}
    assert poison.calls.count(POISON) == 1, "not again and again at once"
    (row,) = await archive.rows(select(approval_actions).where(approval_actions.c.state == "failed"))
    assert ("KeyError" if isinstance(poison.error, KeyError) else "Retry") in row.reason
    assert "test_failing_actions" in row.reason
    assert "秘密" not in row.reason
    assert row.done_at is None

    calls = office.calls[INSTANCES]
    for _ in range(9):
        assert (await entity(archive, POISON)).due_ms is not None, "it is tried again"
        await look(archive)
        passes(GIVE_UP_AFTER_S / 8)
    await look(archive)
    assert (await entity(archive, POISON)).due_ms is None
    assert office.calls[INSTANCES] == calls, "at no further call"
    assert await pending_ids(archive) == [POISON]
    assert await called(archive, (await shown(archive))[0]) == "failed"
    poison.error = None
    assert [await called(archive, one) for one in await shown(archive)] == ["done"]
    assert await booked(archive) == ALL
    assert await pending_ids(archive) == []


async def test_the_next_resync_tries_it_again_at_no_further_call(archive, office, poison, passes):
    await deliver(archive, request())
    calls, poison.error = office.calls[INSTANCES], None
    passes(GIVE_UP_AFTER_S)
    await deliver(archive, resync_request("r-2", since=NOW - timedelta(days=1)))
    assert await booked(archive) == ALL
    assert office.calls[INSTANCES] == calls


@pytest.mark.parametrize("poison", [Poison(DependencyUnavailable("the ledger is away"))], ids=["down"])
async def test_what_one_action_needs_is_away_and_the_others_go_on(archive, poison, passes):
    """It is no failure of the action: nothing is written down, and it is called again."""
    await deliver(archive, request())
    assert await states(archive) == dict.fromkeys(ALL - {POISON}, "done")
    poison.error = None
    passes(60)
    await look(archive)
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
    office.finish("pi-9", bizAction="REVOKE", mainProcessInstanceId="pi-1")
    office.started["PROC-LEAVE"] = [(int((NOW - timedelta(hours=1)).timestamp() * 1000), "pi-9")]
    async with MemoryRuntime(Approval(actions), dingtalk=office) as archive:
        await deliver(archive, instance("finish", T + 100_000))
        assert await booked(archive) == {"pi-1"}
        await deliver(archive, request())
        assert await states(archive) == {"pi-1": "not_undone", "pi-9": "skipped"}
        assert await booked(archive) == {"pi-1"}
        (one,) = await shown(archive, Filter(instance_ids=["pi-1"]))
        assert one.kind == "undo"
        broken = False
        assert await called(archive, one) == "revoked"
        assert await booked(archive) == set()
