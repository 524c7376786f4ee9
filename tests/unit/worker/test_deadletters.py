"""Kafka does not take a dead letter: the record waits, and the producer that hangs is left whole.

What a letter looks like is shown against Kafka, in tests/integration/test_worker_failures.py.
"""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from dingbridge import DependencyUnavailable
from dingbridge.settings import KafkaSettings
from dingbridge.worker import dead_letter_writer as deadletters
from dingbridge.worker.dead_letter_writer import DeadLetters
from tests.unit.library.test_producers import Connection, rest, stuck
from tests.unit.worker.support import kafka_record

RECORD = kafka_record("dingtalk.user_add_org", 0, 7, key=b"k", value=b"v")


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> DeadLetters:
    monkeypatch.setattr(deadletters, "STOP_TIMEOUT_S", 0.05)
    return DeadLetters(KafkaSettings.load(), "billing")


async def test_a_producer_that_does_not_stop_is_left_without_a_rest(letters: DeadLetters) -> None:
    letters._producer, connection = await stuck(), Connection()
    letters._producer.client._conns["b", 0] = connection
    await letters.close()
    assert connection.closed.done()
    assert await rest() == set()


async def test_after_a_failed_send_the_producer_is_left_whole_and_replaced(
    letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, connection = await stuck(), Connection()
    used.client._conns["b", 0] = connection
    letters._producer = used

    async def send_and_wait(*_: object, **__: object) -> None:
        raise KafkaConnectionError("gone")

    monkeypatch.setattr(used, "send_and_wait", send_and_wait)
    with pytest.raises(DependencyUnavailable, match="dead letter not taken"):
        await letters.send(RECORD, "KeyError", 1)
    assert letters._producer is None
    await letters.close()
    assert connection.closed.done()
    assert await rest() == set()


class Hanging:
    """A producer that hangs, in its start or in a send."""

    def __init__(self, made: AIOKafkaProducer, where: str) -> None:
        self._made, self._where = made, where
        self.client, self._sender = made.client, made._sender
        self._message_accumulator = made._message_accumulator

    async def start(self) -> None:
        if self._where == "start":
            await asyncio.Event().wait()

    async def send_and_wait(self, *_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def stop(self) -> None:
        await self._made.stop()


@pytest.mark.parametrize("where", ["start", "send"])
async def test_a_producer_that_hangs_is_given_up(
    letters: DeadLetters, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    connection = Connection()
    made = await stuck()
    made.client._conns["b", 0] = connection
    monkeypatch.setattr(deadletters, "producer", lambda _: Hanging(made, where))
    for module in ("dingbridge.kafka.client", "dingbridge.worker.dead_letter_writer"):
        monkeypatch.setattr(f"{module}.hopeless_after_s", lambda _: 0.05)
    async with asyncio.timeout(60):
        with pytest.raises(DependencyUnavailable, match="dead letter not taken: Kafka at"):
            await letters.send(RECORD, "KeyError", 1)
        await letters.close()
    assert connection.closed.done()
    assert await rest() == set()
