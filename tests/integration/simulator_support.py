"""For tests of the simulator: a receiver that decrypts and answers as a callback URL should; plain calls."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.support.profiles import KIND

TOKEN = "sampletoken"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
OWNER = "dingsampleappkey01"
CREDENTIALS = Credentials(TOKEN, AES_KEY, (OWNER,))
USER = {"userid": "oa-1", "name": "Zhang", "mobile": "13800000001", "dept_id_list": "1"}
TAGS = ["user_add_org", "user_modify_org", "user_leave_org", "bpms_instance_change", "bpms_task_change"]

Answer = Callable[["Receiver", web.Request, Any], Any]


class Receiver:
    """A callback URL. ``answers`` are used up one request after the other; then all are right."""

    def __init__(self) -> None:
        self.crypto = CallbackCrypto([CREDENTIALS])
        self.plaintexts: list[bytes] = []
        self.queries: list[dict[str, str]] = []
        self.answers: list[Answer] = []
        self.forever: Answer | None = None
        self.released = asyncio.Event()
        self.at_once = self.most_at_once = 0
        self.url = ""

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.plaintexts]

    def right(self, opened: Any, message: bytes = b"success") -> web.Response:
        return web.json_response(
            self.crypto.encrypt_reply(message, opened, timestamp="1731000000000", nonce="abcdefgh")
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        body = await request.json()
        opened = self.crypto.decrypt_callback(SignatureParameters.from_query(request.query), body["encrypt"])
        self.plaintexts.append(opened.plaintext)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = self.answers.pop(0) if self.answers else self.forever
            if answer is None:
                return self.right(opened)
            result = answer(self, request, opened)
            return await result if asyncio.iscoroutine(result) else result
        finally:
            self.at_once -= 1


def unavailable(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    return web.Response(status=503)


def plain_success(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    return web.Response(text="success")


def other_text(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    return receiver.right(opened, b"ok")


def wrong_signature(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    sealed = receiver.crypto.encrypt_reply(b"success", opened, timestamp="1", nonce="n")
    return web.json_response(sealed | {"timeStamp": "2"})


def redirect(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    return web.Response(status=301, headers={"Location": "/elsewhere"})


async def until_released(receiver: Receiver, request: web.Request, opened: Any) -> web.Response:
    await receiver.released.wait()
    return receiver.right(opened)


@asynccontextmanager
async def serving(receiver: Receiver) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/callback", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
    try:
        yield
    finally:
        receiver.released.set()
        await runner.cleanup()


def settings(**options: Any) -> SimulatorSettings:
    defaults = {"port": 0, "users": 30, "departments": 6, "duplicates": 0, "retry_scale": 0.001}
    return SimulatorSettings.load(**{f"simulator_{k}": v for k, v in (defaults | options).items()})


class Api:
    """Plain calls, as the documents have them: nothing here is our client."""

    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
        self.base, self.session = base, session
        self.token = ""

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        async with self.session.get(self.base + path, params=query) as response:
            return await response.json()

    async def post(self, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        async with self.session.post(self.base + path, params=query, json=body) as response:
            return await response.json()

    async def login(self) -> None:
        answer = await self.get(
            "/gettoken", appkey="dingsampleappkey01", appsecret="dingbridge-sample-secret-not-secret"
        )
        assert (answer["errcode"], answer["errmsg"], answer["expires_in"]) == (0, "ok", 7200)
        self.token = answer["access_token"]

    async def call(self, path: str, body: Any) -> dict[str, Any]:
        return await self.post(path, body, access_token=self.token)

    async def fetch(self, path: str) -> dict[str, Any]:
        return await self.get(path, access_token=self.token)

    async def v2(self, name: str, /, **body: Any) -> dict[str, Any]:
        return await self.call(f"/topapi/v2/{name}", body)

    async def code(self, name: str, /, **body: Any) -> int:
        return int((await self.v2(name, **body))["errcode"])

    async def state(self) -> dict[str, Any]:
        return await self.get("/_sim/state")

    async def fault(self, **wanted: Any) -> None:
        answer = await self.post("/_sim/faults", wanted)
        assert "id" in answer, answer

    async def act(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Let ``action`` happen. Return its first event's payload, with ``userid`` in either generation."""
        answer = await self.post("/_sim/act", {"action": action, **arguments})
        payload = dict(answer["events"][0]["payload"])
        users = payload.get("UserId") or payload.get("userId") or [None]
        return payload | {"userid": users[0]}

    async def newer(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        """A call of the newer host: its status and answer."""
        headers, address = {"x-acs-dingtalk-access-token": self.token}, self.base + path
        async with self.session.request(
            method, address, headers=headers, json=body, params=query
        ) as response:
            return response.status, await response.json()

    async def workflow(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """One below ``/v1.0/workflow``; a refusal with its ``status``."""
        status, answer = await self.newer(method, f"/v1.0/workflow/{path}", body, **query)
        return dict(answer) if status == 200 else answer | {"status": status}

    async def register(self, receiver: Receiver, tags: list[str] | None = None) -> dict[str, Any]:
        body = {"call_back_tag": tags or TAGS, "token": TOKEN, "aes_key": AES_KEY, "url": receiver.url}
        return await self.call("/call_back/register_call_back", body)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """The pages' words, exactly; each test has its own switch on."""
    async with Simulator(settings(departments=20, profile=KIND)) as simulator:
        yield simulator


@pytest.fixture
async def api(simulator: Simulator) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        api = Api(simulator.base_url, session)
        await api.login()
        yield api
