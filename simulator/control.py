"""Our own surface beside DingTalk's, under ``/_sim/``: what there is, and what shall happen.

Not part of DingTalk. JSON in and out; a refusal is HTTP 400 with ``{"error": "…"}``.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from simulator.api import json_answer
from simulator.company import ActionError
from simulator.push import Push

if TYPE_CHECKING:
    from simulator.server import Simulator


class Control:
    """The routes of one simulator."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sim/health", self._health),
            web.get("/_sim/state", self._state),
            web.get("/_sim/pushes", self._pushes),
            web.get("/_sim/stats", self._stats),
            web.post("/_sim/act", self._act),
            web.post("/_sim/rate", self._rate),
            web.post("/_sim/drain", self._drain),
        ]

    async def _health(self, request: web.Request) -> web.Response:
        return json_answer({"status": "ok"})

    async def _state(self, request: web.Request) -> web.Response:
        return json_answer(self._simulator.state())

    async def _stats(self, request: web.Request) -> web.Response:
        return json_answer(self._simulator.stats())

    async def _pushes(self, request: web.Request) -> web.StreamResponse:
        """``{"pushes": […], "last_id": n}``, those above ``since``, at most ``limit`` (all unless given)."""
        try:
            since = int(request.query.get("since", 0))
            limit = int(request.query["limit"]) if "limit" in request.query else None
        except ValueError:
            return _refusal("since and limit must be numbers")
        pushes = list(islice(self._simulator.pusher.pushes(since), limit))
        response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
        await response.prepare(request)
        await response.write(b'{"pushes":[')
        async for chunk in _rendered(pushes):
            await response.write(chunk)
        await response.write(b'],"last_id":%d}' % (pushes[-1].id if pushes else since))
        await response.write_eof()
        return response

    async def _act(self, request: web.Request) -> web.Response:
        body = await _object(request)
        action = body.pop("action", None)
        if not isinstance(action, str):
            return _refusal('"action" is missing; as {"action": "hire"}')
        try:
            events, pushes = self._simulator.act(action, body)
        except ActionError as error:
            return _refusal(str(error))
        return json_answer(
            {
                "action": action,
                "events": [{"event_type": e.event_type, "payload": e.payload} for e in events],
                "pushes": [push.id for push in pushes],
            }
        )

    async def _rate(self, request: web.Request) -> web.Response:
        value = (await _object(request)).get("per_second")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100_000:
            return _refusal('"per_second" must be a number, 0 to 100000')
        self._simulator.activity.set_rate(float(value))
        return json_answer({"per_second": self._simulator.activity.rate})

    async def _drain(self, request: web.Request) -> web.Response:
        """Stop the activity, then wait until no push and no retry is pending; ``timeout_s`` (none) bounds
        the wait. Answers ``{"drained": bool, …stats}``."""
        timeout = (await _object(request)).get("timeout_s")
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float)):
            return _refusal('"timeout_s" must be a number')
        self._simulator.activity.halt()
        try:
            async with asyncio.timeout(timeout):
                await self._simulator.pusher.drain()
        except TimeoutError:
            pass
        stats = self._simulator.stats()
        return json_answer({"drained": stats["pending"] == 0, **stats})


async def _rendered(pushes: Iterable[Push]) -> AsyncIterator[bytes]:
    """Pieces of a JSON list: a long one must not hold up the pushes that are under way."""
    waiting = iter(pushes)
    first = True
    while chunk := list(islice(waiting, 500)):
        yield (b"" if first else b",") + orjson.dumps([push.as_json() for push in chunk])[1:-1]
        first = False


async def _object(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(
            text='{"error": "the body must be a JSON object"}', content_type="application/json"
        )
    return body


def _refusal(words: str) -> web.Response:
    return json_answer({"error": words}, 400)
