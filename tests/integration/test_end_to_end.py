"""The whole path with real processes: simulator, ingress, Kafka, two consumers, and a database of each kind.

At the end the tables must equal what the platform's own API says of everything that had an event.
"""

import asyncio
import json
from collections import Counter

import pytest
from sqlalchemy import select

from dingbridge.consumers.address_sync.tables import departments, memberships, users
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.events import decode
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.worker.store.database import open_database
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_all
from tests.support.processes import eventually
from tests.support.sizes import on_one_database

pytestmark = on_one_database

ACTIONS = (
    ("create_department", {}),
    ("hire", {"count": 4}),
    ("move", {}),
    ("rename", {}),
    ("hire", {"count": 3}),
    ("leave", {}),
    ("rename_department", {}),
    ("start_approval", {"process_code": "PROC-LEAVE"}),
    ("start_approval", {"process_code": "PROC-LEAVE"}),
    ("start_approval", {"process_code": "PROC-EXPENSE"}),
    ("approve", {}),
    ("refuse", {}),
    ("revoke", {}),
)


class Stack:
    """Everything between DingTalk and the tables."""

    def __init__(self, simulator, ingress, processes, env):
        self.simulator, self.ingress, self.processes, self.env = simulator, ingress, processes, env

    def consume(self, name):
        return self.processes.start("consume", name, env=self.env)

    def act(self, rounds):
        for _ in range(rounds):
            for action, arguments in ACTIONS:
                self.simulator.act(action, arguments)

    async def answered(self):
        await self.simulator.pusher.drain()
        assert self.simulator.stats()["failed"] == 0
        await eventually(lambda: asyncio.to_thread(self.ingress.drained), 120, "all is in Kafka")


@pytest.fixture
async def stack(processes, kafka_env, database_url, tmp_path):
    settings = SimulatorSettings.load(simulator_port=0, simulator_users=20, simulator_departments=5)
    async with Simulator(settings) as simulator:
        ingress = IngressUnderTest(processes, tmp_path, kafka_env, {"DINGTALK_API_BASE": simulator.base_url})
        await asyncio.to_thread(ingress.start)
        env = {
            **SAMPLE_CREDENTIALS,
            **kafka_env,
            "TOPIC_PARTITIONS": "2",
            "DINGTALK_API_BASE": simulator.base_url,
            "DATABASE_URL": database_url,
        }
        asking = {**env, "ADMIN_PORT": str(ingress.admin_port)}
        result = await asyncio.to_thread(
            processes.run, "callback", "register", "--url", ingress.url, env=asking
        )
        assert result.returncode == 0, result.stderr
        yield Stack(simulator, ingress, processes, env)


async def rows(database, statement):
    return [dict(row._mapping) for row in await database.reader().execute(statement)]


async def test_the_tables_become_what_the_platform_says(stack, database_url, kafka_settings):
    sync, approval = stack.consume("address-sync"), stack.consume("approval")
    for process in (sync, approval):
        await asyncio.to_thread(process.wait_for_log, "consumer.assigned")
    stack.act(6)
    await stack.answered()
    seen = await subjects(kafka_settings)
    database = open_database(database_url)
    try:
        await eventually(lambda: equal(database, stack.simulator.state(), seen), 180, "equal tables")

        # one consumer is stopped; the other does not notice, and the first catches up later
        sync.terminate()
        assert await asyncio.to_thread(sync.wait, 90) == 0
        stack.act(2)
        await stack.answered()
        seen = await subjects(kafka_settings)
        await eventually(lambda: archived(database, stack.simulator.state(), seen), 180, "archived alone")
        assert approval.running
        assert not await address_book_equal(database, stack.simulator.state(), seen)
        await asyncio.to_thread(stack.consume, "address-sync")
        await eventually(lambda: equal(database, stack.simulator.state(), seen), 180, "caught up")
        leave = [
            a
            for a in approvals(stack.simulator.state(), seen)
            if a["process_code"] == "PROC-LEAVE" and a["result"] == "agree" and a["status"] == "COMPLETED"
        ]
        ledger = await rows(database, select(leave_ledger))
        assert Counter(r["instance_id"] for r in ledger) == Counter(a["process_instance_id"] for a in leave)
        assert ledger, "some leave was approved"
    finally:
        await database.close()
    shown = await asyncio.to_thread(stack.processes.run, "consume", "address-sync", "--show", env=stack.env)
    assert shown.returncode == 0, shown.stderr
    name = next(iter(stack.simulator.state()["users"]))["name"]
    assert "userid" in shown.stdout
    assert name not in "".join(p.log_text() for p in stack.processes.all), "no names in logs"


async def subjects(settings):
    """What had an event, by family: user ids, department ids, approval instance ids."""
    found = {"user": set(), "dept": set(), "bpms": set()}
    for records in (await read_all(settings)).values():
        for record in records:
            event = decode(record.value)
            if event.event_type.startswith("bpms_"):
                found["bpms"].add(event.subject)
            elif event.event_type.startswith("org_dept"):
                found["dept"].add(int(event.subject))
            elif event.event_type.startswith("user_"):
                found["user"].add(event.subject)
    return found


def approvals(state, seen):
    return [
        a
        for a in state["approvals"]
        if a["process_instance_id"] in seen["bpms"] and a["status"] in ("COMPLETED", "TERMINATED")
    ]


async def equal(database, state, seen):
    return await address_book_equal(database, state, seen) and await archived(database, state, seen)


async def address_book_equal(database, state, seen):
    there = {u["userid"]: u for u in state["users"]}
    stored = {r["userid"]: r for r in await rows(database, select(users))}
    links = {}
    for row in await rows(database, select(memberships)):
        links.setdefault(row["userid"], set()).add(row["dept_id"])
    for userid in seen["user"]:
        user, row = there.get(userid), stored.get(userid)
        if user is None:
            if row is not None and row["left_at"] is None:
                return False
            continue
        if row is None or row["left_at"] is not None:
            return False
        if any(row[k] != user.get(k) for k in ("name", "unionid", "job_number", "title", "mobile")):
            return False
        if links.get(userid, set()) != set(user["dept_id_list"]):
            return False
    known = {d["dept_id"]: d for d in state["departments"]}
    names = {r["dept_id"]: (r["name"], r["deleted_at"]) for r in await rows(database, select(departments))}
    for dept_id in seen["dept"]:
        department = known.get(dept_id)
        name, deleted_at = names.get(dept_id, (None, None))
        if department is None and dept_id in names and deleted_at is None:
            return False
        if department is not None and (name != department["name"] or deleted_at is not None):
            return False
    return True


async def archived(database, state, seen):
    stored = {r["instance_id"]: r for r in await rows(database, select(approval_instances))}
    for approval in approvals(state, seen):
        row = stored.get(approval["process_instance_id"])
        if row is None or row["document_state"] != "full" or row["title"] != approval["title"]:
            return False
        if row["process_code"] != approval["process_code"]:
            return False
        if json.loads(row["raw_document"])["status"] != approval["status"]:
            return False
    return True
