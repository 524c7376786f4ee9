"""A producer, and a consumer, is left without a rest, whatever it hangs in: no task, no connection."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import NodeNotReadyError

from dingbridge.kafka.client import discard_consumer, discard_producer, producer
from dingbridge.settings import KafkaSettings


async def stuck() -> AIOKafkaProducer:
    """A producer with a record whose partition's leader is unknown, and nobody who would tell."""
    made = producer(KafkaSettings.load())
    made._txn_manager.set_pid_and_epoch(1, 0)
    await made._sender.start()
    await made._message_accumulator.add_message(TopicPartition("t", 0), b"key", b"value", timeout=1)
    return made


async def test_every_producer_gives_a_send_up_when_the_setting_says() -> None:
    made = producer(KafkaSettings.load(kafka_request_timeout_s=7))
    assert made._request_timeout_ms == made.client._request_timeout_ms == 7_000
    await discard_producer(made, 1)


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


async def gone(node: int, request: Any) -> None:
    raise NodeNotReadyError


async def refetching() -> AIOKafkaConsumer:
    """A consumer of which fetches from two brokers have failed, and wait to try again, as all do without
    Kafka."""
    made = AIOKafkaConsumer(retry_backoff_ms=60_000)
    made._closed = False  # as one that was started
    made._fetcher = Fetcher(made._client, made._subscription, retry_backoff_ms=60_000)
    made._client.send = gone
    await asyncio.sleep(0)  # it begins with no fetch
    for broker in (1, 2):
        failed = made._fetcher._proc_fetch_request(None, broker, SimpleNamespace(topics=[]))
        made._fetcher._pending_tasks.add(asyncio.create_task(failed))
    await asyncio.sleep(0)
    return made


async def test_a_consumers_own_cancelled_fetch_cancels_nobody_else() -> None:
    made, connection = await refetching(), Connection()
    made._client._conns["b", 0] = connection
    assert not await discard_consumer(made)
    assert connection.closed.done()
    assert await rest() == set()
    left = await refetching()
    with pytest.raises(asyncio.CancelledError):  # else it is no longer needed
        await left.stop()
    for task in left._fetcher._pending_tasks:
        task.cancel()
    assert await rest() == set()


async def test_a_connection_whose_close_was_cancelled_cancels_nobody_else() -> None:
    made, connection = await refetching(), Connection()
    made._client._conns["b", 0] = connection
    connection.closed.cancel()
    assert not await discard_consumer(made)
    assert await rest() == set()


async def test_a_consumer_that_stops_in_order_says_so() -> None:
    assert await discard_consumer(AIOKafkaConsumer())
    assert await rest() == set()
