"""address-sync as its process runs it, on real Kafka, and its tables as PostgreSQL has them."""

import asyncio
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import bindparam, text

from dingbridge import UtcDateTime, open_database
from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.tables import users
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.testing.memory import MemoryRuntime
from tests.integration.sync_support import differences, synced_ms
from tests.support.ingress import IngressUnderTest
from tests.support.sizes import on_one_database, sized
from tests.support.waiting import eventually
from tests.unit.address_sync.syncing import full, sample

pytestmark = on_one_database


CORP = "dingcorpsample01"


LIFE = (
    *("hire", "move", "rename", "leave", "create_department", "rename_department", "move_department"),
    *("lead", "report_to", "create_role", "give_role", "give_role", "rename_role", "appoint_admin"),
    *("remove_department", "hire", "take_role", "remove_role", "dismiss_admin", "come_back", "move", "leave"),
)


@pytest.fixture
async def simulator():
    settings = SimulatorSettings(simulator_port=0, simulator_users=sized(12, 24), simulator_departments=6)
    async with Simulator(settings) as running:
        yield running


@pytest.fixture
async def database(database_url):
    opened = open_database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def env(simulator, kafka_env, database_url, tmp_path):
    return {
        **SAMPLE_CREDENTIALS,
        **kafka_env,
        "TOPIC_PARTITIONS": "2",
        "DINGTALK_API_BASE": simulator.base_url,
        "DINGTALK_CORP_ID": CORP,
        "DATABASE_URL": database_url,
        "DATA_DIR": str(tmp_path / "data"),
        "RESYNC_CALLS_PER_S": "10000",
        "API_CALLS_PER_S": "10000",
    }


async def test_a_company_lives_and_the_tables_are_exactly_it(
    simulator, processes, kafka_env, env, database, tmp_path
):
    """First start on an empty database, a life told by events, one that nobody told, and a full sync."""
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, {"DINGTALK_API_BASE": simulator.base_url})
    await asyncio.to_thread(ingress.start)
    asking = {**env, "ADMIN_PORT": str(ingress.admin_port)}
    result = await asyncio.to_thread(processes.run, "callback", "register", "--url", ingress.url, env=asking)
    assert result.returncode == 0, result.stderr
    consumer = processes.start("consume", "address-sync", env=env)

    async def first_is_done():
        assert consumer.running, consumer.log_tail(40)
        return await synced_ms(database) > 0

    await eventually(first_is_done, 180, "the first sync")
    assert await differences(database, simulator) == []
    for _ in range(sized(1, 3)):
        for action in LIFE:
            simulator.act(action, {})
    await simulator.pusher.drain()
    assert simulator.stats()["failed"] == 0

    left = []

    async def equal():
        left[:] = await differences(database, simulator)
        return not left

    with suppress(TimeoutError):
        await eventually(equal, 180, "the tables equal the company, by events alone")
    assert left == []

    # what happens while nobody is told is found by a full sync; whoever left, an hour later
    simulator.profile.set(late=0)
    await asyncio.to_thread(processes.run, "callback", "delete", "--yes", env=env)
    for action in ("hire", "rename", "come_back", "rename_department", "give_role", "rename_role"):
        simulator.platform.act(action)
    assert await differences(database, simulator) != []
    before = await synced_ms(database)
    repaired = await asyncio.to_thread(processes.run, "resync", env=env)
    assert repaired.returncode == 0, repaired.stderr
    with suppress(TimeoutError):  # the reads that wait for an event's answers to settle
        await eventually(equal, 120, "the tables equal the company, by a full sync")
    assert left == []
    assert await synced_ms(database) > before


# -- the tables as an OA system finds them


GUIDE = Path(__file__).parents[2] / "docs" / "reference" / "tables.md"


AT = datetime(2026, 1, 31, 8, tzinfo=UTC)


@pytest.fixture
async def synced(database_url):
    company = sample()
    async with MemoryRuntime(AddressSync(), database_url=database_url, dingtalk=company) as runtime:
        await full(runtime, company)
        yield runtime


async def test_the_joins_of_the_guide_run_as_they_stand_there(synced):
    own = re.search(r"## address-sync\n(.*?)\n## ", GUIDE.read_text(encoding="utf-8"), re.DOTALL)[1]
    statements = [
        statement.strip()
        for block in re.findall(r"```sql\n(.*?)```", own, re.DOTALL)
        for statement in block.split(";")
        if statement.strip()
    ]
    async with synced.database.transaction() as tx:
        await tx.execute(text("CREATE TABLE oa_employees (job_number TEXT, login TEXT, enabled BOOLEAN)"))
        await tx.execute(
            text("INSERT INTO oa_employees VALUES ('E00001', 'zhang1', true), ('E00002', 'zhang2', true)")
        )
        await tx.execute(users.update().where(users.c.userid == "u001").values(left_at=AT))
    values = {"since": AT, "dept_id": 2, "role": "财务", "role_group": "职务"}
    found = []
    for statement in statements:
        named = {name: values[name] for name in re.findall(r":(\w+)", statement)}
        types = [bindparam("since", type_=UtcDateTime())] if "since" in named else []
        found.append(
            (await synced.database.reader().execute(text(statement).bindparams(*types), named)).all()
        )
    polled, unknown, may_log_in, below, managers, have_role = found
    assert {row.department for row in polled} == {"示例公司", "部门2", "部门3", "部门4", "部门5"}
    assert len(unknown) == 10
    assert [(row.login, row.left_at is None) for row in may_log_in] == [("zhang2", False)]
    assert {row.userid for row in below} == {"u001", "u002", "u003", "u006", "u007", "u008", "u011"}
    assert len(managers) == 11
    assert {row.userid for row in have_role} == {"u000", "u003", "u006", "u009"}
