"""What of the unclassified topic can be normalised now is published again, from Kafka to Kafka."""

from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from dingbridge.errors import KafkaUnavailable
from dingbridge.events import Received, decode, to_records
from dingbridge.ingress.admin import renormalise as module
from dingbridge.ingress.admin.renormalise import renormalise
from dingbridge.replay import copying
from tests.unit.ingress.relay.fakes import FakeKafka, settings

TOPIC, CHANGES = "dingtalk.unclassified", "dingtalk.org_change"
SETTINGS = settings()


def unclassified(number):
    """As a relay wrote it whose DINGTALK_CORP_ID was mistyped."""
    body = f'{{"EventType":"org_change","CorpId":"c","eventId":"e{number}"}}'.encode()
    (record,) = to_records(
        Received(number, "j", 1_731_000_000_000, "default", "http", body, corp_id="dingtypo")
    )
    assert record.fault == "other-company"
    return record.value


@pytest.fixture
def kafka(monkeypatch):
    """With the unclassified topic in ``values``."""
    fake = FakeKafka()
    fake.install(monkeypatch)
    fake.topics, fake.values = {TOPIC}, []

    class Reader:
        def __init__(self, settings): ...

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_): ...

        async def spans(self, topics):
            return topics[TOPIC]

        async def read(self, partitions):
            for value in fake.values * partitions:
                yield SimpleNamespace(value=value)

    async def existing(settings, wanted):
        assert wanted == [TOPIC], "one that is not ready is not taken for one that is not there"
        if fake.away is not None:
            raise fake.away
        return dict.fromkeys(fake.topics & {*wanted}, 1)

    class Producer:
        async def send(self, topic, *, value, **_):
            batch = fake.producer(None).create_batch()
            batch.append(value=value)
            return await fake.producer(None).send_batch(batch, topic, 0)

    monkeypatch.setattr(module, "TopicReader", Reader)
    monkeypatch.setattr(module, "existing_topics", existing)
    monkeypatch.setattr(copying, "producer", lambda settings, **_: Producer())
    for name in ("start_producer", "discard_producer"):
        monkeypatch.setattr(copying, name, AsyncMock())
    monkeypatch.setattr(copying, "hopeless_after_s", lambda settings: 0.05)
    return fake


async def test_what_named_another_company_comes_back_when_the_setting_is_mended(kafka, monkeypatch):
    monkeypatch.setattr(copying, "BATCH_RECORDS", 2)
    kafka.values = [b"no event", None, *map(unclassified, range(5))]
    mistyped = SETTINGS.model_copy(update={"dingtalk_corp_id": "dingtypo"})
    assert await renormalise(mistyped) == {"read": 7, "published": 0, "left": 7}
    assert not kafka.taken
    assert await renormalise(SETTINGS) == {"read": 7, "published": 5, "left": 2}
    events = kafka.events(CHANGES)
    assert [event.id for event in events] == [f"org_change:e{number}" for number in range(5)]
    first = decode(unclassified(0))
    assert (events[0].app, events[0].received_time) == ("default", first.received_time)


async def test_a_refused_record_or_a_topic_that_is_not_ready_ends_it_in_words(kafka):
    kafka.values = [unclassified(1)]
    kafka.refuses = lambda topic, _: TopicAuthorizationFailedError(topic)
    with pytest.raises(KafkaUnavailable, match=rf"has no right .*WRITE \(to publish\) on topic {CHANGES}"):
        await renormalise(SETTINGS)
    kafka.away = KafkaUnavailable("no leader")
    with pytest.raises(KafkaUnavailable, match="no leader"):
        await renormalise(SETTINGS)


async def test_without_the_topic_there_is_nothing_to_do(kafka):
    kafka.topics = set()
    assert (await renormalise(SETTINGS))["read"] == 0


async def test_kafka_that_fails_in_the_middle_is_said_in_words(kafka):
    kafka.values = [unclassified(1)]
    kafka.refuses = lambda *_: KafkaConnectionError()
    with pytest.raises(KafkaUnavailable, match="does not answer"):
        await renormalise(SETTINGS)
    kafka.refuses, kafka.silent = lambda *_: None, {CHANGES}
    with pytest.raises(KafkaUnavailable, match="no answer in time"):
        await renormalise(SETTINGS)
