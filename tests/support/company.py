"""A small company in the consumers' tables, to be looked up."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table

from dingbridge import Database, open_database
from dingbridge.consumers.address_sync.tables import departments, memberships, users
from dingbridge.consumers.address_sync.tables import metadata as address_sync
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.consumers.approval.tables import metadata as approval
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.tables import metadata as outbound
from dingbridge.consumers.outbound.tables import outbound_entity

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ROWS: Mapping[Table, list[dict[str, Any]]] = {
    departments: [
        {"dept_id": 1, "parent_id": None, "name": "示例公司"},
        {"dept_id": 7, "parent_id": 1, "name": "采购部", "code": "D-07"},
        {"dept_id": 8, "parent_id": 7, "name": "采购一组"},
        {"dept_id": 9, "parent_id": 1, "name": "100%_done", "deleted_at": NOW},
    ],
    users: [
        {"userid": "u-1", "name": "张三", "mobile": "13800138000", "job_number": "A-17"},
        {"userid": "u-2", "name": "张三丰", "mobile": "+852-66668000"},
        {"userid": "u-3", "name": "Zhang San", "mobile": None},
        {"userid": "u-4", "name": "李四", "left_at": NOW},
        {"userid": "u-5", "name": "100%_sure"},
    ],
    memberships: [
        {"userid": "u-1", "dept_id": 7},
        {"userid": "u-1", "dept_id": 8},
        {"userid": "u-2", "dept_id": 1},
    ],
    approval_instances: [
        {
            "instance_id": "pi-1",
            "business_id": "202611270001",
            "title": "张三提交的请假",
            "outcome": "approved",
        },
        {"instance_id": "pi-2", "business_id": "202611270002", "title": "李四提交的采购"},
    ],
    outbound_requests: [
        {"kind": "approval", "request_id": "QJ 1", "ding_id": "pi-1", "result": "done"},
        {"kind": "todo", "request_id": "TD-1", "ding_id": None, "result": "refused"},
    ],
    outbound_entity: [{"kind": "user", "own_id": "OA-1024", "ding_id": "u-1", "result": "done"}],
}
_NOT_NULL: Mapping[Table, dict[str, Any]] = {
    departments: {"updated_at": NOW},
    users: {"updated_at": NOW, "details_pending": False},
    memberships: {},
    approval_instances: {
        "updated_at": NOW,
        "app": "default",
        "document_state": "full",
        "raw_events": "{}",
    },
    outbound_requests: {"type": "", "body": "{}", "source": "", "message_id": ""},
    outbound_entity: {
        "version": 1,
        "absent": False,
        "desired": "{}",
        "since_ms": 0,
        "answers": "[]",
        "flagged": False,
        "present": True,
        "removal_approved": False,
    },
}


async def fill(url: str, *, corp_id: str = "ding1") -> None:
    """All tables and rows, in one database."""
    database: Database = open_database(url)
    try:
        await database.create_tables(address_sync, approval, outbound)
        async with database.transaction() as tx:
            for table, rows in ROWS.items():
                for row in rows:
                    await tx.execute(table.insert(), {"corp_id": corp_id, **_NOT_NULL[table], **row})
    finally:
        await database.close()
