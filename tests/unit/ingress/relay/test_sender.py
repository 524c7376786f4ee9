"""Which of Kafka's errors are about one record, which about one topic, and which about neither."""

import pytest
from aiokafka import errors as kafka

from dingbridge.ingress.relay.sender import BLOCKING, refusal

# what a broker may answer for a partition of a produce request, by Kafka's list of error codes
RECORD = {10: "too_large", 18: "too_large", 44: "policy", 87: "invalid_record"}
TOPIC = {17: "invalid_topic", 29: "rights", 32: "timestamp", 43: "format"}
UNEXPLAINED = dict.fromkeys((-1, 2, 74, 76, 100, 119), "unexplained")
NEITHER = [3, 5, 6, 7, 8, 9, 13, 19, 20, 21, 31, 35, 41, 42, 45, 46, 47, 49, 53, 56, 57, 58, 59]


@pytest.mark.parametrize("code", sorted(RECORD | TOPIC | UNEXPLAINED))
def test_what_is_about_one_record_or_one_topic_stops_no_other(code):
    error = kafka.for_code(code)()
    found = refusal(error)
    assert found == (RECORD | TOPIC | UNEXPLAINED)[code]
    assert (found in BLOCKING) == (code not in RECORD)
    if code not in UNEXPLAINED:
        assert error.errno == code, "aiokafka distinguishes it from others"
        assert not error.retriable, "the producer raises it, and does not send again without end"


def test_what_is_about_neither_parks_nothing():
    own = [kafka.ProducerFenced(), kafka.KafkaTimeoutError(), TimeoutError(), OSError()]
    assert [error for error in [*(kafka.for_code(code)() for code in NEITHER), *own] if refusal(error)] == []
