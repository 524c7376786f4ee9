"""approval on SQLite and PostgreSQL, and with the real client against the simulator over HTTP."""

import asyncio
import json
from datetime import date
from random import Random

import pytest
from sqlalchemy import func, insert, select

from dingbridge import Conflict, Context, Reject
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.actions.declaration import Action
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.tables import (
    approval_actions,
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_table_cells,
    approval_tasks,
)
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.events.envelope import Received, to_records
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.testing.memory import MemoryRuntime
from tests.support.profiles import AT_ONCE
from tests.support.sizes import on_one_database
from tests.unit.approval.office import LEAVE, Office, T, field, instance

pytestmark = on_one_database


@pytest.fixture
def office():
    return Office()


async def deliver(archive, event, **kwargs):
    outcome = await archive.deliver(event, **kwargs)
    assert outcome.kind == "done", outcome


async def test_an_approved_leave_is_archived_and_in_the_ledger_once(office, database_url):
    office.finish(form=[field(name, value) for name, value in (LEAVE | {"备注": "\0"}).items()])
    async with MemoryRuntime(Approval(), database_url=database_url, dingtalk=office) as archive:
        event = instance("finish")
        await deliver(archive, event)
        (before,) = await archive.rows(select(approval_instances))
        await deliver(archive, event, replay_id="again")
        (leave,) = await archive.rows(select(leave_ledger))
        office.delete()
        await deliver(archive, instance("delete", T + 200_000))
        (row,) = await archive.rows(select(approval_instances))
        assert await archive.rows(select(leave_ledger)) == []
        _, (_, _, shown), *_ = await archive.consumer.show(archive.database.reader())
    assert before.deleted_at is None
    assert row.deleted_at.isoformat() == "2024-11-07T17:23:20+00:00"
    assert row.finished_at.isoformat() == "2024-11-07T17:21:40+00:00"
    assert json.loads(row.raw_document)["businessId"] == "202411080120000000001"
    assert (leave.userid, leave.days, leave.ends_on) == ("u001", 2, date(2024, 11, 12))
    assert shown == []


async def break_then_reject(approval, tx):
    await tx.execute(insert(leave_ledger).values(corp_id="c", instance_id="pi"))


async def write_then_reject(approval, tx):
    values = {"userid": "u", "leave_type": "x", "starts_raw": "", "ends_raw": "", "days": 1}
    times = {
        "starts_on": date(2024, 11, 11),
        "ends_on": date(2024, 11, 12),
        "recorded_at": approval.finished_at,
    }
    await tx.execute(insert(leave_ledger).values(corp_id="c", instance_id="pi", **values, **times))
    raise Reject("why not")


async def test_a_rejecting_action_leaves_the_archive_and_nothing_of_its_own(office, database_url):
    office.finish()
    consumer = Approval({"PROC-LEAVE": Action(write_then_reject)})
    async with MemoryRuntime(consumer, database_url=database_url, dingtalk=office) as archive:
        await deliver(archive, instance("finish"))
        (rejected,) = await archive.rows(select(approval_actions))
        assert (rejected.state, rejected.reason) == ("rejected", "why not")
        assert len(await archive.rows(select(approval_instances))) == 1
        assert await archive.rows(select(leave_ledger)) == []


async def test_an_action_whose_sql_fails_is_retried_and_leaves_nothing(office, database_url):
    office.finish()
    consumer = Approval({"PROC-LEAVE": Action(break_then_reject)})
    async with MemoryRuntime(consumer, database_url=database_url, dingtalk=office) as archive:
        assert (await archive.attempt(instance("finish"))).kind == "retry"
        for table in (approval_instances, leave_ledger, approval_actions):
            assert await archive.rows(select(table)) == []


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


async def test_approvals_over_http_are_archived_in_any_order(database_url):
    settings = SimulatorSettings(  # each event is delivered once
        simulator_port=0, simulator_users=12, simulator_departments=4, simulator_profile=AT_ONCE
    )
    rng = Random(5)
    async with (
        Simulator(settings) as simulator,
        DingTalkClient(
            app_key=SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
            app_secret=SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
            base=simulator.base_url,
        ) as client,
        MemoryRuntime(Approval(), database_url=database_url, dingtalk=client) as archive,
    ):
        told = []
        for code in ["PROC-LEAVE", "PROC-EXPENSE", "PROC-PURCHASE"] * 2:
            for end in ["approve", "refuse", "revoke"]:
                known = {a["process_instance_id"] for a in simulator.state()["approvals"]}
                told += simulator.platform.act("start_approval", {"process_code": code})
                (started,) = {a["process_instance_id"] for a in simulator.state()["approvals"]} - known
                told += simulator.platform.act(end, {"process_instance_id": started})
        records = []
        for seq, one in enumerate(told, start=1):
            received = Received(
                seq=seq,
                journal="j1",
                received_ms=one.time_ms,
                app="default",
                via="http",
                body=one.plaintext(),
            )
            records += to_records(received)
        for record in rng.sample(records, len(records)):
            assert (await archive.deliver(record)).kind == "done"

        ours = {a["process_instance_id"]: a for a in simulator.state()["approvals"]}
        ended = {
            key for key, a in ours.items() if a["status"] in ("COMPLETED", "TERMINATED") and key in str(told)
        }
        found = {row.instance_id: row for row in await archive.rows(select(approval_instances))}
        assert set(found) == {key for key in ours if key in str(told)}
        rows = {key: row for key, row in found.items() if row.outcome}
        assert set(rows) == ended
        words = {"agree": "approved", "refuse": "refused", "": "terminated"}
        for key, row in rows.items():
            assert row.outcome == words[ours[key]["result"]]
            assert row.process_code == ours[key]["process_code"]
            assert (row.document_state, row.title) == ("full", ours[key]["title"])
            assert row.url
        for table, part in [
            (approval_form_values, "formComponentValues"),
            (approval_operations, "operationRecords"),
            (approval_tasks, "tasks"),
        ]:
            (count,) = await archive.rows(select(func.count()).select_from(table))
            assert count == (sum(len(ours[key][part]) for key in ended),)
        cells = await archive.rows(select(approval_table_cells.c.name))
        assert {"金额(元)", "数量"} <= {cell.name for cell in cells}
        leaves = {row.instance_id for row in await archive.rows(select(leave_ledger))}
        assert leaves == {
            key for key, row in rows.items() if row.outcome == "approved" and row.process_code == "PROC-LEAVE"
        }
        assert len(leaves) >= 1
