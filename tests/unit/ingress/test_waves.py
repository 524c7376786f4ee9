"""How the publisher fills waves, without Kafka: nothing falls between two of them."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dingbridge.errors import KafkaUnavailable
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from ingress.journal.startup import open_newest
from ingress.journal.store import JournalFile, NewCallback
from ingress.relay.publisher import Publisher
from ingress.relay.stats import Report

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
    file.keep([NewCallback(1, "default", "http", body, b"key-%d" % n) for n in range(3)])
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


@pytest.fixture
def load(publisher, monkeypatch) -> Publisher:
    """It never has nothing to do: it stops where there is nothing to send any more."""

    async def send(wave):
        return {}

    async def settle(wave, futures):
        publisher._pass(wave, {})
        if publisher._position == 3:
            publisher.stop()

    monkeypatch.setattr(publisher, "_send", send)
    monkeypatch.setattr(publisher, "_settle", settle)
    return publisher


@pytest.mark.parametrize("why", ["asked for", "its time has come"])
async def test_what_is_parked_is_tried_also_under_load(load, monkeypatch, why):
    retried_at = []

    async def retry():
        half = load._half_placed
        retried_at.append((load._position, half.placed if half else 0))

    monkeypatch.setattr(load._parking, "retry", retry)
    if why == "asked for":
        load.retry_parked()
    else:
        load._retry_at = time.monotonic()
    forgotten = []
    monkeypatch.setattr(load._cursor, "forget_acked", forgotten.append)
    await load._publish()
    assert retried_at == [(1, 0)], "behind the first callback, and no record of the next is on its way"
    assert load._position == 3
    assert len(forgotten) == 1, "what else is due each minute"


@pytest.mark.parametrize("asked_again", [False, True])
async def test_a_try_that_takes_long_or_fails_is_followed_by_a_minute_for_the_others(
    load, monkeypatch, asked_again
):
    now = [time.monotonic()]
    monkeypatch.setattr("ingress.relay.publisher.time.monotonic", lambda: now[0])

    async def retry():
        now[0] += 65
        if asked_again:
            load.retry_parked()
        raise KafkaUnavailable("what is parked has too few replicas")

    monkeypatch.setattr(load._parking, "retry", retry)
    load.retry_parked()
    with pytest.raises(KafkaUnavailable):
        await load._publish()
    assert load._retry_at == (0 if asked_again else now[0] + 60)


async def test_under_load_too_an_older_file_is_tried_again(load, monkeypatch):
    """Nothing of the file that is left for it is lost or sent twice."""
    looked = []
    monkeypatch.setattr(load._reader, "look_again", lambda: looked.append(load._cursor.seq(load._entered)))
    load._retry_at = time.monotonic()
    await load._publish()
    assert looked == [1], "behind the first callback, and the cursor knows it"


async def test_an_older_file_is_entered_between_two_waves(load, tmp_path, monkeypatch):
    older = JournalFile(tmp_path / "journal-0000.db", create=True)
    older.keep([NewCallback(1, "default", "http", json.dumps(EVENT).encode(), b"key")])
    sent = []
    really_pass = load._pass

    def passed(wave, failed):
        sent.extend((load._entered == older.id, seq) for seq in wave.done)
        really_pass(wave, failed)

    def look_again():
        load._reader.close()
        return True

    monkeypatch.setattr(load, "_pass", passed)
    monkeypatch.setattr(load._reader, "look_again", look_again)
    monkeypatch.setattr("ingress.relay.publisher._IDLE_S", 0.0)
    load._retry_at = time.monotonic()
    await load._publish()
    assert sent == [(False, 1), (True, 1), (False, 2), (False, 3)]
    older.close()


async def test_the_rest_of_what_is_parked_is_tried_after_a_moment_for_the_others(load, monkeypatch):
    now = [time.monotonic()]
    monkeypatch.setattr("ingress.relay.publisher.time.monotonic", lambda: now[0])
    tries = []

    async def retry(rest=False):
        tries.append((now[0] - began, rest))
        return True

    monkeypatch.setattr(load._parking, "retry", retry)
    began = now[0]
    load.retry_parked()
    for after in (0, 1, 3, 6, 59, 62, 66):
        now[0] = began + after
        if now[0] >= load._retry_at:
            await load._each_minute()
    assert tries == [(0, False), (3, True), (6, True), (59, True), (62, False), (66, True)]


async def test_what_is_parked_is_not_counted_at_every_wave(load, monkeypatch):
    """With a million of them that takes a second, in which nothing is published."""
    load._parking.blocked["dingtalk.user_add_org"] = "rights"
    load._placer._topics.clear()
    monkeypatch.setattr(load._cursor, "parked_counts", None)
    await load._publish()
    await load._save()
    assert load._report.take()["parked"] == {"rights": 12}
    assert len(load._cursor.parked()) == 12
