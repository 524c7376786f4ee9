"""Two readers of the failed list, with real processes: at once, and killed in the midst of a call."""

import asyncio
import time
from pathlib import Path

import pytest

from dingbridge.ingress.journal.directory import current, prepare_folder
from dingbridge.ingress.journal.rows import CONTROL, ResyncRequest
from dingbridge.ingress.journal.startup import open_current
from dingbridge.ingress.journal.store import JournalFile
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.support.sizes import sized
from tests.support.waiting import eventually
from tests.unit.recovery.memory import item

API = "get_call_back_failed_result"


@pytest.fixture
async def simulator():
    async with Simulator(SimulatorSettings.load(simulator_port=0, simulator_users=5)) as running:
        yield running


@pytest.fixture
def places(simulator, tmp_path):
    """The environments of two instances, with a journal each."""
    for name in ("one", "two"):
        root = tmp_path / name / "journal"
        prepare_folder(root, allow_unsafe=True)
        open_current(root).close()
    return [
        {
            **SAMPLE_CREDENTIALS,
            "DINGTALK_API_BASE": simulator.base_url,
            "DATA_DIR": str(tmp_path / name),
            "JOURNAL_ALLOW_UNSAFE": "1",
            "API_MONTHLY_BUDGET": "0",
        }
        for name in ("one", "two")
    ]


def kept(place):
    """The rows of a journal."""
    file = JournalFile(current(Path(place["DATA_DIR"]) / "journal").journal, read_only=True)
    try:
        return file.read(0, max_rows=100_000, max_bytes=1 << 30)
    finally:
        file.close()


def said(result):
    assert result.returncode == 0, result.stderr
    return dict(line.rsplit(": ", 1) for line in result.stdout.splitlines() if ": " in line)


async def test_two_readers_at_once_lose_none_of_5000_items(simulator, places, processes, figure):
    count = sized(5_000, 50_000)
    for number in range(count):
        simulator.failed.add(item(number, "brand_new_type" if number % 10 == 0 else "user_modify_org"))
    began = time.perf_counter()
    both = await asyncio.gather(*(asyncio.to_thread(processes.run, "recover", env=place) for place in places))
    took = time.perf_counter() - began
    told = [said(result) for result in both]
    assert sum(int(one["items"]) for one in told) == count
    assert [one["pages missing"] for one in told] == ["0", "0"]
    bodies = [row.body for place in places for row in kept(place)]
    assert len(bodies) == len(set(bodies)) == count
    figure(f"{count:,} items by two in {took:.1f} s, their start included: {count / took:,.0f} a second")


async def test_one_that_dies_in_its_call_requests_a_resync_when_it_is_back(simulator, places, processes):
    for number in range(250):
        simulator.failed.add(item(number))
    simulator.faults.add({"api": API, "kind": "hang"})
    first = processes.start("recover", env=places[0], name="first")
    await eventually(
        lambda: simulator.stats()["api_calls"].get(f"/call_back/{API}"), what="the first is in its call"
    )
    first.kill()
    simulator.faults.clear()
    told = said(await asyncio.to_thread(processes.run, "recover", env=places[0]))
    assert (told["pages missing"], told["resync requests"]) == ("1", "1")
    [request] = [ResyncRequest.of(row) for row in kept(places[0]) if row.via == CONTROL]
    assert (request.app, request.part) == ("default", "all")
    again = said(await asyncio.to_thread(processes.run, "recover", env=places[0]))
    assert again["pages missing"] == "0"
    assert sum(row.via == "failed-list" for row in kept(places[0])) == 250, "nobody else had read it"
