"""A company synced from nothing by ``dingbridge resync``, the pace lifted: killed twice on its way, resumed,
and compared at the end. Meanwhile people are hired. The simulator runs in this process, the sync in one of
its own, whose memory is watched.
"""

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from sqlalchemy import select

from dev.benchmarks.large.compare import differences
from dev.benchmarks.results import Results
from dev.servers.postgres import start_postgres
from dingbridge import Database, open_database
from dingbridge.consumers.address_sync.tables import entities, users
from dingbridge.mirror import Entities, Entity
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.kafka.processes import tail
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.tasks import end

_LOOK_S: Final = 0.2
DETAIL: Final = "/topapi/v2/user/get"
_HIRE_EVERY_S: Final = 5.0
PER_S: Final = 20
"""Calls a second that DingTalk allows an app."""


@dataclass(slots=True)
class Part:
    """The work of one process, until it ended or was killed in ``stage``; its most memory in MB."""

    stage: str
    seconds: float = 0.0
    peak: float = 0.0


@dataclass(frozen=True, slots=True)
class Synced:
    """What a whole sync took: calls for the listings, calls for each person, its parts, and how long each
    hire was not written meanwhile, in s."""

    rows: int
    details: int
    parts: list[Part]
    hires: list[float]


async def synced(simulator: Simulator, database: Database, env: Mapping[str, str], log: Path) -> Synced:
    """Sync the company of ``simulator`` into the empty ``database``; SIGKILL twice, then to the end.

    Raises ``RuntimeError`` with the log of a process that failed.
    """
    calls, company = simulator.api.calls, simulator.platform.company
    half, people = len(company.departments) // 2, len(company.users)
    before = calls.copy()
    parts: list[Part] = []

    async def reading() -> bool:
        return (calls - before)["/topapi/v2/user/list"] > half

    async def fetching() -> bool:
        return (calls - before)[DETAIL] > people // 3

    async def never() -> bool:
        return False

    stages = {"listing": reading, "by id": fetching, "to the end": never}
    hires: list[float] = []
    for stage, over in stages.items():
        # the last stage writes whom the killed process has not
        hiring = [asyncio.create_task(_hire(simulator, database, hires))] if stage == "by id" else []
        try:
            parts.append(await _work(stage, over, env, log))
        finally:
            await end(*hiring)
    made = calls - before
    return Synced(rows=made.total() - made[DETAIL], details=made[DETAIL], parts=parts, hires=hires)


async def _hire(simulator: Simulator, database: Database, times: list[float]) -> None:
    """Hire somebody, as the consumer's handler does by the event, and time how long it is until the row is
    there; every so many s, until cancelled."""
    company, due = simulator.platform.company, Entities(entities, time.time)
    while True:
        user, began = company.hire(), time.monotonic()
        entity = Entity(simulator.platform.corp_id, "user", user.userid)
        async with database.transaction() as tx:
            await due.report(tx, entity, "default", "present", due.now_ms())
        written = select(users.c.userid).where(users.c.userid == user.userid, ~users.c.details_pending)
        while await database.reader().scalar(written) is None:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
        times.append(time.monotonic() - began)
        await asyncio.sleep(_HIRE_EVERY_S)


async def _work(
    stage: str,
    over: Callable[[], Awaitable[bool]],
    env: Mapping[str, str],
    log: Path,
    command: Sequence[str] = ("resync",),
) -> Part:
    part, began = Part(stage), time.monotonic()
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("dingbridge")),
            *command,
            env={**os.environ, **env},
            stdout=output,
            stderr=output,
        )
    watched, killed = psutil.Process(process.pid), False
    while process.returncode is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            part.peak = max(part.peak, watched.memory_info().rss / 1e6)
        try:
            async with asyncio.timeout(_LOOK_S):
                await process.wait()
        except TimeoutError:
            if await over():
                killed = True
                process.kill()
                await process.wait()
    part.seconds = time.monotonic() - began
    if process.returncode and not killed:
        raise RuntimeError(f"{command[0]} failed ({stage}):\n{tail(log, 20)}")
    if stage != "to the end" and not killed:
        raise RuntimeError(f"resync ended before it was killed ({stage})")
    return part


