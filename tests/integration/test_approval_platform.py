"""Approvals of the simulated company, with all that happens to them, become what its API says of them."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from sqlalchemy import select

from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.archive.times import CHINA
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.tables import (
    approval_actions,
    approval_attachments,
    approval_comments,
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_table_cells,
    approval_tasks,
)
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.events.envelope import Received, to_records
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.company.templates import TEMPLATES
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.testing.memory import MemoryRuntime
from tests.support.profiles import AT_ONCE
from tests.support.sizes import on_one_database, sized

pytestmark = on_one_database

"""As the guide has it."""
ROUNDS = sized(2, 3)


def moment(text, true_z):
    """What a time of the API means."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC if true_z else CHINA)


def near(ours, text, true_z):
    """Whether our time is the API's, to the minute."""
    return timedelta(0) <= ours - moment(text, true_z) < timedelta(minutes=1)


def records_of(events, first_seq):
    """Each event as the records that stand in Kafka, twice: DingTalk repeats itself."""
    records = []
    for seq, one in enumerate(events, start=first_seq):
        received = Received(
            seq=seq, journal="j1", received_ms=one.time_ms, app="default", via="http", body=one.plaintext()
        )
        records += to_records(received) * 2
    return records


def lived(simulator):
    """Approvals that are commented on, handed over, and end in every way; their events."""
    told = []
    for code in [*TEMPLATES] * ROUNDS:
        for end in ("approve", "refuse", "revoke", None):
            known = {a["process_instance_id"] for a in simulator.state()["approvals"]}
            told += simulator.platform.act("start_approval", {"process_code": code})
            (started,) = {a["process_instance_id"] for a in simulator.state()["approvals"]} - known
            told += simulator.platform.act("comment", {"process_instance_id": started})
            told += simulator.platform.act("redirect", {"process_instance_id": started})
            if end is not None:
                told += simulator.platform.act(end, {"process_instance_id": started})
    return told


async def table(archive, which):
    found = {}
    for row in await archive.rows(select(which).order_by(*which.primary_key)):
        found.setdefault(row.instance_id, []).append(row)
    return found


@pytest.mark.parametrize("true_z", [False, True], ids=["china", "utc"])
@pytest.mark.parametrize("seed", range(sized(1, 6)))
async def test_everything_in_any_order_and_twice_becomes_what_the_platform_says(database_url, seed, true_z):
    rng = Random(seed)
    settings = SimulatorSettings(  # each event is delivered once
        simulator_port=0,
        simulator_users=12,
        simulator_departments=4,
        simulator_seed=seed,
        simulator_profile=AT_ONCE,
    )
    async with (
        Simulator(settings) as simulator,
        DingTalkClient(
            app_key=SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
            app_secret=SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
            base=simulator.base_url,
        ) as client,
        MemoryRuntime(Approval(), database_url=database_url, dingtalk=client) as archive,
    ):
        simulator.platform.approvals.true_z = true_z
        told = lived(simulator)
        seen = {event.payload["processInstanceId"] for event in told}
        records = records_of(told, 1)
        for record in rng.sample(records, len(records)):
            assert (await archive.deliver(record)).kind in ("done", "seen")
        ours = {a["process_instance_id"]: a for a in simulator.state()["approvals"]}
        rows = {row.instance_id: row for row in await archive.rows(select(approval_instances))}
        assert set(rows) == seen
        tasks, comments = await table(archive, approval_tasks), await table(archive, approval_comments)
        parts = {
            which: await table(archive, which)
            for which in (approval_form_values, approval_operations, approval_table_cells)
        }
        files = await table(archive, approval_attachments)
        for id_ in seen:
            said, row = ours[id_], rows[id_]
            outcome = {"agree": "approved", "refuse": "refused", "": "terminated"}[said["result"]]
            assert row.outcome == (None if said["status"] == "RUNNING" else outcome)
            assert row.process_code == said["process_code"]
            # tasks are known while it runs, too
            assert {(t.task_id, t.userid, t.status, t.result or "NONE") for t in tasks[id_]} == {
                (str(t["taskId"]), t["userId"], t["status"], t["result"]) for t in said["tasks"]
            }
            api = {str(t["taskId"]): t for t in said["tasks"]}
            assert all(near(t.started_at, api[t.task_id]["createTime"], true_z) for t in tasks[id_])
            ended = [t for t in tasks[id_] if t.finished_at is not None]
            assert all(near(t.finished_at, api[t.task_id]["finishTime"], true_z) for t in ended)
            assert near(row.started_at, said["createTime"], true_z)
            remarks = [r for r in said["operationRecords"] if r["type"] == "ADD_REMARK"]
            assert [(c.userid, c.content) for c in comments[id_]] == [
                (r["userId"], r["remark"]) for r in remarks
            ]
            if row.outcome is None:
                assert (row.document_state, id_ in files) == ("pending", False)
                continue
            assert (row.document_state, row.true_utc) == ("full", true_z)
            assert near(row.finished_at, said["finishTime"], true_z)
            assert [(r.userid, r.operation_type, r.operated_at) for r in parts[approval_operations][id_]] == [
                (r["userId"], r["type"], moment(r["date"], true_z)) for r in said["operationRecords"]
            ]
            form = said["formComponentValues"]
            assert [(v.name, v.value) for v in parts[approval_form_values][id_]] == [
                (f["name"], f["value"]) for f in form
            ]
            filled = [f["value"] for f in form if "rowValue" in f["value"]]
            assert (id_ in parts[approval_table_cells]) == bool(filled)
            attached = [f for f in form if f["componentType"] == "DDAttachment"]
            assert (id_ in files) == bool(attached or any("DDPhoto" in value for value in filled))

        approved = {i for i in seen if rows[i].outcome == "approved" and rows[i].process_code == "PROC-LEAVE"}
        assert len(approved) == ROUNDS
        assert Counter(row.instance_id for row in await archive.rows(select(leave_ledger))) == Counter(
            approved
        )

        # an administrator deletes them: the ledger forgets, the archive does not
        deleted = sorted(approved)[: ROUNDS - 1]
        events = [
            e
            for id_ in deleted
            for e in simulator.platform.act("delete_approval", {"process_instance_id": id_})
        ]
        for record in records_of(events, len(told) + 1):
            assert (await archive.deliver(record)).kind in ("done", "seen")
        left = {row.instance_id for row in await archive.rows(select(leave_ledger))}
        assert left == approved - set(deleted)
        after = {row.instance_id: row for row in await archive.rows(select(approval_instances))}
        assert {i for i, row in after.items() if row.deleted_at is not None} == set(deleted)
        assert all(after[i].raw_document == rows[i].raw_document for i in deleted)
        states = {row.instance_id: row.state for row in await archive.rows(select(approval_actions))}
        assert states == {i: "revoked" if i in deleted else "done" for i in approved}
