"""``dingbridge resync`` as a process, against the simulator over HTTP, on both databases."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from consumers.address_sync.sync_tables import runs, staged, todo
from consumers.address_sync.tables import users
from dingbridge import open_database
from dingbridge.settings import SAMPLE_CREDENTIALS
from simulator.server import Simulator
from simulator.settings import SimulatorSettings
from tests.integration.sync_support import differences
from tests.support.terminal import QUESTION, on_terminal
from tests.support.waiting import eventually

CORP = "dingcorpsample01"


@pytest.fixture
async def simulator():
    settings = SimulatorSettings(simulator_port=0, simulator_users=40, simulator_departments=8)
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


async def test_it_says_the_cost_first_and_what_changed_after(resync, database, simulator):
    first = await resync()
    assert await differences(database, simulator) == []
    said = first.stderr.splitlines()
    assert said[0].startswith("API calls in ")
    assert "are left for resync until" in said[0]
    assert said[1].startswith("this will cost about ")
    assert "40 people" in said[1]
    assert "reading the company: " in said[2]
    assert first.stdout.splitlines()[0] == "people: 40 new"
    again = await resync("--reconcile")
    assert "left for reconcile until" in again.stderr
    assert again.stdout.splitlines()[:2] == [
        "people: no person differs",
        "departments: no department differs",
    ]
    simulator.act("rename", {})
    simulator.act("leave", {})
    dry = await resync("--dry-run")
    assert "nothing did" in dry.stdout
    assert "1 gone" in dry.stdout
    assert await leavers(database) == 0
    await resync()
    assert await differences(database, simulator) == []
    assert await leavers(database) == 1
    state = await database.reader().execute(select(runs.c.cause).order_by(runs.c.began_at))
    assert [row.cause for row in state] == ["command", "reconcile", "dry_run", "command"]


async def test_on_a_terminal_it_asks_first_and_draws_a_bar(env, database, simulator, tmp_path):
    async def on(answer):
        return await asyncio.to_thread(on_terminal, env, tmp_path, "resync", answer=answer)

    code, shown = await on("n")
    assert code == 0
    assert "40 people" in shown[: shown.index(QUESTION)], "the cost first"
    assert simulator.api.calls["/topapi/v2/user/list"] == 0
    assert await database.reader().scalar(select(func.count()).select_from(runs)) == 0
    code, shown = await on("y")
    assert code == 0
    assert "reading the company" in shown
    assert re.search(r"asking one by one .*40/40.* API calls", shown), "the bar"
    assert "people: 40 new" in shown
    assert await differences(database, simulator) == []


async def test_killed_on_its_way_it_goes_on_where_it_was(processes, env, resync, database, simulator):
    calls = simulator.api.calls
    simulator.faults.add({"api": "v2/user/list", "kind": "hang", "after": 4})
    process = processes.start("resync", env=env)
    await eventually(lambda: calls["/topapi/v2/user/list"] == 5, 120, "it hangs at a department")
    process.kill()
    simulator.faults.clear()
    before = calls.copy()
    assert await differences(database, simulator) != []
    busy = await resync(code=1)
    assert "another process" in busy.stderr
    await hold_ends(database)
    went_on = await resync()
    assert "goes on with the full sync" in went_on.stderr
    assert await differences(database, simulator) == []
    made = calls - before
    assert made["/topapi/v2/department/listsub"] == 0
    assert made["/topapi/v2/user/list"] == 5
    for table in (todo, staged):
        assert await database.reader().scalar(select(func.count()).select_from(table)) == 0


async def hold_ends(database):
    async with database.transaction() as tx:
        await tx.execute(update(runs).values(held_until=datetime.now(UTC) - timedelta(seconds=1)))


async def test_the_brake_stops_with_its_own_code_and_is_confirmed(resync, database, simulator):
    await resync()
    simulator.act("leave", {"count": 15})
    simulator.act("hire", {"count": 3})
    dry = await resync("--dry-run", code=3)
    stopped = await resync(code=3)
    for said in (dry, stopped):
        assert "--confirm-leavers 15" in said.stdout
    assert await leavers(database) == 0
    assert await database.reader().scalar(select(func.count()).select_from(users)) == 40
    lists = simulator.api.calls["/topapi/v2/user/list"]
    confirmed = await resync("--confirm-leavers", "15")
    assert "without reading it again" in confirmed.stderr
    assert simulator.api.calls["/topapi/v2/user/list"] == lists
    assert await leavers(database) == 15
    assert await differences(database, simulator) == []


async def test_a_lost_permission_marks_nobody_and_says_what_to_do(resync, database, simulator):
    await resync()
    simulator.act("leave", {})
    simulator.faults.add({"api": "v2/user/list", "kind": "deny", "errcode": 60011, "after": 2})
    denied = await resync(code=1)
    assert "permission" in denied.stderr
    assert "What was read is kept" in denied.stderr
    assert await leavers(database) == 0
    simulator.faults.clear()
    await resync()
    assert await differences(database, simulator) == []


async def test_a_page_that_fails_halfway_marks_nobody(resync, database, simulator):
    await resync()
    simulator.act("leave", {"count": 3})
    simulator.faults.add({"api": "v2/user/list", "kind": "http", "status": 502, "after": 3})
    failed = await resync(code=1)
    assert "502" in failed.stderr
    assert await leavers(database) == 0
    simulator.faults.clear()
    await resync()
    assert await leavers(database) == 3
    assert await differences(database, simulator) == []


async def test_a_smaller_contact_scope_marks_nobody(resync, database, simulator):
    await resync()
    company = simulator.platform.company
    department = next(
        d for d in company.departments.values() if d.parent is not None and company.members(d.dept_id)
    )
    simulator.scope.set([department.dept_id], [])
    simulator.act("leave", {"userid": next(u for u in company.users if not simulator.scope.sees_user(u))})
    less = await resync()
    assert "contact scope has lost 1 department" in less.stdout
    assert await leavers(database) == 0
    simulator.scope.set([1], [])
    await resync()
    assert await differences(database, simulator) == []


async def test_a_spent_budget_says_until_when_and_what_was_read_is_kept(resync, database, simulator):
    spent = await resync(code=4, API_MONTHLY_BUDGET="20")
    assert "16 of API_MONTHLY_BUDGET=20 calls are spent" in spent.stderr
    assert "Shanghai time" in spent.stderr
    assert "What was read is kept" in spent.stderr
    trees = simulator.api.calls["/topapi/v2/department/listsub"]
    went_on = await resync()
    assert "16 of 4,000" not in went_on.stdout
    assert simulator.api.calls["/topapi/v2/department/listsub"] - trees <= 1
    assert await differences(database, simulator) == []


async def test_without_a_company_it_says_which_setting_is_missing(resync):
    missing = await resync(code=2, DINGTALK_CORP_ID="")
    assert "DINGTALK_CORP_ID" in missing.stderr


async def test_only_the_departments_cost_far_less(resync, database, simulator):
    await resync()
    before = simulator.api.calls.copy()
    simulator.act("rename_department", {})
    simulator.act("create_department", {})
    result = await resync("--departments")
    assert result.stdout.splitlines()[1] == "departments: 1 new, 1 changed"
    assert set(simulator.api.calls - before) == {
        "/gettoken",
        "/auth/scopes",
        "/topapi/v2/department/listsub",
        "/topapi/v2/department/get",
    }
    assert await differences(database, simulator) == []
