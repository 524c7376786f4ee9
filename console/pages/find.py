"""Find: an event by any of its ids."""

from aiohttp import web

from console.app import Console


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        return await console.page(request, "find.html")

    return [web.get("/find", show)]
