"""The approval consumer in memory, over an office of a few approvals."""

import pytest

from consumers.approval import Approval
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import Office


@pytest.fixture
def office():
    return Office()


@pytest.fixture
async def archive(office):
    async with MemoryRuntime(Approval(), dingtalk=office) as runtime:
        yield runtime
