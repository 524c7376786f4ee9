"""Event: one event's whole life."""

from aiohttp import web

from console.app import Console


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        return await console.page(request, "event.html")

    return [web.get("/event", show)]
