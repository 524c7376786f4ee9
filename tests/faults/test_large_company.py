"""A large company from nothing, by a process that is killed in each stage: 2,000 people in ``make test``,
and in ``make test-long`` a tenth of the 1,000,000 of ``make bench-large``."""

import pytest
from sqlalchemy import func, select

from dev.benchmarks.large import company
from dev.benchmarks.large.company import environment, synced
from dev.benchmarks.large.compare import differences
from dingbridge import open_database
from dingbridge.consumers.address_sync.sync.details import TOGETHER
from dingbridge.consumers.address_sync.sync.tables import staged, todo
from dingbridge.consumers.address_sync.tables import details
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.support.profiles import KIND
from tests.support.sizes import LONG, sized

PEOPLE, DEPARTMENTS = sized((2_000, 60), (100_000, 5_000))
KILLS = 3
MOST_MEMORY_MB = 200
"""Of the process, whatever the size: it holds 120 MB with 10 people."""


@pytest.fixture
def url(request, tmp_path):
    return request.getfixturevalue("postgres_url") if LONG else f"sqlite:///{tmp_path}/large.db"


async def test_killed_in_each_stage_it_goes_on_and_ends_equal(url, tmp_path, monkeypatch):
    monkeypatch.setattr(company, "_LOOK_S", 0.05)  # the stages of a small company are short
    settings = SimulatorSettings(  # its calls are counted
        simulator_port=0,
        simulator_users=PEOPLE,
        simulator_departments=DEPARTMENTS,
        simulator_profile=KIND,
        log_level="WARNING",
    )
    database = open_database(url)
    async with Simulator(settings) as simulator:
        done = await synced(simulator, database, environment(simulator, url, tmp_path), tmp_path / "log")
        assert await differences(database, simulator) == []
        roles = sum(1 + len(role.userids) // 100 for role in simulator.platform.company.roles)
    # three calls for each department and one for each page; of a killed process a step is made again
    assert done.rows <= PEOPLE / 100 + 3 * (DEPARTMENTS + 1) + DEPARTMENTS + roles + 10 * (KILLS + 1)
    assert PEOPLE <= done.details <= PEOPLE + TOGETHER * KILLS
    for table in (todo, staged, details):
        assert await database.reader().scalar(select(func.count()).select_from(table)) == 0, table.name
    await database.close()
    assert max(part.peak for part in done.parts) < MOST_MEMORY_MB, done.parts
    print(done)
