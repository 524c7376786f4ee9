"""docs/guide/forward.md: its receiver runs as it stands there."""

import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import pytest

from dev.servers import GuardedProcess, free_port
from dingbridge.consumers.forward.body import body_of
from dingbridge.consumers.forward.delivery import Answer, Sender
from dingbridge.consumers.forward.settings import Credentials
from dingbridge.consumers.forward.signature import key_of, webhook_id
from dingbridge.events.event import Event
from dingbridge.ssrf import AddressGuard
from tests.integration.forward_support import SECRET
from tests.support.processes import environment
from tests.support.waiting import eventually
from tests.unit.forward.support import event, system

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "forward.md").read_text(encoding="utf-8")
OTHER_SECRET = SECRET[:-2] + "vw"


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """Where the guide's receiver listens, run as its reader would."""
    program = tmp_path / "receiver.py"
    program.write_text(block("python"), encoding="utf-8")
    port = free_port()
    env = environment({"SYSTEM_A_SECRET": SECRET, "PORT": str(port)})
    log = tmp_path / "receiver.log"
    process = GuardedProcess([sys.executable, str(program)], log=log, env=env, cwd=tmp_path)
    address = f"http://127.0.0.1:{port}/"
    try:

        async def listens() -> bool:
            try:
                async with aiohttp.ClientSession() as session, session.post(address) as response:
                    return response.status == 401  # what nobody signed
            except aiohttp.ClientError:
                assert process.running, log.read_text()
                return False

        await eventually(listens)
        yield address
    finally:
        process.stop()


def changes(folder: Path) -> list[tuple[str, str]]:
    database = sqlite3.connect(folder / "receiver.db")
    try:
        return database.execute("SELECT user, type FROM changes ORDER BY rowid").fetchall()
    finally:
        database.close()


async def test_the_receiver_in_the_guide_does_what_the_guide_says(url: str, tmp_path: Path) -> None:
    guard = AddressGuard([ip_network("127.0.0.0/8")])

    async def send(found: Event, secret: str = SECRET) -> Answer:
        sender = Sender(system(url=url), Credentials((key_of(secret),), {}), guard)
        await sender.open()
        try:
            return await sender.post(webhook_id(found), *body_of(found, "cloudevents"))
        finally:
            await sender.close()

    first, second = event(event_id="e1", UserId=["张三"]), event(event_id="e2", UserId=["u2"])
    for found in (first, first, second, first):
        assert (await send(found)).kind == "taken"
    refused = await send(event(event_id="e3"), OTHER_SECRET)
    assert (refused.kind, "401" in refused.words) == ("unauthorized", True)
    kind = "com.dingtalk.user_modify_org"
    assert changes(tmp_path) == [("张三", kind), ("u2", kind)]
