"""The servers that everything else is tested with: they are real, private, and gone when they should be."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest

from dev.servers import KafkaServer, free_port, start_kafka, start_postgres
from dev.servers.engine import Engine, EngineUnavailable
from dingbridge.errors import KafkaUnavailable, ServerStartError
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from dingbridge.simulator.kafka.jars import cache_dir, check_jars, java
from dingbridge.simulator.kafka.ports import answers
from dingbridge.simulator.kafka.processes import GUARD
from tests.support.kafka_reader import topics
from tests.support.processes import Process, command, environment
from tests.support.waiting import wait_until

SAID = {"capture_output": True, "text": True, "timeout": 60, "check": False}


def test_a_cluster_of_the_environment_is_used_and_never_stopped(
    kafka: KafkaServer, kafka_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in kafka_env.items():
        monkeypatch.setenv(name, value)
    with start_kafka(tmp_path) as named:
        assert named.bootstrap == kafka.bootstrap
        assert "KAFKA_BOOTSTRAP_SERVERS" in named.how
        with pytest.raises(ServerStartError, match="not ours"):
            named.kill()
    with start_kafka(tmp_path, how="environment") as again:
        assert again.bootstrap == kafka.bootstrap


def test_a_cluster_of_the_environment_that_is_not_there_is_no_reason_to_take_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    with pytest.raises(KafkaUnavailable, match="does not answer"):
        start_kafka(tmp_path)


def test_what_is_missing_is_said_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.setenv("DINGBRIDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("dingbridge.simulator.kafka.jars._BREW", ())
    with pytest.raises(EngineUnavailable, match="no Docker engine answers"):
        Engine()
    with pytest.raises(ServerStartError) as failure:
        check_jars()
    lines = str(failure.value).splitlines()
    assert [line.split(" is missing")[0] for line in lines] == ["Java 17 or newer", "Maven"]
    assert all("apt-get install" in line and "brew install" in line for line in lines)


def test_a_java_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr("shutil.which", lambda name: str(old))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("dingbridge.simulator.kafka.jars._BREW", ())
    with pytest.raises(ServerStartError, match="Java 11 is too old, Kafka needs 17"):
        java()


async def test_the_wheels_postgres_wants_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with await asyncio.to_thread(lambda: start_postgres(Path("here"), how="wheel")) as server:
        wrong = server.url.replace(server.url.split(":")[2].split("@")[0], "wrong")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong)


async def test_a_kafka_for_a_trial_is_there_again_with_its_topics(tmp_path: Path) -> None:
    async def run(port: int, wanted: str) -> list[str]:
        """Starts it, makes the topic ``wanted``, and stops it; the topics that were there."""
        arguments = command("simulator", "kafka", "--port", str(port), "--data", "kept")
        env = environment({"DINGBRIDGE_CACHE": str(cache_dir())})
        kafka = Process("kafka", arguments, log=tmp_path / f"{wanted}.log", env=env, cwd=tmp_path)
        try:
            await asyncio.to_thread(kafka.wait_for_log, "its topics are kept in")
            assert f"KAFKA_BOOTSTRAP_SERVERS=localhost:{port}\n" in kafka.log_text()
            settings = KafkaSettings.load(
                kafka_bootstrap_servers=f"localhost:{port}",
                kafka_security_protocol="PLAINTEXT",
                topic_prefix="trial.",
            )
            before = await topics(settings)
            await ensure_topics(settings, [event_topic(settings, wanted)])
            if not before:
                second = await asyncio.to_thread(subprocess.run, arguments, env=env, cwd=tmp_path, **SAID)
                assert (second.returncode, "another with --port" in second.stderr) == (1, True)
        finally:
            assert await asyncio.to_thread(kafka.stop) == 0
        return before

    assert await run(free_port(), "one") == []
    assert await run(free_port(), "two") == ["trial.one"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_kafka_that_is_stopped_while_it_is_fetched(
    tmp_path: Path, number: signal.Signals
) -> None:
    pid, cache = tmp_path / "pid", tmp_path / "cache"
    programs = {"java": "echo 'openjdk version \"17.0.2\"' >&2", "mvn": f"echo $$ > {pid}; exec sleep 600"}
    for name, does in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    env = {**environment(), "PATH": f"{tmp_path}:/bin:/usr/bin", "DINGBRIDGE_CACHE": str(cache)}
    env.pop("JAVA_HOME", None)
    arguments = command("simulator", "kafka", "--port", str(free_port()), "--data", "kept")
    with subprocess.Popen(arguments, env=env, cwd=tmp_path) as kafka:
        try:
            maven = int(wait_until(lambda: pid.exists() and pid.read_text()))
        finally:
            kafka.send_signal(number)
    wait_until(lambda: not psutil.pid_exists(maven) and not [*cache.rglob(".fetch-*")], 30, "nothing is left")


def test_a_starter_that_dies_before_it_reads_the_pid_leaves_nothing(tmp_path: Path) -> None:
    (scratch := tmp_path / "scratch").mkdir()
    closed, pipe = os.pipe()
    os.close(closed)
    guard = [sys.executable, "-I", str(GUARD), "process", str(int(signal.SIGTERM)), "-", str(scratch), "--"]
    with os.fdopen(pipe, "wb") as stdout:
        done = subprocess.run(
            [*guard, "sleep", "600"], stdin=subprocess.DEVNULL, stdout=stdout, timeout=60, check=False
        )
    assert done.returncode == -signal.SIGTERM
    assert not scratch.exists()


STARTER = """
import sys
from pathlib import Path
from dev.servers import start_kafka, start_postgres
kafka, postgres = start_kafka(Path(sys.argv[1])), start_postgres(Path(sys.argv[1]))
print(kafka.how, postgres.how, kafka.bootstrap, postgres.url.rsplit("@")[1], *kafka.pids, sep="|", flush=True)
sys.stdin.read()
"""


def test_without_an_engine_jars_and_wheel_are_taken_and_die_with_their_starter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    arguments = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        try:
            assert starter.stdout is not None
            kafka_how, postgres_how, kafka, postgres, broker = starter.stdout.readline().strip().split("|")
        finally:
            starter.kill()
    assert "jars (no Docker engine answers)" in kafka_how
    assert "wheel (no Docker engine answers)" in postgres_how
    ports = [int(kafka.split(":")[1]), int(postgres.split(":")[1].split("/")[0])]
    wait_until(lambda: not any(answers("127.0.0.1", port) for port in ports), 30, "both ports closed")
    wait_until(lambda: not _exists(int(broker)), 15, "the broker's process gone")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
