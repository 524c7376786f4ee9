"""The simulator's page, ``/_sim/``: three files that a browser needs, with headers that hold them to it."""

from importlib.resources import files
from typing import Final

from aiohttp import web

_FILES: Final = {
    "": ("page.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_routes() -> list[web.RouteDef]:
    """Routes under ``/_sim/``; ``/_sim`` leads there."""
    return [web.get("/_sim", _to_page), *(web.get(f"/_sim/{name}", _file) for name in _FILES)]


async def _to_page(request: web.Request) -> web.Response:
    raise web.HTTPFound("/_sim/")


async def _file(request: web.Request) -> web.Response:
    name, content_type = _FILES[request.path.removeprefix("/_sim/")]
    content = (files("dingbridge.simulator.control") / "web" / name).read_bytes()
    return web.Response(body=content, content_type=content_type, charset="utf-8", headers=_HEADERS)
