"""approval on PostgreSQL: two instances at once, the simulated company's approvals, and files."""

import asyncio
import hashlib
import os
import stat
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from aiohttp import web
from sqlalchemy import select

from dingbridge import Conflict, Context
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.archive.times import CHINA
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.files.downloads import LEASE_S
from dingbridge.consumers.approval.files.store import INCOMING
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
from dingbridge.simulator.company.templates import TEMPLATES
from dingbridge.simulator.server import Simulator
from dingbridge.testing.memory import MemoryRuntime
from tests.integration.approval_files_support import (
    CONTENT,
    SHA256,
    archive,
    archived,
    downloads,
    files,
    folder,
    kept,
    rows,
    shelf,
)
from tests.integration.simulator_support import settings
from tests.support.dingtalk import APP_KEY, APP_SECRET, DingTalk, records_of
from tests.support.profiles import AT_ONCE
from tests.support.sizes import on_one_database, sized
from tests.support.waiting import eventually
from tests.unit.approval.office import Office, deliver, instance, once

pytestmark = on_one_database


@pytest.fixture
def office():
    return Office()


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


# -- Approvals of the simulated company, with all that happens to them, become what its API says of them


ROUNDS = sized(2, 3)


def moment(text, true_z):
    """What a time of the API means."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC if true_z else CHINA)


def near(ours, text, true_z):
    """Whether our time is the API's, to the minute."""
    return timedelta(0) <= ours - moment(text, true_z) < timedelta(minutes=1)


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
    async with (
        DingTalk(seed=seed) as simulator,
        simulator.client() as client,
        MemoryRuntime(Approval(), database_url=database_url, dingtalk=client) as archive,
    ):
        simulator.platform.approvals.true_z = true_z
        told = lived(simulator)
        seen = {event.payload["processInstanceId"] for event in told}
        records = records_of(told) * 2
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
        for record in records_of(events, first_seq=len(told) + 1) * 2:
            assert (await archive.deliver(record)).kind in ("done", "seen")
        left = {row.instance_id for row in await archive.rows(select(leave_ledger))}
        assert left == approved - set(deleted)
        after = {row.instance_id: row for row in await archive.rows(select(approval_instances))}
        assert {i for i, row in after.items() if row.deleted_at is not None} == set(deleted)
        assert all(after[i].raw_document == rows[i].raw_document for i in deleted)
        states = {row.instance_id: row.state for row in await archive.rows(select(approval_actions))}
        assert states == {i: "revoked" if i in deleted else "done" for i in approved}


# -- Attachments: downloaded whole, under their hash, once; with a folder, without one, and over HTTP


__all__ = ["archive", "folder", "shelf"]


async def test_files_are_kept_under_their_hash_readable_for_their_owner_only(archive, shelf, folder):
    await archived(archive, files("1", "2"))
    work = downloads(archive, shelf)
    await work.open_folder()
    assert await once(work) == 2
    assert await once(work) == 0
    for row in (await rows(archive)).values():
        assert (row.state, row.reason, row.sha256, row.size) == ("done", None, SHA256, len(CONTENT))
        assert row.downloaded_at is not None
        assert row.file_name == "../../发票.pdf"
    assert kept(folder) == [f"{SHA256[:2]}/{SHA256}"], "equal files are kept once"
    path = folder / SHA256[:2] / SHA256
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(p.stat().st_mode) for p in (folder, folder / INCOMING, path.parent)} == {0o700}


async def test_a_download_under_way_is_left_alone_and_a_stopped_one_is_due_again(archive, shelf, folder):
    await archived(archive, files("1"))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request):
        response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT))})
        await response.prepare(request)
        await response.write(CONTENT[:1000])
        begun.set()
        await go_on.wait()
        return response

    shelf.answers["1"] = slow
    ours, theirs = downloads(archive, shelf), downloads(archive, shelf)
    await ours.open_folder()
    running = asyncio.create_task(once(ours))
    await asyncio.wait_for(begun.wait(), 30)
    assert await once(theirs) == 0
    # a process that is killed here leaves it to another one for so long
    assert (await rows(archive))["file:1"].leased_ms / 1000 > time.time() + LEASE_S / 2
    running.cancel()
    await asyncio.wait([running])
    go_on.set()
    assert kept(folder) == []
    del shelf.answers["1"]
    assert await once(theirs) == 1
    row = (await rows(archive))["file:1"]
    assert row.state == "done"


async def test_without_a_folder_files_wait_and_with_one_they_are_downloaded(
    archive, shelf, folder, monkeypatch
):
    await archived(archive, files("1"))
    monkeypatch.delenv("ARCHIVE_DIR")
    await asyncio.wait_for(downloads(archive, shelf).run(), 60)
    row = (await rows(archive))["file:1"]
    assert row.state == "waiting"
    assert not folder.exists()
    monkeypatch.setenv("ARCHIVE_DIR", str(folder))
    running = asyncio.create_task(downloads(archive, shelf).run())

    async def done():
        return (await rows(archive))["file:1"].state == "done"

    try:
        await eventually(done)
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled()


async def test_what_a_process_that_died_has_left_goes_after_a_day(archive, shelf, folder):
    work = downloads(archive, shelf)
    await work.open_folder()
    old, new = folder / INCOMING / "old", folder / INCOMING / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    await work.open_folder()
    assert kept(folder) == [f"{INCOMING}/new"]


async def test_attachments_of_approvals_over_http(database_url, folder, monkeypatch):
    monkeypatch.setenv("ARCHIVE_MAX_BYTES", str(10_000_000))
    async with (
        Simulator(settings(profile=AT_ONCE)) as simulator,  # each event is delivered once
        DingTalkClient(app_key=APP_KEY, app_secret=APP_SECRET, base=simulator.base_url) as client,
        MemoryRuntime(Approval(), database_url=database_url, dingtalk=client) as archive,
    ):
        told = []
        for _ in range(3):
            known = {a["process_instance_id"] for a in simulator.state()["approvals"]}
            told += simulator.platform.act("start_approval", {"process_code": "PROC-EXPENSE"})
            (started,) = {a["process_instance_id"] for a in simulator.state()["approvals"]} - known
            for size in (1234, 0):
                comment = {"process_instance_id": started, "file_name": "说明.txt", "file_size": size}
                told += simulator.platform.act("comment", comment)
            told += simulator.platform.act("approve", {"process_instance_id": started})
        for record in records_of(told):
            assert (await archive.deliver(record)).kind == "done"
        running = asyncio.create_task(archive.consumer.background())

        async def all_done():
            return {row.state for row in (await rows(archive)).values()} == {"done"}

        try:
            await eventually(all_done)
        finally:
            running.cancel()
            await asyncio.wait([running])
        approvals = await archive.rows(
            select(approval_instances.c.instance_id).where(approval_instances.c.outcome == "approved")
        )
        found = await rows(archive)
        assert {row.instance_id for row in found.values()} == {row.instance_id for row in approvals}
        sizes = sorted(row.size for row in found.values() if row.kind == "record")
        assert sizes == [0, 0, 0, 1234, 1234, 1234], "files of comments too, also empty ones"
        for row in found.values():
            data = (folder / row.sha256[:2] / row.sha256).read_bytes()
            assert hashlib.sha256(data).hexdigest() == row.sha256
            assert len(data) == row.size == row.file_size
