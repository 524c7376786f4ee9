"""``dingbridge topics`` at a Kafka that fails after it had answered; all else is shown by
``tests/integration/test_commands.py``."""

import asyncio
import errno
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, NotLeaderForPartitionError, TopicAuthorizationFailedError
from typer.testing import CliRunner

from dingbridge.cli import topics as command_topics
from dingbridge.cli.topics import app
from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka import reader as topic_reader
from dingbridge.kafka import topics

TOPIC = "dingtalk.check_in"
COMMANDS = {"list": ["list"], "read": ["read", "check_in"]}


class Consumer:
    """Starts, and then raises ``error`` at its method ``at``."""

    def __init__(self, at: str, error: BaseException) -> None:
        self._at, self._error = at, error
        self.called: Counter[str] = Counter()

    def __call__(self, **_: Any) -> "Consumer":
        return self

    def _does(self, name: str) -> None:
        self.called[name] += 1
        if name == self._at:
            raise self._error

    async def start(self) -> None:
        self._does("start")

    async def stop(self) -> None:
        self._does("stop")

    def assign(self, partitions: list[Any]) -> None:
        self._does("assign")

    def seek(self, partition: Any, offset: int) -> None: ...

    async def beginning_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        self._does("beginning_offsets")
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        self._does("end_offsets")
        return dict.fromkeys(partitions, 1)

    async def position(self, partition: Any) -> int:
        return 0

    async def getmany(self, *_: Any, **__: Any) -> dict[Any, Any]:
        self._does("getmany")
        return {}


def run(monkeypatch: pytest.MonkeyPatch, command: str, consumer: Consumer) -> BaseException | None:
    async def listed_topics(settings: Any) -> tuple[dict[str, int], set[topics.Place]]:
        await asyncio.sleep(0)
        return {TOPIC: 2}, set()

    monkeypatch.setattr(topics, "listed_topics", listed_topics)
    monkeypatch.setattr(command_topics, "listed_topics", listed_topics)
    monkeypatch.setattr(topic_reader, "AIOKafkaConsumer", consumer)
    return CliRunner().invoke(app, COMMANDS[command]).exception


@pytest.mark.parametrize(
    ("command", "at", "error", "words"),
    [
        ("list", "start", OSError("no"), "does not answer"),
        ("list", "beginning_offsets", KafkaTimeoutError(), "no answer in time"),
        ("list", "end_offsets", NotLeaderForPartitionError(), "has no leader"),
        ("read", "assign", KafkaTimeoutError(), "no answer in time"),
        ("read", "end_offsets", KafkaTimeoutError(), "no answer in time"),
        ("read", "getmany", TopicAuthorizationFailedError({TOPIC}), f"READ .* on topic {TOPIC}"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_kafka_refuses_later_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, command: str, at: str, error: Exception, words: str
) -> None:
    consumer = Consumer(at, error)
    with pytest.raises(KafkaUnavailable, match=words):
        raise run(monkeypatch, command, consumer) or AssertionError
    assert consumer.called["stop"] == 1


class One(Consumer):
    """Has one record in each partition."""

    async def getmany(self, partition: Any, **_: Any) -> dict[Any, Any]:
        return {partition: [SimpleNamespace(topic=TOPIC, partition=0, offset=0, timestamp=0, value=b"{}")]}


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ENOSPC, "full")], ids=["pipe", "disk"])
def test_an_output_that_takes_no_more_is_not_kafkas_fault(
    monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr(command_topics, "_print", full)
    consumer = One("nothing", AssertionError())
    assert isinstance(run(monkeypatch, "read", consumer), OSError | SystemExit)
    assert consumer.called["stop"] == 1


def test_a_partition_that_gives_nothing_ends_the_reading_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its leader has gone meanwhile: aiokafka waits for a new one without end, and says nothing."""
    monkeypatch.setattr(topic_reader, "SILENCE_S", 0)
    consumer = Consumer("nothing", AssertionError())
    with pytest.raises(KafkaUnavailable, match=rf"nothing of {TOPIC} for 0 s; check the broker"):
        raise run(monkeypatch, "read", consumer) or AssertionError
    assert consumer.called["stop"] == 1


def test_headers_show_no_ticket_either(capsys: pytest.CaptureFixture[str]) -> None:
    reason = ("dingbridge-dlq-reason", b"no answer to {'SuiteTicket': 's3cr3t'}")
    record = SimpleNamespace(
        partition=0, offset=1, key=None, headers=[reason], value=b'{"AuthCode":"s3cr3t"}'
    )
    command_topics._print(record, with_key=True)
    shown = capsys.readouterr().out
    assert "dlq-reason" in shown
    assert "s3cr3t" not in shown
