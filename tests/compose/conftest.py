"""The stack of ``docker-compose.yml``, built and brought up once for all tests of this folder."""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dingbridge.settings import KafkaSettings
from tests.compose.stack import ROOT, Stack, docker, run_docker


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """Name of the image of this run; it is removed at the end."""
    if run_docker(["compose", "version"]).returncode or run_docker(["version"]).returncode:
        pytest.fail("no Docker engine answers, or it has no compose plugin; make test runs without them")
    name = f"dingbridge-test:{secrets.token_hex(4)}"
    yield name
    docker("image", "rm", "--force", name, check=False)


@pytest.fixture(scope="session")
def stack(image: str) -> Iterator[Stack]:
    """The local stack, up and healthy, as ``docker compose up`` without an ``.env`` makes it."""
    running = Stack(image=image)
    try:
        running.up("--build")
        yield running
    finally:
        running.down()


@pytest.fixture
def app_stack(image: str, stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """The stack for a real app, as a copied and filled-in ``.env.example`` makes it; not up."""
    del stack  # it has built the image
    for file in ("docker-compose.yml", "docker-compose.app.yml"):
        shutil.copy(ROOT / file, tmp_path)
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    values = {"DINGTALK_AES_KEY": "k" * 43, "POSTGRES_PASSWORD": secrets.token_hex(8)}
    lines = [
        line + values.get(line[:-1], "made-up") if line.endswith("=") else line
        for line in example.splitlines()
    ]
    lines.append("DINGTALK_API_BASE=http://127.0.0.1:9")  # nothing is to leave this machine
    env_file = tmp_path / ".env"
    env_file.write_text("\n".join(lines), encoding="utf-8")
    running = Stack(image=image, folder=tmp_path, env_file=env_file)
    yield running
    running.down()
    assert not any(running.leftovers().values())


@pytest.fixture
def edge_stack(image: str) -> Iterator[Stack]:
    """The edge, the two ingresses behind it, and Kafka: up and healthy."""
    running = Stack(image=image)
    try:
        running.up("--build", "kafka", "edge", profile="edge")
        yield running
    finally:
        running.down()
    assert not any(running.leftovers().values())


@pytest.fixture
def stack_settings(stack: Stack) -> KafkaSettings:
    """How a reader on the host reaches the stack's Kafka."""
    return kafka_settings(stack)


def kafka_settings(stack: Stack) -> KafkaSettings:
    return KafkaSettings.load(
        kafka_bootstrap_servers=f"localhost:{stack.ports['KAFKA']}", kafka_security_protocol="PLAINTEXT"
    )
