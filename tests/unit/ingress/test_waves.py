"""How the publisher fills waves, without Kafka: nothing falls between two of them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from ingress.journal_file import Entry
from ingress.publisher import Publisher
from ingress.report import Report
from ingress.upkeep import open_newest

EVENT = {
    "EventType": "user_add_org",
    "CorpId": "c",
    "TimeStamp": "1731000000123",
    "UserId": ["a", "b", "d", "e"],
}


class _Kafka:
    """A producer whose batches take whatever they are given."""

    async def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def create_batch(self) -> Any:
        return SimpleNamespace(append=lambda **record: record)


class _Router:
    async def ensure(self, topic: str) -> None: ...

    def topic(self, record: Any) -> str:
        return f"dingtalk.{record.event_type}"


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """Three callbacks of four records each wait, and each record needs a wave of its own."""
    file = open_newest(tmp_path)
    body = json.dumps(EVENT).encode()
    file.keep([Entry(1, "default", "http", body, b"key-%d" % n) for n in range(3)])
    file.close()
    values = {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://127.0.0.1:1"}
    settings = IngressSettings.load(**{name.lower(): value for name, value in values.items()})
    made = Publisher(settings, tmp_path, Report())
    made._placer._router = _Router()
    made._placer.use(_Kafka())
    made._placer._batch_bytes = {"dingtalk.user_add_org": 1}
    made._enter_file()
    return made


@pytest.mark.parametrize("refused", range(4))
async def test_a_refused_record_of_a_callback_that_needs_several_waves_is_parked(publisher, refused):
    publisher._placer._refused = {(2, refused): "policy"}
    sent = []
    while (wave := await publisher._build()) is not None:
        sent += [(seq, number) for batch in wave.batches.values() for seq, number, _ in batch.records]
        publisher._pass(wave, {})
    assert sent == [(seq, n) for seq in (1, 2, 3) for n in range(4) if (seq, n) != (2, refused)]
    assert [(p.seq, p.record, p.reason) for p in publisher._unsaved_parked] == [(2, refused, "policy")]
    assert publisher._position == 3


async def test_what_is_parked_is_tried_when_asked_for_also_under_load(publisher, monkeypatch):
    retried_at = []

    async def send(wave):
        return {}

    async def settle(wave, futures):
        publisher._pass(wave, {})
        if publisher._position == 3:
            publisher.stop()

    async def retry():
        half = publisher._half_placed
        retried_at.append((publisher._position, half.placed if half else 0))

    monkeypatch.setattr(publisher, "_send", send)
    monkeypatch.setattr(publisher, "_settle", settle)
    monkeypatch.setattr(publisher._parking, "retry", retry)
    publisher.retry_parked()
    await publisher._publish()
    assert retried_at == [(1, 0)], "behind the first callback, and no record of the next is on its way"
    assert publisher._position == 3
