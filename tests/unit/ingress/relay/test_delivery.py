"""Which of Kafka's errors are about one record, which about one topic, and which about the whole world."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors as kafka

from ingress.relay.batches import BATCH_BYTES, Batch, RecordAccumulator
from ingress.relay.delivery import refusal, unexplained

# what a broker may answer for a partition of a produce request, by Kafka's list of error codes
RECORD = {10: "too_large", 18: "too_large", 44: "policy", 87: "invalid_record"}
TOPIC = {17: "invalid_topic", 29: "rights", 32: "timestamp", 43: "format", 76: "format"}
WORLD = {3, 5, 6, 7, 8, 9, 13, 19, 20, 21, 31, 35, 41, 42, 45, 46, 47, 49, 53, 56, 57, 58, 59}
UNEXPLAINED = {-1, 2, 74, 100, 119}


@pytest.mark.parametrize("code", sorted(RECORD | TOPIC))
def test_what_is_about_one_record_or_one_topic_stops_no_other(code):
    error = kafka.for_code(code)()
    assert error.errno == code, "aiokafka tells it from others"
    found = refusal(error)
    assert found == (RECORD | TOPIC)[code]
    assert found.blocks_topic == (code in TOPIC)
    assert not error.retriable, "the producer tells of it, and does not send again without end"


@pytest.mark.parametrize("code", sorted(WORLD))
def test_what_is_about_the_world_parks_nothing(code):
    error = kafka.for_code(code)()
    assert refusal(error) is None
    assert not unexplained(error)


@pytest.mark.parametrize("code", sorted(UNEXPLAINED))
def test_what_may_be_either_parks_nothing_at_first(code):
    error = kafka.for_code(code)()
    assert refusal(error) is None
    assert unexplained(error)


@pytest.mark.parametrize(
    "error", [kafka.ProducerFenced(), kafka.KafkaTimeoutError(), TimeoutError(), OSError()]
)
def test_nor_does_what_the_client_says_by_itself(error):
    assert refusal(error) is None
    assert not unexplained(error)


PARTITION = "dingtalk.check_in", 0
OTHER = "dingtalk.check_in", 1


@pytest.fixture
def blocked() -> dict[str, Any]:
    return {}


@pytest.fixture
def accumulator(blocked) -> RecordAccumulator:
    router: Any = SimpleNamespace(forget=lambda topic: None)
    return RecordAccumulator(router, blocked)


def batch(count: int, size: int, partition: tuple[str, int] = PARTITION) -> Batch:
    builder: Any = None
    record: Any = None
    return Batch(partition, builder, size, [(seq, 0, record) for seq in range(1, count + 1)])


def test_one_topic_that_is_refused_without_a_reason_stops_the_others_for_a_while_only(
    accumulator, blocked, monkeypatch
):
    now = [100.0]
    monkeypatch.setattr("ingress.relay.batches.time.monotonic", lambda: now[0])
    error = kafka.for_code(-1)()

    def refused_for(seconds: int) -> dict[str, Any]:
        for _ in range(seconds):
            accumulator.learn(batch(3, 900), error)
            accumulator.acknowledged({OTHER}, position=0)
            now[0] += 1
        return blocked

    assert not refused_for(29)
    accumulator.acknowledged({PARTITION}, position=9)
    assert not refused_for(29), "it has taken some in between"
    assert refused_for(2) == {PARTITION[0]: "unexplained"}


def test_a_record_that_is_refused_is_found_by_halves_and_then_batches_grow_again(accumulator):
    error = kafka.for_code(87)()
    size, count = 1024, 8
    while count > 1:
        accumulator.learn(batch(count, size), error)
        accumulator.acknowledged({OTHER}, position=0)
        assert accumulator._batch_bytes[PARTITION[0]] == size // 2
        size, count = size // 2, count // 2
    accumulator.learn(batch(1, size), error)
    assert accumulator._refused == {(1, 0): "invalid_record"}
    for _ in range(20):
        accumulator.acknowledged({PARTITION, OTHER}, position=7)
    assert accumulator._batch_bytes[PARTITION[0]] < BATCH_BYTES, "the last of them is not behind us"
    for _ in range(20):
        accumulator.acknowledged({PARTITION, OTHER}, position=9)
    assert accumulator._batch_bytes.get(PARTITION[0], BATCH_BYTES) == BATCH_BYTES


def test_a_topics_limit_of_size_is_not_forgotten(accumulator):
    accumulator.learn(batch(8, 20_000), kafka.MessageSizeTooLargeError())
    accumulator.acknowledged({PARTITION}, position=9)
    assert accumulator._batch_bytes[PARTITION[0]] == 10_000
