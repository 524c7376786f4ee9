"""Kafka freezes behind an open console: each page answers all the same, with what was known, and says so."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import TestClient, TestServer

from dev.servers import KafkaServer
from dingbridge.console.app import Console, open_console
from dingbridge.console.server import application
from dingbridge.console.settings import ConsoleSettings
from tests.integration.replay_support import bury, letter_headers, numbered
from tests.integration.worker_support import consumer_settings, publish
from tests.support.waiting import eventually
from tests.unit.console.support import BY_PROXY, PROXY_SECRET

CONSUMER = "t-frozen"


SILENT = "Kafka does not answer; what comes from it is shown as it was known"


PATIENCE_S = 9
"""Below the shortest time limit of Kafka's own clients, 10 s; a page takes 2."""


@dataclass(frozen=True, slots=True)
class Asking:
    """``text`` is a page's HTML for a role, in English unless ``lang`` says else."""

    console: Console
    client: TestClient[Any, Any]

    async def text(self, path: str, role: str = "reader", lang: str = "en") -> str:
        headers = {**BY_PROXY, "X-User": "somebody", "X-Role": role, "Accept-Language": lang}
        async with self.client.get(path, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.text()


@asynccontextmanager
async def console_of(
    kafka_env: Mapping[str, str], folder: Path, listeners: Mapping[str, int]
) -> AsyncIterator[Asking]:
    """``listeners`` are the ports by name."""
    settings = ConsoleSettings.load(
        **{name.lower(): value for name, value in kafka_env.items()},
        data_dir=folder / "console",
        console_listeners=[f"{name}=http://127.0.0.1:{port}" for name, port in listeners.items()],
        console_proxy_user_header="X-User",
        console_proxy_role_header="X-Role",
        console_proxy_secret=PROXY_SECRET,
        trusted_proxies=["127.0.0.0/8"],
    )
    settings.data_dir.mkdir()
    console = open_console(settings)
    client = TestClient(TestServer(application(console)))
    await console.start()
    await client.start_server()
    try:
        yield Asking(console, client)
    finally:
        await client.close()
        await console.stop()


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
