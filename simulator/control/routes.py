"""Our own surface beside DingTalk's, under ``/_sim/``: what there is, and what shall happen.

Not part of DingTalk. JSON in and out; a refusal is HTTP 400 with ``{"error": "…"}``.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import islice

import orjson
from aiohttp import web

from dingbridge.health_server import json_object
from dingbridge.simulator.api import json_answer
from dingbridge.simulator.company.platform import ARGUMENTS
from dingbridge.simulator.errors import ActionError
from dingbridge.simulator.limits import LIMITS
from dingbridge.simulator.pushes.push import Push
from dingbridge.simulator.world import World

_MOST_BURST = 20_000


class Control:
    """The routes of one simulated world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sim/health", self._health),
            web.get("/_sim/state", self._state),
            web.get("/_sim/pushes", self._pushes),
            web.get("/_sim/stats", self._stats),
            web.post("/_sim/act", self._act),
            web.post("/_sim/rate", self._rate),
            web.post("/_sim/drain", self._drain),
            web.get("/_sim/faults", self._faults),
            web.post("/_sim/faults", self._add_fault),
            web.delete("/_sim/faults", self._clear_faults),
            web.delete(r"/_sim/faults/{id:\d{1,9}}", self._clear_faults),
            web.get("/_sim/scope", self._scope),
            web.post("/_sim/scope", self._set_scope),
            web.get("/_sim/rights", self._rights),
            web.post("/_sim/rights", self._set_rights),
            web.get("/_sim/profile", self._profile),
            web.post("/_sim/profile", self._set_profile),
            web.get("/_sim/limits", self._limits),
            web.post("/_sim/limits", self._set_limits),
            web.get("/_sim/failed", self._failed),
            web.post("/_sim/failed", self._add_failed),
            web.post("/_sim/tokens/expire", self._expire),
            web.get("/_sim/deliveries", self._deliveries),
            web.post("/_sim/deliveries", self._set_deliveries),
            web.get("/_sim/mode", self._mode),
            web.post("/_sim/mode", self._set_mode),
            web.get("/_sim/stream", self._stream),
            web.post("/_sim/stream", self._set_stream),
            web.get("/_sim/writes", self._writes),
            web.post("/_sim/writes", self._set_writes),
            web.get("/_sim/approvals", self._approvals),
            web.post("/_sim/approvals", self._set_approvals),
            web.post("/_sim/burst", self._burst),
            web.get("/_sim/recording", self._recording),
        ]

    async def _health(self, request: web.Request) -> web.Response:
        return json_answer({"status": "ok"})

    async def _state(self, request: web.Request) -> web.Response:
        return json_answer(self._world.state())

    async def _stats(self, request: web.Request) -> web.Response:
        return json_answer(self._world.stats())

    async def _pushes(self, request: web.Request) -> web.StreamResponse:
        """``{"pushes": […], "last_id": n}``, those above ``since``, at most ``limit`` (all unless given)."""
        try:
            since = int(request.query.get("since", 0))
            limit = int(request.query["limit"]) if "limit" in request.query else None
            pushes = list(islice(self._world.pusher.pushes(since), limit))
        except ValueError:
            return _refusal("since and limit must be whole numbers, limit at least 0")
        response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
        await response.prepare(request)
        await response.write(b'{"pushes":[')
        async for chunk in _rendered(pushes):
            await response.write(chunk)
        await response.write(b'],"last_id":%d}' % (pushes[-1].id if pushes else since))
        await response.write_eof()
        return response

    async def _act(self, request: web.Request) -> web.Response:
        body = await json_object(request)
        action = body.pop("action", None)
        if not isinstance(action, str):
            return _refusal('"action" is missing; as {"action": "hire"}')
        try:
            events, pushes = self._world.act(action, body)
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
        value = (await json_object(request)).get("per_second")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100_000:
            return _refusal('"per_second" must be a number, 0 to 100000')
        self._world.activity.set_rate(float(value))
        return json_answer({"per_second": self._world.activity.rate})

    async def _drain(self, request: web.Request) -> web.Response:
        """Stop the activity, then wait until no push and no retry is pending; ``timeout_s`` (none) bounds
        the wait. Answers ``{"drained": bool, …stats}``."""
        timeout = (await json_object(request)).get("timeout_s")
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float)):
            return _refusal('"timeout_s" must be a number')
        self._world.halt()
        try:
            async with asyncio.timeout(timeout):
                await self._world.pusher.drain()
        except TimeoutError:
            pass
        stats = self._world.stats()
        return json_answer({"drained": stats["pending"] == 0, **stats})

    async def _burst(self, request: web.Request) -> web.Response:
        """Things happen at once, until there are at least ``events`` more of them."""
        wanted = (await json_object(request)).get("events")
        if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= _MOST_BURST:
            return _refusal(f'"events" must be a whole number, 1 to {_MOST_BURST}')
        made = 0
        while made < wanted:
            made += self._world.act_at_random()
        return json_answer({"events": made})

    async def _recording(self, request: web.Request) -> web.Response:
        """What has happened, for ``dingbridge simulator replay``."""
        return json_answer(self._world.recording.as_json())

    # What goes wrong

    async def _deliveries(self, request: web.Request) -> web.Response:
        return json_answer(self._world.delivery.as_json())

    async def _set_deliveries(self, request: web.Request) -> web.Response:
        """Any of ``duplicates``, ``reorder`` (shares), ``retry_scale``, ``deadline_ms``; the rest stays."""
        delivery, recording = self._world.delivery, self._world.recording
        try:
            delivery.set(**await json_object(request))
        except ActionError as error:
            return _refusal(str(error))
        # a recording has one value of each: the last
        recording.duplicates, recording.reorder = delivery.duplicates, delivery.reorder
        return json_answer(self._world.delivery.as_json())

    async def _mode(self, request: web.Request) -> web.Response:
        return json_answer({"mode": self._world.mode})

    async def _set_mode(self, request: web.Request) -> web.Response:
        """``{"mode": "http"}`` or ``stream``: the console's one choice."""
        mode = (await json_object(request)).get("mode")
        if mode not in ("http", "stream"):
            return _refusal('"mode" must be "http" or "stream"')
        self._world.set_mode(mode)
        return json_answer({"mode": self._world.mode})

    async def _stream(self, request: web.Request) -> web.Response:
        return json_answer(self._world.gateway.as_json())

    async def _set_stream(self, request: web.Request) -> web.Response:
        """Any of ``disconnect``, ``cut`` (numbers of connections), ``silence``, ``ping_s``, ``answer_s``,
        ``close_s``."""
        try:
            await self._world.gateway.set(**await json_object(request))
        except ActionError as error:
            return _refusal(str(error))
        return json_answer(self._world.gateway.as_json())

    async def _writes(self, request: web.Request) -> web.Response:
        return json_answer(self._world.writes.as_json())

    async def _set_writes(self, request: web.Request) -> web.Response:
        """Any of ``event_delay_ms``, ``read_lag_ms``, ``opt_staff_id``, ``terminate_after_ms``."""
        try:
            self._world.writes.set(**await json_object(request))
        except ActionError as error:
            return _refusal(str(error))
        return json_answer(self._world.writes.as_json())

    async def _approvals(self, request: web.Request) -> web.Response:
        return json_answer({"true_z": self._world.platform.approvals.true_z})

    async def _set_approvals(self, request: web.Request) -> web.Response:
        """``{"true_z": true}``: the times of approvals are UTC from now on, as their ``Z`` says."""
        true_z = (await json_object(request)).get("true_z")
        if not isinstance(true_z, bool):
            return _refusal('"true_z" must be true or false')
        self._world.platform.approvals.true_z = true_z
        return json_answer({"true_z": true_z})

    async def _faults(self, request: web.Request) -> web.Response:
        return json_answer({"faults": [fault.as_json() for fault in self._world.faults]})

    async def _add_fault(self, request: web.Request) -> web.Response:
        wanted = await json_object(request)
        if wanted.get("kind") == "act" and wanted.get("action") not in ARGUMENTS:
            return _refusal(f"action must be one of {', '.join(ARGUMENTS)}")
        try:
            return json_answer({"id": self._world.faults.add(wanted).id})
        except ActionError as error:
            return _refusal(str(error))

    async def _clear_faults(self, request: web.Request) -> web.Response:
        fault_id = request.match_info.get("id")
        return json_answer({"cleared": self._world.faults.clear(None if fault_id is None else int(fault_id))})

    async def _scope(self, request: web.Request) -> web.Response:
        return json_answer(self._world.scope.result())

    async def _set_scope(self, request: web.Request) -> web.Response:
        """``{"authed_dept": [1], "authed_user": []}``; what is not given is empty."""
        body = await json_object(request)
        departments, users = body.get("authed_dept", []), body.get("authed_user", [])
        if not isinstance(departments, list) or not isinstance(users, list):
            return _refusal('"authed_dept" and "authed_user" must be lists')
        try:
            self._world.scope.set(departments, users)
        except ActionError as error:
            return _refusal(str(error))
        return json_answer(self._world.scope.result())

    async def _rights(self, request: web.Request) -> web.Response:
        return json_answer(self._world.rights.as_json())

    async def _set_rights(self, request: web.Request) -> web.Response:
        """``{"lacking": ["Workflow.Instance.Read"]}``; what is lacking no longer is granted."""
        lacking = (await json_object(request)).get("lacking")
        if not isinstance(lacking, list):
            return _refusal('"lacking" must be a list of permissions; GET /_sim/rights names them')
        try:
            self._world.rights.set(lacking)
        except ActionError as error:
            return _refusal(str(error))
        return json_answer(self._world.rights.as_json())

    async def _profile(self, request: web.Request) -> web.Response:
        return json_answer(self._world.profile.as_json())

    async def _set_profile(self, request: web.Request) -> web.Response:
        """``{"profile": "reality"}``, or single switches of it, or both."""
        try:
            self._world.profile.set(**await json_object(request))
        except ActionError as error:
            return _refusal(str(error))
        return json_answer(self._world.profile.as_json())

    async def _limits(self, request: web.Request) -> web.Response:
        return json_answer(self._world.limits.as_json())

    async def _set_limits(self, request: web.Request) -> web.Response:
        """Any of ``LIMITS``; 0 for none, what is not given stays."""
        body = await json_object(request)
        for name, value in body.items():
            if name not in LIMITS:
                return _refusal(f"there is no limit {name}; there are {', '.join(LIMITS)}")
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                return _refusal(f'"{name}" must be a whole number, 0 for no limit')
        for name, value in body.items():
            setattr(self._world.limits, name, value)
        return json_answer(self._world.limits.as_json())

    async def _failed(self, request: web.Request) -> web.Response:
        """Both failed lists, without DingTalk's reading."""
        delivery = self._world.delivery
        return json_answer(
            {
                "waiting": len(delivery.failed),
                "unlisted": delivery.unlisted,
                "records": len(delivery.records),
                "failed_list": delivery.failed.items(),
            }
        )

    async def _add_failed(self, request: web.Request) -> web.Response:
        """Put ``{"items": […]}`` at the end of ``get_call_back_failed_result``'s list, as they are."""
        items = (await json_object(request)).get("items")
        if not isinstance(items, list):
            return _refusal('"items" must be a list')
        for item in items:
            self._world.failed.add(item)
        return json_answer({"waiting": len(self._world.failed)})

    async def _expire(self, request: web.Request) -> web.Response:
        """The access token is over from now on, for whoever has it."""
        self._world.tokens.expire()
        return json_answer({})


async def _rendered(pushes: Iterable[Push]) -> AsyncIterator[bytes]:
    """Pieces of a JSON list: a long one must not hold up the pushes that are under way."""
    waiting = iter(pushes)
    first = True
    while chunk := list(islice(waiting, 500)):
        yield (b"" if first else b",") + orjson.dumps([push.as_json() for push in chunk])[1:-1]
        first = False


def _refusal(words: str) -> web.Response:
    return json_answer({"error": words}, 400)
