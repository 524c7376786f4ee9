"""address-sync as its process runs it, on real Kafka, while DingTalk answers badly: several cruelties are
switched on and off over the simulator's control route."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from dingbridge import open_database
from dingbridge.consumers.address_sync.tables import users
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.worker.store.errors import is_missing_table
from tests.integration.sync_support import differences
from tests.support.ingress import IngressUnderTest
from tests.support.profiles import KIND
from tests.support.sizes import on_one_database
from tests.support.waiting import eventually

pytestmark = on_one_database

CORP = "dingcorpsample01"
CRUELTIES = (
    {"cruelty": "short-tokens"},
    {"cruelty": "no-result", "every": 5},
    {"cruelty": "late-4-s"},
    {"cruelty": "half-json", "every": 5},
    {"cruelty": "one-fails", "times": 2},
    {"cruelty": "no-such-user", "times": 1},
)
ACTIONS = ("edit", "hire", "move", "leave", "rename_department", "give_role", "rename", "report_to")


@pytest.fixture
async def simulator():
    settings = SimulatorSettings(
        simulator_port=0, simulator_users=12, simulator_departments=4, simulator_profile=KIND
    )
    async with Simulator(settings) as running:
        yield running


@pytest.fixture
async def database(database_url):
    opened = open_database(database_url)
    yield opened
    await opened.close()


async def test_the_tables_equal_the_company_when_the_cruelties_are_over(
    simulator, database, database_url, processes, kafka_env, tmp_path
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, {"DINGTALK_API_BASE": simulator.base_url})
    await asyncio.to_thread(ingress.start)
    env = {
        **SAMPLE_CREDENTIALS,
        **kafka_env,
        "DINGTALK_API_BASE": simulator.base_url,
        "DINGTALK_CORP_ID": CORP,
        "DATABASE_URL": database_url,
        "DATA_DIR": str(tmp_path / "data"),
        "RESYNC_CALLS_PER_S": "10000",
        "API_CALLS_PER_S": "10000",
        "ADMIN_PORT": str(ingress.admin_port),
    }
    register = ("callback", "register", "--url", ingress.url)
    result = await asyncio.to_thread(processes.run, *register, env=env)
    assert result.returncode == 0, result.stderr
    del env["ADMIN_PORT"]
    consumer = processes.start("consume", "address-sync", env=env)

    async def equal():
        assert consumer.running, consumer.log_tail(40)
        try:
            return not await differences(database, simulator)
        except DBAPIError as error:
            if not is_missing_table(error):
                raise
            return False

    await eventually(equal, 90, "the first full sync")
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            aiohttp.ClientSession(simulator.base_url, raise_for_status=True)
        )
        for rule in CRUELTIES:
            added = await (await http.post("/_sim/faults", json=rule)).json()
            for action in ACTIONS:
                simulator.act(action, {})
            await simulator.pusher.drain()
            fault = next(fault for fault in simulator.faults if fault.id == added["id"])
            await eventually(lambda fault=fault: fault.hits, 60, str(rule))
            await http.delete(f"/_sim/faults/{added['id']}")
    await eventually(equal, 90, "the tables equal the company")
    marked = select(users.c.userid).where(users.c.left_at.is_not(None))
    left = {row.userid for row in await database.reader().execute(marked)}
    company = simulator.platform.company
    assert left.isdisjoint(user.userid for user in company.users.values())
    assert left <= set(company.former)
