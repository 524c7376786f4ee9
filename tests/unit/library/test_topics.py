"""Topics that cannot be made, listed or read: is it this topic, or is the cluster away?"""

import asyncio
import errno
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaTimeoutError,
    NotControllerError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)
from typer.testing import CliRunner

from dingbridge.cli import topics as command_topics
from dingbridge.cli.topics import app
from dingbridge.errors import KafkaUnavailable, TopicError, TopicLeaderless
from dingbridge.kafka import reader as topic_reader
from dingbridge.kafka import topics
from dingbridge.kafka.topics import ensure_topics, existing_topics, listed_topics
from dingbridge.settings import KafkaSettings

UNKNOWN_TOPIC = 3


class Cluster:
    """Answers like an admin client of a cluster in which ``created`` is the outcome of a creation."""

    def __init__(self, created: int | BaseException, leader: int = -1, brokers: int = 3) -> None:
        self._created, self._leader, self._brokers = created, leader, brokers
        self._exists = created == TopicAlreadyExistsError.errno

    def __call__(self, **_: Any) -> "Cluster":
        return self

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def list_topics(self) -> list[str]:
        await asyncio.sleep(0)
        return ["dingtalk.user_add_org", "somebody.elses"]

    async def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": list(range(self._brokers))}

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        await asyncio.sleep(0)
        partitions = [{"error_code": 0, "partition": 0, "leader": self._leader}] if self._exists else []
        code = 0 if self._exists else UNKNOWN_TOPIC
        return [{"topic": name, "error_code": code, "partitions": partitions} for name in names]

    async def create_topics(self, wanted: list[Any]) -> Any:
        if isinstance(self._created, BaseException):
            raise self._created
        self.wanted = wanted
        return SimpleNamespace(topic_errors=[(topic.name, self._created, None) for topic in wanted])


async def ensured(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    monkeypatch.setattr("dingbridge.kafka.admin.AIOKafkaAdminClient", cluster)
    return await ensure_topics(KafkaSettings.load(), ["dingtalk.user_add_org"], timeout_s=0.1)


@pytest.mark.parametrize(
    "created",
    [TimeoutError(), RequestTimedOutError(), RequestTimedOutError.errno, NotControllerError.errno],
    ids=["client gives up", "request times out", "controller times out", "no controller"],
)
async def test_a_cluster_without_a_controller_is_away_and_no_topic_is_blamed(monkeypatch, created):
    with pytest.raises(KafkaUnavailable):
        await ensured(Cluster(created), monkeypatch)


async def test_a_cluster_whose_brokers_are_all_fenced_is_away_and_no_topic_is_blamed(monkeypatch):
    with pytest.raises(KafkaUnavailable, match="not in touch with their controller"):
        await ensured(Cluster(InvalidReplicationFactorError.errno, brokers=0), monkeypatch)


async def test_a_topic_that_cannot_be_made_as_wanted_is_refused_for_itself(monkeypatch):
    with pytest.raises(TopicError, match="TOPIC_REPLICATION"):
        await ensured(Cluster(InvalidReplicationFactorError.errno), monkeypatch)


async def test_a_topic_that_exists_without_leaders_is_refused_for_itself(monkeypatch):
    with pytest.raises(TopicLeaderless, match=r"dingtalk\.user_add_org/0 has no leader"):
        await ensured(Cluster(TopicAlreadyExistsError.errno), monkeypatch)


async def test_a_topic_that_does_not_appear_is_refused_for_itself(monkeypatch):
    with pytest.raises(TopicError, match=r"within 0\.1 s"):
        await ensured(Cluster(0), monkeypatch)


async def test_a_topic_that_exists_is_left_as_it_is(monkeypatch):
    found = await ensured(Cluster(TopicAlreadyExistsError.errno, leader=1), monkeypatch)
    assert found == {"dingtalk.user_add_org": 1}


async def test_a_topic_without_leaders_is_not_taken_for_one_that_is_not_there(monkeypatch):
    """Else a replay of a range leaves it out, since "nothing was published to it yet"."""
    monkeypatch.setattr("dingbridge.kafka.admin.AIOKafkaAdminClient", Cluster(TopicAlreadyExistsError.errno))
    settings, name = KafkaSettings.load(), "dingtalk.user_add_org"
    assert await existing_topics(settings) == {}, "which can be written to and read"
    assert await existing_topics(settings, ["dingtalk.chat_quit"]) == {}
    with pytest.raises(KafkaUnavailable, match=r"user_add_org/0 has no leader: .* start one of them"):
        await existing_topics(settings, ["dingtalk.chat_quit", name])
    assert await listed_topics(settings) == ({}, {(name, 0)})
    monkeypatch.setattr(
        "dingbridge.kafka.admin.AIOKafkaAdminClient", Cluster(TopicAlreadyExistsError.errno, leader=1)
    )
    assert await existing_topics(settings, [name]) == {name: 1}


@pytest.mark.parametrize(("brokers", "least"), [(1, None), (2, None), (3, "2"), (5, "2")])
async def test_where_there_are_three_copies_two_must_have_a_record(monkeypatch, brokers, least):
    with pytest.raises(TopicError):
        await ensured(cluster := Cluster(0, brokers=brokers), monkeypatch)
    assert cluster.wanted[0].topic_configs.get("min.insync.replicas") == least


# -- ``dingbridge topics`` at a Kafka that fails after it had answered; all else is shown by


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
    command_topics._print(record, with_key=True, reveal=True)
    shown = capsys.readouterr().out
    assert "dlq-reason" in shown
    assert "s3cr3t" not in shown
