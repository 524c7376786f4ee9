"""What is recorded of a delivery is read back, and nothing that may stand in the topic is an error."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.consumers.forward.deliveries import OUTCOMES, Delivery, read_delivery
from dingbridge.worker.context import Position

TEXT = st.text(max_size=50)
SAMPLE = Delivery(
    "forward-a", "/dingtalk/d/default", "e", Position("t", 0, 1), "", 1, datetime.now(UTC), "taken"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


@given(
    st.builds(
        Delivery,
        consumer=st.just("forward-a"),
        source=TEXT,
        event_id=TEXT,
        place=st.builds(Position, TEXT, st.integers(0, 99), st.integers(0, (1 << 63) - 1)),
        replay_id=TEXT,
        attempt=st.integers(1, 1 << 40),
        at=st.integers(0, 10**12).map(lambda ms: datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)),
        outcome=st.sampled_from(OUTCOMES),
        status=st.none() | st.integers(100, 999),
        duration_ms=st.none() | st.integers(0, 10**9),
        words=TEXT,
        answer=st.none() | st.binary(max_size=200),
        event_type=TEXT,
    )
)
def test_a_delivery_is_read_as_it_was_written(delivery: Delivery) -> None:
    assert read_delivery(delivery.record("key").value) == delivery


@given(st.sampled_from(sorted(orjson.loads(SAMPLE.record("k").value)["data"])), JSON)
def test_of_what_another_hand_wrote_it_is_a_delivery_or_none(name: str, value: Any) -> None:
    envelope = orjson.loads(SAMPLE.record("k").value)
    envelope["data"][name] = value
    found = read_delivery(json.dumps(envelope).encode())
    assert found is None or found.outcome in OUTCOMES


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"[" * 100_000,
        b'{"type":"com.dingbridge.delivery","data":{"at":' + b"9" * 5_000 + b"}}",
    ],
    ids=["null", "empty", "no text", "deep", "huge"],
)
def test_of_what_is_no_json_it_is_none(value: bytes | None) -> None:
    assert read_delivery(value) is None
