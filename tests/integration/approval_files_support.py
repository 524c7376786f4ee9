"""An archive of approvals, and a server of the files that are attached to them: what their tests share."""

import hashlib
import json
import os
from collections import Counter
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select, update

from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.tables import FILE, INSTANCE, approval_attachments, entities
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import LEAVE, Office, field, hear, instance

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
async def archive(database_url, folder, shelf):
    office: Any = Office()
    office.attachment_url = shelf.attachment_url
    async with MemoryRuntime(Approval(), database_url=database_url, dingtalk=office) as runtime:
        await runtime.consumer.files.open_folder()
        yield runtime


def files(*ids, name="../../发票.pdf"):
    one = {"spaceId": "1", "fileName": name, "fileSize": str(len(CONTENT)), "fileType": "pdf"}
    listed = [{**one, "fileId": id_} for id_ in ids]
    return field("发票", json.dumps(listed), "DDAttachment")


async def archived(archive, *fields, instance_id="pi-1", **event):
    """An approval with these fields is archived; its files are due."""
    consumer = archive.consumer
    consumer.dingtalk.finish(instance_id, form=[*(field(*item) for item in LEAVE.items()), *fields])
    await hear(archive, instance("finish", processInstanceId=instance_id, **event))
    of_instances = entities.c.kind == INSTANCE
    for row in await consumer.entities.queue.claim(archive.database, 1, of_instances):
        await consumer.instances.read(row, consumer.dingtalk)


async def rows(archive):
    found = await archive.rows(select(approval_attachments).order_by(approval_attachments.c.attachment_id))
    return {row.attachment_id: row for row in found}


async def due_now(archive):
    async with archive.database.transaction() as tx:
        waits = (entities.c.kind == FILE, entities.c.due_ms.is_not(None))
        await tx.execute(update(entities).where(*waits).values(due_ms=1))


def kept(folder):
    """Every file under the folder, by its path in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
