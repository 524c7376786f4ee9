"""A producer is left without a rest, whatever it hangs in: no task, no connection."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from dingbridge.kafka.client import discard_producer, producer
from dingbridge.settings import KafkaSettings


async def stuck() -> AIOKafkaProducer:
    """A producer with a record whose partition's leader is unknown, and nobody who would tell."""
    made = producer(KafkaSettings.load())
    made._txn_manager.set_pid_and_epoch(1, 0)
    await made._sender.start()
    await made._message_accumulator.add_message(TopicPartition("t", 0), b"key", b"value", timeout=1)
    return made


class Connection:
    def __init__(self) -> None:
        self.closed = asyncio.get_running_loop().create_future()

    def close(self, reason: Any = None) -> asyncio.Future[None]:
        if not self.closed.done():
            self.closed.set_result(None)
        return self.closed


async def rest() -> set[str]:
    """What still runs beside the test, after a turn of the loop."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return {str(task.get_coro()) for task in asyncio.all_tasks() - {asyncio.current_task()}}


async def test_a_producer_that_cannot_flush_is_left_whole() -> None:
    made, connection = await stuck(), Connection()
    made.client._conns["b", 0] = connection
    await discard_producer(made, 0.05)
    assert made._sender.sender_task.done()
    assert connection.closed.done()
    assert await rest() == set()


async def test_also_when_whoever_leaves_it_is_cancelled() -> None:
    made, connection = await stuck(), Connection()
    made.client._conns["b", 0] = connection
    leaving = asyncio.create_task(discard_producer(made, 60))
    await asyncio.sleep(0.05)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert connection.closed.done()
    assert await rest() == set()


async def test_a_producer_with_nothing_to_flush_stops_by_itself() -> None:
    made = producer(KafkaSettings.load())
    made._txn_manager.set_pid_and_epoch(1, 0)
    await made._sender.start()
    await discard_producer(made, 60)
    assert await rest() == set()
