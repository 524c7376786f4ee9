"""Outbound: what DingTalk is to become."""

from aiohttp import web

from console.app import Console


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        return await console.page(request, "outbound.html")

    return [web.get("/outbound", show)]
