"""What a failed ``ensure_topics`` means: is it this topic, or is the cluster away?"""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    InvalidReplicationFactorError,
    NotControllerError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
)

from dingbridge.errors import KafkaUnavailable, TopicError, TopicLeaderless
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
