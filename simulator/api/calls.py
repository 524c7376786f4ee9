"""What every call has: how its parameters are read, how its answer is written, where it is.

Parameters are read leniently (JSON or form, numbers also as text), as DingTalk's own SDKs differ.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from simulator.errors import PlatformError

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its parameters, of the query or the body, and the address that the caller knows us by
    (``http://host:port``)."""

    body: Mapping[str, Any]
    origin: str = ""

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self.body.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value:
            raise PlatformError(400002, f"无效的参数: 缺少{name}")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        value = self.body.get(name, default)
        if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 20:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise PlatformError(400002, f"无效的参数: {name}")
        return value

    def page(
        self, start: str, most: int, *, first: int | None = None, size: int | None = None
    ) -> tuple[int, int]:
        """``(first, size)`` of a page whose place is called ``start``; with what stands for one not given."""
        first, size = self.number(start, first), self.number("size", size)
        if first < 0 or not 1 <= size <= most:
            raise PlatformError(40035, f"不合法的参数: size为1到{most}，{start}不小于0")
        return first, size

    def inner(self, name: str) -> "Call":
        """The call whose parameters are in the object ``name``, given as an object or as its JSON."""
        value = self.body.get(name)
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                value = None
        if not isinstance(value, dict):
            raise PlatformError(400002, f"无效的参数: 缺少{name}")
        return Call(value, self.origin)


Handler = Callable[[Call], Awaitable[Answer]]
Routes = list[tuple[str, str, Handler]]
"""Method, path, handler."""


def name_of(path: str) -> str:
    """A call's name from its path: ``v2/user/get``, ``register_call_back``, ``auth/scopes``."""
    return path.removeprefix("/topapi/").removeprefix("/call_back/").removeprefix("/")


def json_answer(body: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", charset="utf-8"
    )


async def read_call(request: web.Request) -> Call:
    """Raises ``PlatformError`` for a body that is no JSON object."""
    origin = f"{request.scheme}://{request.host}"
    if request.method == "GET":
        return Call({k: v for k, v in request.query.items() if k != "access_token"}, origin)
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        form = await request.post()
        return Call({key: value for key, value in form.items() if isinstance(value, str)}, origin)
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise PlatformError(43008)
    return Call(body, origin)
