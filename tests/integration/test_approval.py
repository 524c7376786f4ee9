"""approval on SQLite and PostgreSQL, and with the real client against the simulator over HTTP."""

import asyncio

import pytest
from sqlalchemy import select

from dingbridge import Conflict, Context
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.tables import (
    approval_actions,
)
from dingbridge.testing.memory import MemoryRuntime
from tests.support.sizes import on_one_database
from tests.unit.approval.office import Office, instance

pytestmark = on_one_database


@pytest.fixture
def office():
    return Office()


async def deliver(archive, event, **kwargs):
    outcome = await archive.deliver(event, **kwargs)
    assert outcome.kind == "done", outcome


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("biz_action", "left"), [("REVOKE", []), ("MODIFY", ["pi-2"])])
async def test_an_approval_and_its_revocation_or_change_at_the_same_moment_end_without_its_effect(
    office, database_url, first, biz_action, left
):
    """Two members work on the two instances; neither sees the other's row."""
    office.finish("pi-1", attachedProcessInstanceIds=["pi-2"])
    office.finish("pi-2", bizAction=biz_action, mainProcessInstanceId="pi-1")
    events = [instance("finish", processInstanceId=id_) for id_ in ("pi-1", "pi-2")]
    order = [events[first], events[1 - first]]
    async with MemoryRuntime(Approval(), database_url=database_url, dingtalk=office) as archive:
        consumer, reader = archive.consumer, archive.database.reader()
        ctx = Context(reader, lambda: consumer.dingtalk)
        prepared = [await consumer.prepare(event, ctx) for event in order]

        async def handled(event, seen):
            async with archive.database.transaction() as tx:
                await consumer.handle(event, tx, seen)

        ended = await asyncio.gather(*map(handled, order, prepared), return_exceptions=True)
        (problem,) = [problem for problem in ended if problem is not None]
        assert isinstance(problem, Conflict), problem
        for event in events:
            await deliver(archive, event)
        assert [row.instance_id for row in await archive.rows(select(leave_ledger))] == left
        states = {row.instance_id: row.state for row in await archive.rows(select(approval_actions))}
    assert states == {"pi-1": "revoked", "pi-2": "done" if left else "skipped"}


async def test_a_module_of_ones_own_brings_its_tables(office, database_url, tmp_path, monkeypatch):
    module = tmp_path / "our_actions.py"
    module.write_text(
        "from sqlalchemy import Column, Table, Text, insert\n"
        "from dingbridge.consumers.approval.actions import Approved, action\n"
        "from dingbridge.consumers.approval.tables import metadata\n"
        "trips = Table('trips_of_a_test', metadata, Column('instance_id', Text, primary_key=True))\n"
        "@action('PROC-TRIP')\n"
        "async def trip(approval: Approved, tx):\n"
        "    await tx.execute(insert(trips).values(instance_id=approval.instance_id))\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("APPROVAL_ACTIONS", str(module))
    office.finish()
    consumer = Approval()
    assert consumer.metadata is not None
    trips = consumer.metadata.tables["trips_of_a_test"]
    try:
        async with MemoryRuntime(consumer, database_url=database_url, dingtalk=office) as archive:
            await deliver(archive, instance("finish", processCode="PROC-TRIP"))
            assert await archive.rows(select(trips)) == [("pi-1",)]
    finally:
        consumer.metadata.remove(trips)
