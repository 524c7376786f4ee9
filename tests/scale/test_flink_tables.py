"""The tables of `dingbridge schema ddl --for flink`: a real Flink takes those of all types, and reads one."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from dev.schemas.files import EXAMPLES
from dev.servers import KafkaServer
from dingbridge.events import catalogue
from dingbridge.kafka.client import connection
from dingbridge.kafka.topics import ensure_topics
from dingbridge.schema.ddl import ddl
from dingbridge.settings import KafkaSettings
from dingbridge.simulator.kafka.jars import java
from dingbridge.testing import recorded
from tests.scale.test_flink import flink
from tests.support.processes import environment

TYPE = "bpms_instance_change"
WITHIN_S = 500


def run(folder: Path, statements: list[str]) -> str:
    """What Flink's SQL client prints for these."""
    (folder / "flink").symlink_to(flink() / "flink")
    begin = ["SET 'execution.target' = 'local';", "SET 'sql-client.execution.result-mode' = 'tableau';"]
    (folder / "tables.sql").write_text("\n".join([*begin, *statements]), encoding="utf-8")
    env = {"JAVA_HOME": str(Path(java()).resolve().parents[1]), "JVM_ARGS": "-Xmx1g"}
    env |= {"FLINK_LOG_DIR": str(folder), "HOME": str(folder)}
    done = subprocess.run(
        ["flink/pyflink/bin/sql-client.sh", "-f", "tables.sql"],
        cwd=folder,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert "[ERROR]" not in done.stdout, done.stdout[-3000:]
    return done.stdout


def table(event_type: str, topic: str, bootstrap: str) -> str:
    spec = catalogue.get(event_type)
    assert spec is not None
    return ddl(spec, "flink", topic, bootstrap)


def test_flink_takes_the_table_and_the_view_of_every_type(tmp_path: Path) -> None:
    said = run(tmp_path, [*(table(name, f"dingtalk.{name}", "b:1") for name in catalogue), "SHOW TABLES;"])
    assert f"{2 * len(catalogue)} rows in set" in said


async def test_a_record_counts_once_and_one_that_is_broken_stops_nothing(
    tmp_path: Path, breakable_kafka: KafkaServer, kafka_settings: KafkaSettings
) -> None:
    topic = kafka_settings.topic_prefix + TYPE
    await ensure_topics(kafka_settings, [topic], partitions={topic: 2})
    first: dict[str, Any] = json.loads(recorded(EXAMPLES / f"{TYPE}.json")[0].value)
    records = [{**first, "id": f"pi-{number}"} for number in range(50)]
    records[0] = {**records[0], "data": {name: {"of": "another type"} for name in first["data"]}}
    async with AIOKafkaProducer(**connection(kafka_settings)) as producer:
        await producer.send_and_wait(topic, b'{"no JSON', partition=0)
        for _ in "twice":
            for number, record in enumerate(records):
                await producer.send(topic, json.dumps(record).encode(), partition=number % 2)
    bounded = table(TYPE, topic, breakable_kafka.bootstrap).replace(
        "'format' = 'json'", "'format' = 'json', 'scan.bounded.mode' = 'latest-offset'"
    )
    query = (
        f"SELECT COUNT(`id`), COUNT(`time`), COUNT(`data`.`createTime`) FROM `{TYPE}_once` WHERE id <> '';"
    )
    said = await asyncio.to_thread(run, tmp_path, [bounded, query])
    counts = re.findall(r"^\| \+[IU] \| +(\d+) \| +(\d+) \| +(\d+) \|", said, re.MULTILINE)
    assert counts, said[-3000:]
    assert counts[-1] == (str(len(records)), str(len(records)), str(len(records) - 1))
