"""examples/scale/flink, run for real: what its SQL writes is what was pushed, counted here without it."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from dev.servers import GuardedProcess, KafkaServer
from dingbridge.kafka.client import connection
from dingbridge.settings import KafkaSettings
from dingbridge.simulator.kafka.jars import Jars, cache_dir, fetch_jars, java
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import Record, read_topic
from tests.support.load import CORP
from tests.support.processes import Processes, environment
from tests.support.pusher import Pusher
from tests.support.waiting import eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "scale" / "flink"
JARS = Jars("Flink connector", "5.0.0-2.2", EXAMPLE / "pom.xml", 20_000_000)
APPROVAL, RESULT = "bpms_instance_change", "approvals-by-hour"
HOUR_MS, FIRST_MS = 3_600_000, 1_731_002_400_000  # 2024-11-07T18:00:00Z
ENDS = {"type": "finish", "result": "agree", "finishTime": FIRST_MS}
TEMPLATES = ("PROC-LEAVE", "PROC-EXPENSE", "PROC-报销")
APPROVALS = 400
FETCH_WITHIN_S = 900


def commands(begin: str) -> list[str]:
    """The command of the example's README that begins so, in words."""
    [line] = re.findall(rf"^{re.escape(begin)}.*$", (EXAMPLE / "README.md").read_text(), re.MULTILINE)
    return shlex.split(line)


def flink() -> Path:
    """The folder that the README's two commands make, fetched once."""
    folder = cache_dir() / "flink" / "2.2.1"
    if not folder.is_dir():
        scratch = folder.with_name(f"{folder.name}.{os.getpid()}")
        scratch.mkdir(parents=True)
        install = [sys.executable, "-m", *commands("pip install"), "--quiet", "--disable-pip-version-check"]
        shutil.copy(EXAMPLE / "requirements.txt", scratch)
        subprocess.run(install, cwd=scratch, check=True, timeout=FETCH_WITHIN_S)
        for jar in fetch_jars(jars=JARS).iterdir():
            shutil.copy(jar, scratch / "flink" / "pyflink" / "lib")
        scratch.rename(folder)
    return folder


def approval(number: int) -> dict[str, object]:
    """Ended, in one of three hours, one of two ways; every seventh has only begun."""
    at = FIRST_MS + number % 3 * HOUR_MS + number
    ended = {"type": "finish", "finishTime": at, "result": "agree" if number % 2 else "refuse"}
    return {
        "EventType": APPROVAL,
        "processInstanceId": f"pi-{number}",
        "corpId": CORP,
        "processCode": TEMPLATES[number // 7 % 3],
        "createTime": at - 1000,
        **({"type": "start"} if number % 7 == 0 else ended),
    }


def hour_of(number: int) -> str:
    return f"2024-11-07T{18 + number}:00:00Z"


def counted() -> dict[tuple[str, str], tuple[int, int]]:
    """Template and hour to how many ended, and how many of them were agreed to."""
    ended: Counter[tuple[str, str]] = Counter()
    agreed: Counter[tuple[str, str]] = Counter()
    for one in map(approval, range(APPROVALS)):
        if one["type"] == "finish":
            hour = (int(str(one["finishTime"])) - FIRST_MS) // HOUR_MS
            key = str(one["processCode"]), hour_of(hour)
            ended[key] += 1
            agreed[key] += one["result"] == "agree"
    return {key: (ended[key], agreed[key]) for key in ended}


@pytest.fixture
async def job(
    tmp_path: Path, breakable_kafka: KafkaServer, kafka_settings: KafkaSettings
) -> AsyncIterator[GuardedProcess]:
    """The SQL file, running, with topics of this test."""
    prefix = kafka_settings.topic_prefix
    admin = AIOKafkaAdminClient(**connection(kafka_settings))
    await admin.start()
    await admin.create_topics([NewTopic(f"{prefix}{name}", 2, 1) for name in (RESULT, APPROVAL)])
    await admin.close()
    process = await asyncio.to_thread(start, tmp_path, breakable_kafka.bootstrap, prefix)
    yield process
    process.kill()


def start(folder: Path, bootstrap: str, prefix: str) -> GuardedProcess:
    sql = (EXAMPLE / "approvals.sql").read_text(encoding="utf-8").replace("localhost:9092", bootstrap)
    sql = sql.replace("'dingtalk.", f"'{prefix}").replace(f"'{RESULT}'", f"'{prefix}{RESULT}'")
    (folder / "approvals.sql").write_text(sql, encoding="utf-8")
    (folder / "flink").symlink_to(flink() / "flink")
    env = {"JAVA_HOME": str(Path(java()).resolve().parents[1]), "JVM_ARGS": "-Xmx1g"}
    env |= {"FLINK_LOG_DIR": str(folder), "HOME": str(folder)}
    return GuardedProcess(commands("flink/"), log=folder / "flink.log", env=environment(env), cwd=folder)


async def test_each_approval_counts_once_in_its_hour(
    job: GuardedProcess,
    kafka_env: dict[str, str],
    kafka_settings: KafkaSettings,
    processes: Processes,
    tmp_path: Path,
) -> None:
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    await asyncio.to_thread(ingress.start)
    pusher = Pusher(ingress.url, retries=2)
    await pusher.push_all((number, json.dumps(approval(number)).encode()) for number in range(APPROVALS))
    assert set(pusher.answers.values()) == {"success"}
    topic = f"{kafka_settings.topic_prefix}{APPROVAL}"

    async def published() -> list[Record]:
        records = await read_topic(kafka_settings, topic)
        return records if len(records) == APPROVALS else []

    records = await eventually(published)
    async with AIOKafkaProducer(**connection(kafka_settings)) as producer:
        await producer.send_and_wait(topic, b'{"no JSON')
        for record in records[: APPROVALS // 2]:  # they come again, as after a crash of the publisher
            await producer.send_and_wait(topic, record.value, key=record.key, partition=record.partition)
        for partition in (0, 1):  # what is counted last
            end = json.loads(records[-1].value)
            end["id"], end["data"] = str(partition), {**ENDS, "processCode": f"PROC-END-{partition}"}
            await producer.send_and_wait(topic, json.dumps(end).encode(), partition=partition)
    expected = counted() | {(f"PROC-END-{partition}", hour_of(0)): (1, 1) for partition in (0, 1)}

    async def found() -> dict[tuple[str, str], tuple[int, int]]:
        assert job.running, job.log_tail(60)
        results = await read_topic(kafka_settings, f"{kafka_settings.topic_prefix}{RESULT}")
        latest = {record.key: json.loads(record.value) for record in results if record.value is not None}
        return {(one["template"], one["hour"]): (one["ended"], one["agreed"]) for one in latest.values()}

    async def all_counted() -> bool:
        return sum(ended for ended, _ in (await found()).values()) >= sum(
            ended for ended, _ in expected.values()
        )

    await eventually(all_counted, 300, "as many are counted as were pushed")
    assert await found() == expected
