"""address-sync in memory, over a company; a module that wants another company says which."""

import pytest

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.testing.memory import MemoryRuntime
from tests.lives.sqlite import without_threads
from tests.unit.address_sync.syncing import UNPACED, first_full, sample


@pytest.fixture(autouse=True, scope="package")
def _sqlite_in_the_loop():
    """Its threads would take a quarter of the time of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        without_threads(patch)
        yield


@pytest.fixture
def company():
    return sample()


@pytest.fixture
async def sync(company):
    consumer = AddressSync()
    consumer.pace = UNPACED
    async with MemoryRuntime(consumer, dingtalk=company) as runtime:
        yield runtime


@pytest.fixture
async def large():
    company = sample(40)
    async with MemoryRuntime(AddressSync(), dingtalk=company) as runtime:
        await first_full(runtime, company)
        yield runtime, company
