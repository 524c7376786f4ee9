"""A console in this process, its sources absent, and somebody who is logged in."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher

from dingbridge.console.access import users as users_module
from dingbridge.console.access.users import Role
from dingbridge.console.app import Console, open_console
from dingbridge.console.server import application
from dingbridge.console.settings import ConsoleSettings
from dingbridge.simulator.kafka.ports import free_port

PASSWORD = "a long password"
PROXY_SECRET = "the proxy's own secret"
BY_PROXY = {"X-Console-Proxy-Secret": PROXY_SECRET}
"""What a proxy sends that is believed."""
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def use_quick_hasher(monkeypatch: Any) -> None:
    """argon2 with parameters that cost nothing: how strong they are is the library's default, not ours."""
    monkeypatch.setattr(users_module, "_HASHER", QUICK)


def settings_in(folder: Path, **values: Any) -> ConsoleSettings:
    """Settings without Kafka: nothing listens at its address."""
    return ConsoleSettings(
        data_dir=folder,
        kafka_bootstrap_servers=f"127.0.0.1:{free_port()}",
        console_listeners=[f"ingress=http://127.0.0.1:{free_port()}"],
        **values,
    )


@dataclass
class Browser:
    """One person's requests to the console, with their cookies."""

    client: TestClient[Any, Any]
    console: Console
    set_cookie: str = ""

    async def get(self, path: str, **more: Any) -> ClientResponse:
        return await self.client.get(path, allow_redirects=False, **more)

    async def post(self, path: str, data: Mapping[str, str], **more: Any) -> ClientResponse:
        return await self.client.post(path, data=data, allow_redirects=False, **more)

    async def log_in(self, role: Role) -> None:
        """A user named as the role."""
        name = role.name.lower()
        self.console.users.set_password(name, PASSWORD, role)
        answer = await self.post("/login", {"name": name, "password": PASSWORD})
        assert answer.status == 303, await answer.text()
        self.set_cookie = answer.headers["Set-Cookie"]

    async def csrf(self) -> str:
        """The token that a form of this person's pages holds."""
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', await (await self.get("/audit")).text())
        assert found is not None
        return found[1]


@asynccontextmanager
async def browser(settings: ConsoleSettings) -> AsyncIterator[Browser]:
    """Nobody is logged in. The feed does not run: its Kafka is not there."""
    console = open_console(settings)
    await console.listeners.start()
    console.index.open()
    client = TestClient(TestServer(application(console)))
    await client.start_server()
    try:
        yield Browser(client, console)
    finally:
        await client.close()
        console.index.close()
        await console.databases.close()
        await console.listeners.stop()
