"""An app's budget in the file and in PostgreSQL: several processes keep one pace and spend one month."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from dev.servers import PostgresServer
from dingbridge.api_budget import ApiCalls
from dingbridge.api_budget.store import FURTHEST_S
from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.pace import MARGIN
from dingbridge.errors import CallsSpent
from dingbridge.settings import ConsumerSettings, IngressSettings

Make = Callable[..., ApiCalls]

API = "v2/user/get"
GAP_S = 1 / (20 * MARGIN)


@pytest.fixture
async def make(database_url: str, tmp_path: Path) -> AsyncIterator[Make]:
    """One process's budget, as its settings lead to it."""
    async with AsyncExitStack() as stack:

        def process(app: str = "ding1", **given: object) -> ApiCalls:
            settings = ConsumerSettings.load(data_dir=tmp_path, database_url=database_url, **given)
            calls = ApiCalls.of(settings, app)
            stack.push_async_callback(calls.close)
            return calls

        yield process


async def test_the_turns_of_several_processes_follow_each_other(make: Make) -> None:
    processes = [make() for _ in range(3)]
    for one in processes:  # each has connected
        await one.turn("another")
    began = asyncio.get_running_loop().time()
    waits = sorted(await asyncio.gather(*[one.turn(API) for one in processes for _ in range(10)]))
    took = asyncio.get_running_loop().time() - began
    # the last of 30 begins 29 gaps after the first, less the time that asking took
    assert 29 * GAP_S - took - 0.001 <= waits[-1] <= 29 * GAP_S + 0.001
    assert await processes[0].turn("v2/department/get") == 0
    assert await make("ding2").turn(API) == 0


async def test_what_the_plan_allows_is_a_setting(make: Make) -> None:
    calls = make(api_calls_per_s=1)
    await calls.turn(API)
    assert 0.5 < await calls.turn(API) <= 1 / MARGIN


async def test_a_rate_limit_holds_back_that_api_in_all_processes(make: Make) -> None:
    first, second = make(), make()
    await first.hold(API, 30)
    assert 20 < await second.turn(API) <= 30
    await first.hold(API, 1)  # a shorter one takes nothing back
    assert await second.turn(API) > 20
    assert await second.turn("v2/department/get") == 0


async def test_a_clock_that_was_put_back_stops_nothing(make: Make) -> None:
    calls = make()
    await calls.hold(API, 2 * FURTHEST_S)
    assert await calls.turn(API) == 0


async def test_several_processes_spend_no_more_than_there_is(make: Make) -> None:
    async def spend(calls: ApiCalls) -> int:
        refused = 0
        for _ in range(20):
            try:
                await calls.spend(API, Priority.EVENT)
            except CallsSpent:
                refused += 1
        return refused

    processes = [make(api_monthly_budget=50) for _ in range(4)]
    assert sum(await asyncio.gather(*map(spend, processes))) == 30
    spent = await make(api_monthly_budget=50).spent()
    assert (spent["calls"], spent["by_api"], spent["left"]["event"]) == (50, {API: 50}, 0)
    await processes[0].spend(API, Priority.ALWAYS)
    with pytest.raises(CallsSpent, match="51 of API_MONTHLY_BUDGET=50"):
        await processes[1].spend(API, Priority.RECONCILE)
    await make("ding2", api_monthly_budget=1).spend(API, Priority.EVENT)
    with pytest.raises(CallsSpent, match="0 of API_MONTHLY_BUDGET=1"):
        await make("ding3", api_monthly_budget=1).spend(API, Priority.RESYNC)


async def test_months_that_are_over_go_after_a_year(postgres_url: str, tmp_path: Path) -> None:
    settings = ConsumerSettings.load(data_dir=tmp_path, database_url=postgres_url)
    calls = ApiCalls.of(settings, "ding1")
    await calls.spent()
    database = await asyncpg.connect(postgres_url)
    try:
        await database.execute("INSERT INTO dingbridge_api_calls VALUES ('ding1', '2020-01', 1, 'a', 7)")
        await database.execute("INSERT INTO dingbridge_api_months VALUES ('ding1', '2020-01', 7)")
        await calls.spend(API, Priority.EVENT)
        for table in ("dingbridge_api_calls", "dingbridge_api_months"):
            assert await database.fetchval(f"SELECT count(*) FROM {table}") == 1
    finally:
        await calls.close()
        await database.close()


async def test_the_ingress_shares_the_budget_where_it_is_given_the_database(
    postgres_url: str, tmp_path: Path
) -> None:
    ingress = IngressSettings.load(
        data_dir=tmp_path / "ingress",
        database_url=postgres_url,
        dingtalk_token="t" * 8,
        dingtalk_aes_key="a" * 43,
        dingtalk_owner_key="ding1",
        dingtalk_corp_id="dingcorp1",
    )
    consumer = ConsumerSettings.load(data_dir=tmp_path / "consumer", database_url=postgres_url)
    first, second = ApiCalls.of(ingress, "ding1"), ApiCalls.of(consumer, "ding1")
    await first.spend(API, Priority.RECOVERY)
    assert (await second.spent())["calls"] == 1
    for calls in (first, second):
        await calls.close()


async def test_a_database_that_is_down_stops_no_call_and_each_process_keeps_the_pace(
    breakable_postgres: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    now = 1_795_500_000.0
    settings = ConsumerSettings.load(data_dir=tmp_path, database_url=postgres_url)
    of = ApiCalls.of(settings, "ding1")
    calls = ApiCalls(of._store, app="ding1", limit=4000, clock=lambda: now)
    await calls.spend(API, Priority.EVENT)
    breakable_postgres.stop_server()
    with capture_logs() as logs:
        waits = [await calls.turn(API) for _ in range(20)]
        await calls.spend(API, Priority.EVENT)
    assert [log["event"] for log in logs] == ["api_calls.not_counted"]
    assert "postgresql://" not in str(logs)
    assert waits[-1] > 10 * GAP_S
    breakable_postgres.start_server()
    now += 11
    with capture_logs() as logs:
        await calls.spend(API, Priority.EVENT)
    assert [log["event"] for log in logs] == ["api_calls.counted_again"]
    assert (await calls.spent())["calls"] == 2
    await calls.close()
