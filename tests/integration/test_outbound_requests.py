"""Approvals and to-dos that the OA asks for: outbound's handler and agent at the simulator, over HTTP."""

import asyncio
import itertools
import json

import pytest
from sqlalchemy import select

from dingbridge import Restored
from dingbridge.consumers.outbound import Outbound
from dingbridge.consumers.outbound.requests.agent import RequestAgent
from dingbridge.consumers.outbound.requests.restored import resume
from dingbridge.consumers.outbound.requests.store import UNKNOWN, release
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.tables import outbound_outgoing
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.events.envelope import Received, to_records
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.company.templates import OWN_NUMBER
from dingbridge.simulator.server import Simulator
from dingbridge.testing.memory import MemoryRuntime
from dingbridge.worker.context import NOWHERE
from tests.integration.outbound_support import message
from tests.integration.simulator_support import settings
from tests.support.profiles import AT_ONCE
from tests.unit.outbound.hands import once

START = "POST /v1.0/workflow/processInstances"
FORM = {"请假类型": "年假"}
OWNERS = f"""
[templates."PROC-LEAVE"]
originators = %s
request_id_field = "{OWN_NUMBER}"
"""
_numbers = itertools.count(1)


class Office:
    """The OA: what it sends, and what it is told. Time goes on when the test says so."""

    def __init__(self, simulator, runtime, client):
        self.simulator, self.runtime = simulator, runtime
        self.corp_id = simulator.platform.corp_id
        self.originator, self.other = list(simulator.platform.company.users)[:2]
        self.later_ms = 0
        consumer = runtime.consumer
        self.members = [
            RequestAgent(
                runtime.database,
                lambda app, corp_id: client,
                consumer.owners,
                consumer.own,
                consumer.metrics,
                now=lambda: simulator.platform.now_ms() + self.later_ms,
            )
            for _ in range(2)
        ]

    async def send(self, type_, request_id, **data):
        outcome = await self.runtime.deliver(message(type_, request_id, **data))
        assert outcome.kind == "done", outcome
        return await self.work()

    async def start(self, request_id="A-1"):
        return await self.send(
            "approval.start", request_id, processCode="PROC-LEAVE", originator=self.originator, form=FORM
        )

    async def work(self, later_s=0):
        """The last that the OA was told after both members worked, ``later_s`` later."""
        self.later_ms += later_s * 1000
        while any(await asyncio.gather(*map(once, self.members))):
            pass
        rows = await self.runtime.rows(select(outbound_outgoing).order_by(outbound_outgoing.c.seq))
        return rows[-1].topic if rows else None, json.loads(rows[-1].value)["data"] if rows else {}

    async def happens(self, action, instance_id):
        """A person does something to the approval; its events come, twice."""
        told = self.simulator.platform.act(action, {"process_instance_id": instance_id})
        await self.tell(*((one.time_ms, one.plaintext()) for one in told))

    async def tell(self, *events):
        for time_ms, body in events:
            received = Received(
                seq=next(_numbers), journal="j1", received_ms=time_ms, app="default", via="http", body=body
            )
            for record in to_records(received) * 2:
                if record.event_type == "bpms_instance_change":
                    assert (await self.runtime.deliver(record)).kind in ("done", "seen")

    def approvals(self):
        return [
            one["process_instance_id"]
            for one in self.simulator.state()["approvals"]
            if one["originatorUserId"] == self.originator
        ]


@pytest.fixture
async def office(database_url, tmp_path, monkeypatch):
    owners = tmp_path / "owners.toml"
    monkeypatch.setenv("OUTBOUND_OWNERS", str(owners))
    # the clock of these tests jumps, and late reads do not
    async with Simulator(settings(users=12, departments=4, profile=AT_ONCE)) as simulator:
        people = json.dumps(list(simulator.platform.company.users))
        owners.write_text(OWNERS % people)
        async with (
            DingTalkClient(
                app_key=SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
                app_secret=SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
                base=simulator.base_url,
            ) as client,
            MemoryRuntime(Outbound(), database_url=database_url, dingtalk=client) as runtime,
        ):
            yield Office(simulator, runtime, client)


@pytest.mark.parametrize(
    ("ends", "lost"),
    [({NOWHERE.topic: {str(NOWHERE.partition): 1}}, False), ({}, True)],
    ids=["read", "lost"],
)
async def test_after_its_database_went_back_a_request_waits_for_a_hand_and_what_was_not_done_is_done_once(
    office, ends, lost
):
    consumer, database = office.runtime.consumer, office.runtime.database
    restored = Restored(office.simulator.platform.now_ms(), ends, lost)
    async with database.transaction() as tx:
        await consumer.restored(restored, tx)
    await office.start()
    forbidden = {"processCode": "PROC-LEAVE", "originator": "nobody", "form": FORM}
    await office.send("approval.start", "A-2", **forbidden)
    # an approval ends that may be one of them
    office.simulator.platform.act("start_approval", {"userid": office.originator})
    (others,) = office.approvals()
    await office.happens("approve", others)
    await office.work(later_s=600)
    assert office.approvals() == [others]
    async with database.transaction() as tx:
        for row in (await tx.execute(select(outbound_requests).where(UNKNOWN))).all():
            await release(tx, row)
    await office.work()
    assert office.approvals() == [others], "it is paused"
    async with database.transaction() as tx:
        await resume(tx)
    await office.work()
    await office.work(later_s=900)
    assert len(office.approvals()) == 2
    found = await office.runtime.rows(select(outbound_requests.c.request_id, outbound_requests.c.result))
    assert sorted(map(tuple, found)) == [("A-1", "done"), ("A-2", "refused")]
