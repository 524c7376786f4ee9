"""The simulator's gateway with PyPI's dingtalk-stream, unchanged, as its client."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import settings
from tests.support.waiting import eventually

SDK = Path(sys.prefix) / "sdk"
SCRIPT = Path(__file__).parents[1] / "support" / "public_stream_sdk.py"
SECRET = "dingbridge-sample-secret-not-secret"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(settings(mode="stream", generation="new")) as simulator:
        yield simulator


@asynccontextmanager
async def sdk(
    simulator: Simulator, *first: str | int, clients: int = 2, secret: str = SECRET
) -> AsyncIterator[list[dict[str, Any]]]:
    """The SDK's clients, and the events that their handlers were given."""
    assert (SDK / "dingtalk_stream").is_dir(), f"{SDK} lacks dingtalk-stream; `make install` puts it there"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(SCRIPT), str(SDK), simulator.base_url, "dingsampleappkey01", secret,
        str(clients), json.dumps(first), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    events: list[dict[str, Any]] = []

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            events.append(json.loads(line))

    reading = asyncio.create_task(read())
    try:
        yield events
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def connected(simulator: Simulator, opened: int) -> None:
    await eventually(lambda: simulator.gateway.counts["opened"] == opened)


async def test_a_life_and_what_its_handler_fails_at(simulator: Simulator) -> None:
    async with sdk(simulator, "raise", 500) as events:
        await connected(simulator, 2)
        simulator.gateway.answer_s = 2.0
        simulator.act("hire", {"count": 1, "follow_up": False})
        await simulator.pusher.drain()
        simulator.gateway.answer_s = 60.0  # on a slow machine nothing more comes twice
        (push,) = simulator.pusher.pushes()
        # it acknowledges without the status that protocol.md demands
        assert [attempt.outcome for attempt in push.attempts] == ["timeout", "code_500", "no_status"]
        while simulator.pusher.stats()["pushed"] < 200:
            simulator.act_at_random()
        await simulator.pusher.drain()
        pushed = [json.loads(push.plaintext) for push in simulator.pusher.pushes()]
        assert simulator.pusher.counts["answered"] == len(pushed)
        await eventually(lambda: len(events) == len(pushed) + 2)
    assert {event["client"] for event in events} == {0, 1}
    for event in events:
        wanted = next(payload for payload in pushed if payload["eventId"] == event["id"])
        given = {
            "EventType": event["type"],
            "EventTime": event["born"],
            "CorpId": event["corp"],
            "eventId": event["id"],
            **event["data"],
        }
        assert given == wanted
    assert {event["id"] for event in events} == {payload["eventId"] for payload in pushed}


async def test_a_connection_that_is_cut_or_told_to_leave(simulator: Simulator) -> None:
    async with sdk(simulator, "hold") as events:
        await connected(simulator, 2)
        simulator.act("hire", {"count": 1, "follow_up": False})
        await eventually(lambda: events)
        (holding,) = [connection for connection in simulator.gateway.connections if connection.waiting]
        holding.abort()
        await simulator.pusher.drain()
        assert [event["id"] for event in events] == [events[0]["id"]] * 2
        assert events[0]["client"] != events[1]["client"]
        await simulator.gateway.set(disconnect=1)
        await connected(simulator, 3)  # the other client is back at once, the one that was cut in 10 s
        simulator.act("hire", {"count": 1, "follow_up": False})
        await simulator.pusher.drain()
        assert (simulator.pusher.counts["answered"], simulator.pusher.counts["lost"]) == (2, 0)


async def test_it_is_refused_with_a_wrong_secret(simulator: Simulator) -> None:
    async with sdk(simulator, clients=1, secret="another"):
        await eventually(lambda: simulator.gateway.counts["refused"])
    assert simulator.gateway.counts["opened"] == 0
