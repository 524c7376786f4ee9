"""examples/scale/tables/flink.sql: a real Flink takes it, and counts each record once."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from dev.schemas.files import EXAMPLES, ROOT
from dev.servers import KafkaServer
from dingbridge.kafka.client import connection
from dingbridge.kafka.topics import ensure_topics
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


async def test_a_record_counts_once_and_one_that_is_broken_stops_nothing(
    tmp_path: Path, breakable_kafka: KafkaServer, kafka_settings: KafkaSettings
) -> None:
    topic = kafka_settings.topic_prefix + TYPE
    await ensure_topics(kafka_settings, [topic], partitions={topic: 2})
    first: dict[str, Any] = json.loads(recorded(EXAMPLES / f"{TYPE}.json")[0].value)
    records = [{**first, "id": f"pi-{number}"} for number in range(50)]
    records[0] = {**records[0], "data": "of another type"}
    async with AIOKafkaProducer(**connection(kafka_settings)) as producer:
        await producer.send_and_wait(topic, b'{"no JSON', partition=0)
        for _ in "twice":
            for number, record in enumerate(records):
                await producer.send(topic, json.dumps(record).encode(), partition=number % 2)
    bounded = (
        (ROOT / "examples/scale/tables/flink.sql")
        .read_text(encoding="utf-8")
        .replace(f"dingtalk.{TYPE}", topic)
        .replace("localhost:9092", breakable_kafka.bootstrap)
        .replace("'format' = 'json'", "'format' = 'json', 'scan.bounded.mode' = 'latest-offset'")
    )
    query = (
        "SELECT COUNT(`id`), COUNT(`time`), COUNT(JSON_VALUE(`data`, '$.createTime')) FROM events_once "
        "WHERE `id` <> '';"
    )
    said = await asyncio.to_thread(run, tmp_path, [bounded, query])
    counts = re.findall(r"^\| \+[IU] \| +(\d+) \| +(\d+) \| +(\d+) \|", said, re.MULTILINE)
    assert counts, said[-3000:]
    assert counts[-1] == (str(len(records)), str(len(records)), str(len(records) - 1))
