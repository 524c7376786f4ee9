"""A Kafka for the relay's unit tests, with refusals as the test wants them, and a folder to publish."""

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import OutOfOrderSequenceNumber
from dingbridge.ingress.journal.checkpoint import Checkpoint, Parked
from dingbridge.ingress.journal.store import JournalFile

from dingbridge.errors import TopicError
from dingbridge.events import decode
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings

CHECK_IN, APPROVAL = "dingtalk.check_in", "dingtalk.bpms_instance_change"


class FakeKafka:
    """Takes batches whole or not at all. ``refuses(topic, value)``: the error for it; ``silent`` topics never
    answer; topics ``being_made`` are there once their event is set; ``away``: whether Kafka as a
    whole is gone, and what it raises."""

    def __init__(self) -> None:
        self.taken: dict[str, list[bytes]] = {}
        self.topics = {CHECK_IN, APPROVAL, "ctl-dingtalk.resync"}
        self.refuses: Callable[[str, bytes], BaseException | None] = lambda topic, value: None
        self.cannot_make: dict[str, BaseException] = {}
        self.being_made: dict[str, asyncio.Event] = {}
        self.silent: set[str] = set()
        self.away: BaseException | None = None
        self.random = random.Random(0)
        self.producers = 0

    def numbers(self, topic: str = CHECK_IN) -> list[int]:
        """The ``number`` of each event in ``topic``."""
        return [decode(value).data["number"] for value in self.taken.get(topic, ())]

    def events(self, topic: str) -> list[Any]:
        return [decode(value) for value in self.taken.get(topic, ())]

    def producer(self, settings: Any, **_: Any) -> "FakeProducer":
        self.producers += 1
        return FakeProducer(self)

    async def start(self, producer: Any, settings: Any) -> None:
        if self.away is not None:
            raise self.away

    async def existing(self, settings: Any, wanted: Any = ()) -> dict[str, int]:
        if self.away is not None:
            raise self.away
        return dict.fromkeys(self.topics, 1)

    async def ensure(self, settings: Any, names: list[str], *, timeout_s: float = 30) -> dict[str, int]:
        await asyncio.sleep(0)
        for name in names:
            if name in self.being_made:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        await self.being_made[name].wait()
                if not self.being_made[name].is_set():
                    raise TopicError(f"topic {name} did not appear within {timeout_s:g} s")
            if name in self.cannot_make:
                raise self.cannot_make[name]
            self.topics.add(name)
        return dict.fromkeys(names, 1)

    async def answers(self, settings: Any) -> None:
        if self.away is not None:
            raise self.away

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In the place of the real one."""
        for module in ("delivery",):
            monkeypatch.setattr(f"dingbridge.ingress.relay.{module}.producer", self.producer)
            monkeypatch.setattr(f"dingbridge.ingress.relay.{module}.start_producer", self.start)
            monkeypatch.setattr(f"dingbridge.ingress.relay.{module}.discard_producer", _discard)
        monkeypatch.setattr("dingbridge.ingress.relay.messages.existing_topics", self.existing)
        monkeypatch.setattr("dingbridge.ingress.relay.messages.ensure_topics", self.ensure)
        monkeypatch.setattr("dingbridge.ingress.relay.publisher.ensure_answers", self.answers)


async def _discard(producer: "FakeProducer", within_s: float) -> None:
    producer.finished = True


class FakeBatch:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, value: bytes, **_: Any) -> object:
        self.values.append(value)
        return self


class FakeProducer:
    """One that had a failed send is finished."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka
        self.finished = False

    async def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def create_batch(self) -> FakeBatch:
        return FakeBatch()

    async def send_batch(self, batch: FakeBatch, topic: str, partition: int) -> "asyncio.Future[None]":
        return asyncio.ensure_future(self._send(topic, batch.values))

    async def send_and_wait(self, topic: str, value: bytes, **_: Any) -> None:
        await self._send(topic, [value])

    async def _send(self, topic: str, values: list[bytes]) -> None:
        for _ in range(self._kafka.random.randrange(4)):
            await asyncio.sleep(0)
        if topic in self._kafka.silent:
            await asyncio.Event().wait()
        errors = (self._kafka.away or self._kafka.refuses(topic, value) for value in values)
        error = OutOfOrderSequenceNumber() if self.finished else next(filter(None, errors), None)
        if error is not None:
            self.finished = True
            raise error
        self._kafka.taken.setdefault(topic, []).extend(values)


def settings(**more: Any) -> IngressSettings:
    values = {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://127.0.0.1:1", "DINGTALK_CORP_ID": "c"}
    return IngressSettings.load(**{name.lower(): value for name, value in values.items()} | more)


def body(number: int, event_type: str = "check_in") -> bytes:
    event = {"EventType": event_type, "CorpId": "c", "StaffId": "u", "TimeStamp": 1_731_000_000_000}
    return json.dumps({**event, "number": number}).encode()


class Folder:
    """A journal that is written; each callback of ``keep`` is one record."""

    def __init__(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        self.path = path
        self.file = JournalFile(path / "journal.db", create=True)

    def keep(self, *bodies: bytes, via: str = "http") -> None:
        before = self.file.highest_seq()
        self.file.keep(
            [NewCallback(1, "default", via, b, b"key-%d-%d" % (before, n)) for n, b in enumerate(bodies)]
        )

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.path, self.file.id)

    def park(self, count: int, reason: str, topic: str = CHECK_IN) -> None:
        """Keep so many callbacks of ``topic`` more, numbered as their seq, all of them parked."""
        first = self.file.highest_seq() + 1
        seqs = range(first, first + count)
        self.keep(*(body(seq, topic.removeprefix("dingtalk.")) for seq in seqs))
        checkpoint = self.checkpoint()
        checkpoint.commit(seqs[-1], [Parked(seq, 0, topic, reason, 1) for seq in seqs])
        checkpoint.close()

    def parked(self) -> list[Parked]:
        checkpoint = Checkpoint(self.path, read_only=True)
        try:
            return checkpoint.parked()
        finally:
            checkpoint.close()

    def damage(self, seq: int) -> None:
        """Change a byte of a callback as the disk might."""
        with self.file.db:
            self.file.db.execute("UPDATE callbacks SET body = body || ' ' WHERE seq = ?", (seq,))

    def publisher(self, **more: Any) -> Publisher:
        return Publisher(settings(**more), self.path, RelayStatus())

    def close(self) -> None:
        self.file.close()
