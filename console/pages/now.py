"""Now: the line from DingTalk to the systems, and what is wrong."""

from aiohttp import web

from console.app import Console


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        return await console.page(request, "now.html")

    return [web.get("/", show)]
