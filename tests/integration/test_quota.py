"""The guide's figures of DingTalk's month, held against calls and pushes that are counted."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from dev import quota
from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.events.envelope import Received, to_records
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.company.templates import TEMPLATES
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.testing.memory import MemoryRuntime
from tests.support.profiles import KIND
from tests.unit.address_sync.syncing import full

EXEMPT = ("gettoken", "v2/", "user/", "role/")
"""How the names of the consumers' calls begin that DingTalk does not count
(basic-interfaces-such-as-log-off-and-address-book)."""


def client_of(simulator: Simulator) -> DingTalkClient:
    key, secret = SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"], SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"]
    return DingTalkClient(app_key=key, app_secret=secret, base=simulator.base_url)


def counted(client: DingTalkClient) -> Counter[str]:
    """Calls since the last look at them that count, by API."""
    made = Counter({api: count for api, count in client.calls.items() if not api.startswith(EXEMPT)})
    client.calls.clear()
    return made


@pytest.fixture
async def simulator():
    settings = SimulatorSettings(  # the guide counts every call
        simulator_port=0, simulator_users=230, simulator_departments=7, simulator_profile=KIND
    )
    async with Simulator(settings) as simulator:
        yield simulator


async def test_a_full_sync_makes_the_calls_that_the_guide_counts(simulator):
    company, roles = simulator.platform.company, simulator.platform.company.roles
    crowded = max(company.departments, key=lambda dept_id: len(company.members(dept_id)))
    simulator.act("hire", {"count": 210, "dept_ids": [crowded]})
    groups = roles.groups_result()
    shape = quota.Company(
        people=len(company.users),
        members=tuple(len(company.members(dept_id)) for dept_id in company.departments),
        roles=sum(len(group["roles"]) for group in groups),
        templates=len(TEMPLATES),
        groups=len(groups),
    )
    assert max(shape.members) > 200, "a department of several pages"
    async with client_of(simulator) as client, MemoryRuntime(AddressSync(), dingtalk=client) as sync:
        await full(sync, client)
        made = Counter(client.calls)
        assert made.pop("gettoken") == 1
        assert made == quota.full_sync(shape)
        client.calls.clear()
        await full(sync, client)
        assert counted(client).total() == quota.full_sync(shape)["auth/scopes"]


async def test_an_approval_costs_the_pushes_and_calls_that_the_guide_counts(simulator):
    async with client_of(simulator) as client, MemoryRuntime(Approval(), dingtalk=client) as archive:
        told = simulator.platform.act("start_approval", {"process_code": "PROC-PURCHASE"})
        instance_id = told[0].payload["processInstanceId"]
        told += simulator.platform.act("approve", {"process_instance_id": instance_id})
        [approval] = [a for a in simulator.state()["approvals"] if a["process_instance_id"] == instance_id]
        assert len(told) == 2 + 2 * len(approval["tasks"])
        of_instance = Counter(e.payload["type"] for e in told if e.event_type == "bpms_instance_change")
        assert of_instance == {"start": 1, "finish": 1}
        for seq, one in enumerate(told, 1):
            body = one.plaintext()
            for record in to_records(Received(seq, "j1", one.time_ms, "default", "http", body)):
                assert (await archive.deliver(record)).kind == "done"
                await archive.consumer.look_due()
        assert counted(client).total() in (1, 1 + quota.ASSUMED.late)


async def test_a_resync_request_costs_what_the_guide_counts(simulator):
    corp_id = simulator.platform.corp_id
    for _ in range(3):
        simulator.platform.act("start_approval", {"process_code": "PROC-LEAVE"})
    async with client_of(simulator) as client, MemoryRuntime(Approval(), dingtalk=client) as archive:
        consumer = archive.consumer
        of_leave = approval_instances.c.process_code == "PROC-LEAVE"

        async def resync(days_ago: int) -> tuple[int, int]:
            """The approvals that the archive has then, and the calls that count."""
            since = datetime.now(UTC) - timedelta(days=days_ago)
            async with archive.database.transaction() as tx:
                await consumer.resync.request(tx, "default", corp_id, round(since.timestamp() * 1000))
            await consumer.look_due()
            return len(await archive.rows(select(approval_instances).where(of_leave))), counted(
                client
            ).total()

        shape = quota.Company(230, (), 0, templates=1)  # the one that has an action
        started, made = await resync(days_ago=1)
        assert started >= 3
        assert made == quota.one_resync(shape, 0, started)
        running = await archive.rows(select(approval_instances).where(approval_instances.c.outcome.is_(None)))
        client.calls.clear()
        _, made = await resync(days_ago=0)
        assert len(running) >= 3
        assert made == quota.one_resync(shape, len(running), 0)
