"""For tests of ``dingbridge callback``: ingresses in this process, and the command as it is called."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from unittest import mock

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from dingbridge.cli.callback.command import app
from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters, encrypt, sign
from dingbridge.errors import BridgeError
from dingbridge.health_server import AdminServer
from dingbridge.ingress.callback import CallbackReceiver
from dingbridge.ingress.diagnostics import Diagnostics
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import HttpMetrics, JournalMetrics
from dingbridge.ingress.server import PublicServer
from dingbridge.settings import IngressSettings

TOKEN = "tokenOfTheTest01"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
OWNER = "dingsampleappkey01"
OURS = Credentials(TOKEN, AES_KEY, (OWNER,))


class Listener:
    """A public and a private listener over a real journal, as the ingress has them; no Kafka."""

    def __init__(self, folder: Path, credentials: Credentials = OURS, **rules: Any) -> None:
        registry = self._registry = CollectorRegistry()
        self._folder = folder
        self.journal = Journal(folder, Retention(3600, 3600), JournalMetrics(registry))
        self.diagnostics, metrics = Diagnostics(), HttpMetrics(registry)
        settings = IngressSettings.model_construct(shutdown_timeout_s=2, **rules)
        callbacks = CallbackReceiver(settings, self.journal, metrics, self.diagnostics)
        self.public = PublicServer(settings, callbacks, metrics)
        self.public.serve({"default": CallbackCrypto([credentials])}, "default")
        self.private = self.with_routes([])
        self.port = 0

    def with_routes(self, routes: list[web.RouteDef]) -> AdminServer:
        """A private listener with ``routes`` beside the usual one, to take the place of ``private``."""
        routes = [*self.diagnostics.routes(), *routes]
        return AdminServer("127.0.0.1", 0, self._registry, ready=self._ready, routes=routes)

    async def _ready(self) -> tuple[bool, dict[str, Any]]:
        return True, {}

    async def __aenter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        await self.journal.start()
        await self.private.start()
        self.port = await self.public.start("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.public.stop()
        await self.private.stop()
        await self.journal.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/callback"


def signed(plaintext: bytes, credentials: Credentials) -> tuple[dict[str, str], bytes]:
    """Query and body of one push with ``credentials``, as DingTalk would make it."""
    stamp, nonce = str(int(time.time() * 1000)), "n0nce000"
    encrypted = encrypt(credentials.key, plaintext, credentials.owner_keys[0])
    signature = sign(credentials.token, stamp, nonce, encrypted)
    query = {"signature": signature, "timestamp": stamp, "nonce": nonce}
    return query, json.dumps({"encrypt": encrypted}).encode()


async def push(
    http: aiohttp.ClientSession, url: str, plaintext: bytes, credentials: Credentials
) -> int | str:
    """``success`` if the answer is the one that DingTalk wants, else the status."""
    query, body = signed(plaintext, credentials)
    async with http.post(url, params=query, data=body) as answer:
        if answer.status != 200:
            return answer.status
        reply = await answer.json(content_type=None)
    opened = CallbackCrypto([credentials]).decrypt_callback(
        SignatureParameters.from_query(reply), reply["encrypt"]
    )
    return opened.plaintext.decode()


class Stub:
    """What stands at a public URL when it is no ingress: every request gets ``answer``."""

    def __init__(self, answer: web.Response | None = None) -> None:
        self._answer = answer
        self.seen = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/callback", self.handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/callback"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen += 1
        assert self._answer is not None
        return web.Response(status=self._answer.status, headers=self._answer.headers, body=self._answer.body)


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


async def dingbridge_callback(folder: Path, env: Mapping[str, str], *arguments: str) -> Said:
    """``dingbridge callback <arguments>`` to its end, in a pipe and in this process: one of its own costs a
    second. No secret may be in what it says."""
    said = await asyncio.to_thread(_invoke, folder, env, arguments)
    for secret in _secrets(env):
        assert secret not in said.out + said.err
    return said


def _invoke(folder: Path, env: Mapping[str, str], arguments: tuple[str, ...]) -> Said:
    nothing = dict.fromkeys(name for name in os.environ if name.startswith(("DINGTALK_", "ADMIN_")))
    with mock.patch("dingbridge.cli.callback.target.configure_logging"):  # it is the test's own process
        result = CliRunner().invoke(app, arguments, env={**nothing, "DATA_DIR": str(folder), **env})
    err = result.stderr
    code = result.exit_code
    if isinstance(result.exception, BridgeError):  # as ``dingbridge.cli.main.main`` does
        code, err = result.exception.exit_code, f"{err}dingbridge: {result.exception}\n"
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(code, result.stdout, err)


def _secrets(env: Mapping[str, str]) -> list[str]:
    names = ("DINGTALK_TOKEN", "DINGTALK_AES_KEY", "DINGTALK_APP_SECRET")
    files = [Path(env[f"{name}_FILE"]) for name in names if f"{name}_FILE" in env]
    return [env[name] for name in names if name in env] + [
        file.read_text().strip() for file in files if file.exists()
    ]
