"""A Kafka that does not answer or lacks brokers: the words, and clients that are left whole."""

import asyncio
import logging
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
)

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka import client
from dingbridge.kafka import writer as writer_module
from dingbridge.kafka.client import (
    connection,
    discard_consumer,
    discard_producer,
    explain,
    explained,
    producer,
    start_producer,
)
from dingbridge.kafka.topics import unled_words
from dingbridge.kafka.writer import RecordWriter
from dingbridge.settings import KafkaSettings

TOPIC = "dingtalk.user_add_org"


def test_of_many_three_are_named():
    many = [(TOPIC, number) for number in range(6)]
    assert f"{TOPIC}/0, {TOPIC}/1, {TOPIC}/2 and 3 more have no leader" in unled_words(many)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LeaderNotAvailableError(), "has no leader"),
        (NotLeaderForPartitionError(), "has no leader"),
        (NotEnoughReplicasError(), "min.insync.replicas"),
        (NotEnoughReplicasAfterAppendError(), "min.insync.replicas"),
        (NodeNotReadyError(), "one of its brokers does not answer"),
        (RequestTimedOutError(), "too few are there"),
        (KafkaTimeoutError(), "too few are there"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_of_a_cluster_without_enough_brokers_blames_no_setting(error, words):
    said = explain(error, KafkaSettings.load())
    assert words in said
    assert "KAFKA_" not in said
    assert type(error).__name__ not in said


class _Hanging:
    """A producer that hangs in its start, with so many brokers known by then."""

    def __init__(self, brokers: set[int]) -> None:
        self.client = self.cluster = self
        self._brokers = brokers

    def brokers(self) -> set[int]:
        return self._brokers

    async def start(self) -> None:
        raise TimeoutError  # as the time-out around it does

    async def stop(self) -> None: ...


@pytest.mark.parametrize(
    ("brokers", "words"), [({1}, "lets no producer begin"), (set(), "check KAFKA_BOOTSTRAP_SERVERS")]
)
async def test_a_producer_that_cannot_begin_is_told_from_a_wrong_address(brokers, words):
    with pytest.raises(KafkaUnavailable, match=words):
        await start_producer(_Hanging(brokers), KafkaSettings.load())


# -- A Kafka that does not answer: the write ends in words, and no task and no connection is left


RECORD = ("t", b"k", b"v", [("dingbridge-type", b"t")])


FETCH, METADATA, API_VERSIONS, INIT_PRODUCER_ID = 1, 3, 18, 22


def text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value


def array(*items: bytes) -> bytes:
    return struct.pack(">i", len(items)) + b"".join(items)


def topic(name: bytes, *leaders: int) -> bytes:
    replicas = array(struct.pack(">i", 0))
    partitions = [struct.pack(">hii", 0, n, leader) + replicas * 2 for n, leader in enumerate(leaders)]
    return struct.pack(">h", 0) + text(name) + array(*partitions)


@asynccontextmanager
async def silent_kafka(knows: bool = True) -> AsyncIterator[KafkaSettings]:
    """Settings of a Kafka that lets a producer begin, unless it ``knows`` nothing. Topic ``t`` has no leader,
    and each fetch is cut off (https://kafka.apache.org/protocol). At the end no connection may be open,
    and no task may run."""
    connected: set[asyncio.StreamWriter] = set()
    before = asyncio.all_tasks()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                api, _, correlation = struct.unpack_from(">hhi", await reader.readexactly(size))
                if api == FETCH:
                    break
                if knows and api in answers:
                    answer = struct.pack(">i", correlation) + answers[api]
                    writer.write(struct.pack(">i", len(answer)) + answer)
        connected.discard(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    versions = [struct.pack(">hhh", api, 0, 4 if api == FETCH else 0) for api in (0, 1, 3, 18, 22)]
    answers = {
        API_VERSIONS: struct.pack(">h", 0) + array(*versions),
        METADATA: array(
            *(struct.pack(">i", node) + text(b"127.0.0.1") + struct.pack(">i", port) for node in (0, 1))
        )
        + array(topic(b"t", -1), topic(b"read", 0, 1)),
        INIT_PRODUCER_ID: struct.pack(">ihqh", 0, 0, 1, 0),
    }
    async with asyncio.timeout(30), server:
        yield KafkaSettings.load(kafka_bootstrap_servers=f"127.0.0.1:{port}", kafka_request_timeout_s=60)
        while connected or asyncio.all_tasks() - before:  # noqa: ASYNC110 - nobody tells of these
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "STOP_TIMEOUT_S", 0.05)


@pytest.mark.parametrize("knows", [True, False])
async def test_a_producer_that_hangs_is_given_up_and_left_whole(
    monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    for module in (client, writer_module):
        monkeypatch.setattr(module, "hopeless_after_s", lambda _: 0.1)
    async with silent_kafka(knows) as settings:
        writer = RecordWriter(settings)
        with pytest.raises(KafkaUnavailable, match="Kafka at"):
            await writer.write(*RECORD)
        await writer.close()


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_producer_that_cannot_flush_is_left_whole(cancelled: bool) -> None:
    async with silent_kafka() as settings:
        made = producer(settings)
        await made.start()
        await made.send("t", b"v")
        leaving = asyncio.create_task(discard_producer(made, 60 if cancelled else 0.05))
        await asyncio.sleep(0.05)
        if cancelled:
            leaving.cancel()
        await asyncio.wait([leaving])
        assert leaving.cancelled() == cancelled


async def test_a_fetch_that_waits_to_try_again_cancels_nobody_who_leaves_its_consumer() -> None:
    async with silent_kafka() as settings:
        made = AIOKafkaConsumer(**connection(settings), retry_backoff_ms=60_000)
        await made.start()
        made.assign(places := [TopicPartition("read", number) for number in (0, 1)])
        for place in places:
            made.seek(place, 0)
        await made.getmany(timeout_ms=100)
        assert not await discard_consumer(made)
    assert await discard_consumer(AIOKafkaConsumer())


@pytest.mark.parametrize(("later_s", "kind"), [(0, "credentials"), (3600, "unreachable")])
def test_a_password_that_was_refused_just_now_explains_that_there_is_no_connection(
    monkeypatch: pytest.MonkeyPatch, later_s: int, kind: str
) -> None:
    """aiokafka tells why in its log alone."""
    now = 1000.0
    monkeypatch.setattr(client.time, "monotonic", lambda: now)
    logging.getLogger("aiokafka").error("Unable connect to %s: %s", "a:9092", SaslAuthenticationFailed())
    now += later_s
    assert explained(KafkaConnectionError(), KafkaSettings.load())[0] == kind
