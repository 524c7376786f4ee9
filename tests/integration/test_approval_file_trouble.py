"""Attachments that cannot be downloaded: what fails is tried again, or says why not."""

import asyncio
import gzip
import hashlib
import json

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from dingbridge import DependencyUnavailable
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.files.downloads import AGAIN_AFTER_S
from dingbridge.consumers.approval.refused import ask_again, refused
from dingbridge.consumers.approval.settings import ApprovalSettings
from dingbridge.dingtalk.api.approvals import FILE_URLS
from dingbridge.dingtalk.errors import (
    BadRequest,
    BudgetSpent,
    NoAddress,
    NotFound,
    PermissionDenied,
    ReferenceMissing,
)
from dingbridge.snapshots.late_answers import LOOK_AGAIN_S
from dingbridge.testing.memory import MemoryRuntime
from tests.integration.approval_files_support import (
    ALLOWED,
    CONTENT,
    SHA256,
    archive,
    archived,
    due_now,
    files,
    folder,
    kept,
    rows,
    shelf,
)
from tests.support.sizes import on_one_database
from tests.unit.approval.conftest import passes
from tests.unit.approval.office import CORP, Office, entity, field, look

pytestmark = on_one_database

__all__ = ["archive", "folder", "passes", "shelf"]


async def file(archive, attachment_id, instance_id="pi-1"):
    """The entity of a file."""
    return await entity(archive, f"{instance_id}/{attachment_id}")


async def cut_off(request):
    response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT))})
    await response.prepare(request)
    await response.write(CONTENT[:1000])
    assert request.transport is not None
    request.transport.abort()
    return response


async def cut_without_a_length(request):
    response = web.StreamResponse()
    response.force_close()
    response.headers["Connection"] = "close"
    await response.prepare(request)
    await response.write(CONTENT[:1000])
    return response


async def page_of_a_proxy(request):
    return web.Response(text="<html>please sign in</html>", content_type="text/html")


