"""What every call has: how it is read from a request, how its answer is written, where it is."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from aiohttp import web

from dingbridge.simulator.call import Answer, Call
from dingbridge.simulator.errors import PlatformError

_ESCAPED: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u[0-9a-fA-F]{4}")

Handler = Callable[[Call], Awaitable[Answer]]
Routes = list[tuple[str, str, Handler]]
"""Method, path, handler."""


def is_v1(path: str) -> bool:
    """Whether this is a call of the newer host, api.dingtalk.com."""
    return path.startswith("/v1.0/")


def name_of(path: str, method: str = "POST") -> str:
    """A call's name: ``v2/user/get``, ``register_call_back``, ``auth/scopes``; of the newer host, where one
    path has several calls, ``GET /v1.0/workflow/processInstances``."""
    if is_v1(path):
        return f"{method} {path}"
    return path.removeprefix("/topapi/").removeprefix("/call_back/").removeprefix("/")


def json_answer(body: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", charset="utf-8"
    )


async def read_call(request: web.Request) -> Call:
    """Raises ``PlatformError`` for a body that is no JSON object. On the newer host, what stands in the path
    and the query are parameters too."""
    origin = f"{request.scheme}://{request.host}"
    if request.method == "GET":
        return Call(_of_the_address(request), origin)
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return Call(await form(request), origin)
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise PlatformError(43008)
    beside = _of_the_address(request) if is_v1(request.path) else {}
    return Call({**beside, **body}, origin, _ESCAPED.search(raw) is not None)


async def form(request: web.Request) -> dict[str, str]:
    """The texts of a form. Raises ``PlatformError`` for one that cannot be read."""
    try:
        fields = await request.post()
    except (ValueError, LookupError):  # its framing, its codec
        raise PlatformError(43008) from None
    return {name: value for name, value in fields.items() if isinstance(value, str)}


async def parameters(request: web.Request) -> dict[str, Any]:
    """What a request has of path, query and body, whatever its call reads of them; a body that is no JSON
    object has none."""
    try:
        return {**_of_the_address(request), **(await read_call(request)).body}
    except PlatformError:
        return _of_the_address(request)


def _of_the_address(request: web.Request) -> dict[str, Any]:
    return {**{k: v for k, v in request.query.items() if k != "access_token"}, **request.match_info}
