"""Records of deliveries: read as they were written, shown by ``forward log``; nothing else that stands in the
topic is an error."""

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dingbridge.consumers.forward import cli
from dingbridge.consumers.forward.deliveries import OUTCOMES, Delivery, read_delivery
from dingbridge.worker.context import Position

NOW = datetime.now(UTC)
TAKEN = Delivery(
    "forward-a", "s", "one", Position("t", 0, 1), "", 2, NOW, "taken", 200, 12, "it answered 200"
)
ANSWER = '{"name":"张三","SuiteTicket":"s3cret"}'.encode()
REFUSED = replace(TAKEN, event_id="two", outcome="refused", status=422, answer=ANSWER)
OLD = replace(REFUSED, consumer="forward-b", at=NOW - timedelta(days=2), answer=b"\xff\x1b[2J")
TEXT = st.text(max_size=50)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2286, 1, 1))


@given(
    st.builds(
        Delivery,
        consumer=st.just("forward-a"),
        source=TEXT,
        event_id=TEXT,
        place=st.builds(Position, TEXT, st.integers(0, 99), st.integers(0, (1 << 63) - 1)),
        replay_id=TEXT,
        attempt=st.integers(1, 1 << 40),
        at=TIMES.map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC)),
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


@given(st.sampled_from(sorted(orjson.loads(TAKEN.record("k").value)["data"])), JSON)
def test_of_what_another_hand_wrote_it_is_a_delivery_or_none(name: str, value: Any) -> None:
    envelope = orjson.loads(TAKEN.record("k").value)
    envelope["data"][name] = value
    found = read_delivery(json.dumps(envelope).encode())
    assert found is None or found.outcome in OUTCOMES


def test_of_what_is_no_json_it_is_none() -> None:
    huge = b'{"type":"com.dingbridge.delivery","data":{"at":' + b"9" * 5_000 + b"}}"
    for value in (None, b"", b"\xff", b"[" * 100_000, huge):
        assert read_delivery(value) is None


@pytest.mark.parametrize(
    ("options", "events"),
    [
        ([], ["two", "one", "two"]),
        (["--system", "a"], ["one", "two"]),
        (["--system", "forward-b,c"], ["two"]),
        (["--event", "one"], ["one"]),
        (["--outcome", "taken,failed"], ["one"]),
        (["--since", "1h"], ["one", "two"]),
        (["--limit", "1"], ["two"]),
        (["--limit", "0"], ["two", "one", "two"]),
    ],
    ids=str,
)
def test_it_shows_those_that_are_asked_for(
    options: list[str], events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [orjson.loads(line) for line in log(monkeypatch, "--json", *options).splitlines()]
    assert [one["event"] for one in shown] == events


def test_what_a_system_answered_is_masked_unless_it_is_revealed(monkeypatch: pytest.MonkeyPatch) -> None:
    masked, revealed = log(monkeypatch), log(monkeypatch, "--reveal")
    assert ("张三" in masked, f"***({len(ANSWER)})" in masked) == (False, True)
    assert ("张三" in revealed, "s3cret" in revealed) == (True, False)
    assert "\x1b" not in revealed, "nothing in it commands a terminal"


def log(monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    async def deliveries(*_: Any) -> AsyncGenerator[Delivery, None]:
        for delivery in (OLD, TAKEN, REFUSED):
            yield delivery

    monkeypatch.setattr(cli, "_deliveries", deliveries)
    monkeypatch.setattr(cli, "configure_logging", lambda _: None)
    result = CliRunner().invoke(cli.app, ["log", *options])
    assert result.exit_code == 0, result.output
    return result.stdout
