"""address-sync in memory, over a company; a module that wants another company says which."""

import pytest

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.testing.memory import MemoryRuntime
from tests.lives.sqlite import sqlite_in_the_loop
from tests.unit.address_sync.company import CORP
from tests.unit.address_sync.syncing import UNPACED, first_full, sample

__all__ = ["sqlite_in_the_loop"]


@pytest.fixture(autouse=True)
def of_one_company(monkeypatch):
    """As address-sync runs: its company is known, and ``background`` begins that one's full syncs."""
    monkeypatch.setenv("DINGTALK_CORP_ID", CORP)


@pytest.fixture
def company():
    return sample()


@pytest.fixture
async def sync(company):
    async with MemoryRuntime(AddressSync(), dingtalk=company) as runtime:
        runtime.consumer.engine.pace = UNPACED
        yield runtime


@pytest.fixture
async def large():
    company = sample(24)
    async with MemoryRuntime(AddressSync(), dingtalk=company) as runtime:
        await first_full(runtime, company)
        yield runtime, company
