"""``dingbridge resync`` as a process, against the simulator over HTTP, on both databases."""

import asyncio
import time

import pytest
from sqlalchemy import func, select

from dingbridge import open_database
from dingbridge.consumers.address_sync.tables import entities, users
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.integration.sync_support import differences
from tests.support.profiles import AT_ONCE
from tests.support.sizes import on_one_database
from tests.support.waiting import eventually

pytestmark = on_one_database

CORP = "dingcorpsample01"


@pytest.fixture
async def simulator():
    settings = SimulatorSettings(  # exact counts of one moment
        simulator_port=0, simulator_users=40, simulator_departments=8, simulator_profile=AT_ONCE
    )
    async with Simulator(settings) as running:
        yield running


@pytest.fixture
async def database(database_url):
    opened = open_database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def env(simulator, database_url, tmp_path):
    return {
        "DINGTALK_API_BASE": simulator.base_url,
        "DINGTALK_APP_KEY": SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
        "DINGTALK_APP_SECRET": SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
        "DINGTALK_CORP_ID": CORP,
        "DATABASE_URL": database_url,
        "DATA_DIR": str(tmp_path / "data"),
        "RESYNC_CALLS_PER_S": "10000",
        "API_CALLS_PER_S": "10000",
    }


@pytest.fixture
def resync(processes, env):
    """Runs ``dingbridge resync …`` to its end."""

    async def run(*arguments, code=0, **more):
        result = await asyncio.to_thread(processes.run, "resync", *arguments, env=env | more)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
        return result

    return run


async def leavers(database):
    return await database.reader().scalar(select(func.count(users.c.left_at)).select_from(users))


async def test_it_says_what_it_changed(resync, database, simulator):
    first = await resync()
    assert await differences(database, simulator) == []
    assert "reading the company: " in first.stderr
    assert first.stdout.splitlines()[0] == "user: 40 changed"
    again = await resync()
    assert again.stdout.splitlines()[:2] == ["user: nothing differs", "department: nothing differs"]
    simulator.act("rename", {})
    simulator.act("leave", {})
    dry = await resync("--dry-run")
    assert "2 entities would change, and nothing did" in dry.stdout
    assert len([line for line in dry.stdout.splitlines() if line.endswith((": name", ": left_at"))]) == 2
    done = await resync()
    assert "1 are not known to DingTalk" in done.stdout
    assert await leavers(database) == 0  # not before the hour is over


async def test_killed_on_its_way_it_goes_on_where_it_was(processes, env, resync, database, simulator):
    calls = simulator.api.calls
    simulator.faults.add({"api": "v2/user/list", "kind": "hang", "after": 4})
    process = processes.start("resync", env=env)
    await eventually(lambda: calls["/topapi/v2/user/list"] >= 5, 120, "it hangs at a department")
    process.kill()
    simulator.faults.clear()
    before = calls.copy()
    assert await differences(database, simulator) != []
    went_on = await resync()
    assert "goes on with the full sync" in went_on.stderr
    assert await differences(database, simulator) == []
    made = calls - before
    assert made["/topapi/v2/department/listsub"] < 9


async def test_tokens_that_end_after_seven_calls_are_replaced_on_the_way(resync, database, simulator):
    simulator.faults.add({"cruelty": "short-tokens"})
    await resync()
    assert await differences(database, simulator) == []


async def test_who_waits_is_confirmed_by_number_and_its_own_exit_code(resync, database, simulator):
    await resync()
    simulator.act("leave", {"count": 15})
    await resync()
    async with database.transaction() as tx:  # the hour is over, and they are beyond the limit
        missing = entities.c.state == "missing"
        in_a_day = round((time.time() + 86_400) * 1000)
        await tx.execute(entities.update().where(missing).values(state="waits", due_ms=in_a_day, reads=5))
    waits = await resync(code=3)
    assert "--confirm-leavers 15" in waits.stdout
    refused = await resync("--confirm-leavers", "14", code=1)
    assert "--confirm-leavers 15" in refused.stderr
    assert await leavers(database) == 0
    confirmed = await resync("--confirm-leavers", "15")
    assert "15 people were read" in confirmed.stdout
    assert await leavers(database) == 15
    assert await differences(database, simulator) == []
