"""Kafka freezes behind an open console: each page answers all the same, with what was known, and says so."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from dev.servers import KafkaServer
from tests.integration.console_asking import Asking, console_of
from tests.integration.replay_support import bury, letter_headers, numbered
from tests.integration.worker_support import consumer_settings, publish
from tests.support.waiting import eventually

CONSUMER = "t-frozen"
SILENT = "Kafka does not answer; what comes from it is shown as it was known"
PATIENCE_S = 9
"""Below the shortest time limit of Kafka's own clients, 10 s; a page takes 2."""


async def test_a_frozen_kafka_holds_up_no_page(
    breakable_kafka: KafkaServer,
    kafka_env: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    figure: Callable[[object], None],
) -> None:
    monkeypatch.setattr("dingbridge.console.watch.GROUPS_EACH_S", 1.0)
    settings = consumer_settings(kafka_env, f"sqlite:///{tmp_path / 'none.db'}")
    records = numbered(3)
    await publish(settings, records)
    await bury(settings, CONSUMER, [(records[0], letter_headers(0))])
    event = urlencode({"source": "/dingtalk/dingcorp1/default", "id": records[0].id})
    pages = [
        "/",
        "/tail",
        "/find",
        "/find?q=u0",
        f"/event?{event}",
        "/dead-letters",
        f"/dead-letters/letters?consumer={CONSUMER}",
        "/consumers",
        "/catalogue",
        "/outbound",
        "/audit",
    ]
    async with console_of(kafka_env, tmp_path, {}) as asking:
        await eventually(lambda: asking.console.feed.state.behind == 0)
        assert "1 wait" in await asking.text("/dead-letters")
        for path in pages:
            assert SILENT not in await asking.text(path), path

        breakable_kafka.pause()
        slowest = 0.0
        for _ in range(2):
            for path in pages:
                began = time.monotonic()
                async with asyncio.timeout(PATIENCE_S):
                    text = await asking.text(path, "operator")
                slowest = max(slowest, time.monotonic() - began)
                assert SILENT in text or path in ("/", "/tail", "/find"), path
                if path == "/dead-letters":
                    assert "1 wait" in text, "as it was known"
                if path == f"/event?{event}":
                    assert records[0].id in text, "the index knows it"
                if path.startswith("/dead-letters/letters"):
                    assert "No waiting letter matches" not in text
        figure(f"slowest page {slowest:.2f} s")
        await eventually(lambda: asking.console.feed.state.problem is not None, what="the feed has noticed")
        for path in pages:
            await says(asking, path, SILENT)

        breakable_kafka.resume()
        for path in pages:
            await says(asking, path, SILENT, False)
        assert "1 wait" in await asking.text("/dead-letters")


async def says(asking: Asking, path: str, words: str, wanted: bool = True) -> None:
    async def it_does() -> bool:
        return (words in await asking.text(path)) == wanted

    await eventually(it_does, what=f"{path} says {words!r}: {wanted}")
