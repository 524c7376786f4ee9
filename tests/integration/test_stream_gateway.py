"""The simulator's gateway of Stream mode, by plain calls and frames: nothing here is our client."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from dingbridge.simulator.pushes import gateway as gateway_module
from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import Api, settings
from tests.support.waiting import eventually

APP = {"clientId": "dingsampleappkey01", "clientSecret": "dingbridge-sample-secret-not-secret"}
EVENTS = [{"type": "EVENT", "topic": "*"}]
OPEN = "/v1.0/gateway/connections/open"

Answer = Callable[[dict[str, Any]], str | None]


def answered(data: str, code: int = 200) -> Answer:
    """An answer with that ``data``."""

    def answer(frame: dict[str, Any]) -> str:
        headers = {"messageId": frame["headers"]["messageId"], "contentType": "application/json"}
        return json.dumps({"code": code, "headers": headers, "message": "OK", "data": data})

    return answer


SUCCESS = answered('{"status":"SUCCESS","message":""}')
LATER = answered('{"status":"LATER","message":"full"}')


def silence(frame: dict[str, Any]) -> None:
    return None


class Client:
    """A connection. ``answers`` are used up one event after the other; then each is ``SUCCESS``."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.frames: list[dict[str, Any]] = []
        self.answers: list[Answer] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.socket:
            frame = json.loads(message.data)
            self.frames.append(frame)
            text = None
            if frame["type"] == "EVENT":
                text = (self.answers.pop(0) if self.answers else SUCCESS)(frame)
            elif frame["headers"]["topic"] == "ping":
                text = answered(frame["data"])(frame)
            if text is not None:
                await self.socket.send_str(text)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == "EVENT"]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(settings(mode="stream")) as simulator:
        yield simulator


@pytest.fixture
async def api(simulator: Simulator) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        yield Api(simulator.base_url, session)


async def connected(api: Api, subscriptions: Any = EVENTS) -> Client:
    opened = await api.post(OPEN, APP | {"subscriptions": subscriptions, "ua": "test"})
    return Client(await api.session.ws_connect(opened["endpoint"], params={"ticket": opened["ticket"]}))


def hire(simulator: Simulator, count: int = 1) -> None:
    for _ in range(count):
        simulator.act("hire", {"count": 1, "follow_up": False})


async def test_a_ticket_is_for_who_knows_the_secret_and_for_one_connection(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = APP | {"clientSecret": "another", "subscriptions": EVENTS}
    async with api.session.post(api.base + OPEN, json=wrong) as response:
        assert (response.status, (await response.json())["code"]) == (401, "authFailed")
    opened = await api.post(OPEN, APP | {"subscriptions": EVENTS})
    assert opened["endpoint"].startswith("ws://")

    async def refused(ticket: str) -> bool:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await api.session.ws_connect(opened["endpoint"], params={"ticket": ticket})
        return True

    socket = await api.session.ws_connect(opened["endpoint"], params={"ticket": opened["ticket"]})
    assert await refused(opened["ticket"])
    assert await refused("none")
    monkeypatch.setattr(gateway_module, "TICKET_S", 0.0)
    assert await refused((await api.post(OPEN, APP | {"subscriptions": EVENTS}))["ticket"])
    await socket.close()


@pytest.mark.parametrize("answer", [LATER, silence, answered("{}", 500)], ids=["later", "none", "code 500"])
async def test_what_is_not_acknowledged_comes_again_under_a_new_message_id(
    api: Api, simulator: Simulator, answer: Answer
) -> None:
    await api.post("/_sim/stream", {"answer_s": 1 if answer is silence else 60})
    client = await connected(api)
    client.answers = [answer, answer]
    hire(simulator)
    await simulator.pusher.drain()
    assert simulator.pusher.counts["answered"] == 1
    assert len({frame["headers"].pop("messageId") for frame in client.events}) == 3
    assert len({(frame["headers"]["eventType"], frame["data"]) for frame in client.events}) == 1
    (push,) = simulator.pusher.pushes()
    assert push.attempts[0].outcome == push.attempts[1].outcome != push.attempts[2].outcome == "success"


async def test_it_is_given_up_after_ten_times_and_not_listed(api: Api, simulator: Simulator) -> None:
    client = await connected(api)
    client.answers = [LATER] * 20
    hire(simulator)
    await simulator.pusher.drain()
    assert (simulator.pusher.counts["failed"], len(client.events)) == (1, 10)
    assert simulator.stats()["failed_unlisted"] == 0


async def test_without_a_connection_that_gets_events_they_are_lost(api: Api, simulator: Simulator) -> None:
    hire(simulator, 2)
    await simulator.pusher.drain()
    client = await connected(api, [{"type": "CALLBACK", "topic": "/v1.0/im/bot/messages/get"}])
    hire(simulator)
    await simulator.pusher.drain()
    assert (simulator.pusher.counts["lost"], client.frames) == (3, [])


async def test_an_answer_counts_on_the_connection_of_its_frame_alone(api: Api, simulator: Simulator) -> None:
    await api.post("/_sim/stream", {"answer_s": 0.5})
    first = await connected(api)
    first.answers = [silence, SUCCESS]
    hire(simulator)
    await eventually(lambda: first.events)
    second = await connected(api)
    for text in (
        SUCCESS(first.events[0]),
        "no JSON",
        "[]",
        '{"code": 200}',
        '{"code": "200", "headers": {}}',
    ):
        await second.socket.send_str(str(text))
    await eventually(lambda: simulator.gateway.counts["unexpected"] == 5)
    await simulator.pusher.drain()
    (push,) = simulator.pusher.pushes()
    assert [attempt.outcome for attempt in push.attempts] == ["timeout", "success"]


async def test_the_console_has_one_choice(api: Api, simulator: Simulator) -> None:
    client = await connected(api)
    assert await api.post("/_sim/mode", {"mode": "http"}) == {"mode": "http"}
    hire(simulator)  # nobody is registered
    assert await api.post("/_sim/mode", {"mode": "stream"}) == await api.get("/_sim/mode")
    hire(simulator)
    await simulator.pusher.drain()
    assert len(client.events) == simulator.stats()["answered"] == 1
    for path, body in (
        ("mode", {"mode": "both"}),
        ("stream", {"cut": 0}),
        ("stream", {"silence": 1}),
        ("stream", {"ping_s": 0}),
        ("stream", {"close": 1}),
    ):
        assert "error" in await api.post(f"/_sim/{path}", body)
