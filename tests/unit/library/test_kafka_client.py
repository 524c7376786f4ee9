"""What stands against partitions that take no records, in words, and what a Kafka client's errors mean."""

from typing import Any

import pytest
from aiokafka.errors import (
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
)

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.client import explain, start_producer
from dingbridge.kafka.health import ailing, in_words
from dingbridge.settings import KafkaSettings

TOPIC = "dingtalk.user_add_org"


def part(number: int, leader: int, isr: list[int]) -> dict[str, Any]:
    return {"partition": number, "leader": leader, "replicas": [1, 2, 3], "isr": isr}


WELL, BEHIND, UNLED = part(0, 1, [1, 2, 3]), part(1, 1, [1]), part(2, -1, [])


class Admin:
    """An admin client of a cluster with these partitions."""

    def __init__(self, *partitions: dict[str, Any], answers: bool = True) -> None:
        self._partitions, self._answers = list(partitions), answers
        self.closed = False

    def __call__(self, **_: Any) -> "Admin":
        return self

    async def start(self) -> None:
        if not self._answers:
            raise OSError

    async def close(self) -> None:
        self.closed = True

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"topic": name, "error_code": 0, "partitions": self._partitions} for name in names]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([0, 1, 2], f"{TOPIC}/2 has no leader: the brokers that hold it are down"),
        ([0, 1], f"{TOPIC}/1 has 1 of 3 replicas in sync, perhaps fewer than min.insync.replicas"),
        ([0], None),
        ([9], None),
    ],
)
async def test_the_partitions_that_were_asked_for_are_named(monkeypatch, asked, words):
    monkeypatch.setattr("dingbridge.kafka.admin.AIOKafkaAdminClient", admin := Admin(WELL, BEHIND, UNLED))
    found = await ailing(KafkaSettings.load(), [(TOPIC, number) for number in asked])
    assert (found is None) == (words is None)
    assert (words or "") in (found or "")
    assert admin.closed


async def test_where_nobody_answers_nothing_is_said(monkeypatch):
    monkeypatch.setattr("dingbridge.kafka.admin.AIOKafkaAdminClient", admin := Admin(answers=False))
    assert await ailing(KafkaSettings.load(), [(TOPIC, 0)]) is None
    assert admin.closed


def test_of_many_three_are_named():
    many = [((TOPIC, number), UNLED) for number in range(6)]
    assert f"{TOPIC}/0, {TOPIC}/1, {TOPIC}/2 and 3 more have no leader" in (in_words(many) or "")


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