async def zipped(request):
    assert request.headers["Accept-Encoding"] == "identity"
    return web.Response(body=gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"})


async def busy(request):
    return web.Response(status=503)


async def elsewhere(request):
    return web.Response(status=302, headers={"Location": "/other"})


async def too_many(request):
    return web.Response(status=429)


async def forbidden(request):
    return web.Response(status=403)


FAILING = {
    "cut": (cut_off, "no answer (ClientPayloadError)"),
    "busy": (busy, "HTTP 503"),
    "many": (too_many, "HTTP 429"),
    "moved": (elsewhere, "HTTP 302"),
    "short": (cut_without_a_length, f"1000 bytes came, and the form names {len(CONTENT)}"),
    "html": (page_of_a_proxy, f"27 bytes came, and the form names {len(CONTENT)}"),
    "gzip": (zipped, "its server encodes it (gzip)"),
}


async def test_what_fails_is_tried_again_later_and_then_kept_whole(archive, shelf, folder, passes):
    for id_ in FAILING:  # each of an app of its own: one of which nothing works is left alone
        await archived(archive, files(id_), instance_id=id_, app=id_, corpId=f"ding{id_}")
    shelf.answers = {id_: answer for id_, (answer, _) in FAILING.items()}
    for _ in range(2):
        assert await look(archive) == len(FAILING)
        found = {id_: (row.state, row.reason) for id_, row in (await rows(archive)).items()}
        assert found == {f"file:{id_}": ("waiting", reason) for id_, (_, reason) in FAILING.items()}
        assert await look(archive) == 0, "not before its time"
        assert kept(folder) == []
        passes(AGAIN_AFTER_S + 1)
    shelf.answers = {}
    assert await look(archive) == len(FAILING)
    assert {(row.state, row.reason, row.sha256) for row in (await rows(archive)).values()} == {
        ("done", None, SHA256)
    }
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


NEVER = {
    "large": (large, f"larger than ARCHIVE_MAX_BYTES ({ALLOWED})"),
    "chunked": (large_without_a_length, f"larger than ARCHIVE_MAX_BYTES ({ALLOWED})"),
    "gone": (gone, "HTTP 404"),
}


async def test_what_can_never_be_kept_says_why(archive, shelf, folder):
    await archived(archive, files(*NEVER))
    shelf.answers = {id_: answer for id_, (answer, _) in NEVER.items()}
    await look(archive)
    found = {id_: (row.state, row.reason) for id_, row in (await rows(archive)).items()}
    assert found == {f"file:{id_}": ("refused", reason) for id_, (_, reason) in NEVER.items()}
    await due_now(archive)
    assert await look(archive) == 0
    assert kept(folder) == []


async def test_a_file_that_was_too_large_is_asked_for_again_by_command_after_the_limit_is_raised(
    archive, shelf, folder, monkeypatch
):
    """F8: the limit was raised."""
    await archived(archive, files("large", "gone"))
    shelf.answers = {"gone": gone}
    monkeypatch.setattr(archive.consumer.files, "_most", len(CONTENT) - 1)
    await look(archive)
    assert {row.state for row in (await rows(archive)).values()} == {"refused"}
    monkeypatch.setattr(archive.consumer.files, "_most", len(CONTENT))
    assert await look(archive) == 0
    found = await refused(archive.database.reader(), "ARCHIVE_MAX_BYTES")
    assert [one["entity_id"] for one in found] == ["pi-1/file:large"]
    async with archive.database.transaction() as tx:
        await ask_again(tx, archive.consumer.entities, found)
    await look(archive)
    states = {id_: (row.state, row.sha256) for id_, row in (await rows(archive)).items()}
    assert states == {"file:large": ("done", SHA256), "file:gone": ("refused", None)}


REFUSALS = {
    "1": NotFound("no such file", api=FILE_URLS, name="invalidFileId"),
    "5": PermissionDenied("not this one", api=FILE_URLS, name="noPermission", about="entity"),
}


@pytest.mark.parametrize("answer", [None, forbidden], ids=["dingtalk", "server"])
async def test_a_file_that_is_refused_costs_a_few_calls_and_may_be_had_a_moment_later(
    archive, shelf, folder, answer
):
    await archived(archive, files("1", "5"))
    shelf.errors = {} if answer else dict(REFUSALS)
    shelf.answers = dict.fromkeys(REFUSALS, answer) if answer else {}
    for turn in range(20):
        await due_now(archive)
        await look(archive)
        if turn == 2:
            shelf.errors.pop("5", None), shelf.answers.pop("5", None)
    assert {id_: row.state for id_, row in (await rows(archive)).items()} == {
        "file:1": "refused",
        "file:5": "done",
    }
    assert shelf.asked == {"1": 1 + len(LOOK_AGAIN_S), "5": 4}


async def test_three_processes_fetch_twenty_files_with_twenty_calls(archive, shelf, folder):
    ids = [str(number) for number in range(20)]
    await archived(archive, files(*ids))
    await asyncio.gather(*(look(archive) for _ in range(3)))
    assert shelf.asked == dict.fromkeys(ids, 1)
    assert {row.state for row in (await rows(archive)).values()} == {"done"}


async def test_an_address_that_dingtalk_does_not_give(archive, shelf, folder):
    await archived(archive, files("1", "2", "3", "4"))
    shelf.errors["4"] = BadRequest("what?", api=FILE_URLS, name="somethingNew")
    shelf.errors["1"] = NotFound("no such file", api=FILE_URLS, name="invalidFileId")
    shelf.errors["2"] = ReferenceMissing("who?", api=FILE_URLS, name="userNotExist")
    await look(archive)
    found = await rows(archive)
    assert {id_: row.state for id_, row in found.items()} == {
        "file:1": "waiting",
        "file:2": "refused",
        "file:3": "done",
        "file:4": "waiting",
    }
    assert "somethingNew" in found["file:4"].reason
    assert "has left the company" in found["file:2"].reason
    assert "/premium/" in found["file:2"].reason


@pytest.mark.parametrize(
    "error",
    [
        BudgetSpent("spent", api=FILE_URLS, retry_after_s=9),
        PermissionDenied("Tick it", api=FILE_URLS, permission="Workflow.Instance.Write", retry_after_s=900),
    ],
    ids=["down", "right"],
)
async def test_what_is_about_every_file_is_nobodys_attempt(archive, shelf, folder, error):
    await archived(archive, files("1", "2"), field("照片", '["https://127.0.0.1/1"]', "DDPhotoField"))
    shelf.errors = {"1": error, "2": error}
    with capture_logs() as logs:
        assert await look(archive) == 3
        await due_now(archive)
        assert await look(archive) == 0, "and they are left alone for a while"
    found = await rows(archive)
    assert {id_ for id_, row in found.items() if row.state == "waiting"} == {"file:1", "file:2"}
    assert [(await file(archive, id_)).attempts for id_ in ("file:1", "file:2")] == [0, 0]
    said = {line["permission"] for line in logs if "permission" in line}
    assert said == ({error.permission} if error.about == "right" else set())


@pytest.mark.parametrize(("size", "state"), [("0", "done"), ("", "done"), ("3", "waiting")])
async def test_a_file_of_no_bytes_has_no_address_and_is_kept_empty(archive, shelf, folder, size, state):
    listed = f'[{{"fileId":"1","fileName":"a.txt","fileSize":"{size}"}}]'
    await archived(archive, field("附件", listed, "DDAttachment"))
    shelf.errors["1"] = NoAddress("no address", api=FILE_URLS)
    await look(archive)
    (row,) = (await rows(archive)).values()
    assert row.state == state
    if state == "done":
        assert (row.size, row.sha256) == (0, hashlib.sha256(b"").hexdigest())
        assert (folder / row.sha256[:2] / row.sha256).read_bytes() == b""


async def test_files_are_asked_for_at_the_app_of_their_approval_and_wait_for_no_other_company(
    archive, shelf, folder
):
    await archived(archive, files("1"), instance_id="pi-1")
    await archived(archive, files("2"), instance_id="pi-2", app="theirs", corpId="dingtheirs")
    shelf.errors["1"] = BudgetSpent("spent", api=FILE_URLS)
    asked = []

    def client_of(app, corp_id):
        asked.append((app, corp_id))
        return office

    office = archive.consumer.dingtalk
    archive.consumer.clients = client_of
    await look(archive)
    archive.consumer.dingtalk = office
    assert sorted(asked) == [("default", CORP), ("theirs", "dingtheirs")]
    found = {id_: row.state for id_, row in (await rows(archive)).items()}
    assert found == {"file:1": "waiting", "file:2": "done"}


async def test_one_that_fails_for_an_hour_while_others_work_is_given_up_and_the_archive_says_so(
    archive, shelf, folder, passes
):
    shelf.answers["1"] = busy
    await archived(archive, files("1"))
    for number in range(2, 20):
        passes(AGAIN_AFTER_S)
        await archived(archive, files(str(number)), instance_id=f"pi-{number}")
        await look(archive)
    row = (await rows(archive))["file:1"]
    assert (row.state, row.reason) == ("refused", "given up after an hour: HTTP 503")
    assert shelf.got["1"] < 12


INSIDE = {
    "http://static.dingtalk.com/a.png": "its address is not https",
    "file:///etc/passwd": "its address is not https",
    "https://127.0.0.1:{port}/1": "its address points inside",
    "https://localhost:{port}/1": "its address points inside",
    "https://[::ffff:127.0.0.1]:{port}/1": "its address points inside",
}


async def test_a_photo_whose_address_leads_inside_is_not_fetched(archive, shelf, folder):
    port = shelf.base.rpartition(":")[2]
    photos = json.dumps([url.format(port=port) for url in INSIDE])
    await archived(archive, field("照片", photos, "DDPhotoField"))
    while await look(archive):
        pass
    found = sorted((row.kind, row.state, row.reason) for row in (await rows(archive)).values())
    assert found == sorted(("photo", "refused", reason) for reason in INSIDE.values())
    assert shelf.got.total() == 0


@pytest.mark.parametrize(
    ("allowed", "base", "reason"),
    [
        ("", "http://127.0.0.1:{port}", "its address is not https, and in"),
        ("", "http://localhost:{port}", "its address is not https, and in"),
        ("", "https://127.0.0.1:{port}", "its address points inside, and to"),
        ("10.0.0.0/8", "http://127.0.0.1:{port}", "its address is not https, and in"),
        ("10.0.0.0/8,127.0.0.0/8,::1", "http://localhost:{port}", None),
    ],
    ids=["http", "http-name", "https", "elsewhere", "allowed"],
)
async def test_a_file_is_fetched_by_https_or_from_a_network_that_is_allowed(
    archive, shelf, folder, monkeypatch, allowed, base, reason
):
    monkeypatch.setenv("ARCHIVE_ALLOW_NETWORKS", allowed)
    monkeypatch.setattr(archive.consumer.files, "_allowed", ApprovalSettings.load().allowed)
    shelf.base = base.format(port=shelf.base.rpartition(":")[2])
    await archived(archive, files("1"))
    await look(archive)
    row = (await rows(archive))["file:1"]
    words = reason and f"{reason} no network of ARCHIVE_ALLOW_NETWORKS"
    assert (row.state, row.reason) == ("waiting" if reason else "done", words)
    assert shelf.got.total() == (0 if reason else 1)


async def test_a_folder_that_cannot_be_written_waits_in_words(database_url, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARCHIVE_DIR", str(tmp_path / "file" / "archive"))
    async with MemoryRuntime(Approval(), database_url=database_url, dingtalk=Office()) as archive:
        with pytest.raises(DependencyUnavailable, match="ARCHIVE_DIR"):
            await archive.consumer.background()


async def test_a_disk_that_fails_on_the_way_is_nobodys_attempt(archive, shelf, folder):
    await archived(archive, files("1"))
    (folder / SHA256[:2]).write_text("in the way")
    await look(archive)
    row = (await rows(archive))["file:1"]
    assert (row.state, (await file(archive, "file:1")).attempts) == ("waiting", 0)
    assert "cannot be written to ARCHIVE_DIR" in row.reason
    (folder / SHA256[:2]).unlink()
    await due_now(archive)
    await look(archive)
    assert (await rows(archive))["file:1"].state == "done"
    assert kept(folder) == [f"{SHA256[:2]}/{SHA256}"]
