"""Attachments: downloaded whole, under their hash, once; with a folder, without one, and over HTTP."""

import asyncio
import hashlib
import os
import stat
import time

from aiohttp import web
from sqlalchemy import select

from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.files.downloads import LEASE_S
from dingbridge.consumers.approval.files.store import INCOMING
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.events.envelope import Received, to_records
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
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
from tests.support.profiles import AT_ONCE
from tests.support.sizes import on_one_database
from tests.support.waiting import eventually
from tests.unit.approval.office import once

pytestmark = on_one_database

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


async def test_two_processes_do_not_download_the_same_file(archive, shelf, folder):
    await archived(archive, files("1", "2", "3"))
    ours, theirs = downloads(archive, shelf), downloads(archive, shelf)
    await ours.open_folder()
    await asyncio.gather(once(ours), once(theirs))
    assert {row.state for row in (await rows(archive)).values()} == {"done"}
    assert shelf.got == {"1": 1, "2": 1, "3": 1}


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
    settings = SimulatorSettings(  # each event is delivered once
        simulator_port=0, simulator_users=12, simulator_departments=4, simulator_profile=AT_ONCE
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
        told = []
        for _ in range(3):
            known = {a["process_instance_id"] for a in simulator.state()["approvals"]}
            told += simulator.platform.act("start_approval", {"process_code": "PROC-EXPENSE"})
            (started,) = {a["process_instance_id"] for a in simulator.state()["approvals"]} - known
            for size in (1234, 0):
                comment = {"process_instance_id": started, "file_name": "说明.txt", "file_size": size}
                told += simulator.platform.act("comment", comment)
            told += simulator.platform.act("approve", {"process_instance_id": started})
        for seq, one in enumerate(told, start=1):
            received = Received(
                seq=seq,
                journal="j1",
                received_ms=one.time_ms,
                app="default",
                via="http",
                body=one.plaintext(),
            )
            for record in to_records(received):
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
