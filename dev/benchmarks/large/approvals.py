"""Approvals that were over before the bridge came, archived by ``dingbridge approvals resync``."""

import asyncio
import time
from pathlib import Path

import psutil
from sqlalchemy import func, select

from dev.benchmarks.large.company import PER_S, environment, hours, run_to_end
from dev.benchmarks.results import Results
from dev.servers.postgres import start_postgres
from dingbridge import open_database
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings


def measure(folder: Path, results: Results, count: int) -> None:
    """Archive ``count`` of them into PostgreSQL, and once more, when nothing lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    with start_postgres(folder, how="wheel") as postgres:
        results.add(asyncio.run(_measure(folder, postgres.create_database("approvals"), count)))


async def _measure(folder: Path, url: str, count: int) -> str:
    settings = SimulatorSettings.load(
        simulator_port=0,
        simulator_users=1_000,
        simulator_approvals=count,
        log_level="WARNING",
        simulator_profile="kind",
    )
    database = open_database(url)
    command = ("approvals", "resync", "--since", "364d", "--yes")
    try:
        async with Simulator(settings) as simulator:
            env = environment(simulator, url, folder)
            seconds, peak = await run_to_end(command, env, folder / "approvals.log")
            calls = simulator.api.calls.total()
            began = time.monotonic()
            await run_to_end(command, env, folder / "approvals.log")
            again, more = time.monotonic() - began, simulator.api.calls.total() - calls
            memory = psutil.Process().memory_info().rss / 1e6
        over = (
            select(func.count())
            .select_from(approval_instances)
            .where(approval_instances.c.outcome.is_not(None))
        )
        archived = int(await database.reader().scalar(over))
    finally:
        await database.close()
    return "\n".join(
        [
            f"## {count:,} approvals backfilled",
            "",
            f"- `dingbridge approvals resync --since 364d`: {seconds:,.0f} s, {count / seconds:,.1f}/s",
            f"- peak memory {peak:.0f} MB; of the simulator {memory:.0f} MB; PostgreSQL",
            f"- archived as ended: {archived:,} of {count:,}",
            f"- calls: {calls:,}; at DingTalk's {PER_S} a second {hours(calls)}",
            f"- once more, with nothing lacking: {again:,.0f} s, {more:,} calls",
        ]
    )
