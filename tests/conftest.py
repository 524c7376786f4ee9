"""Fixtures of all tiers: real servers (one of each a worker process), settings of one test, its processes."""

import asyncio
import contextlib
import gc
import importlib
import itertools
import logging
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from hypothesis import settings as hypothesis_settings

from dev.servers import KafkaServer, PostgresServer
from dev.servers.kafka import EnvironmentKafka
from dingbridge.settings import KafkaSettings
from tests.support.claims import claimed_files, claimed_tests, summary, test_of
from tests.support.processes import Processes
from tests.support.servers import PLAINTEXT, RunServers, credentials_of_environment, needs
from tests.support.sizes import LONG, sized
from tests.support.validation import in_words, validated
from tests.support.warm import warm

hypothesis_settings.register_profile(
    "dingbridge",
    deadline=None,  # no test asserts a duration
    max_examples=sized(20, 100, quick=10),
    derandomize=not LONG,  # a run judges a change, and not what dice find besides: make test-long throws them
)
hypothesis_settings.load_profile("dingbridge")

gc.disable()  # until all tests are collected: what is imported and collected stays

_servers = pytest.StashKey[RunServers]()
_workers_servers = pytest.StashKey[set[str]]()
"""In the controller of pytest-xdist: a line on each kind of server that its worker processes had."""

_outcomes = pytest.StashKey[dict[str, set[str]]]()
"""In the process that has the terminal: the tests that passed, and those that failed."""

SERVED = ("integration", "faults")
"""Tiers whose tests need servers."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--claims",
        action="store_true",
        help="of integration and faults only what docs/reference/claims.md names",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_servers] = RunServers()
    config.stash[_workers_servers] = set()
    config.stash[_outcomes] = {"passed": set(), "failed": set()}
    if hasattr(config, "workerinput"):
        if config.workerinput["warm"]:
            warm(config.workerinput["warm"])
        _compile_a_part(config, config.workerinput)


def _compile_a_part(config: pytest.Config, worker: dict[str, Any]) -> None:
    """In a worker process: imports the test files before they are collected, each worker beginning elsewhere.
    After a clone nothing is compiled, and all workers would compile the same file at the same time."""
    files = [file for name in config.args for file in sorted(Path(name).rglob("test_*.py"))]
    files = [file for file in files if not pytest_ignore_collect(file.absolute(), config)]
    first = int(worker["workerid"].removeprefix("gw")) * len(files) // worker["workercount"]
    for file in files[first:] + files[:first]:
        with contextlib.suppress(Exception):  # its collection says what is wrong
            importlib.import_module(".".join(file.with_suffix("").parts))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A worker process of pytest-xdist begins: it learns which process forks, where any test needs that."""
    served = any(tier in Path(argument).parts for argument in node.config.args for tier in SERVED)
    node.workerinput["warm"] = warm().address if served else None


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_servers].stop()
    if config.getoption("--claims") and not hasattr(config, "workerinput"):
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and not config.option.collectonly:
            reporter.write_line(summary(**config.stash[_outcomes]))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of servers' tiers that no claim names are not even imported for ``--claims``."""
    if not config.getoption("--claims") or collection_path.suffix != ".py":
        return None
    if not collection_path.name.startswith("test_") or collection_path.parent.name not in SERVED:
        return None
    return collection_path.relative_to(config.rootpath).as_posix() not in claimed_files() or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--claims"):
        other = [item for item in items if _served(item) and test_of(item.nodeid) not in claimed_tests()]
        if other:
            config.hook.pytest_deselected(items=other)
            items[:] = [item for item in items if item not in set(other)]
    if hasattr(config, "workerinput"):
        items[:] = _mixed(items)


def _served(item: pytest.Item) -> bool:
    return item.path.parent.name in SERVED


