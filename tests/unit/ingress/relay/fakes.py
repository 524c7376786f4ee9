"""A Kafka for the relay's unit tests, which answers as the test wants, and a journal to publish."""

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, OutOfOrderSequenceNumber
from prometheus_client import CollectorRegistry

from dingbridge.errors import TopicLeaderless
from dingbridge.events import decode, extract_facts
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import Acknowledgement, NewCallback, Parked, ResyncRequest
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from dingbridge.settings.apps import companies

CHECK_IN, APPROVAL, USERS = "dingtalk.check_in", "dingtalk.bpms_instance_change", "dingtalk.user_add_org"
RESYNC = "ctl-dingtalk.resync"


class FakeKafka:
    """Takes batches whole or not at all, of ``max_bytes`` at most. ``refuses(topic, value)``: the error for a
    record. Topics that are ``silent`` never answer, nor do those without a leader, ``leaderless``, which the
    metadata shows.
    ``away``: Kafka as a whole is gone, and what it raises. ``loses_answer()``: a batch is taken, and its
    answer is lost."""

    def __init__(self) -> None:
        self.taken: dict[str, list[bytes]] = {}
        self.topics = {CHECK_IN, APPROVAL, USERS}
        self.partitions = 1
        self.refuses: Callable[[str, bytes], BaseException | None] = lambda topic, value: None
        self.max_bytes = 1 << 30
        self.loses_answer: Callable[[], bool] = lambda: False
        self.cannot_make: dict[str, BaseException] = {}
        self.silent: set[str] = set()
        self.leaderless: set[str] = set()
        self.away: BaseException | None = None
        self.answers: asyncio.Event | None = None
        """If there is one, a client that asks for metadata waits for it."""
        self.random = random.Random(0)
        self.producers = self.asked = 0
        self.batches: list[int] = []
        """How many records each batch had."""
        self.waited_s = 0.0
        """How long producers that would not end were waited for."""

    def numbers(self, topic: str = CHECK_IN) -> list[int]:
        """The ``number`` of each event in ``topic``."""
        return [number_of(value) for value in self.taken.get(topic, ())]

    def events(self, topic: str) -> list[Any]:
        return [decode(value) for value in self.taken.get(topic, ())]

    def producer(self, settings: Any, *, enable_idempotence: bool = True, **_: Any) -> "FakeProducer":
        self.producers += 1
        return FakeProducer(self, enable_idempotence)

    async def start(self, producer: Any, settings: Any) -> None:
        if self.away is not None:
            raise self.away

    async def discard(self, producer: "FakeProducer", within_s: float) -> None:
        producer.finished = True
        left = [one for one in producer.sends if not one.done()]
        self.waited_s += within_s if left else 0
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def listed(self, settings: Any) -> tuple[dict[str, int], set[tuple[str, int]]]:
        if self.away is not None:
            raise self.away
        counts = dict.fromkeys(self.topics - self.leaderless, self.partitions)
        return counts, {(topic, 0) for topic in self.leaderless}

    async def ensure(self, settings: Any, names: list[str], *, timeout_s: float = 30) -> dict[str, int]:
        await asyncio.sleep(0)
        if self.away is not None:
            raise self.away
        for name in names:
            if name in self.leaderless:
                self.waited_s += timeout_s
                raise TopicLeaderless(name)
            if name in self.cannot_make:
                raise self.cannot_make[name]
            self.topics.add(name)
        return dict.fromkeys(names, self.partitions)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In the place of the real one, with waits of some ms in place of some s."""
        for module, name, fake in (
            ("sender", "producer", self.producer),
            ("sender", "start_producer", self.start),
            ("sender", "discard_producer", self.discard),
            ("topics", "listed_topics", self.listed),
            ("topics", "ensure_topics", self.ensure),
            ("sender", "_SILENT_S", 0.01),
            ("sender", "ANSWER_WITHIN_S", 0.03),
            ("publisher", "_RETRY_WITHIN_S", 0.03),
            ("publisher", "_SET_EVERY_S", 0.001),
            ("publisher", "_IDLE_S", 0.001),
            ("publisher", "_SAVE_EVERY_S", 0.001),
            ("publisher", "_BACKOFF_S", (0.001, 0.001)),
            ("batches", "RETRY_EVERY_S", (0.005, 0.01)),
        ):
            monkeypatch.setattr(f"dingbridge.ingress.relay.{module}.{name}", fake)


class FakeBatch:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, value: bytes, **_: Any) -> object:
        self.values.append(value)
        return self

    def size(self) -> int:
        return sum(map(len, self.values))


class FakeProducer:
    """A partition of an idempotent one that had a failed send is finished. It stands for its client and its
    cluster, too."""

    def __init__(self, kafka: FakeKafka, idempotent: bool) -> None:
        self._kafka, self._idempotent = kafka, idempotent
        self.client = self.cluster = self
        self.finished = False
        self.failed: set[tuple[str, int]] = set()
        self.sends: list[asyncio.Future[None]] = []

    async def force_metadata_update(self) -> bool:
        self._kafka.asked += 1
        if self._kafka.answers is not None:
            await self._kafka.answers.wait()
        return self._kafka.away is None

    def leader_for_partition(self, place: TopicPartition) -> int:
        return -1 if place.topic in self._kafka.leaderless else 1

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(self._kafka.partitions))

    def create_batch(self) -> FakeBatch:
        return FakeBatch()

    async def send_batch(self, batch: FakeBatch, topic: str, partition: int) -> "asyncio.Future[None]":
        self.sends.append(asyncio.ensure_future(self._send((topic, partition), batch.values)))
        return self.sends[-1]

    async def _send(self, partition: tuple[str, int], values: list[bytes]) -> None:
        kafka, topic = self._kafka, partition[0]
        for _ in range(kafka.random.randrange(4)):
            await asyncio.sleep(0)
        if topic in kafka.silent | kafka.leaderless:
            await asyncio.Event().wait()
        kafka.batches.append(len(values))
        large = MessageSizeTooLargeError() if sum(map(len, values)) > kafka.max_bytes else None
        errors = (kafka.away or large or kafka.refuses(topic, value) for value in values)
        finished = self.finished or partition in self.failed
        error = OutOfOrderSequenceNumber() if finished else next(filter(None, errors), None)
        if error is None:
            kafka.taken.setdefault(topic, []).extend(values)
            error = KafkaConnectionError() if kafka.loses_answer() else None
        if error is not None:
            if self._idempotent:
                self.failed.add(partition)
            raise error


def settings(**more: Any) -> IngressSettings:
    values = {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://127.0.0.1:1", "DINGTALK_CORP_ID": "c"}
    return IngressSettings.load(**{name.lower(): value for name, value in values.items()} | more)


def body(number: int, event_type: str = "check_in", **more: Any) -> bytes:
    event = {"EventType": event_type, "CorpId": "c", "TimeStamp": 1_731_000_000_000}
    event |= {"StaffId": "u", "processInstanceId": "p", "UserId": ["u"]} | more
    return json.dumps({**event, "number": number}).encode()


def number_of(value: bytes) -> int:
    return int(decode(value).data["number"])


class Room:
    """A journal that is written below ``root``, and what publishes it."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.root = root
        self.registry = CollectorRegistry()
        self.status = RelayStatus(self.registry)

    async def open(self) -> "Room":
        self.journal = Journal(self.root, Retention(3600, 3600), JournalMetrics(CollectorRegistry()))
        await self.journal.start()
        return self

    async def keep(self, *rows: bytes | ResyncRequest, via: str = "http") -> None:
        await self.journal.commit(
            [
                row
                if isinstance(row, ResyncRequest)
                else NewCallback(1, "default", via, row, extract_facts(row))
                for row in rows
            ]
        )

    async def park(self, count: int, reason: str, topic: str = CHECK_IN) -> None:
        """Keep so many callbacks of ``topic`` more, numbered as their seq, all of them parked."""
        first = self.acked() + 1
        seqs = range(first, first + count)
        await self.keep(*(body(seq, topic.removeprefix("dingtalk.")) for seq in seqs))
        parked = [Parked(seq, topic, reason, 1) for seq in seqs]
        await self.journal.acknowledge(Acknowledgement(seqs[-1], parked))

    def acked(self) -> int:
        with closing(JournalFile(current(self.root), read_only=True)) as file:
            return file.acked()

    def parked(self) -> list[Parked]:
        with closing(JournalFile(current(self.root), read_only=True)) as file:
            return [one for seq in file.parked_seqs(0, 10_000) for one in file.parked_of(seq)]

    def why_parked(self) -> dict[int, str]:
        """The reason by ``seq``."""
        return {one.seq: one.reason for one in self.parked()}

    def change(self, sql: str) -> None:
        """Change the file as the disk might."""
        with closing(JournalFile(current(self.root))) as file, file.db:
            file.db.execute(sql)

    def publisher(self, *, until_empty: bool = False, **more: Any) -> Publisher:
        given = settings(**more)
        known = companies(given)
        made = Publisher(given, lambda: known, self.journal, self.status, until_empty=until_empty)
        self.journal.on_commit = made.wake
        return made

    async def publish(self, *, retry: bool = False, **more: Any) -> None:
        """Until nothing waits; with ``retry``, as an operator asks."""
        publisher = self.publisher(until_empty=True, **more)
        if retry:
            publisher.retry()
        await publisher.run()

    async def close(self) -> None:
        await self.journal.stop()
