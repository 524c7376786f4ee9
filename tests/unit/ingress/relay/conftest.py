"""A Kafka that is none, and a journal to publish."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests.unit.ingress.relay.fakes import FakeKafka, Room


@pytest.fixture
def kafka(monkeypatch):
    fake = FakeKafka()
    fake.install(monkeypatch)
    return fake


@pytest.fixture
async def room(tmp_path):
    made = await Room(tmp_path).open()
    yield made
    await made.close()


@pytest.fixture
def running(room):
    """``async with running() as publisher``."""

    @asynccontextmanager
    async def run(**more):
        publisher = room.publisher(**more)
        task = asyncio.create_task(publisher.run())
        try:
            yield publisher
        finally:
            publisher.stop()
            await task

    return run
