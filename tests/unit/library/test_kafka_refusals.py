"""Why Kafka could not be reached: aiokafka says it in its log alone, and says it only once."""

import logging

import pytest
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from dingbridge.kafka import client
from dingbridge.kafka.client import explained
from dingbridge.settings import KafkaSettings


def refuse() -> None:
    logging.getLogger("aiokafka").error("Unable connect to %s: %s", "a:9092", SaslAuthenticationFailed())


def test_a_password_that_was_refused_just_now_explains_that_there_is_no_connection() -> None:
    refuse()
    assert explained(KafkaConnectionError(), KafkaSettings.load())[0] == "credentials"


def test_one_that_was_refused_long_ago_explains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(client.time, "monotonic", lambda: now[0])
    refuse()
    now[0] += 3600
    assert explained(KafkaConnectionError(), KafkaSettings.load())[0] == "unreachable"