def _mixed(items: list[pytest.Item]) -> list[pytest.Item]:
    """Put up to three files that only compute behind each file that waits for servers and processes.

    So the processors always have work, and the files at the end are short."""
    files = [list(group) for _, group in itertools.groupby(items, key=lambda item: item.path)]
    waits = [any(_served(item) or needs(item, "postgres") for item in file) for file in files]
    waiting = list(itertools.compress(files, waits))
    computing = [file for file, served in zip(files, waits, strict=True) if not served]
    each = min(3, len(computing) // max(1, len(waiting)))
    mixed = []
    for number, file in enumerate(waiting):
        mixed += [file, *computing[number * each : (number + 1) * each]]
    mixed += computing[len(waiting) * each :]
    return [item for file in mixed for item in file]


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> None:
    """In the process that has the terminal: keeps how each test ended."""
    outcomes = config.stash[_outcomes]
    if report.failed:
        outcomes["failed"].add(test_of(report.nodeid))
    elif report.when == "call" and report.passed:
        outcomes["passed"].add(test_of(report.nodeid))


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that ``dingbridge`` runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_finish() -> None:
    """Thousands of tests and all modules stay to the end: the garbage collector need not look at them."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_report_collectionfinish(
    config: pytest.Config, start_path: Path, items: Sequence[pytest.Item]
) -> list[str]:
    """Without worker processes: starts the servers that the collected tests need, and says how."""
    if config.option.collectonly or hasattr(config, "workerinput"):
        return []
    return config.stash[_servers].start(items)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker process: hands what it says at the end to the process that has the terminal."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["validated"] = dict(validated)
        output["servers"] = session.config.stash[_servers].running()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    output = getattr(node, "workeroutput", {})
    validated.update(output.get("validated", {}))
    node.config.stash[_workers_servers].update(output.get("servers", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in sorted({*config.stash[_servers].running(), *config.stash[_workers_servers]}):
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
    """The process's broker. A test that breaks its broker uses ``breakable_kafka``."""
    return pytestconfig.stash[_servers].kafka


@pytest.fixture
def breakable_kafka(pytestconfig: pytest.Config) -> Iterator[KafkaServer]:
    """A broker that may be killed, paused and restarted, and runs again afterwards; no other process uses it.
    ``kafka_env`` leads to it."""
    own = pytestconfig.stash[_servers].own_kafka
    try:
        yield own
    finally:
        own.restore()


@pytest.fixture(scope="session")
def consumer_kafka(request: pytest.FixtureRequest) -> dict[str, str]:
    """The broker of ``--kafka``: that of this process, named only when a test asks for it."""
    kafka = request.getfixturevalue("kafka")
    if type(kafka) is EnvironmentKafka:
        return {}
    return {"kafka_bootstrap_servers": kafka.bootstrap, "kafka_security_protocol": "PLAINTEXT"}


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> PostgresServer:
    """The process's PostgreSQL server. A test gets a database of its own from ``database_url``."""
    return pytestconfig.stash[_servers].postgres


@pytest.fixture
def breakable_postgres(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """A PostgreSQL that may be stopped and started; ``postgres_url`` leads to it."""
    own = pytestconfig.stash[_servers].own_postgres
    try:
        yield own
    finally:
        own.start_server()


@pytest.fixture
def kafka_env(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> dict[str, str]:
    """The environment that leads a process to this test's broker, with topics of this test alone."""
    kafka = request.getfixturevalue(
        "breakable_kafka" if "breakable_kafka" in request.fixturenames else "kafka"
    )
    prefix = f"t{secrets.token_hex(4)}."
    pytestconfig.stash[_servers].prefixes += [prefix, f"ctl-{prefix}"]
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "TOPIC_PREFIX": prefix,
        "CONTROL_PREFIX": f"ctl-{prefix}",
    }
    return env | (credentials_of_environment() if type(kafka) is EnvironmentKafka else PLAINTEXT)


@pytest.fixture
def kafka_settings(kafka_env: dict[str, str]) -> KafkaSettings:
    """The same as settings, for code that is called in this process."""
    return KafkaSettings.load(**{name.lower(): value for name, value in kafka_env.items()})


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a fresh, empty PostgreSQL database, dropped afterwards."""
    breaks = "breakable_postgres" in request.fixturenames
    postgres = request.getfixturevalue("breakable_postgres" if breaks else "postgres")
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
