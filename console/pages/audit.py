"""Audit: who did what, when, and to how many."""

from aiohttp import web

from dingbridge.console.app import Console
from dingbridge.console.audit import ACTS

LIMIT = 200


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        entries = await console.audit.read(LIMIT)
        return await console.page(request, "audit.html", entries=entries, acts=ACTS, limit=LIMIT)

    return [web.get("/audit", show)]
