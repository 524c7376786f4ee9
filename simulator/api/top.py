"""The older gateway to the same calls: ``POST /router/rest`` (host eco.taobao.com), by which SDKs of its time
reach what ``/topapi/…`` offers now.

``method`` names the call (``dingtalk.oapi.role.list``), ``session`` is the access token, parameters are
texts in the query or a form, objects as their JSON. The answer is in ``{"<method>_response": …}``.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from aiohttp import web

from dingbridge.simulator.api.calls import form
from dingbridge.simulator.call import Call

PATH: Final = "/router/rest"
_FORMER: Final = {
    "dingtalk.corp.role.list": "role/list",
    "dingtalk.corp.role.simplelist": "role/simplelist",
}
"""Names from before ``dingtalk.oapi``."""
_ENVELOPE: Final = frozenset(
    {"method", "session", "timestamp", "format", "v", "simplify", "partner_id", "sign", "sign_method"}
)


def method_names(apis: Collection[str]) -> dict[str, str]:
    """The gateway's names of calls, each with ours."""
    return {f"dingtalk.oapi.{api.replace('/', '.')}": api for api in apis} | _FORMER


async def read_top(request: web.Request) -> tuple[str, str | None, Call]:
    """``(method, token, call)``. Raises ``PlatformError`` for a form that cannot be read."""
    given = {**request.query, **await form(request)}
    parameters = {k: v for k, v in given.items() if k not in _ENVELOPE}
    origin = f"{request.scheme}://{request.host}"
    return given.get("method", ""), given.get("session"), Call(parameters, origin)


def wrapped(method: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{method.replace('.', '_')}_response": answer}


def unknown_method(method: str) -> dict[str, Any]:
    """The gateway's own refusal."""
    return {
        "error_response": {
            "code": 22,
            "msg": "Invalid method",
            "sub_code": "isv.invalid-method",
            "sub_msg": f"不存在的方法名: {method[:100]}",
        }
    }
