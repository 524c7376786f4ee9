"""The unclassified topic is read once, to its end, by one run at a time."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Self

import pytest
from dingbridge.ingress.journal.store import JournalFile

from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.events import Received, to_records
from dingbridge.ingress.admin import renormalise as module
from dingbridge.ingress.admin.renormalise import renormalise
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings

TOPIC = "dingtalk.unclassified"


class Reader:
    """Of a topic with two partitions that somebody else writes to."""

    def __init__(self, settings: Any) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def spans(self, topics: dict[str, int]) -> int:
        return sum(topics.values())

    async def read(self, partitions: int) -> AsyncIterator[Any]:
        for number in range(partitions * 2):
            yield SimpleNamespace(offset=number, value=b"no event")


@pytest.fixture
def settings(monkeypatch, tmp_path) -> IngressSettings:
    async def existing(settings: Any, wanted: Any = ()) -> dict[str, int]:
        return {TOPIC: 2}

    monkeypatch.setattr(module, "TopicReader", Reader)
    monkeypatch.setattr(module, "existing_topics", existing)
    monkeypatch.setattr("dingbridge.ingress.relay.messages.existing_topics", existing)
    values = {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://127.0.0.1:1", "JOURNAL_DIR": str(tmp_path)}
    return IngressSettings.load(**{name.lower(): value for name, value in values.items()})


def test_it_reads_all_partitions_to_their_ends(settings):
    assert renormalise(settings) == {"read": 4, "put_back": 0, "left": 4}


def test_what_named_another_company_comes_back_when_the_setting_is_mended(settings, monkeypatch):
    own = SAMPLE_CREDENTIALS["DINGTALK_CORP_ID"]
    body = f'{{"EventType":"org_change","CorpId":"{own}","eventId":"e1"}}'.encode()
    (wrong,) = to_records(Received(1, "j", 1_731_000_000_000, "default", "http", body, corp_id="dingtypo"))
    assert wrong.fault == "other-company"

    async def read(self: Any, partitions: int) -> AsyncIterator[Any]:
        yield SimpleNamespace(offset=0, value=wrong.value)

    monkeypatch.setattr(Reader, "read", read)
    kept = []
    monkeypatch.setattr(JournalFile, "keep", lambda self, callbacks: kept.extend(callbacks))
    monkeypatch.setattr(module, "bring_in", lambda folder: {})
    assert renormalise(settings.model_copy(update={"dingtalk_corp_id": "dingtypo"}))["left"] == 1
    assert renormalise(settings) == {"read": 1, "put_back": 1, "left": 0}
    (callback,) = kept
    assert (callback.app, callback.body, callback.received_ms) == ("default", body, 1_731_000_000_000)


def test_a_topic_that_is_not_ready_ends_it_in_words(settings, monkeypatch):
    async def unled(settings: Any, wanted: Any) -> dict[str, int]:
        assert wanted == [TOPIC], "it is not taken for one that is not there"
        raise KafkaUnavailable("no leader")

    monkeypatch.setattr(module, "existing_topics", unled)
    with pytest.raises(KafkaUnavailable, match="no leader"):
        renormalise(settings)
    assert [path.name for path in settings.journal_path.iterdir()] == ["renormalise.lock"], "its folder goes"


def test_without_the_topic_there_is_nothing_to_do(settings, monkeypatch):
    async def none(*_: Any) -> dict[str, int]:
        return {}

    monkeypatch.setattr(module, "existing_topics", none)
    assert renormalise(settings)["read"] == 0


def test_a_second_run_is_refused_while_the_first_goes_on(settings, monkeypatch):
    refused = []

    async def slow(settings: Any, file: Any) -> dict[str, int]:
        try:
            await asyncio.to_thread(renormalise, settings)
        except BridgeError as error:
            refused.append(str(error))
        return {"read": 7, "put_back": 0, "left": 0}

    monkeypatch.setattr(module, "fill", slow)
    assert renormalise(settings)["read"] == 7
    assert "renormalises" in refused[0]
