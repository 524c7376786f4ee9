"""The promise by Stream: what was acknowledged ``SUCCESS`` is in Kafka, whatever happens to connections, the
ingress or its disk.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from dingbridge.settings import KafkaSettings
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.support.comparison import Comparison, assert_in_order, compare
from tests.support.disk import SickDisk
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load
from tests.support.processes import Processes
from tests.support.sizes import new_seed, sized
from tests.support.stream import StreamPusher
from tests.support.waiting import eventually

KILLS = sized(8, 200, quick=3)
TROUBLES = sized(3, 15)
"""Few: connections that do not last a minute are opened again after growing pauses."""


@pytest.fixture
async def pusher() -> AsyncIterator[StreamPusher]:
    """Pushes over the connections of whatever ingress opens them."""
    settings = SimulatorSettings.load(simulator_port=0, simulator_mode="stream")
    async with Simulator(settings) as simulator:
        # a slow answer is not a lost one; the silent links are those that we made so
        await simulator.gateway.set(answer_s=sized(10, 10, quick=4), ping_s=0.5)
        yield StreamPusher.of(simulator)


def ingress_of(
    pusher: StreamPusher, processes: Processes, folder: Path, *env: Mapping[str, str]
) -> IngressUnderTest:
    stream = {"DINGTALK_MODE": "stream", "DINGTALK_API_BASE": pusher.url, "STREAM_WATCHDOG_S": "2"}
    return IngressUnderTest(processes, folder, stream, *env)


async def started(ingress: IngressUnderTest, pusher: StreamPusher) -> None:
    await asyncio.to_thread(ingress.start)
    await eventually(lambda: len(pusher.open) == 2, what="both connections are open")


async def compared(
    ingress: IngressUnderTest, pusher: StreamPusher, settings: KafkaSettings, figure: Callable[[object], None]
) -> Comparison:
    """The comparison, which holds, order of each key included."""
    await eventually(lambda: asyncio.to_thread(ingress.published), 120, "the backlog is published")
    found = await compare(settings, pusher)
    figure(found)
    found.assert_holds()
    assert_in_order(found.seen, by_number=True)
    return found


async def test_ingress_killed_amid_cuts_disconnects_and_silences_under_load(
    processes, kafka_env, kafka_settings, tmp_path, figure, pusher
):
    ingress = ingress_of(pusher, processes, tmp_path, kafka_env)
    seed = new_seed()
    dice = random.Random(seed)
    await started(ingress, pusher)
    async with Load(pusher) as load:
        for _ in range(KILLS):
            await load.more(dice.randrange(10, 200))
            trouble = dice.choice(({"cut": 1}, {"cut": 2}, {"disconnect": 1}, {"silence": True}, {}))
            await pusher.gateway.set(**trouble)
            await load.more(dice.randrange(1, 20))
            await asyncio.to_thread(ingress.restart)
        await load.more(100)
    figure(f"{KILLS} kills with cuts, disconnects and silences before them, seed {seed}")
    await compared(ingress, pusher, kafka_settings, figure)
    assert len(pusher.succeeded) > KILLS * 10
    assert set(pusher.outcomes) - {"success"}, "the kills were felt"


async def test_connections_come_back_by_themselves_under_load(
    processes, kafka_env, kafka_settings, tmp_path, figure, pusher
):
    ingress = ingress_of(pusher, processes, tmp_path, kafka_env)
    troubles = (pusher.cut, pusher.disconnect, pusher.fall_silent)
    seed = new_seed()
    dice = random.Random(seed)
    await started(ingress, pusher)
    async with Load(pusher) as load:
        for number in range(TROUBLES):
            await load.more(dice.randrange(10, 100))
            await troubles[number % len(troubles)](dice.choice((1, 2)))
        await load.more(100)
    figure(f"{TROUBLES} troubles, seed {seed}")
    await compared(ingress, pusher, kafka_settings, figure)
    for reason in ("disconnect", "silent", "lost"):
        assert await asyncio.to_thread(ingress.metric, "dingbridge_stream_reconnects_total", reason=reason)


async def test_a_sick_disk_means_later_and_heals_by_itself(
    processes, kafka_env, kafka_settings, tmp_path, figure, pusher
):
    disk = SickDisk(tmp_path / "disk")
    ingress = ingress_of(pusher, processes, tmp_path, kafka_env, disk.env)
    await started(ingress, pusher)
    async with Load(pusher) as load:
        await load.more(40)
        disk.falls("full")
        await eventually(lambda: asyncio.to_thread(lambda: ingress.readyz()[0] == 503), what="not ready")
        later = pusher.outcomes["later"]
        await eventually(lambda: pusher.outcomes["later"] >= later + 10, what="answered LATER")
        kept = len(pusher.succeeded)  # with those that were committed before, and answered meanwhile
        later = pusher.outcomes["later"]
        await eventually(lambda: pusher.outcomes["later"] >= later + 10, what="answered LATER")
        assert len(pusher.succeeded) == kept, "SUCCESS while nothing can be kept"
        disk.recovers()
        await load.more(40)
    await compared(ingress, pusher, kafka_settings, figure)
