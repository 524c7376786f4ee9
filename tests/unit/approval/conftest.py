"""The approval consumer in memory, over an office of a few approvals."""

import time

import pytest

from dingbridge.consumers.approval import Approval
from dingbridge.testing.memory import MemoryRuntime
from tests.lives.sqlite import sqlite_in_the_loop
from tests.unit.approval.office import Office

__all__ = ["sqlite_in_the_loop"]


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
