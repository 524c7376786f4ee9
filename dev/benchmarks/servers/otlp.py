"""A receiver of traces that drops them: ``python -m dev.benchmarks.servers.otlp PORT``."""

import sys

from aiohttp import web


async def take(request: web.Request) -> web.Response:
    await request.read()
    return web.Response()


if __name__ == "__main__":
    application = web.Application(client_max_size=1 << 26)
    application.router.add_route("*", "/{path:.*}", take)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
