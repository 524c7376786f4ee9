"""Fixtures of all tiers: real servers (one of each for the run), settings of one test, its processes."""

import asyncio
import gc
import logging
import os
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from hypothesis import settings as hypothesis_settings

from dev.servers import KafkaServer, PostgresServer, start_kafka, start_postgres
from dev.servers.kafka import EnvironmentKafka
from dev.servers.postgres import EnvironmentPostgres
from dingbridge.settings import KafkaSettings
from tests.support.processes import Processes
from tests.support.servers import PLAINTEXT, RunServers, credentials_of_environment
from tests.support.sizes import sized
from tests.support.validation import in_words, validated

hypothesis_settings.register_profile(
    "dingbridge",
    deadline=None,  # no test asserts a duration
    max_examples=sized(20, 100),
    derandomize="CI" in os.environ,  # there a change is judged, and not what dice find besides
)
hypothesis_settings.load_profile("dingbridge")

_servers = pytest.StashKey[RunServers]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_servers] = RunServers()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_servers].stop()


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that ``dingbridge`` runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_finish() -> None:
    """Thousands of tests and all modules stay to the end: the garbage collector need not look at them."""
    gc.collect()
    gc.freeze()


def pytest_report_collectionfinish(
    config: pytest.Config, start_path: Path, items: Sequence[pytest.Item]
) -> list[str]:
    """Starts the servers that the collected tests need, and says how.

    A worker process of pytest-xdist has no terminal, so it never comes here: each starts its own servers
    when a test asks for one, since a test may break them, and says so when it ends.
    """
    if config.option.collectonly:
        return []
    return config.stash[_servers].start(items)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker process: hands what it says at the end to the process that has the terminal."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["servers"] = session.config.stash[_servers].running()
        output["validated"] = dict(validated)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker process has ended: keeps which servers its tests ran on."""
    output = getattr(node, "workeroutput", {})
    validated.update(output.get("validated", {}))
    lines: list[str] = output.get("servers", [])
    node.config.stash[_servers].of_workers += [f"{line} ({node.gateway.id})" for line in lines]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in sorted(config.stash[_servers].of_workers):
        terminalreporter.write_line(line)
    if words := in_words():
        terminalreporter.write_line(words)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what the test's processes wrote to the report of its failure."""
    report = yield
    processes = getattr(item, "funcargs", {}).get("processes")
    if report.failed and isinstance(processes, Processes) and processes.all:
        report.sections.append(("processes", processes.tails()))
    return report


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A test that configures the logging of this process does so for itself alone."""
    root = logging.getLogger()
    level = root.level
    yield
    root.handlers = [handler for handler in root.handlers if type(handler) is not logging.StreamHandler]
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> KafkaServer:
    """The run's broker. A test that breaks its broker uses ``breakable_kafka``."""
    return pytestconfig.stash[_servers].kafka


@pytest.fixture
def breakable_kafka(kafka: KafkaServer, tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker that may be killed, paused and restarted: the run's own, which runs again afterwards; or one
    for this test, where the run's broker is somebody else's. ``kafka_env`` leads to it."""
    if isinstance(kafka, EnvironmentKafka):
        with start_kafka(tmp_path, how="local") as own:
            yield own
        return
    try:
        yield kafka
    finally:
        kafka.restore()


@pytest.fixture(scope="session")
def consumer_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The broker of ``--kafka``: here also from its jars, where no Docker engine answers."""
    with start_kafka(tmp_path_factory.mktemp("kafka")) as server:
        if isinstance(server, EnvironmentKafka):
            yield {}
        else:
            yield {"kafka_bootstrap_servers": server.bootstrap, "kafka_security_protocol": "PLAINTEXT"}


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> PostgresServer:
    """The run's PostgreSQL server. A test gets a database of its own from ``database_url``."""
    return pytestconfig.stash[_servers].postgres


@pytest.fixture
def breakable_postgres(postgres: PostgresServer, tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that may be stopped and started; ``postgres_url`` leads to it."""
    if isinstance(postgres, EnvironmentPostgres):
        with start_postgres(tmp_path, how="local") as own:
            yield own
        return
    try:
        yield postgres
    finally:
        postgres.start_server()


@pytest.fixture
def kafka_env(
    request: pytest.FixtureRequest, kafka: KafkaServer, pytestconfig: pytest.Config
) -> dict[str, str]:
    """The environment that leads a process to this test's broker, with topics of this test alone."""
    if "breakable_kafka" in request.fixturenames:
        kafka = request.getfixturevalue("breakable_kafka")
    prefix = f"t{secrets.token_hex(4)}."
    pytestconfig.stash[_servers].prefixes += [prefix, f"ctl-{prefix}"]
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "TOPIC_PREFIX": prefix,
        "CONTROL_PREFIX": f"ctl-{prefix}",
    }
    return env | (credentials_of_environment() if isinstance(kafka, EnvironmentKafka) else PLAINTEXT)


@pytest.fixture
def kafka_settings(kafka_env: dict[str, str]) -> KafkaSettings:
    """The same as settings, for code that is called in this process."""
    return KafkaSettings.load(**{name.lower(): value for name, value in kafka_env.items()})


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[str]:
    """URL of a fresh, empty PostgreSQL database, dropped afterwards."""
    if "breakable_postgres" in request.fixturenames:
        postgres = request.getfixturevalue("breakable_postgres")
    name = f"dingbridge_test_{secrets.token_hex(4)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a fresh, empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts ``dingbridge`` commands; all of them are stopped at the end of the test."""
    running = Processes(tmp_path / "processes")
    try:
        yield running
    finally:
        running.stop_all()
