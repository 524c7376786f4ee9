"""Tail: events as they come."""

from aiohttp import web

from console.app import Console


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        return await console.page(request, "tail.html")

    return [web.get("/tail", show)]
