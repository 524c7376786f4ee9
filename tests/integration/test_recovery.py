"""Recovery with real processes, Kafka and the simulator: an outage of the whole bridge, and its bad days."""

import asyncio
import json
import time

import pytest
from sqlalchemy import select

from dingbridge.consumers.address_sync.tables import entities
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.worker.store.database import open_database
from tests.integration.sync_support import differences, synced_ms
from tests.support.ingress import IngressUnderTest
from tests.support.profiles import ALL_TOLD
from tests.support.sizes import sized
from tests.support.waiting import eventually

CORP = "dingcorpsample01"
POOR = {"user_modify_org": f"{{corpid={CORP}}}", "call_back_tag": "user_modify_org"}


@pytest.fixture
async def simulator():
    settings = SimulatorSettings.load(
        simulator_port=0,
        simulator_users=24,
        simulator_departments=6,
        simulator_retry_scale=0.001,
        # where there is time for it, reads are late besides
        simulator_profile=sized(ALL_TOLD, ALL_TOLD, quick=f"{ALL_TOLD},late=0"),
    )
    async with Simulator(settings) as running:
        yield running


@pytest.fixture
def env(simulator, kafka_env, tmp_path):
    return {
        **SAMPLE_CREDENTIALS,
        **kafka_env,
        "TOPIC_PARTITIONS": "1",
        "DINGTALK_API_BASE": simulator.base_url,
        "DINGTALK_CORP_ID": CORP,
        "DATABASE_URL": f"sqlite:///{tmp_path / 'oa.db'}",
        "DATA_DIR": str(tmp_path / "data"),
        "RESYNC_CALLS_PER_S": "10000",
        "API_CALLS_PER_S": "10000",
        "RECOVERY_AFTER_OUTAGE_S": "1",
        "MAX_LEAVERS": "100%",
        "API_MONTHLY_BUDGET": "0",
        "SHUTDOWN_TIMEOUT_S": "1",
    }


@pytest.fixture
def ingress(processes, env, tmp_path):
    return IngressUnderTest(processes, tmp_path, env)


async def archive_differs(database, simulator):
    """Where the archive is not what the platform's API would say of its approvals."""
    stored = {row.instance_id: row for row in await database.reader().execute(select(approval_instances))}
    found = []
    for approval in simulator.state()["approvals"]:
        row = stored.get(approval["process_instance_id"])
        ended_ = approval["status"] in ("COMPLETED", "TERMINATED")
        if row is None or (row.outcome is not None) != ended_:
            found.append(f"{approval['process_instance_id']}: {approval['status']}, {row and row.outcome}")
        elif ended_:
            document = json.loads(row.raw_document or "{}")
            found += [
                f"{approval['process_instance_id']}: {name}"
                for name in document
                if document[name] != approval[name]
            ]
    return found


async def test_after_an_hour_without_the_bridge_tables_and_archive_are_the_platforms(
    simulator, processes, ingress, env
):
    """The company lives while nothing of the bridge runs. Of its failed list some items are poor, and one
    page is lost on its way; recovery, and the resync that it asks for, make it all good."""

    env = env | {"MAX_LEAVERS": "1000"}

    def consume():
        return [processes.start("consume", name, env=env) for name in ("address-sync", "approval")]

    await asyncio.to_thread(ingress.start)
    result = await asyncio.to_thread(processes.run, "callback", "register", "--url", ingress.url, env=env)
    assert result.returncode == 0, result.stderr
    consumers = consume()
    database = open_database(env["DATABASE_URL"])
    try:

        async def equal():
            return not await differences(database, simulator) and not await archive_differs(
                database, simulator
            )

        async def equal_after_an_hour():
            """Whoever left without an event is read for an hour before the tables say so."""
            c, now_ms = entities.c, time.time_ns() // 1_000_000
            async with database.transaction() as tx:
                unread = (c.state == "missing", c.leased_ms <= now_ms)
                await tx.execute(entities.update().where(*unread).values(due_ms=now_ms))
            return await equal()

        async def first_is_done():
            return await synced_ms(database) > 0

        for _ in range(sized(15, 15, quick=5)):
            simulator.act_at_random()
        await eventually(first_is_done, 180, "the first sync")  # late answers are waited for
        await simulator.pusher.drain()
        await eventually(equal, 180, "all is equal before the outage")

        for process in (ingress.process, *consumers):
            process.stop()
        for _ in range(sized(400, 400, quick=240)):
            simulator.act_at_random()
        await simulator.pusher.drain()
        await eventually(lambda: simulator.delivery.unlisted == 0, 30, "all are listed as failed")
        for _ in range(3):
            simulator.failed.add(POOR)
        listed = len(simulator.failed)
        assert listed > 200
        simulator.faults.add({"api": "get_call_back_failed_result", "kind": "cut", "times": 1})
        before = sum(simulator.stats()["api_calls"].values())
        assert not await equal()

        await asyncio.to_thread(ingress.start)
        consume()
        await asyncio.to_thread(ingress.process.wait_for_log, "recovery.done", 60)
        await eventually(equal_after_an_hour, 180, "tables and archive are the platform's again")
        recovered = await asyncio.to_thread(ingress.metric, "dingbridge_recovery_items_total")
        missing = await asyncio.to_thread(ingress.metric, "dingbridge_recovery_pages_missing_total")
        calls = sum(simulator.stats()["api_calls"].values()) - before
        print(
            f"{listed} listed, {recovered:g} recovered, {missing:g} page lost, {calls} API calls; all equal"
        )
        assert missing == 1
        assert recovered == listed - 200
        # by hand: the running ingress is asked, and finds what it has read already
        asked = await asyncio.to_thread(processes.run, "recover", env=ingress.env)
        assert asked.returncode == 0, asked.stderr
        assert {"pages: 1", "items: 0", "pages missing: 0"} <= set(asked.stdout.splitlines())
        assert len(simulator.failed) == 0
    finally:
        await database.close()
