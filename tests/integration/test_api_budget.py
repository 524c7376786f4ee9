"""An app's budget in the file and in PostgreSQL: several processes spend one month."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from dev.servers import PostgresServer
from dingbridge.dingtalk.budget import Priority
from dingbridge.errors import CallsSpent
from dingbridge.settings import ConsumerSettings, IngressSettings
from dingbridge.worker.api.budget import ApiCalls

Make = Callable[..., ApiCalls]

API = "v2/user/get"


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
        await calls.spend(API, Priority.EVENT)
        assert await database.fetchval("SELECT count(*) FROM dingbridge_api_calls") == 1
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


async def test_a_database_that_is_down_stops_no_call(
    breakable_postgres: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    now = 1_795_500_000.0
    settings = ConsumerSettings.load(data_dir=tmp_path, database_url=postgres_url)
    of = ApiCalls.of(settings, "ding1")
    calls = ApiCalls(of._counts, app="ding1", limit=4000, clock=lambda: now)
    await calls.spend(API, Priority.EVENT)
    breakable_postgres.stop_server()
    with capture_logs() as logs:
        await calls.spend(API, Priority.EVENT)
    assert [log["event"] for log in logs] == ["api_calls.not_counted"]
    assert "postgresql://" not in str(logs)
    breakable_postgres.start_server()
    now += 11
    with capture_logs() as logs:
        await calls.spend(API, Priority.EVENT)
    assert [log["event"] for log in logs] == ["api_calls.counted_again"]
    assert (await calls.spent())["calls"] == 2
    await calls.close()
