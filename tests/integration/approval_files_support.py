"""An archive of approvals, and a server of the files that are attached to them: what their tests share."""

import hashlib
import json
import os
from collections import Counter

import pytest
from aiohttp import web
from sqlalchemy import select, update

from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.files.downloads import Downloads
from dingbridge.consumers.approval.settings import ApprovalSettings
from dingbridge.consumers.approval.tables import approval_attachments
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import LEAVE, Office, field, instance

CONTENT = os.urandom(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ALLOWED = 1_000_000


class Shelf:
    """A server of files, and the calls that lead to it. ``answers`` by file id; others get ``CONTENT``."""

    def __init__(self):
        self.answers, self.errors, self.got, self.asked = {}, {}, Counter(), Counter()
        self.base = ""

    async def serve(self, request):
        name = request.match_info["name"]
        self.got[name] += 1
        answer = self.answers.get(name)
        return web.Response(body=CONTENT) if answer is None else await answer(request)

    async def attachment_url(self, instance_id, file_id):
        self.asked[file_id] += 1
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
    monkeypatch.setenv("ARCHIVE_ALLOW_NETWORKS", "127.0.0.0/8")
    return tmp_path / "archive"


@pytest.fixture
async def archive(database_url):
    async with MemoryRuntime(Approval(), database_url=database_url, dingtalk=Office()) as runtime:
        yield runtime


def files(*ids, name="../../发票.pdf"):
    one = {"spaceId": "1", "fileName": name, "fileSize": str(len(CONTENT)), "fileType": "pdf"}
    listed = [{**one, "fileId": id_} for id_ in ids]
    return field("发票", json.dumps(listed), "DDAttachment")


async def archived(archive, *fields, instance_id="pi-1", **event):
    """An approval with these fields is archived."""
    archive.consumer.dingtalk.finish(instance_id, form=[*(field(*item) for item in LEAVE.items()), *fields])
    outcome = await archive.deliver(instance("finish", processInstanceId=instance_id, **event))
    assert outcome.kind == "done", outcome


def downloads(archive, shelf):
    return Downloads(archive.consumer.fetcher, lambda app, corp_id: shelf, ApprovalSettings.load())


async def rows(archive):
    found = await archive.rows(select(approval_attachments).order_by(approval_attachments.c.attachment_id))
    return {row.attachment_id: row for row in found}


async def due_now(archive):
    async with archive.database.transaction() as tx:
        waits = approval_attachments.c.due_ms.is_not(None)
        await tx.execute(update(approval_attachments).where(waits).values(due_ms=1))


def kept(folder):
    """Every file under the folder, by its path in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
