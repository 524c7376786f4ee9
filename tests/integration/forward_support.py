"""A system that forward hands events to: a real HTTP server which keeps what it got and answers as told."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True, slots=True)
class Got:
    """One request."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def event_id(self) -> str:
        """The id of the callback that the CloudEvent in ``body`` is of."""
        return str(self.json()["id"]).split("/")[0].rpartition(":")[2]


Answering = Callable[[Got], Any]
"""A status, a response, or an awaitable of either."""


class Receiver:
    """``answer`` decides: a status, or a whole response. ``got`` holds all requests, ``taken`` those that
    were answered with 200; each request's signature is verified by the specification's library."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.got: list[Got] = []
        self.taken: list[Got] = []
        self.answer: Answering = lambda got: 200
        self.port = 0
        self._context = context
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}/hook"

    async def start(self) -> None:
        """Listen: at a free port, or where it did before."""
        self._stopping = asyncio.Event()
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self.port, ssl_context=self._context, reuse_address=True
        )
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        """Be dead: nothing listens there any more."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def hang(self, got: Got) -> int:
        """An ``answer`` that does not come."""
        await self._stopping.wait()
        return 503

    def ids(self) -> list[str]:
        """Event ids of ``taken``, in order."""
        return [got.event_id for got in self.taken]

    async def _take(self, request: web.Request) -> web.StreamResponse:
        got = Got({name.lower(): value for name, value in request.headers.items()}, await request.read())
        Webhook(SECRET).verify(got.body, got.headers, json_parse=False)
        self.got.append(got)
        answer: Any = self.answer(got)
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, web.StreamResponse):
            return answer
        if answer == 200:
            self.taken.append(got)
        return web.Response(status=answer)


@asynccontextmanager
async def receiver(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    running = Receiver(context)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


def forward_file(folder: Path, systems: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Writes ``FORWARD_FILE``; returns the environment that leads to it and lets it reach this machine."""
    lines = []
    for name, values in systems.items():
        declared = {"types": ["user_modify_org"], "secrets": ["TEST_SECRET"], **values}
        lines.append(f"[systems.{name}]")
        lines += [f"{key} = {orjson.dumps(value).decode()}" for key, value in declared.items()]
    file = folder / "forward.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "FORWARD_FILE": str(file),
        "FORWARD_ALLOW_NETWORKS": "127.0.0.0/8",
        "TEST_SECRET": SECRET,
    }
