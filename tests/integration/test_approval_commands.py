"""``dingbridge approvals`` and ``dingbridge approvals resync`` as a person meets them, on both databases."""

import asyncio
import csv
import io
import json
import stat

import pytest
from sqlalchemy import func, select

from dingbridge import open_database
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.support.profiles import AT_ONCE
from tests.support.sizes import on_one_database

pytestmark = on_one_database

CODES = ("PROC-LEAVE", "PROC-EXPENSE", "PROC-PURCHASE")


@pytest.fixture
async def simulator():
    """A company with two approved instances of each template, one refused and one revoked."""
    settings = SimulatorSettings(  # each command reads once, and its calls are counted
        simulator_port=0, simulator_users=9, simulator_departments=4, simulator_profile=AT_ONCE
    )
    async with Simulator(settings) as simulator:
        for code in CODES:
            for end in ("approve", "approve", "refuse", "revoke"):
                known = {a["process_instance_id"] for a in simulator.state()["approvals"]}
                simulator.platform.act("start_approval", {"process_code": code})
                (started,) = {a["process_instance_id"] for a in simulator.state()["approvals"]} - known
                simulator.platform.act(end, {"process_instance_id": started})
        yield simulator


@pytest.fixture
def env(simulator, database_url, tmp_path):
    return {
        **SAMPLE_CREDENTIALS,
        "DINGTALK_API_BASE": simulator.base_url,
        "DINGTALK_CORP_ID": simulator.settings.simulator_corp_id,
        "DATABASE_URL": database_url,
        "DATA_DIR": str(tmp_path / "data"),
    }


@pytest.fixture
def run(processes, env):
    """Runs ``dingbridge …`` against them, without blocking the simulator."""

    async def run(*arguments, **more):
        return await asyncio.to_thread(processes.run, *arguments, env={**env, **more})

    return run


async def scalar(database_url, statement):
    database = open_database(database_url)
    try:
        return await database.reader().scalar(statement)
    finally:
        await database.close()


DETAIL = "GET /v1.0/workflow/processInstances"


def calls(simulator, api):
    return simulator.api.calls[api]


async def test_approvals_from_before_the_start_are_archived_at_the_cost_that_was_said(
    run, simulator, database_url
):
    whole = len(simulator.state()["approvals"])
    looked = await run("approvals", "resync", "--since", "30d", "--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert f"{whole} approval(s) found; {whole} to fetch" in looked.stderr
    assert "nothing was archived" in looked.stderr
    assert calls(simulator, DETAIL) == 0

    done = await run("approvals", "resync", "--since", "30d", "--yes")
    assert done.returncode == 0, done.stderr
    assert "(100 %)" in done.stderr
    assert f"{whole} archived" in done.stderr
    assert calls(simulator, DETAIL) == whole
    assert await scalar(database_url, select(func.count()).select_from(approval_instances)) == whole
    assert await scalar(database_url, select(func.count()).select_from(leave_ledger)) == 0

    running = sum(a["status"] == "RUNNING" for a in simulator.state()["approvals"])
    again = await run("approvals", "resync", "--since", "30d", "--process-code", ",".join(CODES), "--yes")
    assert f"{whole} approval(s) found; {running} to fetch" in again.stderr


async def test_templates_actions_and_exports_of_an_archive(run, simulator, database_url, tmp_path):
    assert (await run("approvals", "resync", "--since", "30d", "--yes")).returncode == 0
    approvals = {a["process_instance_id"]: a for a in simulator.state()["approvals"]}

    listed = await run("approvals", "templates", "--json")
    templates = {t["process_code"]: t for t in map(json.loads, listed.stdout.splitlines())}
    assert set(templates) == set(CODES)
    assert templates["PROC-EXPENSE"]["name"] == "报销申请"
    assert templates["PROC-EXPENSE"]["action"] is None
    table = (await run("approvals", "templates")).stdout.splitlines()
    assert table[0].split("\t")[:3] == ["process_code", "name", "approvals"]
    assert {line.split("\t")[0] for line in table[1:]} == set(CODES)
    assert "2 template(s)" not in listed.stderr
    leaves = [
        id_
        for id_, a in approvals.items()
        if a["process_code"] == "PROC-LEAVE" and a["status"] == "COMPLETED" and a["result"] == "agree"
    ]
    assert templates["PROC-LEAVE"]["approved"] == len(leaves)

    shown = await run("approvals", "actions", "--dry-run", "--json")
    would = [json.loads(line) for line in shown.stdout.splitlines()]
    assert {one["instance_id"] for one in would} == set(leaves)
    assert {(one["kind"], one["calls"]) for one in would} == {
        ("action", "dingbridge.consumers.approval.examples.record_leave")
    }
    assert await scalar(database_url, select(func.count()).select_from(leave_ledger)) == 0
    called = await run("approvals", "actions", "--process-code", "PROC-LEAVE", "--yes")
    assert called.returncode == 0, called.stderr
    assert f"{len(leaves)} done" in called.stderr
    assert await scalar(database_url, select(func.count()).select_from(leave_ledger)) == len(leaves)
    assert (await run("approvals", "actions", "--yes", "--json")).stdout == ""

    out = tmp_path / "报销.csv"
    exported = await run("approvals", "export", "--process-code", "PROC-EXPENSE", "--out", str(out))
    assert exported.returncode == 0, exported.stderr
    raw = out.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    expenses = {
        id_: a
        for id_, a in approvals.items()
        if a["process_code"] == "PROC-EXPENSE" and a["status"] != "RUNNING"
    }
    assert {row["instance_id"] for row in rows} == set(expenses)
    for row in rows:
        form = {f["name"]: f["value"] for f in expenses[row["instance_id"]]["formComponentValues"]}
        assert row["报销事由"] == form["报销事由"]
        assert row["总金额(元)"] == form["总金额(元)"]
    lines = (tmp_path / "报销.报销明细.csv").read_text(encoding="utf-8-sig").splitlines()
    details = [
        json.loads(f["value"])
        for a in expenses.values()
        for f in a["formComponentValues"]
        if f["componentType"] == "TableField"
    ]
    assert len(list(csv.reader(lines))) == 1 + sum(len(rows) for rows in details)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []

    as_json = await run("approvals", "export", "--process-code", "PROC-EXPENSE", "--format", "json")
    objects = json.loads(as_json.stdout)
    assert {one["instance_id"] for one in objects} == set(expenses)
    none = await run("approvals", "export", "--process-code", "PROC-EXPENSE", "--until", "2020-01-01")
    assert len(none.stdout.splitlines()) == 1
