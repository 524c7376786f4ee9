"""Fixtures of the fault tests, and the figures that they print at the end of the run."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.sizes import LONG

NOT_EXERCISED = (
    "power loss with a disk that lies about fsync, a disk that dies for good, a kernel panic, network "
    "partitions between brokers, loss of every replica of a topic, clocks that jump while a request is under "
    "way"
)

_figures = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_figures] = []


def pytest_report_header() -> str:
    return f"faults: {'as large as promised (DINGBRIDGE_LONG=1)' if LONG else 'the small sizes of make test'}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker process of pytest-xdist: hands its figures to the process that has the terminal."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["figures"] = session.config.stash[_figures]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    node.config.stash[_figures] += getattr(node, "workeroutput", {}).get("figures", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(_figures, [])
    if figures:
        terminalreporter.section("what was answered against what is in Kafka")
        for line in figures:
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"not exercised: {NOT_EXERCISED}")


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Says a figure of this test, at once and in the run's summary."""

    def say(words: object) -> None:
        print(words)
        request.config.stash[_figures].append(f"{request.node.name}: {words}")

    return say
