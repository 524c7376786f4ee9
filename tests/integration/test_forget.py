"""``dingbridge forget`` through all consumers on one database, on SQLite and PostgreSQL, with DingTalk over
HTTP; and what it counts in Kafka."""

import asyncio
import json
import time
from contextlib import AsyncExitStack

import pytest
import typer
from sqlalchemy import MetaData, select, update
from typer.testing import CliRunner

from dingbridge.cli.forget import command
from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.tables import users
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.testing import MemoryRuntime
from tests.integration.outbound_support import CORP, message, office, user
from tests.support.sizes import on_one_database
from tests.unit.address_sync.company import event
from tests.unit.approval import office as approvals

NAME = "甄无名"

app = typer.Typer()
app.command()(command)


class House:
    """The consumers on one database, and the command; DingTalk is the simulator's."""

    def __init__(self, oa, sync, archive):
        self.oa, self.sync, self.archive = oa, sync, archive

    async def forget(self, *options):
        """The exit code, the report, and what was said beside it."""
        arguments = ["z1", "--json", "--yes", *options]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        assert result.stdout, (result.stderr, result.exception)
        return result.exit_code, json.loads(result.stdout), result.stderr

    async def everything(self):
        """All that the consumers' own tables hold, as one text."""
        found = MetaData()
        async with self.oa.runtime.database.reading() as connection:
            await connection.run_sync(found.reflect)
        tables = [select(table) for table in found.sorted_tables if not table.name.startswith("dingbridge_")]
        return "\n".join([repr(tuple(row)) for one in tables for row in await self.sync.rows(one)])

    async def tell(self):
        """What the topics hold of the person: the hire, the approval, the words of the OA."""
        told = {"replay_id": str(time.monotonic_ns())}
        finish = approvals.instance("finish", corpId=CORP, staffId="z1", title=f"{NAME}提交的请假")
        hire = event("user_add_org", "z1", CorpId=CORP)
        for runtime, one in ((self.sync, hire), (self.archive, finish)):
            outcome = await runtime.deliver(one, **told)
            assert outcome.kind == "done", outcome
        for runtime in (self.sync, self.archive):
            await runtime.consumer.look_due()

    async def dismiss(self):
        await self.oa.say(message("user.absent", "own-1", version=2))
        await self.oa.settle()
        assert "z1" not in self.oa.simulator.platform.company.users


