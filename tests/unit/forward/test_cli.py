"""``dingbridge forward log``: which deliveries it shows, and what of them."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from dingbridge.consumers.forward import cli
from dingbridge.consumers.forward.deliveries import Delivery
from dingbridge.worker.context import Position

NOW = datetime.now(UTC)
TAKEN = Delivery(
    "forward-a", "s", "one", Position("t", 0, 1), "", 2, NOW, "taken", 200, 12, "it answered 200"
)
ANSWER = '{"name":"张三","SuiteTicket":"s3cret"}'.encode()
REFUSED = replace(TAKEN, event_id="two", outcome="refused", status=422, answer=ANSWER)
OLD = replace(REFUSED, consumer="forward-b", at=NOW - timedelta(days=2), answer=b"\xff\x1b[2J")


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


def test_what_a_system_answered_is_masked_unless_it_is_revealed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "张三" not in log(monkeypatch)
    assert f"***({len(ANSWER)})" in log(monkeypatch)
    revealed = log(monkeypatch, "--reveal")
    assert "张三" in revealed
    assert "s3cret" not in revealed
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
