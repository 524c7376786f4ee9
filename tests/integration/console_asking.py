"""A console on real servers, in this process; a proxy's header says who asks."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from dingbridge.console.app import Console, open_console
from dingbridge.console.server import application
from dingbridge.console.settings import ConsoleSettings
from tests.unit.console.support import BY_PROXY, PROXY_SECRET


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
