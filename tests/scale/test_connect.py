"""examples/scale/connect, run for real: what was pushed to the ingress stands in PostgreSQL, once."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from dev.servers import KafkaServer
from dingbridge.kafka.client import connection
from dingbridge.settings import KafkaSettings
from tests.scale.connect_support import Connect
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_topic
from tests.support.load import CORP, event
from tests.support.processes import Processes
from tests.support.pusher import Pusher
from tests.support.waiting import eventually

APPROVALS = "bpms_instance_change"
CONTACTS = ("user_add_org", "user_modify_org", "user_leave_org")
EACH = 300
"""How many of each are pushed before Connect is killed, and how many after it."""

BROKEN = b'{"no JSON'


def contact(number: int) -> bytes:
    """A contact event; both of DingTalk's generations take turns."""
    kind, user, at = CONTACTS[number % 3], f"user-{number}", 1_731_000_000_000 + number
    old = {"EventType": kind, "CorpId": CORP, "UserId": [user], "TimeStamp": str(at), "OptStaffId": "boss"}
    new = {
        "EventType": kind,
        "CorpId": CORP,
        "userId": [user],
        "timeStamp": str(at),
        "EventTime": at,
        "eventId": f"e-{number}",
        "BizId": f"b-{number}",
        **({"diffInfo": {"prev": {"name": "a"}, "curr": {"name": "b"}}} if number % 3 == 1 else {}),
    }
    return json.dumps(new if number % 2 else old).encode()


@pytest.fixture
async def connect(
    tmp_path: Path, breakable_kafka: KafkaServer, kafka_settings: KafkaSettings, postgres_url: str
) -> AsyncIterator[Connect]:
    worker = await asyncio.to_thread(
        Connect, tmp_path, breakable_kafka.bootstrap, kafka_settings.topic_prefix, postgres_url
    )
    try:
        yield worker
    finally:
        worker.kill()


class Tables:
    def __init__(self, url: str) -> None:
        self._url = url

    async def rows(self, query: str) -> list[Any]:
        """None of them while the table is not there."""
        database = await asyncpg.connect(self._url)
        try:
            return list(await database.fetch(query))
        except asyncpg.UndefinedTableError:
            return []
        finally:
            await database.close()

    async def count(self, table: str) -> int:
        rows = await self.rows(f"SELECT count(*) FROM {table}")
        return rows[0][0] if rows else 0


async def test_tables_hold_what_was_pushed_across_a_crash_of_connect(
    connect: Connect,
    kafka_env: dict[str, str],
    kafka_settings: KafkaSettings,
    postgres_url: str,
    processes: Processes,
    tmp_path: Path,
) -> None:
    tables = Tables(postgres_url)
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    await asyncio.to_thread(ingress.start)
    env = {**kafka_env, "TOPIC_PARTITIONS": "2"}
    made = await asyncio.to_thread(processes.run, "topics", "ensure", APPROVALS, *CONTACTS, env=env)
    assert made.returncode == 0, made.stderr

    async def push(first: int) -> None:
        numbers = range(first, first + EACH)
        pusher = Pusher(ingress.url, retries=2)
        await pusher.push_all([(n, event(n)) for n in numbers] + [(-n, contact(n)) for n in numbers])
        assert set(pusher.answers.values()) == {"success"}

    async def reached(approvals: int, contacts: int) -> bool:
        assert not await connect.failures()
        there = await tables.count("approvals") >= approvals
        return there and await tables.count("contacts") >= contacts

    await connect.start()
    for name in ("approvals", "contacts"):
        await connect.configure(name)
    async with AIOKafkaProducer(**connection(kafka_settings)) as producer:
        await producer.send_and_wait(f"{kafka_settings.topic_prefix}{APPROVALS}", BROKEN, key=b"k")
    await push(1)
    await eventually(lambda: reached(1, 1), 180, "the first rows are there")
    connect.kill()
    await push(1 + EACH)
    odd = json.loads(event(0, title="7")) | {"createTime": "yesterday"}
    await Pusher(ingress.url, retries=2).push_all([(0, json.dumps(odd).encode())])
    await connect.start()
    await eventually(lambda: reached(2 * EACH + 1, 2 * EACH), 300, "all rows are there")

    for table, types in (("approvals", (APPROVALS,)), ("contacts", CONTACTS)):
        pushed = {}
        for kind in types:
            for record in await read_topic(kafka_settings, f"{kafka_settings.topic_prefix}{kind}"):
                if record.value != BROKEN:
                    envelope = json.loads(record.value)
                    pushed[envelope["source"], envelope["id"]] = envelope
        rows = {(row["source"], row["id"]): row for row in await tables.rows(f"SELECT * FROM {table}")}
        assert rows.keys() == pushed.keys()
        assert len(rows) == 2 * EACH + (table == "approvals")
        for key, envelope in pushed.items():
            row, data = rows[key], envelope["data"]
            assert (row["type"], row["subject"]) == (envelope["type"], envelope["subject"])
            assert row["time"].isoformat(timespec="milliseconds")[:23] == envelope["time"].rstrip("Z")
            fields = {name: data[name] for name in data.keys() & {"title", "userId", "finishTime", "eventId"}}
            assert {name: row[f"data_{name.lower()}"] for name in fields} == fields
    [zero] = await tables.rows("SELECT data_createtime FROM approvals WHERE data_processinstanceid = 'pi-0'")
    assert zero["data_createtime"] == 0

    dead = await read_topic(kafka_settings, f"ctl-{kafka_settings.topic_prefix}dlq.connect-approvals")
    assert {(record.key, record.value) for record in dead} == {(b"k", BROKEN)}  # again after a crash, perhaps
    headers = dict(dead[0].headers)
    assert headers["__connect.errors.topic"].decode() == f"{kafka_settings.topic_prefix}{APPROVALS}"