async def run_to_end(command: Sequence[str], env: Mapping[str, str], log: Path) -> tuple[float, float]:
    """Run ``dingbridge`` with ``command``; seconds, and its most memory in MB."""

    async def never() -> bool:
        return False

    part = await _work("to the end", never, env, log, command)
    return part.seconds, part.peak


def environment(simulator: Simulator, database_url: str, folder: Path) -> dict[str, str]:
    """Settings of a command, its pace lifted, and the budget: 5,000 calls a month are not enough here."""
    return {
        "DINGTALK_API_BASE": simulator.base_url,
        "DINGTALK_APP_KEY": SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
        "DINGTALK_APP_SECRET": SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
        "DINGTALK_CORP_ID": simulator.platform.corp_id,
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder),
        "RESYNC_CALLS_PER_S": "10000",
        "API_CALLS_PER_S": "10000",
        "API_MONTHLY_BUDGET": "0",
    }


def measure(folder: Path, results: Results, people: int, departments: int, *, sqlite: bool) -> None:
    """One sync of a company of that size into PostgreSQL, or a file, as a part of the results."""
    folder.mkdir(parents=True, exist_ok=True)
    with _database(folder, sqlite=sqlite) as url:
        results.add(asyncio.run(_measure(folder, url, people, departments)))


@contextmanager
def _database(folder: Path, *, sqlite: bool) -> Iterator[str]:
    if sqlite:
        yield f"sqlite:///{folder / 'company.db'}"
        return
    with start_postgres(folder, how="wheel") as postgres:
        yield postgres.create_database("company")


async def _measure(folder: Path, url: str, people: int, departments: int) -> str:
    began = time.monotonic()
    settings = SimulatorSettings.load(
        simulator_port=0,
        simulator_users=people,
        simulator_departments=departments,
        log_level="WARNING",
        simulator_profile="kind",
    )
    database = open_database(url)
    try:
        async with Simulator(settings) as simulator:
            started = time.monotonic() - began
            memory = psutil.Process().memory_info().rss / 1e6
            done = await synced(
                simulator, database, environment(simulator, url, folder), folder / "resync.log"
            )
            wrong = await differences(database, simulator)
    finally:
        await database.close()
    name = "SQLite" if url.startswith("sqlite") else "PostgreSQL"
    return words(people, departments, done, wrong, started, memory, name)


def words(
    people: int,
    departments: int,
    done: Synced,
    wrong: list[str],
    started: float,
    memory: float,
    database: str,
) -> str:
    """The results of one sync, for the table."""
    by_size = people // 100 + 3 * departments
    parts = [f"| {part.stage} | {part.seconds:,.0f} | {part.peak:.0f} |" for part in done.parts]
    return "\n".join(
        [
            f"## A company of {people:,} people in {departments:,} departments, synced from nothing",
            "",
            f"- simulator: started in {started:.1f} s, {memory:.0f} MB",
            f"- the pace lifted (RESYNC_CALLS_PER_S=10000, no limit at the simulator); {database}",
            f"- calls until the rows stood: {done.rows:,} (people / 100 + 3 × departments: {by_size:,}); at "
            f"DingTalk's {PER_S} a second {hours(done.rows)}, at the default 10 {hours(2 * done.rows)}",
            f"- calls for the details: {done.details:,}; at {PER_S} a second {hours(done.details)}",
            f"- {len(done.hires)} hires while people were read by id: written after "
            f"{statistics.median(done.hires):.2f} s (median), {max(done.hires):.2f} s (the slowest)",
            f"- at the end: {'equal, row by row' if not wrong else f'NOT EQUAL: {wrong[:5]}'}",
            "",
            "| killed (SIGKILL) while | s | peak memory, MB |",
            "|---|---|---|",
            *parts,
        ]
    )


def hours(calls: int) -> str:
    """How long ``calls`` take at ``PER_S``."""
    minutes = calls / PER_S / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
