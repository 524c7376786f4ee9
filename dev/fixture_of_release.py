"""Writes what this version keeps and publishes into ``tests/fixtures/<version>/``; later versions read it.

A whole bridge lives for a while on SQLite, and another one on PostgreSQL. What its consumers have on the disk
is copied, and the topics and the groups' offsets as they were when the consumers had stopped. The journal is
not: ``dingbridge journal publish`` empties it before the next version starts::

    .venv/bin/python -m dev.fixture_of_release [FOLDER]
"""

import asyncio
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import apsw
from aiokafka import AIOKafkaProducer

from dev.servers import KafkaServer, PostgresServer, start_kafka, start_postgres
from dev.servers.postgres_wheel import programs
from dev.stack import CONSUMERS, Stack
from dingbridge.console.audit import Audit
from dingbridge.consumers.outbound.messages import key
from dingbridge.kafka.admin import admin_client
from dingbridge.kafka.client import connection
from dingbridge.kafka.reader import TopicReader
from dingbridge.kafka.topic_policy import control_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import KafkaSettings

CORP: Final = "dingcorpsample01"
WITHIN_S: Final = 300.0
OWNERS: Final = '[users]\ntitle = "dingtalk"\n\n[templates."PROC-LEAVE"]\noriginators = ["*"]\n'
APPS: Final = """\
[apps.hr]
token = "fixtureToken"
aes_key = "fixture0aes0key0of0nobody000000000000000000"
owner_keys = ["dingfixtureapp"]
app_key = "dingfixtureapp"
app_secret = "fixture-secret-of-nobody"
corp_id = "dingcorpsample01"

[[apps.hr.previous]]
token = "fixtureTokenOld"
aes_key = "fixture0aes0key0before0that0000000000000000"
until = 2030-01-01T00:00:00Z

[apps.sales]
mode = "stream"
app_key = "dingfixturesales"
app_secret = "fixture-secret-of-nobody"
corp_id = "dingcorpsample01"
"""


def main(folder: Path) -> None:
    """Write both, whole or not at all."""
    with tempfile.TemporaryDirectory(prefix="dingbridge-fixture-") as scratch:
        work, made = Path(scratch), Path(scratch) / "made"
        with (
            start_kafka(work / "servers", how="local") as kafka,
            start_postgres(work / "servers") as postgres,
        ):
            for database in ("sqlite", "postgres"):
                (made / database).mkdir(parents=True)
                _one(database, work, made / database, kafka, postgres)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size // 1000} kB")


def _one(database: str, work: Path, made: Path, kafka: KafkaServer, postgres: PostgresServer) -> None:
    prefix = f"of-{database}."
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "TOPIC_PREFIX": prefix,
        "CONTROL_PREFIX": f"ctl-{prefix}",
        "OUTBOUND_SETTLE_S": "1",
        "RECONCILE_EVERY_DAYS": "0",
    }
    (made / "owners.toml").write_text(OWNERS, encoding="utf-8")
    (made / "apps.toml").write_text(APPS, encoding="utf-8")
    env["OUTBOUND_OWNERS"] = str(made / "owners.toml")
    url = None if database == "sqlite" else postgres.create_database("fixture")
    own = {} if url is None else {name: {"DATABASE_URL": url} for name in CONSUMERS}
    folder = work / database
    folder.mkdir()
    settings = KafkaSettings.load(**{name.lower(): value for name, value in env.items()})
    stack = Stack(folder, env, users=20, own=own)
    try:
        _live(stack, settings)
        for name in (*CONSUMERS, "console"):
            stack.processes[name].terminate()
        for name in (*CONSUMERS, "console"):
            stack.processes[name].stop()
        asyncio.run(_dump_kafka(settings, made))
    finally:
        stack.stop()
    _copy(folder, made, url)


def _live(stack: Stack, settings: KafkaSettings) -> None:
    """A bit of everything, until all consumers have come to rest."""

    def act(action: str) -> None:
        stack.simulate("act", {"action": action})

    for name in ("hire", "hire", "edit", "rename", "move", "leave", "create_department"):
        act(name)
    for name in ("start_approval", "start_approval", "comment", "approve", "refuse"):
        act(name)
    asyncio.run(_say(settings))
    _rest(settings)
    stack.system_a.broken = True
    act("start_approval")
    _rest(settings)
    stack.system_a.broken = False
    stack.dingbridge("dlq", "replay", "forward-a", "--limit", "1", "--yes")
    act("edit")
    _rest(settings)