@pytest.fixture
async def house(monkeypatch, database_url):
    """``z1`` is in DingTalk, ``own-1`` of the OA's, and in an approval that somebody else decided."""
    company = approvals.Office()
    company.finish(
        originatorUserId="z1",
        title=f"{NAME}提交的请假",
        form=[approvals.field(*one) for one in (*approvals.LEAVE.items(), ("说明", f"{NAME}请假"))],
    )
    async with AsyncExitStack() as stack:
        oa = await stack.enter_async_context(office(monkeypatch, database_url))
        environment = {
            "DATABASE_URL": database_url,
            "DINGTALK_CORP_ID": CORP,
            "DINGTALK_API_BASE": oa.simulator.base_url,
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            **{name: SAMPLE_CREDENTIALS[name] for name in ("DINGTALK_APP_KEY", "DINGTALK_APP_SECRET")},
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        await oa.say(user("own-1", 1, name=NAME, userid="z1"))
        await oa.settle()
        request = {"creator": "own-1", "executors": ["own-1"], "url": "https://oa.example/1"}
        await oa.say(message("todo.desired", "t1", subject=f"{NAME}的待办", **request))
        async with oa.runtime.database.transaction() as tx:
            await tx.execute(update(outbound_requests).values(result="done", due_ms=None))
        sync = MemoryRuntime(AddressSync(), database_url=database_url, dingtalk=oa.consumer.dingtalk)
        archive = MemoryRuntime(Approval(), database_url=database_url, dingtalk=company)
        found = House(oa, await stack.enter_async_context(sync), await stack.enter_async_context(archive))
        await found.tell()
        yield found


@on_one_database
async def test_a_leaver_is_forgotten_everywhere_no_replay_brings_back_and_a_new_hire_does(house, monkeypatch):
    await _refused(house, monkeypatch)
    await house.dismiss()
    await _forgotten(house)
    await _told_again(house)
    await _hired_again(house)


async def _refused(house, monkeypatch):
    """Who is still there, or wanted by the OA, or not to be asked for."""
    before = await house.everything()
    assert before.count(NAME) > 4
    code, report, said = await house.forget()
    assert (code, report["done"]) == (3, False)
    assert [words.split(":")[0] for words in report["refused"]] == ["DingTalk still has z1", "outbound"]
    assert "own-1" in said
    monkeypatch.setenv("DINGTALK_API_BASE", "http://127.0.0.1:1")
    code, report, _ = await house.forget()
    assert (code, report["done"]) == (3, False)
    assert "could not be asked" in report["refused"][0]
    assert await house.everything() == before
    monkeypatch.setenv("DINGTALK_API_BASE", house.oa.simulator.base_url)


async def _forgotten(house):
    before = await house.everything()
    code, planned, _ = await house.forget("--dry-run")
    assert (code, planned["done"], planned["refused"]) == (0, False, [])
    assert await house.everything() == before
    code, report, _ = await house.forget()
    assert (code, report["done"]) == (0, True)
    touched = {
        (row["store"], row["what"]): row["now"]
        for row in report["stores"]
        if row["rows"] and not row["until"]
    }
    assert touched == {
        ("address-sync", "users"): "deleted",
        ("address-sync", "memberships"): "deleted",
        ("address-sync", "address_sync_entities"): "deleted",
        ("approval", "approval_instances"): "masked",
        ("approval", "leave_ledger"): "deleted",
        ("outbound", "outbound_entity"): "masked",
        ("outbound", "outbound_requests"): "masked",
    }
    left = {row["store"]: row["until"] for row in report["stores"] if row["until"]}
    assert left.keys() >= {"journal", "topics of contact events", "console", "backups"}
    assert NAME not in await house.everything()


async def _told_again(house):
    await house.tell()
    await house.oa.say(user("own-1", 1, name=NAME, userid="z1"), message("user.absent", "own-1", version=2))
    await house.oa.settle()
    assert await house.sync.rows(select(users).where(users.c.userid == "z1")) == []
    [row] = await house.archive.rows(select(approval_instances))
    assert (row.originator_userid, row.title) == ("***", "***提交的请假")
    assert "z1" not in house.oa.simulator.platform.company.users
    # what is to be told answers messages, by ids; an event that disagrees is asked about again for an hour.
    # Both hold ids alone, and go by themselves.
    code, again, _ = await house.forget()
    told_again = [row["what"] for row in again["stores"] if row["now"] == "deleted"]
    assert (code, told_again) == (0, ["address_sync_entities"])
    assert NAME not in await house.everything()


async def _hired_again(house):
    await house.oa.say(user("own-1", 3, name=NAME, userid="z1", mobile="13900009999"))
    await house.oa.settle()
    assert house.oa.simulator.platform.company.users["z1"].name == NAME
    await house.tell()
    [row] = await house.sync.rows(select(users).where(users.c.userid == "z1"))
    assert (row.name, row.left_at) == (NAME, None)
    [entity] = await house.oa.runtime.rows(select(outbound_entity))
    assert (entity.result, entity.owned_id) == ("done", "z1")


@on_one_database
async def test_force_lets_go_of_somebody_whom_the_oa_wants_and_writes_nothing_to_dingtalk(house):
    code, report, _ = await house.forget("--force")
    assert (code, report["done"]) == (0, True)
    [entity] = await house.oa.runtime.rows(select(outbound_entity))
    assert (entity.absent, entity.owned_id, entity.result, entity.due_ms) == (True, None, "superseded", None)
    [todo] = await house.oa.runtime.rows(select(outbound_requests))
    assert json.loads(todo.body).keys() == {"corpId", "creator", "executors"}
    await house.oa.settle()
    assert "z1" in house.oa.simulator.platform.company.users
