"""Consumers: how far behind, and what they wait for."""

from aiohttp import web

from console.app import Console


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        return await console.page(request, "consumers.html")

    return [web.get("/consumers", show)]
