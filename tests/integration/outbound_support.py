"""An OA, outbound in memory and the simulated DingTalk: what the tests of outbound share."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from sqlalchemy import func, select

from dingbridge.consumers.outbound import Outbound
from dingbridge.consumers.outbound.contacts.agent import Agent
from dingbridge.consumers.outbound.contacts.wanted import release
from dingbridge.consumers.outbound.messages import key
from dingbridge.consumers.outbound.store import now_ms
from dingbridge.consumers.outbound.tables import outbound_entity, outbound_outgoing
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.events.envelope import Received, to_records
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.testing import MemoryRuntime
from tests.support.waiting import PATIENCE_S, POLL_S
from tests.unit.outbound.hands import once

CORP = "dingcorpsample01"
SETTLES, SETTLE_S = "reality,late_ms=60", 0.1
"""No read is later than the settle time of these tests, which is shorter than a setting may have it."""
SOON_MS = 30_000
"""What is due later than this waits for somebody, and not for a settle time."""

_numbers = itertools.count(1)


def message(type_: str, own_id: str, **data: Any) -> dict[str, Any]:
    """A message of the OA's, as a CloudEvent."""
    kind = type_.split(".")[0]
    return {
        "specversion": "1.0",
        "id": f"m{next(_numbers)}",
        "source": "/oa",
        "type": f"com.dingbridge.{type_}",
        "subject": own_id,
        "partitionkey": key(CORP, kind, own_id),
        "data": {"corpId": CORP, **data},
    }


def user(own_id: str, version: int, **fields: Any) -> dict[str, Any]:
    """A ``user.desired`` in the company's root; ``mobile`` is made of the id's number."""
    number = int("".join(filter(str.isdigit, own_id)) or 0)
    wanted = {"name": f"员工{number}", "mobile": f"139{number:08}", "departments": ["root"], **fields}
    return message("user.desired", own_id, version=version, **wanted)


def department(own_id: str, version: int, parent: str = "root", **fields: Any) -> dict[str, Any]:
    return message(
        "department.desired", own_id, version=version, **{"name": f"部门{own_id}", "parent": parent, **fields}
    )


class Office:
    """Outbound's two halves without Kafka: messages and events go in by hand, the agent is called until
    nothing is due; what would be sent is read from its table."""

    def __init__(self, simulator: Simulator, runtime: MemoryRuntime) -> None:
        self.simulator, self.runtime = simulator, runtime
        consumer = runtime.consumer
        assert isinstance(consumer, Outbound)
        self.consumer = consumer
        self.agent = Agent(
            runtime.database, consumer.dingtalk_of, consumer.owners, consumer.own, consumer.metrics,
        )  # fmt: skip
        self.told: list[Any] = []
        """Events of DingTalk that were not delivered yet."""
        self._sequence = itertools.count(1)

    async def say(self, *messages: dict[str, Any]) -> None:
        for one in messages:
            outcome = await self.runtime.deliver(one)
            assert outcome.kind == "done", outcome

    def act(self, action: str, **arguments: Any) -> None:
        """A person does something in DingTalk."""
        self.simulator.act(action, arguments)

    async def hear(self) -> None:
        """Deliver the events that DingTalk has told so far."""
        told, self.told = self.told, []
        for one in told:
            if one.event_type not in Outbound.topics:
                continue
            received = Received(
                seq=next(self._sequence), journal="j1", received_ms=one.time_ms, app="default", via="http",
                body=one.plaintext(),
            )  # fmt: skip
            for record in to_records(received):
                outcome = await self.runtime.attempt(record)
                if outcome.kind == "retry":
                    self.told.append(one)
                else:
                    assert outcome.kind == "done", outcome

    async def settle(self) -> None:
        """Work, and hear what DingTalk tells of it, until nothing is due soon."""
        due = select(func.min(outbound_entity.c.due_ms))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while await once(self.agent):
                    await self.hear()
                await self.hear()
                [[next_ms]] = await self.runtime.rows(due)
                if next_ms is None or next_ms > now_ms() + SOON_MS:
                    return
                await asyncio.sleep(min(max(POLL_S, (next_ms - now_ms()) / 1000), 4 * POLL_S))

    async def release(self, own_id: str) -> None:
        async with self.runtime.database.transaction() as tx:
            found = await tx.execute(select(outbound_entity).where(outbound_entity.c.own_id == own_id))
            await release(tx, found.one())

    async def sent(self, topic: str = "outbound-results") -> list[dict[str, Any]]:
        """The data of all that was sent there."""
        columns = outbound_outgoing.c
        rows = await self.runtime.rows(
            select(columns.value).where(columns.topic == topic).order_by(columns.seq)
        )
        return [orjson.loads(row.value)["data"] for row in rows]

    async def results(self, own_id: str) -> list[str]:
        """What the OA was told about this entity: results, with the reason behind a slash."""
        return [
            "/".join(filter(None, (one["result"], one.get("reason"))))
            for one in await self.sent()
            if one["id"] == own_id
        ]

    def writes(self) -> list[tuple[str, bool]]:
        """The writes that DingTalk did: the call's name, and whether its state differed afterwards."""
        return [
            (one["path"].removeprefix("/topapi/v2/"), one["changed"]) for one in self.simulator.writes.log
        ]

    def founder(self) -> Any:
        """Somebody who was there before us, and of whom DingTalk tells."""
        people, sees = self.simulator.platform.company.users.values(), self.simulator.scope.sees_user
        return next(one for one in people if sees(one.userid))

    def person(self, userid: str) -> dict[str, Any]:
        """A user as DingTalk's API shows him."""
        company = self.simulator.platform.company
        return company.user_result(company.user(userid))

    def metric(self, name: str, **labels: str) -> float:
        return self.consumer.registry.get_sample_value(f"dingbridge_outbound_{name}", labels) or 0.0


def _outbound() -> Outbound:
    found = Outbound()
    found.own = found.own.model_copy(update={"outbound_settle_s": SETTLE_S})
    return found


@asynccontextmanager
async def office(monkeypatch: Any, database_url: str, **environment: str) -> AsyncIterator[Office]:
    """``environment``: settings beside those of a test, which are short."""
    values = {"OUTBOUND_GRACE_DAYS": "0", **environment}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = SimulatorSettings(
        simulator_port=0, simulator_users=6, simulator_departments=2, simulator_profile=SETTLES
    )
    async with (
        Simulator(settings) as simulator,
        DingTalkClient(
            app_key=SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
            app_secret=SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
            base=simulator.base_url,
        ) as client,
        MemoryRuntime(_outbound(), database_url=database_url, dingtalk=client) as runtime,
    ):
        found = Office(simulator, runtime)
        monkeypatch.setattr(simulator.delivery, "send", lambda events, delay_s=0.0: found.told.extend(events))
        yield found
