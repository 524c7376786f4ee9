"""Which of Kafka's errors are about one record, which about one topic, and which about the whole world."""

import pytest
from aiokafka import errors as kafka

from dingbridge.ingress.relay.delivery import refusal

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


@pytest.mark.parametrize("code", sorted(UNEXPLAINED))
def test_what_says_nothing_blocks_its_topic_which_is_soon_tried_again(code):
    found = refusal(kafka.for_code(code)())
    assert found == "unexplained"
    assert found.blocks_topic


@pytest.mark.parametrize("code", sorted(WORLD))
def test_what_is_about_the_world_parks_nothing(code):
    assert refusal(kafka.for_code(code)()) is None


@pytest.mark.parametrize(
    "error", [kafka.ProducerFenced(), kafka.KafkaTimeoutError(), TimeoutError(), OSError()]
)
def test_nor_does_what_the_client_says_by_itself(error):
    assert refusal(error) is None
