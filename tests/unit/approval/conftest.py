"""The approval consumer in memory, over an office of a few approvals."""

import time

import pytest

from dingbridge.consumers.approval import Approval
from dingbridge.testing.memory import MemoryRuntime
from tests.lives.sqlite import without_threads
from tests.unit.approval.office import Office


@pytest.fixture(autouse=True, scope="package")
def _sqlite_in_the_loop():
    """Its threads would take a quarter of the time of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        without_threads(patch)
        yield


@pytest.fixture
def office():
    return Office()


@pytest.fixture
def passes(monkeypatch):
    """Lets so many seconds pass, for what is due in a table."""
    real, passed = time.time, []
    monkeypatch.setattr(time, "time", lambda: real() + sum(passed))
    return passed.append


@pytest.fixture
async def archive(office):
    async with MemoryRuntime(Approval(), dingtalk=office) as runtime:
        yield runtime
