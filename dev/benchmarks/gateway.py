"""The load by Stream: a gateway like DingTalk's, which pushes over the ingress's connections.

``python -m dev.benchmarks.gateway PORT`` serves the gateway. For each line ``WINDOW SECONDS FIRST`` on its
stdin it pushes the callbacks ``FIRST``, ``FIRST + 1`` … as fast as they are acknowledged, ``WINDOW`` of them
under way at once, and prints one JSON object, as ``load.py`` does. Frames are made beforehand, as there.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator

import orjson
import uvloop
from aiohttp import WSMsgType, web

from dev.benchmarks.load import plaintext, until

_IN_FRAME = ("EventType", "corpId")
"""What a frame says in its headers, and not in its data."""


def frames(first: int) -> Iterator[tuple[str, str]]:
    """``(messageId, frame)`` of the callbacks ``first``, ``first + 1`` … ."""
    for number in itertools.count(first):
        event = orjson.loads(plaintext(number))
        data = {name: value for name, value in event.items() if name not in _IN_FRAME}
        headers = {
            "topic": "*",
            "messageId": f"m{number}",
            "contentType": "application/json",
            "time": str(event["finishTime"]),
            "eventType": event["EventType"],
            "eventCorpId": event["corpId"],
            "eventBornTime": str(event["finishTime"]),
            "eventId": f"e{number}",
        }
        frame = {
            "specVersion": "1.0",
            "type": "EVENT",
            "headers": headers,
            "data": orjson.dumps(data).decode(),
        }
        yield headers["messageId"], orjson.dumps(frame).decode()


class Gateway:
    """The open connections, and the one round that is under way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[web.WebSocketResponse] = []
        self._prepared: Iterator[tuple[str, str]] = iter(())
        self._under_way: dict[str, float] = {}
        self._statuses: Counter[str] = Counter()
        self._latencies: list[float] = []

    async def serve(self) -> None:
        app = web.Application()
        app.router.add_post("/v1.0/gateway/connections/open", self._opened)
        app.router.add_get("/stream", self._connected)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()

    async def _opened(self, request: web.Request) -> web.Response:
        return web.json_response({"endpoint": f"ws://127.0.0.1:{self._port}/stream", "ticket": "t"})

    async def _connected(self, request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse(compress=False)
        await connection.prepare(request)
        self._open.append(connection)
        async for message in connection:
            if message.type is not WSMsgType.TEXT:
                break
            self._acknowledged(message.data)
            await self._push(connection)
        self._open.remove(connection)
        return connection

    def _acknowledged(self, text: str) -> None:
        ack = orjson.loads(text)
        began = self._under_way.pop(ack["headers"]["messageId"], None)
        if began is None:
            return
        self._latencies.append(time.perf_counter() - began)
        kept = ack["code"] == 200 and orjson.loads(ack["data"])["status"] == "SUCCESS"
        self._statuses["200" if kept else "not kept"] += 1

    async def _push(self, connection: web.WebSocketResponse) -> None:
        """The next one, over a connection on which one was acknowledged."""
        message, frame = next(self._prepared, ("", ""))
        if message:
            self._under_way[message] = time.perf_counter()
            await connection.send_str(frame)

    async def round(self, window: int, seconds: float, first: int) -> dict[str, object]:
        """As ``dev.benchmarks.load.run``."""
        count = min(int(seconds * 30_000 * 1.2) + window, 500_000)
        # beside the loop: a connection whose pings are not answered meanwhile would be given up
        prepared = await asyncio.to_thread(lambda: list(itertools.islice(frames(first), count)))
        self._prepared = iter(prepared)
        self._statuses.clear()
        self._latencies.clear()
        began = time.perf_counter()
        for number in range(window):
            await self._push(self._open[number % len(self._open)])
        await asyncio.sleep(seconds)
        took, done = time.perf_counter() - began, len(self._latencies)
        self._prepared = iter(())
        await until(lambda: not self._under_way, 5)
        ordered = sorted(self._latencies) or [0.0]
        return {
            "sent": sum(self._statuses.values()),
            "statuses": dict(self._statuses) | ({"lost": len(self._under_way)} if self._under_way else {}),
            "per_s": done / took,
            "p50_ms": ordered[len(ordered) // 2] * 1000,
            "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000,
            "seconds": took,
        }


async def main(port: int) -> None:
    gateway = Gateway(port)
    await gateway.serve()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        window, seconds, first = line.split()
        print(json.dumps(await gateway.round(int(window), float(seconds), int(first))), flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
