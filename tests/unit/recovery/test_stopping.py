"""Whoever is stopped while a list is read does not wait for a Kafka that says nothing."""

import asyncio
from typing import Any

import pytest

from dingbridge.settings import KafkaSettings
from ingress.recovery import ledger_topic, poller
from ingress.recovery.ledger_topic import LedgerTopic
from tests.unit.recovery.memory import Broker, MemoryLog, Process, listed


async def in_a_call() -> tuple[Process, "asyncio.Task[Any]"]:
    """A run whose call to DingTalk is under way."""
    process = Process(Broker(), listed(3), {}, freezes_at="before call")
    running = asyncio.create_task(process.poller.run())
    await process.still.wait()
    return process, running


async def test_a_run_that_is_cancelled_gives_its_lease_back():
    process, running = await in_a_call()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert process.broker.kinds() == ["claim", "intent", "release"]


async def test_but_not_by_a_kafka_that_says_nothing(monkeypatch):
    process, running = await in_a_call()

    async def write(self, note):
        await asyncio.Event().wait()

    monkeypatch.setattr(MemoryLog, "write", write)
    monkeypatch.setattr(poller, "_FAREWELL_S", 0.01)
    running.cancel()
    _, late = await asyncio.wait([running], timeout=10)
    running.cancel()
    assert not late
    assert running.cancelled()
    assert process.broker.kinds() == ["claim", "intent"], "its lease ends by itself"


async def test_the_ledger_is_left_although_its_consumer_hangs(monkeypatch):
    monkeypatch.setattr(ledger_topic, "_CLOSE_S", 0.01)
    discarded = []

    async def discard(dead, within_s):
        discarded.append(dead)

    class Hanging:
        async def stop(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(ledger_topic, "discard_producer", discard)
    log = LedgerTopic(KafkaSettings(), "default")
    log._consumer, log._producer = Hanging(), object()
    closing = asyncio.create_task(log.close())
    _, late = await asyncio.wait([closing], timeout=10)
    closing.cancel()
    assert not late
    assert discarded == [log._producer]
