"""Two pollers of the failed list on real Kafka: at once, and killed or frozen in the midst of a call."""

import asyncio
import time
from pathlib import Path

import pytest

from dingbridge.errors import BridgeError
from dingbridge.events import decode
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from ingress.journal.directory import current, prepare_folder
from ingress.journal.startup import open_current
from ingress.journal.store import JournalFile
from ingress.recovery.cli import _recover as recover_alone
from ingress.recovery.poller import AnotherPolls
from simulator.server import Simulator
from simulator.settings import SimulatorSettings
from tests.faults.sizes import sized
from tests.support.kafka_reader import read_all
from tests.support.waiting import eventually
from tests.unit.recovery.memory import item

API = "get_call_back_failed_result"


@pytest.fixture
async def simulator():
    async with Simulator(SimulatorSettings.load(simulator_port=0, simulator_users=5)) as running:
        yield running


@pytest.fixture
def places(simulator, kafka_env, tmp_path):
    """The environments of two instances, with a journal each."""
    return [
        {
            **SAMPLE_CREDENTIALS,
            **kafka_env,
            "TOPIC_PARTITIONS": "1",
            "DINGTALK_API_BASE": simulator.base_url,
            "JOURNAL_DIR": str(tmp_path / name / "journal"),
            "DATA_DIR": str(tmp_path / name),
            "API_MONTHLY_BUDGET": "0",
        }
        for name in ("one", "two")
    ]


def loaded(place, monkeypatch):
    with monkeypatch.context() as patched:
        for name, value in place.items():
            patched.setenv(name, value)
        return IngressSettings.load()


def kept(place):
    """The bodies in a journal, and how each came."""
    file = JournalFile(current(Path(place["JOURNAL_DIR"])).journal, read_only=True)
    try:
        rows = file.read(0, max_rows=100_000, max_bytes=1 << 30)
        return [(row.via, row.body) for row in rows]
    finally:
        file.close()


async def test_two_started_at_once_and_one_reads_5000_items(simulator, places, monkeypatch, figure):
    count = sized(5_000, 50_000)
    for number in range(count):
        simulator.failed.add(item(number, "brand_new_type" if number % 10 == 0 else "user_modify_org"))
    settings = [loaded(place, monkeypatch) for place in places]
    began = time.perf_counter()
    results = await asyncio.gather(*(recover_alone(one, {}) for one in settings), return_exceptions=True)
    took = time.perf_counter() - began
    [refused] = [r for r in results if isinstance(r, BridgeError)]
    [done] = [r for r in results if isinstance(r, dict)]
    assert isinstance(refused, AnotherPolls)
    assert (done["items"], done["pages_missing"], done["resync_requests"]) == (count, 0, 0)
    assert done["types"] == {"brand_new_type": count // 10, "user_modify_org": count - count // 10}
    rows = [row for place in places for row in kept(place)]
    assert len(rows) == len(set(rows)) == count
    assert {via for via, _ in rows} == {"failed-list"}
    calls = simulator.stats()["api_calls"]
    assert calls == {"/gettoken": 1, f"/call_back/{API}": count // 200}
    figure(f"{count:,} items in {took:.1f} s, connecting included: {count / took:,.0f} a second; {calls}")


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_one_that_dies_or_freezes_in_its_call_is_a_page_that_may_be_gone(
    simulator, places, processes, kafka_settings, how
):
    for number in range(250):
        simulator.failed.add(item(number))
    for place in places:
        folder = Path(place["JOURNAL_DIR"])
        prepare_folder(folder, allow_unsafe=True)
        open_current(folder).close()
    simulator.faults.add({"api": API, "kind": "hang"})
    first = processes.start("recover", env={**places[0], "RECOVERY_LEASE_S": "8"}, name="first")
    await eventually(
        lambda: simulator.stats()["api_calls"].get(f"/call_back/{API}"), 90, "the first is in its call"
    )
    first.kill() if how == "killed" else first.pause()
    simulator.faults.clear()

    async def second():
        result = await asyncio.to_thread(processes.run, "recover", env=places[1])
        return result if result.returncode == 0 else None

    done = await eventually(second, 90, "its lease is over")
    assert "pages missing: 1" in done.stdout
    if how == "frozen":
        first.resume()
        assert await asyncio.to_thread(first.wait, 30) == 1
    last = await asyncio.to_thread(processes.run, "recover", env=places[1])
    assert last.returncode == 0, last.stderr
    assert "pages missing: 0" in last.stdout
    orders = {
        (topic, decode(record.value).id)
        for topic, records in (await read_all(kafka_settings, kafka_settings.control_prefix)).items()
        for record in records
        if ".inbox." in topic and decode(record.value).type == RESYNC_REQUESTED
    }
    assert len(orders) == 2, "however often it was written, an inbox takes it once"
    assert len({body for place in places for _, body in kept(place)}) == 250, "nobody else had read it"
