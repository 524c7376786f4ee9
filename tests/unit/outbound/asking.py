"""A DingTalk for requests, and a consumer's database, an agent and the time beside it."""

import asyncio
import contextlib
import itertools
import json

from prometheus_client import CollectorRegistry
from sqlalchemy import select

from dingbridge import open_database
from dingbridge.consumers.outbound.messages import Message
from dingbridge.consumers.outbound.metrics import OutboundMetrics
from dingbridge.consumers.outbound.owners import Owners, Template
from dingbridge.consumers.outbound.requests.agent import RequestAgent
from dingbridge.consumers.outbound.requests.store import store_request
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.settings import OutboundSettings
from dingbridge.consumers.outbound.tables import outbound_outgoing
from dingbridge.dingtalk.errors import (
    AlreadyExists,
    NotFound,
)
from tests.unit.outbound.hands import Faulty, emptied, once

CORP = "dingcorp01"
FIELD = "单号"
SETTLE_S = 60
MINUTE_MS = 60_000
START = {"processCode": "PROC-A", "originator": "zhang", "form": {"事由": "出差"}}
TODO = {"subject": "盘点", "creator": "zhang", "executors": ["li"], "url": "https://oa.example.com/1"}
MORE = {
    "approval.start": START,
    "todo.desired": TODO,
    "todo.done": {"request": "T-1"},
}
_requests = outbound_requests.c
_ids = itertools.count(1)
_memory = open_database("sqlite://")


class DingTalk(Faulty):
    """What the requests use of the client. Reads lag by ``lag_ms``, and DingTalk's clock is ``behind_ms``
    behind ours."""

    def __init__(self, clock, faults=(), lag_ms=0, behind_ms=0):
        super().__init__(faults)
        self.clock, self.lag_ms, self.behind_ms = clock, lag_ms, behind_ms
        self.instances, self.todos = {}, {}

    async def user(self, userid):
        return {"userid": userid, "unionid": f"union-{userid}", "dept_id_list": [7]}

    async def start_approval(self, *, process_code, originator, form, dept_id, approvers):
        def effect():
            values = [{"name": name, "value": value} for name, value in form.items()]
            task = {"taskId": 61000000001, "userId": "li", "status": "RUNNING", "result": "NONE"}
            name = f"pi-{len(self.instances) + 1}"
            document = {"status": "RUNNING", "result": "", "formComponentValues": values, "tasks": [task]}
            self.instances[name] = (self.clock(), document)
            return name

        return self._written("x", effect)

    async def approval_ids(self, process_code, *, start_ms, originator):
        for name, (began, _) in self.instances.items():
            if start_ms <= began - self.behind_ms and began <= self.clock() - self.lag_ms:
                yield name

    async def approval(self, instance_id):
        began, document = self.instances[instance_id]
        if began > self.clock() - self.lag_ms:
            raise NotFound("not yet", api="x")
        return document

    async def create_todo(self, *, source_id, **_):
        if source_id in self.todos:
            raise AlreadyExists("task exist", api="x")
        todo = {"taskId": "t1", "isDone": False}
        return self._written("x", lambda: self.todos.setdefault(source_id, todo)["taskId"])

    async def finish_todo(self, task_id, *, creator):
        self._written("x", lambda: next(iter(self.todos.values())).update(isDone=True))

    async def find_todo(self, source_id, *, person):
        return self.todos.get(source_id)


class World:
    """A consumer's database, an agent, and the time."""

    def __init__(
        self,
        faults=(),
        lag_ms=0,
        behind_ms=0,
        mapped=True,
        originators=("zhang",),
        **settings,
    ):
        self.ms = 1_731_000_000_000
        self.ding = DingTalk(lambda: self.ms, faults, lag_ms, behind_ms)
        template = Template(FIELD if mapped else None, frozenset(originators))
        self.owners = Owners(templates={"PROC-A": template})
        self.database, self.agent = _memory, None
        self.settings = OutboundSettings.load(outbound_settle_s=SETTLE_S, **settings)

    async def send(self, type_, id_, *, source="/oa", **changes):
        data = {"corpId": CORP, **MORE[type_], **changes}
        kind = type_.partition(".")[0]
        message = Message(type_, kind, id_, data["corpId"], None, None, data, source, f"m-{next(_ids)}")
        async with self.database.transaction() as tx:
            await store_request(tx, message, self.ms)
        return message.message_id

    async def work(self, rounds=60):
        """Until nothing is due any more, or so many looks; a killed agent is followed by another."""
        for _ in range(rounds):
            due = await self.database.reader().execute(
                select(_requests.due_ms, _requests.leased_ms).where(_requests.due_ms.is_not(None))
            )
            next_ms = min((max(row) for row in due), default=None)
            if next_ms is None:
                return
            self.ms = max(self.ms, next_ms)
            agent = self.agent or RequestAgent(
                self.database,
                lambda app, corp_id: self.ding,
                self.owners,
                self.settings,
                OutboundMetrics(CollectorRegistry()),
                now=lambda: self.ms,
            )
            self.agent = None
            with contextlib.suppress(asyncio.CancelledError):
                await once(agent)
                self.agent = agent

    async def results(self):
        rows = await self.database.reader().execute(
            select(outbound_outgoing.c.value).order_by(outbound_outgoing.c.seq)
        )
        return [json.loads(row.value)["data"] for row in rows]


async def opened(world):
    world.database = await emptied(world.database)
    return world