async def _say(settings: KafkaSettings) -> None:
    """What an OA sends: a department, two people of whom one is gone again, a leave."""
    person: dict[str, Any] = {
        "name": "韩梅梅",
        "mobile": "+86-13800001024",
        "title": "工程师",
        "departments": ["OA-D1"],
    }
    form = {"请假类型": "年假", "开始时间": "2026-12-01", "结束时间": "2026-12-02", "时长(天)": "2"}
    leave: dict[str, Any] = {"processCode": "PROC-LEAVE", "originator": "OA-1", "form": form}
    messages = [
        ("department.desired", "OA-D1", {"version": 1, "name": "研发", "parent": "root"}),
        ("user.desired", "OA-1", {"version": 1, **person}),
        ("user.desired", "OA-2", {"version": 1, **person, "mobile": "+86-13800001025"}),
        ("user.absent", "OA-2", {"version": 2}),
        ("approval.start", "QJ-1", leave),
    ]
    producer = AIOKafkaProducer(**connection(settings))
    await producer.start()
    try:
        for number, (type_, own_id, data) in enumerate(messages):
            event = {
                "specversion": "1.0",
                "id": f"fixture-{number}",
                "source": "urn:example:oa",
                "type": f"com.dingbridge.{type_}",
                "subject": own_id,
                "datacontenttype": "application/json",
                "data": {"corpId": CORP, **data},
            }
            its_key = key(CORP, type_.split(".")[0], own_id)
            topic = control_topic(settings, "outbound")
            await producer.send_and_wait(topic, json.dumps(event).encode(), its_key.encode())
    finally:
        await producer.stop()


def _rest(settings: KafkaSettings) -> None:
    """Wait until the topics stop growing and every group has read all of them, for some seconds."""
    quiet_since, before = time.monotonic(), None

    def quiet() -> bool:
        nonlocal quiet_since, before
        now = asyncio.run(_positions(settings))
        if now != before or now[0] != now[1]:
            quiet_since, before = time.monotonic(), now
        return time.monotonic() - quiet_since > 4

    _until(quiet, "the consumers have read everything")


async def _positions(settings: KafkaSettings) -> tuple[dict[str, int], dict[str, int]]:
    """How far each group has come in each of its partitions, and how far it could."""
    groups = await _offsets(settings)
    async with TopicReader(settings) as reader:
        spans = await reader.spans(await existing_topics(settings))
    ends = {f"{p.topic}/{p.partition}": span.end for p, span in spans.items()}
    read = {
        f"{group} {place}": offset for group, places in groups.items() for place, offset in places.items()
    }
    return read, {name: ends[name.split()[1]] for name in read}


async def _offsets(settings: KafkaSettings) -> dict[str, dict[str, int]]:
    async with admin_client(settings) as admin:
        found = {name: await admin.list_consumer_group_offsets(name) for name in CONSUMERS}
    return {
        name: {
            f"{p.topic}/{p.partition}": at.offset
            for p, at in sorted(offsets.items())
            if at.offset >= 0 and p.topic.startswith((settings.topic_prefix, settings.control_prefix))
        }
        for name, offsets in found.items()
    }


async def _dump_kafka(settings: KafkaSettings, made: Path) -> None:
    """The groups' offsets, and all records by topic, partition and offset, bytes in base64."""
    (made / "groups.json").write_text(json.dumps(await _offsets(settings), indent=1), encoding="utf-8")
    counts = await existing_topics(settings)
    async with TopicReader(settings) as reader:
        records = [_record(r) async for r in reader.read(await reader.spans(counts))]
    records.sort(key=lambda r: (r["topic"], r["partition"], r["offset"]))
    lines = [json.dumps({"topics": counts}), *(json.dumps(r) for r in records)]
    _write(made / "topics.jsonl.gz", "\n".join(lines).encode())


def _record(record: Any) -> dict[str, Any]:
    def text(data: bytes | None) -> str | None:
        return None if data is None else b64encode(data).decode()

    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(record.key),
        "value": text(record.value),
        "headers": [(name, text(value)) for name, value in record.headers],
    }


def _copy(folder: Path, made: Path, url: str | None) -> None:
    """The files as they were left, each as one that needs no WAL."""
    data = folder / "data"
    shutil.copy(folder / "forward.toml", made / "forward.toml")
    audit = Audit(data / "console-audit.jsonl")
    asyncio.run(audit.write("login", user="viewer", role="VIEWER", address="127.0.0.1"))
    asyncio.run(audit.write("command", user="operator", command="dlq replay forward-a", count=1))
    for name in ("console-audit.jsonl", "console-users.toml"):
        shutil.copy(data / name, made / name)
    for source in data.glob("*.db"):
        file = folder / source.name
        _backup(source, file)
        with closing(apsw.Connection(str(file))) as db:
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        _write(made / f"{file.name}.gz", file.read_bytes())
    if url is not None:
        command = [str(programs() / "pg_dump"), "--no-owner", "--inserts", url]
        dumped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        plain = "\n".join(line for line in dumped.splitlines() if not line.startswith(("\\", "--")))
        _write(made / "postgres.sql.gz", plain.encode())


def _backup(source: Path, target: Path) -> None:
    with (
        closing(apsw.Connection(str(source))) as old,
        closing(apsw.Connection(str(target))) as new,
        new.backup("main", old, "main") as backup,
    ):
        backup.step()


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, mtime=0))


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not after {WITHIN_S:g} s: {what}")
        time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else f"tests/fixtures/{version('dingbridge')}"))
