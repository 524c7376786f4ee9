"""Attachments: downloaded whole, under their hash, once; what fails is tried again or says why not."""

import asyncio
import hashlib
import os
import stat
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from sqlalchemy import select, update

from bridge.settings import SAMPLE_CREDENTIALS
from consumers.approval import Approval
from consumers.approval.downloads import CLAIMED_FOR, FIRST_DELAY_S, MOST_ATTEMPTS, Downloads
from consumers.approval.files import INCOMING
from consumers.approval.metrics import ApprovalMetrics
from consumers.approval.settings import ApprovalSettings
from consumers.approval.tables import approval_attachments, approval_instances
from consumers.runtime import WorldDown
from consumers.runtime.memory import MemoryRuntime
from dingtalk.api import DingTalkClient
from dingtalk.errors import BadRequest, BudgetSpent, PermissionDenied
from schemas.records import Received, to_records
from simulator.server import Simulator
from simulator.settings import SimulatorSettings
from tests.support.waiting import eventually
from tests.unit.approval.office import LEAVE, Office, field, instance

CONTENT = os.urandom(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ALLOWED = 1_000_000


class Shelf:
    """A server of files, and the calls that lead to it. ``answers`` by file id; others get ``CONTENT``."""

    def __init__(self):
        self.answers, self.errors, self.got = {}, {}, Counter()
        self.base = ""

    async def serve(self, request):
        name = request.match_info["name"]
        self.got[name] += 1
        answer = self.answers.get(name)
        return web.Response(body=CONTENT) if answer is None else await answer(request)

    async def attachment_url(self, instance_id, file_id):
        if file_id in self.errors:
            raise self.errors[file_id]
        return f"{self.base}/{file_id}"


@pytest.fixture
async def shelf():
    shelf = Shelf()
    app = web.Application()
    app.router.add_get("/{name}", shelf.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    shelf.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield shelf
    await runner.cleanup()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHIVE_DIR", str(tmp_path / "archive"))
    monkeypatch.setenv("ARCHIVE_MAX_BYTES", str(ALLOWED))
    return tmp_path / "archive"


@pytest.fixture
async def archive(database_url):
    async with MemoryRuntime(Approval(), database_url=database_url, dingtalk=Office()) as runtime:
        yield runtime


def files(*ids, name="../../发票.pdf"):
    import json

    listed = [
        {"spaceId": "1", "fileId": id_, "fileName": name, "fileSize": "3", "fileType": "pdf"} for id_ in ids
    ]
    return field("发票", json.dumps(listed), "DDAttachment")


async def archived(archive, *fields, instance_id="pi-1"):
    """An approval with these fields is archived."""
    archive.consumer.dingtalk.finish(instance_id, form=[*(field(*item) for item in LEAVE.items()), *fields])
    outcome = await archive.deliver(instance("finish", processInstanceId=instance_id))
    assert outcome.kind == "done", outcome


def downloads(archive, shelf):
    return Downloads(archive.database, shelf, ApprovalSettings.load(), ApprovalMetrics())


async def rows(archive):
    found = await archive.rows(select(approval_attachments).order_by(approval_attachments.c.attachment_id))
    return {row.attachment_id: row for row in found}


async def due_now(archive):
    async with archive.database.transaction() as tx:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await tx.execute(update(approval_attachments).values(next_attempt_at=past))


def kept(folder):
    """Every file under the folder, by its path in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_files_are_kept_under_their_hash_readable_for_their_owner_only(archive, shelf, folder):
    await archived(archive, files("1", "2"))
    work = downloads(archive, shelf)
    await work.switch()
    assert await work.once() == 2
    assert await work.once() == 0
    for row in (await rows(archive)).values():
        assert (row.state, row.reason, row.sha256, row.size) == ("done", None, SHA256, len(CONTENT))
        assert row.downloaded_at is not None
        assert row.file_name == "../../发票.pdf"
    assert kept(folder) == [f"{SHA256[:2]}/{SHA256}"], "equal files are kept once"
    path = folder / SHA256[:2] / SHA256
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(p.stat().st_mode) for p in (folder / INCOMING, path.parent)} == {0o700}


async def cut_off(request):
    response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT))})
    await response.prepare(request)
    await response.write(CONTENT[:1000])
    assert request.transport is not None
    request.transport.abort()
    return response


async def busy(request):
    return web.Response(status=503)


async def elsewhere(request):
    return web.Response(status=302, headers={"Location": "/other"})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(cut_off, "no answer (ClientPayloadError)"), (busy, "HTTP 503"), (elsewhere, "HTTP 302")],
    ids=["cut-off", "busy", "redirect"],
)
async def test_what_fails_is_tried_again_later_and_then_kept_whole(archive, shelf, folder, answer, reason):
    await archived(archive, files("1"))
    shelf.answers["1"] = answer
    work = downloads(archive, shelf)
    await work.switch()
    for attempt in (1, 2):
        before = datetime.now(UTC)
        assert await work.once() == 1
        row = (await rows(archive))["file:1"]
        assert (row.state, row.reason, row.attempts) == ("waiting", reason, attempt)
        assert row.next_attempt_at >= before + timedelta(seconds=FIRST_DELAY_S * 2 ** (attempt - 1))
        assert await work.once() == 0, "not before its time"
        assert kept(folder) == []
        await due_now(archive)
    del shelf.answers["1"]
    await work.once()
    row = (await rows(archive))["file:1"]
    assert (row.state, row.reason, row.attempts, row.sha256) == ("done", None, 3, SHA256)
    assert shelf.got["other"] == 0


async def large(request):
    return web.Response(body=b"x" * (ALLOWED + 1))


async def large_without_a_length(request):
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b"x" * (ALLOWED + 1))
    return response


async def gone(request):
    return web.Response(status=404)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (large, f"larger than ARCHIVE_MAX_BYTES ({ALLOWED})"),
        (large_without_a_length, f"larger than ARCHIVE_MAX_BYTES ({ALLOWED})"),
        (gone, "HTTP 404"),
    ],
    ids=["large", "large-chunked", "gone"],
)
async def test_what_can_never_be_kept_says_why(archive, shelf, folder, answer, reason):
    await archived(archive, files("1"))
    shelf.answers["1"] = answer
    work = downloads(archive, shelf)
    await work.switch()
    await work.once()
    row = (await rows(archive))["file:1"]
    assert (row.state, row.reason) == ("refused", reason)
    await due_now(archive)
    assert await work.once() == 0
    assert kept(folder) == []


async def test_an_address_that_dingtalk_does_not_give(archive, shelf, folder):
    await archived(archive, files("1", "2", "3"))
    api = "processinstance/file/url/get"
    shelf.errors["1"] = BadRequest("no such file", api=api, errcode=400002)
    shelf.errors["2"] = PermissionDenied("no right", api=api, errcode=60011)
    work = downloads(archive, shelf)
    await work.switch()
    await work.once()
    found = await rows(archive)
    assert {id_: (row.state, row.attempts) for id_, row in found.items()} == {
        "file:1": ("refused", 1),
        "file:2": ("waiting", 1),
        "file:3": ("done", 1),
    }
    assert "60011" in found["file:2"].reason
    shelf.errors["2"] = BudgetSpent("spent", api=api, retry_after_s=9)
    await due_now(archive)
    before = (await rows(archive))["file:2"]
    with pytest.raises(BudgetSpent):
        await work.once()
    assert (await rows(archive))["file:2"] == before, "when the world is down it is nobody's attempt"


async def test_it_gives_up_in_the_end_and_the_archive_says_so(archive, shelf, folder):
    await archived(archive, files("1"))
    shelf.answers["1"] = busy
    async with archive.database.transaction() as tx:
        await tx.execute(update(approval_attachments).values(attempts=MOST_ATTEMPTS - 1))
    work = downloads(archive, shelf)
    await work.switch()
    await work.once()
    row = (await rows(archive))["file:1"]
    assert (row.state, row.reason) == ("refused", f"given up after {MOST_ATTEMPTS} attempts: HTTP 503")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://static.dingtalk.com/a.png", "its address is not https"),
        ("file:///etc/passwd", "its address is not https"),
        ("https://127.0.0.1:{port}/1", "its address points inside"),
        ("https://localhost:{port}/1", "its address points inside"),
        ("https://[::ffff:127.0.0.1]:{port}/1", "its address points inside"),
    ],
    ids=["http", "file", "loopback", "localhost", "mapped"],
)
async def test_a_photo_whose_address_leads_inside_is_not_fetched(archive, shelf, folder, url, reason):
    await archived(
        archive, field("照片", f'["{url.format(port=shelf.base.rpartition(":")[2])}"]', "DDPhotoField")
    )
    work = downloads(archive, shelf)
    await work.switch()
    await work.once()
    (row,) = (await rows(archive)).values()
    assert (row.kind, row.state, row.reason) == ("photo", "refused", reason)
    assert shelf.got.total() == 0


async def test_two_processes_do_not_download_the_same_file(archive, shelf, folder):
    await archived(archive, files("1", "2", "3"))
    ours, theirs = downloads(archive, shelf), downloads(archive, shelf)
    await ours.switch()
    await asyncio.gather(ours.once(), theirs.once())
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
    await ours.switch()
    running = asyncio.create_task(ours.once())
    await asyncio.wait_for(begun.wait(), 30)
    assert await theirs.once() == 0
    # a process that is killed here leaves it to another one for so long
    assert (await rows(archive))["file:1"].next_attempt_at > datetime.now(UTC) + CLAIMED_FOR / 2
    running.cancel()
    await asyncio.wait([running])
    go_on.set()
    assert kept(folder) == []
    del shelf.answers["1"]
    assert await theirs.once() == 1
    row = (await rows(archive))["file:1"]
    assert (row.state, row.attempts) == ("done", 1)


async def test_without_a_folder_rows_say_so_and_with_one_they_are_downloaded(
    archive, shelf, folder, monkeypatch
):
    await archived(archive, files("1"))
    monkeypatch.delenv("ARCHIVE_DIR")
    await asyncio.wait_for(downloads(archive, shelf).run(), 60)
    row = (await rows(archive))["file:1"]
    assert row.state == "off"
    assert "ARCHIVE_DIR" in row.reason
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


async def test_a_folder_that_cannot_be_written_waits_in_words(archive, shelf, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARCHIVE_DIR", str(tmp_path / "file" / "archive"))
    with pytest.raises(WorldDown, match="ARCHIVE_DIR"):
        await downloads(archive, shelf).switch()


async def test_a_disk_that_fails_on_the_way_is_nobodys_attempt(archive, shelf, folder):
    await archived(archive, files("1"))
    work = downloads(archive, shelf)
    await work.switch()
    (folder / SHA256[:2]).write_text("in the way")
    with pytest.raises(WorldDown, match="ARCHIVE_DIR"):
        await work.once()
    row = (await rows(archive))["file:1"]
    assert (row.state, row.attempts) == ("waiting", 0)
    (folder / SHA256[:2]).unlink()
    await work.once()
    assert (await rows(archive))["file:1"].state == "done"
    assert kept(folder) == [f"{SHA256[:2]}/{SHA256}"]


async def test_what_a_process_that_died_has_left_goes_after_a_day(archive, shelf, folder):
    work = downloads(archive, shelf)
    await work.switch()
    old, new = folder / INCOMING / "old", folder / INCOMING / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    await work.switch()
    assert kept(folder) == [f"{INCOMING}/new"]


async def test_attachments_of_approvals_over_http(database_url, folder, monkeypatch):
    monkeypatch.setenv("ARCHIVE_MAX_BYTES", str(10_000_000))
    settings = SimulatorSettings(simulator_port=0, simulator_users=12, simulator_departments=4)
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
        for row in found.values():
            data = (folder / row.sha256[:2] / row.sha256).read_bytes()
            assert hashlib.sha256(data).hexdigest() == row.sha256
            assert len(data) == row.size == row.file_size
