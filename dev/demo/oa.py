"""An OA as small as one can be: two tables in a SQLite file, and three topics. It knows nothing of DingTalk.

Whoever changes a row raises its ``version``; rows not sent to DingTalk yet go out, and what people change
in DingTalk comes back into the row. Any system in any language would do the
same (docs/guide/both-directions.md).
"""

import json
import sqlite3
from pathlib import Path
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from dingbridge.kafka.client import connection
from dingbridge.settings import KafkaSettings

OWNERS: Final = """\
# whose word counts in DingTalk: OUTBOUND_OWNERS of the demo
[users]
title = "dingtalk"

[templates."PROC-LEAVE"]
request_id_field = "外部单号"
originators = ["*"]
"""

_TABLES: Final = """
CREATE TABLE employees (id TEXT PRIMARY KEY, name TEXT, mobile TEXT, title TEXT, workPlace TEXT,
                        version INTEGER, sent INTEGER DEFAULT 0, result TEXT);
CREATE TABLE leaves (id TEXT PRIMARY KEY, employee TEXT, days TEXT,
                     sent INTEGER DEFAULT 0, result TEXT, instance TEXT, outcome TEXT);
"""
_FIELDS: Final = ("name", "mobile", "title", "workPlace")


class Oa:
    """``async with``. ``sql`` is what its own people do; ``exchange`` is its half of the bridge."""

    def __init__(self, folder: Path, corp_id: str, settings: KafkaSettings) -> None:
        self.file = folder / "oa.db"
        self._corp_id = corp_id
        self._prefix = settings.control_prefix
        self._producer = AIOKafkaProducer(**connection(settings), acks="all")
        self._consumer = AIOKafkaConsumer(
            f"{self._prefix}outbound-results",
            f"{self._prefix}changes",
            **connection(settings),
            group_id=None,
            auto_offset_reset="earliest",
        )
        self._seen: set[tuple[str, str]] = set()
        self.changes: list[dict[str, Any]] = []
        """The data of every change that it received."""

    async def __aenter__(self) -> Self:
        self._db = sqlite3.connect(self.file, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(_TABLES)
        await self._producer.start()
        await self._consumer.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._consumer.stop()
        await self._producer.stop()
        self._db.close()

    def sql(self, statement: str, *values: object) -> None:
        self._db.execute(statement, values)

    def one(self, statement: str, *values: object) -> Any:
        """The first column of the first row; None without one."""
        row = self._db.execute(statement, values).fetchone()
        return None if row is None else row[0]

    async def exchange(self) -> None:
        """Sends the rows that were not sent yet, and takes what came."""
        for row in self._db.execute("SELECT * FROM employees WHERE version > sent").fetchall():
            fields = {name: row[name] for name in _FIELDS} | {"departments": ["root"]}
            await self._send("user.desired", "user", row["id"], {"version": row["version"], **fields})
            self.sql("UPDATE employees SET sent = ? WHERE id = ?", row["version"], row["id"])
        for row in self._db.execute("SELECT * FROM leaves WHERE NOT sent").fetchall():
            form = {
                "请假类型": "年假",
                "开始时间": "2026-12-01",
                "结束时间": "2026-12-02",
                "时长(天)": row["days"],
            }
            start = {"processCode": "PROC-LEAVE", "originator": row["employee"], "form": form}
            await self._send("approval.start", "approval", row["id"], start)
            self.sql("UPDATE leaves SET sent = 1 WHERE id = ?", row["id"])
        for records in (await self._consumer.getmany(timeout_ms=200)).values():
            for record in records:
                event = json.loads(record.value)
                if (key := (event["source"], event["id"])) not in self._seen:
                    self._seen.add(key)
                    self._take(event["type"], event["data"])

    async def _send(self, verb: str, kind: str, id_: str, data: dict[str, Any]) -> None:
        event = {
            "specversion": "1.0",
            "id": f"{id_}-{data.get('version', 1)}",
            "source": "/oa/demo",
            "type": f"com.dingbridge.{verb}",
            "subject": id_,
            "data": {"corpId": self._corp_id, **data},
        }
        value = json.dumps(event, ensure_ascii=False).encode()
        key = f"{self._corp_id}:{kind}:{id_}".encode()
        await self._producer.send_and_wait(f"{self._prefix}outbound", value, key)

    def _take(self, type_: str, data: dict[str, Any]) -> None:
        id_ = data["id"]
        if type_ == "com.dingbridge.outbound.result":
            table = "leaves" if data["kind"] == "approval" else "employees"
            words = f"{data['result']} {data.get('version', '')}".strip()
            self.sql(f"UPDATE {table} SET result = ? WHERE id = ?", words, id_)  # noqa: S608
            if table == "leaves":
                self.sql("UPDATE leaves SET instance = ? WHERE id = ?", data.get("dingtalkId"), id_)
            return
        if id_ is None:  # of whom this OA never said anything
            return
        self.changes.append(data)
        if data["kind"] == "approval":
            self.sql("UPDATE leaves SET outcome = ? WHERE id = ?", data["outcome"], id_)
            return
        for name, change in data["fields"].items():
            if name in _FIELDS:
                # its own trigger sends this to the bridge, too: the answer is `unchanged`, and there it ends
                self.sql(
                    f"UPDATE employees SET {name} = ?, version = version + 1 WHERE id = ?",  # noqa: S608
                    change["new"],
                    id_,
                )
