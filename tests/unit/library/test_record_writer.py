"""Kafka does not take a record: that is said, and the producer that hangs is left whole."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from dingbridge.consumers.forward import log
from dingbridge.consumers.forward.consumer import GRACE_S
from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka import writer as writer_module
from dingbridge.kafka.client import ABANDON_S
from dingbridge.kafka.writer import RecordWriter
from dingbridge.settings import KafkaSettings
from tests.unit.library.test_kafka_clients import Connection, rest, stuck

RECORD = ("ctl-dingtalk.dlq.billing", b"k", b"v", [("dingbridge-type", b"t")])


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> RecordWriter:
    monkeypatch.setattr(writer_module, "STOP_TIMEOUT_S", 0.05)
    return RecordWriter(KafkaSettings.load())


async def test_a_producer_that_does_not_stop_is_left_without_a_rest(writer: RecordWriter) -> None:
    writer._producer, connection = await stuck(), Connection()
    writer._producer.client._conns["b", 0] = connection
    await writer.close()
    assert connection.closed.done()
    assert await rest() == set()


async def test_after_a_failed_send_the_producer_is_left_whole_and_replaced(
    writer: RecordWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, connection = await stuck(), Connection()
    used.client._conns["b", 0] = connection
    writer._producer = used

    async def send_and_wait(*_: object, **__: object) -> None:
        raise KafkaConnectionError("gone")

    monkeypatch.setattr(used, "send_and_wait", send_and_wait)
    with pytest.raises(KafkaUnavailable):
        await writer.write(*RECORD)
    assert writer._producer is None
    await writer.close()
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
    writer: RecordWriter, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    connection = Connection()
    made = await stuck()
    made.client._conns["b", 0] = connection
    monkeypatch.setattr(writer_module, "producer", lambda _: Hanging(made, where))
    for module in ("dingbridge.kafka.client", "dingbridge.kafka.writer"):
        monkeypatch.setattr(f"{module}.hopeless_after_s", lambda _: 0.05)
    async with asyncio.timeout(60):
        with pytest.raises(KafkaUnavailable, match="Kafka at"):
            await writer.write(*RECORD)
        await writer.close()
    assert connection.closed.done()
    assert await rest() == set()


@pytest.mark.parametrize("where", ["start", "send"])
async def test_all_that_write_at_once_learn_in_time_that_kafka_is_silent(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Else a handler's time would be over before, each waiting for the start of the one before."""
    monkeypatch.setattr(writer_module, "STOP_TIMEOUT_S", 0.05)
    writer, made = RecordWriter(KafkaSettings.load(), within_s=0.3), await stuck()
    monkeypatch.setattr(writer_module, "producer", lambda _: Hanging(made, where))
    for module in ("dingbridge.kafka.client", "dingbridge.kafka.writer"):
        monkeypatch.setattr(f"{module}.hopeless_after_s", lambda _: 60)
    async with asyncio.timeout(30):
        ended = await asyncio.gather(*(writer.write(*RECORD) for _ in range(8)), return_exceptions=True)
        await writer.close()
    assert [type(one) for one in ended] == [KafkaUnavailable] * 8
    assert await rest() == set()


def test_a_handler_of_forward_has_time_for_it() -> None:
    assert log.WITHIN_S + writer_module.STOP_TIMEOUT_S + ABANDON_S < GRACE_S
