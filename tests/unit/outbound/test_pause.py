"""Outbound after its database went back: nothing is written until an operator resumes it."""

from itertools import permutations
from typing import Any

import pytest
from structlog.testing import capture_logs

from dingbridge import Restored, open_database
from dingbridge.consumers.outbound import Outbound
from dingbridge.consumers.outbound.requests.restored import paused, resume
from dingbridge.consumers.outbound.tables import metadata
from tests.unit.outbound.hands import World


async def test_a_running_agent_writes_nothing_from_the_moment_that_the_database_went_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World.opened(monkeypatch) as world:
        await world.employ("a")
        world.ms = (await world.row("a")).due_ms
        [claimed] = await world.agent.claim(1)
        with capture_logs() as logs:
            async with world.database.transaction() as tx:
                await Outbound().restored(Restored(world.ms, {}), tx)
        assert [line["event"] for line in logs] == ["outbound.paused"]
        await world.agent.work(claimed)
        await world.employ("b", "13900000002")
        await world.work()
        assert world.ding.there == {}
        async with world.database.transaction() as tx:
            await resume(tx)
        await world.work()
        assert world.ding.there.keys() == {("user", "a"), ("user", "b")}


NOTICED: list[dict[str, Any]] = [
    {"at_ms": 20, "ends": {"t": {"0": 5}}, "lost": False},
    {"at_ms": 10, "ends": {"t": {"0": 3, "1": 7}, "u": {"0": 1}}, "lost": False},
    {"at_ms": 30, "ends": {}, "lost": True},
]


@pytest.mark.parametrize("noticed", list(permutations(NOTICED)))
async def test_what_several_members_notice_is_one_pause(noticed: tuple[dict[str, Any], ...]) -> None:
    """Each member notices it for its own partitions."""
    database = open_database("sqlite://")
    await database.create_tables(metadata)
    for one in noticed:
        async with database.transaction() as tx:
            await Outbound().restored(Restored(**one), tx)
    found = await paused(database.reader())
    assert found == Restored(10, {"t": {"0": 5, "1": 7}, "u": {"0": 1}}, lost=True)
    await database.close()
