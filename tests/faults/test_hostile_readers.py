"""Who reads our files, our logs or the list of processes finds no credential there, and no person.

At the most talkative log level, on the way from a callback to a consumer's table, with Kafka by SASL.
"""

import asyncio
import json
import os
import stat
from pathlib import Path

import psutil

from dingbridge.settings import SAMPLE_CREDENTIALS
from tests.integration.worker_support import installed
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_topic
from tests.support.processes import Processes
from tests.support.pusher import Pusher
from tests.support.secure_kafka import PASSWORD_OF, Right, SecureKafka, on_prefix, secure_kafka
from tests.support.waiting import eventually

__all__ = ["secure_kafka"]

PERSON = ("Zhang-Wei-9041", "13800138000", "张伟")
TYPE = "user_modify_org"


def event(number: int) -> bytes:
    name, phone, chinese = PERSON
    body = {
        "EventType": TYPE,
        "eventId": f"e{number}",
        "CorpId": "dingcorpsample01",
        "TimeStamp": "1731000000123",
        "UserId": [f"u{number}"],
        "name": name,
        "mobile": phone,
        "title": chinese,
    }
    return json.dumps(body, ensure_ascii=False).encode()


async def test_files_logs_and_process_lists_give_nothing_away(
    secure_kafka: SecureKafka, processes: Processes, tmp_path: Path
) -> None:
    user = secure_kafka.new_user()
    env = secure_kafka.environment(user, LOG_LEVEL="DEBUG")
    group = f"t-{env['TOPIC_PREFIX'].strip('.')}"
    rights = [*on_prefix(env["TOPIC_PREFIX"], "CREATE", "WRITE", "READ"), Right("READ", "group", group)]
    await secure_kafka.grant(user, [*rights, *on_prefix(env["CONTROL_PREFIX"], "CREATE", "WRITE", "READ")])
    administrator = secure_kafka.administrator(env)
    before = os.umask(0)  # the most careless one: what protects the files must be ours
    try:
        ingress = IngressUnderTest(processes, tmp_path, env)
        await asyncio.to_thread(ingress.start)
        data = tmp_path / "data"
        theirs = {**env, **installed(tmp_path, group), "DATA_DIR": str(data)}
        consumer = processes.start("consume", group, env=theirs)
    finally:
        os.umask(before)
    pusher = Pusher(ingress.url)
    await pusher.push_all((n, event(n)) for n in range(10))
    assert pusher.succeeded == set(range(10))
    # refused ones are logged: by type and place
    await pusher.push_all([(10, event(10).replace(b'"e10"', b'"reject10"'))])
    await asyncio.to_thread(consumer.wait_for_log, "consumer.dead_letter", 60)

    async def published() -> bool:
        return len(await read_topic(administrator, env["TOPIC_PREFIX"] + TYPE)) >= 11

    await eventually(published, what="all are in Kafka")

    assert ingress.process is not None
    logs = ingress.process.log_text() + consumer.log_text()
    assert '"level": "debug"' in logs
    secrets = [
        *(SAMPLE_CREDENTIALS[name] for name in ("DINGTALK_TOKEN", "DINGTALK_AES_KEY", "DINGTALK_APP_SECRET")),
        PASSWORD_OF(user),
    ]
    for text in (*PERSON, *secrets):
        for form in (text, text.encode("unicode_escape").decode(), repr(text.encode())[2:-1]):
            assert form not in logs, text

    running = [ingress.process.pid, consumer.pid]
    family = [p for pid in running for p in (psutil.Process(pid), *psutil.Process(pid).children(True))]
    assert len(family) >= 2
    for process in family:
        assert not [s for s in secrets if s in " ".join(process.cmdline())]

    files = [path for folder in (ingress.journal, data) for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".db"}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(ingress.journal.stat().st_mode) == 0o700
