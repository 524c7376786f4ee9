"""Approvals for the tests of the approval consumer: the client's method that it calls, and events."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Table, select

from dingbridge.consumers.approval.tables import entities
from dingbridge.dingtalk.api.approvals import IDS, INSTANCES, TEMPLATES
from dingbridge.dingtalk.errors import NotFound
from dingbridge.events.control import resync_requested
from dingbridge.events.envelope import Received, to_records
from dingbridge.events.event import Event, decode
from dingbridge.testing.memory import MemoryRuntime

CORP = "dingcorp01"
T = 1731000000000
"""2024-11-07T17:20:00Z, 2024-11-08 01:20:00 in Shanghai."""

LATER = T + 10 * 365 * 86_400_000
"""Received by the bridge long after any fetch of these tests."""

_seq = itertools.count(1)

LEAVE = {
    "请假类型": "年假",
    "开始时间": "2024-11-11",
    "结束时间": "2024-11-12",
    "时长(天)": "2",
    "请假事由": "回老家",
}


def field(name: str, value: Any, component: str = "TextField", **more: Any) -> dict[str, Any]:
    return {"id": f"{component}-{name}", "name": name, "componentType": component, "value": value, **more}


class Office:
    """The approvals as the Open API would show them, and codes by template name. ``calls`` counts by API."""

    def __init__(self) -> None:
        self.approvals: dict[str, dict[str, Any]] = {}
        self.templates_by_name: dict[str, str] = {}
        self.started: dict[str, list[tuple[int, str]]] = {}
        """By process code: when each instance was started (epoch ms), and its id."""
        self.most_listed = 10_000
        self.calls: Counter[str] = Counter()

    def at(self, priority: Any) -> "Office":
        return self

    async def approval(self, process_instance_id: str) -> dict[str, Any]:
        self.calls[INSTANCES] += 1
        if process_instance_id not in self.approvals:
            raise NotFound("no such instance", api=INSTANCES, name="processInstanceNotExist")
        return orjson.loads(orjson.dumps(self.approvals[process_instance_id]))

    async def templates(self, userid: str | None = None) -> list[dict[str, Any]]:
        self.calls[TEMPLATES] += 1
        named = self.templates_by_name | {f"模板 {code}": code for code in self.started}
        return [{"name": name, "processCode": code} for name, code in named.items()]

    async def approval_ids(
        self, process_code: str, *, start_ms: int, end_ms: int | None = None
    ) -> AsyncIterator[str]:
        self.calls[IDS] += 1
        assert end_ms is not None
        assert end_ms - start_ms < 120 * 86_400_000
        found = [id_ for at, id_ in self.started.get(process_code, []) if start_ms <= at <= end_ms]
        for id_ in found[: self.most_listed]:
            yield id_

    def delete(self, instance_id: str = "pi-1") -> None:
        """DingTalk knows nothing of it any more."""
        self.approvals.pop(instance_id)

    def finish(self, instance_id: str = "pi-1", form: Any = None, **changes: Any) -> dict[str, Any]:
        """An approved leave; ``changes`` to the document, a value of ``...`` leaves the field out."""
        whole = {
            "title": "张三提交的请假",
            "createTime": "2024-11-08T01:20Z",
            "finishTime": "2024-11-08T01:21Z",
            "originatorUserId": "u001",
            "originatorDeptId": "433",
            "originatorDeptName": "研发部",
            "status": "COMPLETED",
            "result": "agree",
            "businessId": "202411080120000000001",
            "bizAction": "NONE",
            "bizData": "{}",
            "attachedProcessInstanceIds": [],
            "formComponentValues": form or [field(name, value) for name, value in LEAVE.items()],
            "operationRecords": [
                {
                    "userId": "u001",
                    "date": "2024-11-08T01:20Z",
                    "type": "START_PROCESS_INSTANCE",
                    "result": "NONE",
                    "showName": "提交申请",
                    "images": [],
                },
                {
                    "userId": "u002",
                    "date": "2024-11-08T01:21Z",
                    "type": "EXECUTE_TASK_NORMAL",
                    "result": "AGREE",
                    "remark": "同意",
                    "activityId": "1918_5cd3",
                    "images": [],
                },
            ],
            "tasks": [
                {
                    "taskId": 61056035232,
                    "userId": "u002",
                    "status": "COMPLETED",
                    "result": "AGREE",
                    "createTime": "2024-11-08T01:20Z",
                    "finishTime": "2024-11-08T01:21Z",
                    "activityId": "1918_5cd3",
                    "mobileUrl": "aflow.dingtalk.com?procInsId=pi-1&taskId=61056035232",
                    "pcUrl": "aflow.dingtalk.com?procInsId=pi-1&taskId=61056035232",
                }
            ],
        } | changes
        self.approvals[instance_id] = {name: value for name, value in whole.items() if value is not ...}
        return self.approvals[instance_id]


def instance(
    kind: str, at_ms: int = T + 100_000, received_ms: int | None = None, app: str = "default", **more: Any
) -> Event:
    """A ``bpms_instance_change`` event of the instance pi-1; a value of ``...`` leaves a field out."""
    payload = {
        "EventType": "bpms_instance_change",
        "type": kind,
        "processInstanceId": "pi-1",
        "corpId": CORP,
        "createTime": T,
        "title": "张三提交的请假",
        "staffId": "u001",
        "url": "https://aflow.dingtalk.com/pi-1",
        "processCode": "PROC-LEAVE",
        "businessId": "202411080120000000001",
    }
    if kind != "start":
        payload["finishTime"] = at_ms
    if kind == "finish":
        payload["result"] = "agree"
    return _event(payload | more, at_ms if received_ms is None else received_ms, app)


def task(kind: str, at_ms: int = T + 50_000, received_ms: int | None = None, **more: Any) -> Event:
    """A ``bpms_task_change`` event of the instance pi-1."""
    payload = {
        "EventType": "bpms_task_change",
        "type": kind,
        "taskId": 61056035232,
        "processInstanceId": "pi-1",
        "staffId": "u002",
        "corpId": CORP,
        "createTime": at_ms if kind in ("start", "comment") else T,
        "processCode": "PROC-LEAVE",
    }
    if kind not in ("start", "comment"):
        payload["finishTime"] = at_ms
    return _event(payload | more, at_ms if received_ms is None else received_ms)


def _event(payload: dict[str, Any], received_ms: int, app: str = "default") -> Event:
    payload = {name: value for name, value in payload.items() if value is not ...}
    received = Received(
        seq=next(_seq),
        journal="j1",
        received_ms=received_ms,
        app=app,
        via="http",
        body=orjson.dumps(payload),
    )
    (record,) = to_records(received)
    return decode(record.value)


def resync_request(id: str = "r-1", *, since: datetime, app: str = "default", part: Any = "all") -> Event:
    """What the bridge asks for when events may be lost."""
    now_ms, since_ms = (int(moment.timestamp() * 1000) for moment in (datetime.now(UTC), since))
    request = resync_requested(
        id=id, app=app, corp_id=None, now_ms=now_ms, since_ms=since_ms, part=part, reason="a page is gone"
    )
    return decode(request.value)


async def hear(archive: MemoryRuntime, event: Event, **more: Any) -> None:
    """The event is handled; nothing is read yet."""
    outcome = await archive.deliver(event, **more)
    assert outcome.kind == "done", outcome


async def deliver(archive: MemoryRuntime, event: Event) -> None:
    """The event is handled, and what is due is read."""
    await hear(archive, event)
    await look(archive)


async def look(archive: MemoryRuntime) -> int:
    """Read what is due; returns how many reads that was."""
    consumer: Any = archive.consumer
    return int(await consumer.look_due())


async def entity(archive: MemoryRuntime, entity_id: str = "pi-1") -> Any:
    """The row of an entity; None where there is none."""
    rows = await archive.rows(select(entities).where(entities.c.entity_id == entity_id))
    return rows[0] if rows else None


async def heard(archive: MemoryRuntime, office: Office, ended_ms: int = T - 86_400_000) -> None:
    """The event of an approval without an action that ended then (epoch ms): the archive's first."""
    office.finish("pi-heard")
    more = {"processInstanceId": "pi-heard", "processCode": "PROC-OTHER", "createTime": ...}
    await deliver(archive, instance("finish", ended_ms, **more))


async def only(archive: MemoryRuntime, table: Table) -> Any:
    """The one row that ``table`` holds."""
    (row,) = await archive.rows(select(table))
    return row
