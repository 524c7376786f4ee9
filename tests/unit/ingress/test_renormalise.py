"""Reading the unclassified topic comes to an end, also where Kafka gives a part of it no more."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from ingress.admin import renormalise as module
from ingress.admin.renormalise import Renormalised, renormalise

TOPIC = "dingtalk.unclassified"


class Consumer:
    """Of a topic with two partitions; nobody leads those that are ``silent``."""

    ends = (3, 2)
    silent: tuple[int, ...] = ()

    def __init__(self, **_: Any) -> None:
        self._positions: dict[Any, int] = {}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def topics(self) -> set[str]:
        return {TOPIC}

    def assign(self, parts: list[Any]) -> None: ...

    async def beginning_offsets(self, parts: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(parts, 0)

    async def end_offsets(self, parts: list[Any]) -> dict[Any, int]:
        return {part: self.ends[part.partition] for part in parts}

    def seek(self, part: Any, offset: int) -> None:
        self._positions[part] = offset

    async def position(self, part: Any) -> int:
        return self._positions[part]

    async def getmany(self, *parts: Any, timeout_ms: int) -> dict[Any, list[Any]]:
        await asyncio.sleep(0)
        found = {}
        for part in parts:
            if part.partition not in self.silent:
                found[part] = [SimpleNamespace(offset=self._positions[part], value=b"no event")]
                self._positions[part] += 1
        return found


@pytest.fixture
def settings(monkeypatch, tmp_path) -> IngressSettings:
    async def existing(settings: Any) -> dict[str, int]:
        return {TOPIC: 2}

    async def ailing(settings: Any, places: Any) -> str:
        return f"{places} have no leader"

    monkeypatch.setattr(module, "AIOKafkaConsumer", Consumer)
    monkeypatch.setattr(module, "existing_topics", existing)
    monkeypatch.setattr("ingress.relay.topics.existing_topics", existing)
    monkeypatch.setattr(module, "ailing", ailing)
    monkeypatch.setattr(module, "hopeless_after_s", lambda settings: 0.2)
    values = {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://127.0.0.1:1", "JOURNAL_DIR": str(tmp_path)}
    return IngressSettings.load(**{name.lower(): value for name, value in values.items()})


def test_it_reads_all_partitions_to_their_ends(settings):
    assert renormalise(settings) == {"read": 5, "put_back": 0, "left": 5}


def test_a_partition_that_gives_nothing_ends_it_in_words(settings, monkeypatch):
    monkeypatch.setattr(Consumer, "silent", (1,))
    with pytest.raises(KafkaUnavailable, match=r"dingtalk.unclassified', 1.* have no leader"):
        renormalise(settings)
    assert [path.name for path in settings.journal_path.iterdir()] == ["renormalise.lock"], "its folder goes"


def test_a_topic_that_is_not_ready_is_not_taken_for_an_empty_one(settings, monkeypatch):
    async def none(settings: Any) -> dict[str, int]:
        return {}

    monkeypatch.setattr(module, "existing_topics", none)
    with pytest.raises(KafkaUnavailable, match="no leader"):
        renormalise(settings)


def test_without_the_topic_there_is_nothing_to_do(settings, monkeypatch):
    async def none(*_: Any) -> dict[str, int]:
        return {}

    monkeypatch.setattr(module, "existing_topics", none)
    monkeypatch.setattr(Consumer, "topics", none)
    assert renormalise(settings)["read"] == 0


def test_a_second_run_is_refused_while_the_first_goes_on(settings, monkeypatch):
    refused = []

    async def slow(settings: Any, file: Any) -> Renormalised:
        try:
            await asyncio.to_thread(renormalise, settings)
        except BridgeError as error:
            refused.append(str(error))
        return Renormalised(read=7)

    monkeypatch.setattr(module, "fill", slow)
    assert renormalise(settings)["read"] == 7
    assert "renormalises" in refused[0]
