"""Dead letters and parked records."""

from aiohttp import web

from console.app import Console


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        return await console.page(request, "dead_letters.html")

    return [web.get("/dead-letters", show)]
