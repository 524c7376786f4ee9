"""The guide's figures of DingTalk's month, held against calls and pushes that are counted."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from math import ceil

import pytest
from sqlalchemy import select

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.reconcile.reconciler import Reconciler, Scope, template_codes
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import IDS_PAGE, TEMPLATES_PAGE
from dingbridge.dingtalk.api.contacts import PAGE_SIZE, ROLE_GROUPS_PAGE
from dingbridge.events.envelope import Received, to_records
from dingbridge.settings import SAMPLE_CREDENTIALS
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
    members = [len(company.members(dept_id)) for dept_id in company.departments]
    assert max(members) > 200, "a department of several pages"
    wanted = {
        "auth/scopes": 1,
        "v2/department/listsub": len(members),
        "v2/department/get": len(members),
        "v2/user/list": sum(max(1, ceil(count / PAGE_SIZE)) for count in members),
        "role/list": max(1, ceil(len(groups) / ROLE_GROUPS_PAGE)),
        "v2/user/get": len(company.users),
    }
    async with client_of(simulator) as client, MemoryRuntime(AddressSync(), dingtalk=client) as sync:
        await full(sync, client)
        made = Counter(client.calls)
        assert made.pop("gettoken") == 1
        assert made == wanted
        client.calls.clear()
        await full(sync, client)
        assert counted(client).total() == wanted["auth/scopes"]


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
        assert counted(client).total() in (1, 2)  # once more, when a task event came after the first


async def test_a_resync_request_costs_what_the_guide_counts(simulator):
    for _ in range(3):
        simulator.platform.act("start_approval", {"process_code": "PROC-LEAVE"})
    async with client_of(simulator) as client, MemoryRuntime(Approval(), dingtalk=client) as archive:

        async def resync(days_ago: int) -> tuple[int, int]:
            """What it archived, and the calls that count."""
            since = datetime.now(UTC) - timedelta(days=days_ago)
            until, codes = since + timedelta(days=2), await template_codes(client)
            scope = Scope(simulator.platform.corp_id, "default", since, until, codes)
            work = Reconciler(archive.consumer.fetcher, client, scope)
            archived = (await work.archive(await work.list_ids())).archived
            return archived, counted(client).total()

        templates = len(await client.templates())
        lists = ceil(templates / TEMPLATES_PAGE)
        client.calls.clear()
        started, made = await resync(days_ago=1)
        assert started >= 3
        assert made == lists + max(templates, ceil(started / IDS_PAGE)) + started
        running = await archive.rows(select(approval_instances).where(approval_instances.c.outcome.is_(None)))
        asked_again, made = await resync(days_ago=300)
        assert asked_again == len(running) >= 3
        assert made == lists + templates + asked_again
