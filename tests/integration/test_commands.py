"""The command line as a person meets it: mistakes in words and exit codes, topics without other tools."""

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dingbridge.ingress.journal.folder import UNSAFE_FILE_SYSTEMS, file_system
from tests.support.ingress import IngressUnderTest
from tests.support.processes import eventually, free_port
from tests.support.pusher import Pusher

ROOT = Path(__file__).parents[2]


async def test_every_settings_mistake_is_said_at_once_and_nothing_listens(processes, tmp_path):
    port, admin = free_port(), free_port()
    env = {
        "INGRESS_PORT": str(port),
        "ADMIN_PORT": str(admin),
        "DINGTALK_AES_KEY": "short",
        "KAFKA_BOOTSTRAP_SERVERS": "nonsense",
        "DATA_DIR": str(tmp_path / "data"),
    }
    process = processes.start("ingress", env=env)
    assert await asyncio.to_thread(process.wait, 30) == 2
    said = process.log_text()
    for name in ("DINGTALK_TOKEN", "DINGTALK_AES_KEY", "DINGTALK_OWNER_KEY", "KAFKA_BOOTSTRAP_SERVERS"):
        assert name in said
    assert "Traceback" not in said
    assert not (tmp_path / "data").exists()
    for closed in (port, admin):
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", closed), 1):
            pass


def test_a_journal_in_memory_is_refused_unless_asked_for(processes, tmp_path):
    unsafe = [p for p in (Path("/dev/shm"), Path("/run"), tmp_path) if file_system(p) in UNSAFE_FILE_SYSTEMS]
    assert unsafe or sys.platform != "linux"
    for folder in unsafe[:1]:
        ingress = IngressUnderTest(
            processes,
            tmp_path,
            {
                "JOURNAL_DIR": str(folder / f"dingbridge-{free_port()}"),
                "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            },
        )
        del ingress.env["JOURNAL_ALLOW_UNSAFE"]
        result = processes.run("ingress", env=ingress.env)
        Path(ingress.env["JOURNAL_DIR"]).rmdir()
        assert result.returncode == 1
        assert "JOURNAL_ALLOW_UNSAFE=1" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_port_that_is_taken_is_named(processes, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = {"INGRESS_PORT": str(port), "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
        ingress = IngressUnderTest(processes, tmp_path, env)
        result = processes.run("ingress", env=ingress.env)
    assert result.returncode == 1
    assert "INGRESS_PORT" in result.stderr
    assert "Traceback" not in result.stderr


async def test_topics_are_made_listed_and_read_without_other_tools(processes, kafka_env, tmp_path):
    async def topics(*arguments):
        result = await asyncio.to_thread(processes.run, "topics", *arguments, env=ingress.env)
        return result.returncode, result.stdout, result.stderr

    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    prefix = kafka_env["TOPIC_PREFIX"]
    code, _, error = await topics("list")
    assert (code, error) == (0, f"no topic begins with {prefix} or {kafka_env['CONTROL_PREFIX']}\n")
    code, made, error = await topics("ensure", "check_in", "chat_quit")
    assert code == 0, error
    names = [f"{prefix}{n}" for n in ("chat_quit", "check_in", "unclassified")]
    assert made.splitlines() == ["topic\tpartitions", *(f"{name}\t2" for name in names)]
    objects = [json.loads(line) for line in (await topics("list", "--json"))[1].splitlines()]
    assert objects == [{"topic": name, "partitions": 2, "records": 0} for name in names]
    ingress.env["TOPIC_PARTITIONS"] = "4"
    assert "not changed" in (await topics("ensure", "check_in"))[2]

    await asyncio.to_thread(ingress.start)
    event = {
        "EventType": "check_in",
        "TimeStamp": 1_731_000_000_000,
        "CorpId": "dingcorpsample01",
        "StaffId": "u9",
    }
    pusher = Pusher(ingress.url, retries=2)
    await pusher.push_all((n, json.dumps({**event, "n": n}).encode()) for n in range(3))
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "in Kafka")
    _, read, _ = await topics("read", "check_in", "--reveal")
    assert sorted(json.loads(line)["data"]["n"] for line in read.splitlines()) == [0, 1, 2]
    _, whole, _ = await topics("read", f"{prefix}check_in", "--with-key", "--reveal", "-n", "1")
    [record] = [json.loads(line) for line in whole.splitlines()]
    assert record["key"] == "dingcorpsample01:u9"
    assert record["headers"]["dingbridge-type"] == "check_in"
    assert record["value"]["type"] == "com.dingtalk.check_in"
    code, _, error = await topics("read", "no_such_type")
    assert code == 1
    assert "topics list" in error


def test_a_second_install_asks_no_registry_for_anything():
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:1/",
        "PIP_RETRIES": "0",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    done = subprocess.run(
        [ROOT / "scripts" / "install"], cwd=ROOT, env=nowhere, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
