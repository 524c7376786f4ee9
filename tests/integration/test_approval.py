"""approval on PostgreSQL: two instances at once, the simulated company's approvals, and files."""

import asyncio
import hashlib
import os
import stat
import time

import pytest
from sqlalchemy import select

from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.files.store import INCOMING
from dingbridge.consumers.approval.tables import (
    approval_actions,
    approval_instances,
)
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.simulator.server import Simulator
from dingbridge.testing.memory import MemoryRuntime
from tests.integration.approval_files_support import (
    CONTENT,
    SHA256,
    archive,
    archived,
    files,
    folder,
    kept,
    rows,
    shelf,
)
from tests.integration.simulator_support import settings
from tests.support.dingtalk import APP_KEY, APP_SECRET, records_of
from tests.support.profiles import AT_ONCE
from tests.support.sizes import on_one_database
from tests.support.waiting import eventually
from tests.unit.approval.office import Office, hear, instance, look

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
    whole, both = office.approval, asyncio.Barrier(2)

    async def together(instance_id):
        answer = await whole(instance_id)
        await both.wait()
        return answer

    async with MemoryRuntime(Approval(), database_url=database_url, dingtalk=office) as archive:
        for event in order:
            await hear(archive, event)
        office.approval = together
        await look(archive)
        assert [row.instance_id for row in await archive.rows(select(leave_ledger))] == left
        states = {row.instance_id: row.state for row in await archive.rows(select(approval_actions))}
    assert states == {"pi-1": "revoked", "pi-2": "done" if left else "skipped"}


# -- Attachments: downloaded whole, under their hash, once; with a folder, without one, and over HTTP


__all__ = ["archive", "folder", "shelf"]


async def test_files_are_kept_under_their_hash_readable_for_their_owner_only(archive, shelf, folder):
    await archived(archive, files("1", "2"))
    assert await look(archive) == 2
    assert await look(archive) == 0
    for row in (await rows(archive)).values():
        assert (row.state, row.reason, row.sha256, row.size) == ("done", None, SHA256, len(CONTENT))
        assert row.downloaded_at is not None
        assert row.file_name == "../../发票.pdf"
    assert kept(folder) == [f"{SHA256[:2]}/{SHA256}"], "equal files are kept once"
    path = folder / SHA256[:2] / SHA256
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(p.stat().st_mode) for p in (folder, folder / INCOMING, path.parent)} == {0o700}


async def test_what_a_process_that_died_has_left_goes_after_a_day(archive, shelf, folder):
    old, new = folder / INCOMING / "old", folder / INCOMING / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    await archive.consumer.files.open_folder()
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
