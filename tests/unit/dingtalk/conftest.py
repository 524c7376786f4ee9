"""DingTalk at the end of a wire, and a client of it."""

from collections.abc import AsyncIterator

import pytest

from dingbridge.dingtalk.api import DingTalkClient
from tests.support.dingtalk import DingTalk, Sleeps


@pytest.fixture
async def dingtalk() -> AsyncIterator[DingTalk]:
    async with DingTalk() as dingtalk:
        yield dingtalk


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


@pytest.fixture
async def client(dingtalk: DingTalk, sleeps: Sleeps) -> AsyncIterator[DingTalkClient]:
    async with dingtalk.client(sleep=sleeps, clock=sleeps.clock) as client:
        yield client


@pytest.fixture
def somebody(dingtalk: DingTalk) -> str:
    """The userid of one of the company."""
    return str(next(iter(dingtalk.platform.company.users)))
